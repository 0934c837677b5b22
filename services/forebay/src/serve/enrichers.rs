use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_api::{BoxStream, EnrichRequest, Enrichment, ErrorKind, KeyBatch, ServiceError};
use forebay_rpc::client::{ClientSecurity, EnrichmentClient, connect};

/// Enrichment services that are somewhere else, asked one after the other. There may be none: then recipes that need
/// one fail, and say so.
#[derive(Debug)]
pub(super) struct RemoteEnrichers {
    services: Vec<EnrichmentClient>,
    next: AtomicUsize,
}

impl RemoteEnrichers {
    /// The services at addresses that are separated by commas.
    pub(super) fn connect(addresses: &str, security: &ClientSecurity) -> Result<Self, ServiceError> {
        let addresses = addresses.split(',').map(str::trim).filter(|address| !address.is_empty());
        let connected = addresses.map(|address| Ok(EnrichmentClient::new(connect(address, security)?)));
        Ok(Self { services: connected.collect::<Result<Vec<_>, ServiceError>>()?, next: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Enrichment for RemoteEnrichers {
    async fn enrich(
        &self,
        request: EnrichRequest,
        keys: BoxStream<Result<KeyBatch, ServiceError>>,
    ) -> Result<BoxStream<Result<RecordBatch, ServiceError>>, ServiceError> {
        if self.services.is_empty() {
            let message = "the recipe looks keys up, and this worker knows no enrichment service: set enrichment_url, or \
                           the variable FOREBAY_ENRICHMENT_URL";
            return Err(ServiceError::new(ErrorKind::FailedPrecondition, "ENRICHMENT_MISSING", message));
        }
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.services.len();
        self.services[next].enrich(request, keys).await
    }
}
