//! The enrichment service: turns keys into columns. It has no enrichers yet, and says so to whoever asks for one.

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_api::{BoxStream, EnrichRequest, ErrorKind, KeyBatch, ServiceError};

/// The enrichment service, in this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Enrichment;

#[async_trait]
impl forebay_api::Enrichment for Enrichment {
    async fn enrich(
        &self,
        request: EnrichRequest,
        _keys: BoxStream<Result<KeyBatch, ServiceError>>,
    ) -> Result<BoxStream<Result<RecordBatch, ServiceError>>, ServiceError> {
        Err(ServiceError::new(
            ErrorKind::NotFound,
            "ENRICHER_UNKNOWN",
            format!("there is no enricher '{}': this version has none", request.enricher),
        ))
    }
}
