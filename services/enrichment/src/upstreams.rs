//! Who is asked, and how.

mod geocode;
mod json;
mod nppes;

use async_trait::async_trait;

pub(crate) use geocode::{CensusGeocoder, GEOCODER};
pub(crate) use json::{JsonApi, defined_columns, named_parts, parse_url};
pub(crate) use nppes::{NppesApi, REGISTRY, cells as provider_cells};

use crate::answer::Outcome;
use crate::call::CallError;
use crate::keys::{Key, Keys};
use crate::rows::Rows;

/// Somebody over the network who knows keys. How often it is asked, and what comes of failures, is not its concern.
#[async_trait]
pub(crate) trait Upstream: Send + Sync {
    /// Says why a key can't be right. Such a key is never asked for.
    fn check(&self, key: &Key) -> Result<(), &'static str>;

    /// Most keys of one request.
    fn batch(&self) -> usize {
        1
    }

    /// Sends one request, and gives an outcome a key, in order.
    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Outcome>, CallError>;
}

/// A local source that answers at once, and is never out of order.
pub(crate) trait Reference: Send + Sync {
    /// Adds a row of what it knows of a batch's key.
    fn look_up(&self, keys: &Keys, row: usize, rows: &mut Rows);
}
