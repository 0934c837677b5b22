use std::collections::BTreeMap;

use arrow_array::{ArrayRef, RecordBatch};
use async_trait::async_trait;

use crate::{BoxStream, ServiceError};

/// Which enricher to ask, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrichRequest {
    /// Name of the enricher, as in the recipe.
    pub enricher: String,
    /// The recipe's settings for it.
    pub settings: BTreeMap<String, String>,
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
    /// Looks keys up. Answers one batch a key batch, in order: a row a key, with the enricher's columns and
    /// `_reason`, which says why a row's columns are null. A failed look-up is never a failed call.
    async fn enrich(
        &self,
        request: EnrichRequest,
        keys: BoxStream<Result<KeyBatch, ServiceError>>,
    ) -> Result<BoxStream<Result<RecordBatch, ServiceError>>, ServiceError>;
}
