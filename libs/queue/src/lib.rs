//! The wake-up queue: tells workers that a chunk waits.
//!
//! The catalog is the truth, and this queue a hint. A message may be lost, come twice, or come too late; whoever
//! gets one claims the chunk in the catalog first. So the queue can be thrown away at any time, and whatever is
//! still to do is dispatched again in a new epoch.

mod redis;
mod sqlite;
mod supervisor;
mod trace;
mod wake;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use forebay_types::{ChunkId, JobId};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use redis::RedisQueue;
pub use sqlite::SqliteQueue;
pub use trace::{TraceParent, TraceParentError};

/// The form of [`WorkItem`] that this program writes and understands.
const VERSION: u8 = 1;

/// A message: this chunk waits for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkItem {
    /// Form of the message. A reader drops forms that it does not know; they are dispatched again.
    pub version: u8,
    /// The chunk's job.
    pub job: JobId,
    /// The chunk.
    pub chunk: ChunkId,
    /// The chunk's epoch in the catalog. The queue takes a chunk once in an epoch.
    pub epoch: u32,
    /// The trace that the work belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "trace::readable")]
    pub traceparent: Option<TraceParent>,
}

impl WorkItem {
    /// A message in the current form, of no trace.
    pub const fn new(job: JobId, chunk: ChunkId, epoch: u32) -> Self {
        Self { version: VERSION, job, chunk, epoch, traceparent: None }
    }

    /// The same message in a trace.
    #[must_use]
    pub const fn with_traceparent(self, traceparent: Option<TraceParent>) -> Self {
        Self { traceparent, ..self }
    }

    /// The message's identity: equal for the same chunk and epoch, in the canonical text of a ULID, which is the
    /// only one that apalis prints as it was given.
    fn task_id(&self) -> String {
        const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let bits = (u128::from(self.chunk.0.cast_unsigned()) << 64) | u128::from(self.epoch);
        (0..26).rev().map(|digit| char::from(ALPHABET[(bits >> (digit * 5)) as usize & 31])).collect()
    }
}

/// Why the queue did not do what it was asked. Try again: nothing is lost.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The queue's database failed.
    #[error("the queue's database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The queue's file is damaged, or another version has written it.
    #[error("the queue's database is unusable: {0}")]
    Unusable(String),
    /// The queue's file could not be replaced.
    #[error("the queue's file: {0}")]
    Io(#[from] std::io::Error),
    /// Redis can't be reached, did not answer in time, or refused.
    #[error("the queue's Redis at {place} failed: {source}; see that it runs and that FOREBAY_QUEUE_URL names it")]
    Redis {
        /// Host and port.
        place: Arc<str>,
        /// What went wrong.
        #[source]
        source: ::redis::RedisError,
    },
    /// So many messages wait that no more are taken until some are handled.
    #[error("the queue is full: at most {limit} messages may wait; push again when some are handled")]
    Full {
        /// Most messages that may wait or be handled.
        limit: usize,
    },
    /// The queue's URL is wrong. Another try won't help.
    #[error("the queue's URL is not of the form redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]: {0}")]
    Address(String),
}

/// Works on messages. What goes wrong is recorded in the catalog, so that there is nothing to return.
#[async_trait]
pub trait WorkHandler: Send + Sync {
    /// Handles one message to its end. A panic ends this message only.
    async fn handle(&self, item: WorkItem);
}

/// A queue of messages between the dispatcher and the workers.
#[async_trait]
pub trait JobQueue: Send + Sync {
    /// Adds messages. One whose chunk and epoch are in the queue already is left out.
    async fn push(&self, items: &[WorkItem]) -> Result<(), QueueError>;

    /// How many messages are waiting or being handled.
    async fn outstanding(&self) -> Result<u64, QueueError>;

    /// A mark that differs from an earlier answer if the queue may have lost messages in between, so that whatever
    /// was dispatched has to be dispatched again.
    async fn generation(&self) -> Result<String, QueueError>;

    /// Deletes at most `limit` messages that were handled, and gives their number. Call it until it gives less.
    async fn collect_finished(&self, limit: u32) -> Result<u64, QueueError>;

    /// Hands messages to the handler, at most `concurrency` at a time, until `shutdown`; then waits for those at
    /// work. Failures of the queue are logged and survived.
    async fn run(
        &self,
        worker_name_prefix: &str,
        concurrency: usize,
        handler: Arc<dyn WorkHandler>,
        shutdown: CancellationToken,
    ) -> Result<(), QueueError>;
}
