//! Calls of the storage writers by other processes: slow, cut at any item, answered by nobody.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use forebay_api::{AttemptHeader, AttemptItem, AttemptReceipt, BoxStream, ErrorKind, ServiceError, Storage};
use forebay_runtime::simulation;
use forebay_types::JobId;
use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::watch::Taken;
use crate::world::Sim;

/// A storage writer that lives.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) process: usize,
    pub(crate) handle: Handle,
    pub(crate) storage: Arc<forebay_storage::Storage>,
    pub(crate) taken: Taken,
}

/// Who listens at which address.
pub(crate) type Addresses = Arc<Mutex<Vec<Option<Target>>>>;

/// A client of one address.
pub(crate) struct Writer {
    pub(crate) sim: Sim,
    pub(crate) addresses: Addresses,
    pub(crate) address: usize,
}

fn unreachable() -> ServiceError {
    ServiceError::new(ErrorKind::Unreachable, "UNREACHABLE", "the other side is gone")
}

async fn point(what: &'static str) -> Result<(), ServiceError> {
    simulation::point(what).await.map_err(|_| unreachable())
}

/// A call under way. When its caller is gone, the other side learns of it, or only sees that nothing more comes.
struct Call {
    sim: Sim,
    process: usize,
    handler: AbortHandle,
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.sim.unlucky(0.5) {
            self.handler.abort();
        }
        self.sim.rouse(self.process);
    }
}

impl Writer {
    fn target(&self) -> Result<Target, ServiceError> {
        self.addresses.lock().unwrap()[self.address].clone().ok_or_else(unreachable)
    }

    /// Lets the other side do something and answer.
    fn call<T, F>(&self, target: &Target, work: F) -> (Call, oneshot::Receiver<T>)
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let (sim, caller) = (self.sim.clone(), self.sim.current());
        let handler = target.handle.spawn(async move {
            let result = work.await;
            // A caller that is gone does not listen.
            drop(answer.send(result));
            sim.rouse(caller);
        });
        self.sim.rouse(target.process);
        (Call { sim: self.sim.clone(), process: target.process, handler: handler.abort_handle() }, answered)
    }
}

#[async_trait]
impl Storage for Writer {
    async fn write_attempt(
        &self,
        header: AttemptHeader,
        mut items: BoxStream<Result<AttemptItem, ServiceError>>,
    ) -> Result<AttemptReceipt, ServiceError> {
        point("call write").await?;
        let target = self.target()?;
        let (sender, received) = mpsc::unbounded_channel();
        let (storage, taken) = (Arc::clone(&target.storage), Arc::clone(&target.taken));
        let handler = async move {
            let (chunk, attempt) = (header.chunk, header.attempt);
            let items = UnboundedReceiverStream::new(received).boxed();
            let receipt = forebay_api::Storage::write_attempt(&*storage, header, items).await?;
            taken.lock().unwrap().insert((receipt.group, chunk), attempt);
            Ok(receipt)
        };
        let (_call, answered) = self.call(&target, handler);
        while let Some(item) = items.next().await {
            point("call item").await?;
            let is_last = matches!(item, Ok(AttemptItem::Done(_)) | Err(_));
            sender.send(item).map_err(|_| unreachable())?;
            self.sim.rouse(target.process);
            if is_last {
                break;
            }
        }
        drop(sender);
        self.sim.rouse(target.process);
        let result = answered.await.map_err(|_| unreachable())?;
        point("call answered").await?;
        result
    }

    async fn flush(&self, job: JobId) -> Result<(), ServiceError> {
        point("call flush").await?;
        let target = self.target()?;
        let storage = Arc::clone(&target.storage);
        let handler = async move { forebay_api::Storage::flush(&*storage, job).await };
        let (_call, answered) = self.call(&target, handler);
        let result = answered.await.map_err(|_| unreachable())?;
        point("call answered").await?;
        result
    }
}
