use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use forebay_api::{AttemptHeader, AttemptItem, AttemptReceipt, BoxStream, ServiceError, Storage};
use forebay_rpc::client::{ClientSecurity, StorageClient, connect};
use forebay_types::JobId;

/// Storage writers that are somewhere else. Attempts go to one after the other; a job ends when all have committed
/// what they hold of it.
pub struct RemoteWriters {
    writers: Vec<Arc<dyn Storage>>,
    next: AtomicUsize,
}

impl std::fmt::Debug for RemoteWriters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteWriters").field("writers", &self.writers.len()).finish_non_exhaustive()
    }
}

impl RemoteWriters {
    /// Writers that are known already. There must be one.
    pub fn new(writers: Vec<Arc<dyn Storage>>) -> Result<Self, ServiceError> {
        if writers.is_empty() {
            return Err(ServiceError::invalid("INVALID_SETTING", "storage_url names no address"));
        }
        Ok(Self { writers, next: AtomicUsize::new(0) })
    }

    /// The writers at addresses that are separated by commas.
    pub(super) fn connect(addresses: &str, security: &ClientSecurity) -> Result<Self, ServiceError> {
        let writers = addresses
            .split(',')
            .map(str::trim)
            .filter(|address| !address.is_empty())
            .map(|address| Ok(Arc::new(StorageClient::new(connect(address, security)?)) as Arc<dyn Storage>))
            .collect::<Result<Vec<_>, ServiceError>>()?;
        Self::new(writers)
    }
}

#[async_trait]
impl Storage for RemoteWriters {
    async fn write_attempt(
        &self,
        header: AttemptHeader,
        items: BoxStream<Result<AttemptItem, ServiceError>>,
    ) -> Result<AttemptReceipt, ServiceError> {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.writers.len();
        self.writers[next].write_attempt(header, items).await
    }

    async fn flush(&self, job: JobId) -> Result<(), ServiceError> {
        // One that is away has nothing of the job any more, or will commit it by itself: the others still do now.
        let results = futures::future::join_all(self.writers.iter().map(|writer| writer.flush(job))).await;
        let (done, failed): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        match failed.into_iter().next() {
            Some(Err(error)) if done.is_empty() => Err(error),
            _ => Ok(()),
        }
    }
}
