use std::collections::BTreeMap;

use arrow_array::{ArrayRef, RecordBatch};
use async_trait::async_trait;

use crate::{BoxStream, ServiceError};

/// Column of an answer that says why the other columns of a row are null.
pub const REASON_COLUMN: &str = "_reason";

/// Column of an answer that says where a row came from: `memory`, `store`, `reference`, `shared`, `upstream`, `stale`,
/// `invalid` or `none`.
pub const SOURCE_COLUMN: &str = "_source";

/// Column of an answer that says how many requests were sent upstream for a row.
pub const CALLS_COLUMN: &str = "_calls";

/// Which enricher to ask, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrichRequest {
    /// Name of the enricher, as in the recipe.
    pub enricher: String,
    /// The recipe's settings for it.
    pub settings: BTreeMap<String, String>,
    /// The columns that are wanted; all of them if there are none here.
    pub columns: Vec<String>,
}

/// Unique keys to look up.
#[derive(Clone, Debug)]
pub struct KeyBatch {
    /// The keys, without nulls or repeats; at most 8,192.
    pub keys: ArrayRef,
}

/// Turns keys into columns.
#[async_trait]
pub trait Enrichment: Send + Sync {
    /// Looks keys up. Answers one batch a key batch, in order: a row a key, with the enricher's columns
    /// that are wanted, [`REASON_COLUMN`], [`SOURCE_COLUMN`] and [`CALLS_COLUMN`]. A failed look-up is never a failed call.
    async fn enrich(
        &self,
        request: EnrichRequest,
        keys: BoxStream<Result<KeyBatch, ServiceError>>,
    ) -> Result<BoxStream<Result<RecordBatch, ServiceError>>, ServiceError>;
}
