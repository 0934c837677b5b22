use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_types::{ChunkId, GroupId, JobId};

use crate::{BoxStream, ServiceError};

/// Which attempt at which chunk a stream of batches belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptHeader {
    /// The chunk's job.
    pub job: JobId,
    /// The chunk.
    pub chunk: ChunkId,
    /// The attempt; only the newest may commit.
    pub attempt: u32,
    /// Commit as soon as this attempt is written, because its chunk was at work when a worker died.
    pub commit_now: bool,
}

/// How an attempt ended, once all its batches were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptOutcome {
    /// Records that the chunk held.
    pub records_in: u64,
    /// Records that could not be processed, by reason code; their rows are in the table `_rejects`.
    /// `records_in` is these and the records written, exactly.
    pub rejects: BTreeMap<String, u64>,
    /// Microseconds of work by stage.
    pub stages: BTreeMap<String, u64>,
    /// What steps counted, such as `enrichment.keys`.
    pub counts: BTreeMap<String, u64>,
}

/// One item of an attempt's stream.
#[derive(Clone, Debug)]
pub enum AttemptItem {
    /// Rows of one table.
    Batch {
        /// Table name, as in the recipe.
        table: String,
        /// At most 8,192 rows.
        batch: RecordBatch,
    },
    /// The last item. A stream that ends without it is an attempt that failed: nothing of it is kept.
    Done(AttemptOutcome),
}

/// What the storage writer answers when it holds a whole attempt in an open commit group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptReceipt {
    /// The group that will make it visible.
    pub group: GroupId,
    /// Rows by table.
    pub rows: BTreeMap<String, u64>,
}

/// Writes attempts into Parquet files and makes them visible, whole groups of chunks at a time.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Takes one attempt. When it returns, the attempt is complete in an open group, but not committed.
    async fn write_attempt(
        &self,
        header: AttemptHeader,
        items: BoxStream<Result<AttemptItem, ServiceError>>,
    ) -> Result<AttemptReceipt, ServiceError>;

    /// Commits and publishes whatever attempts of the job are complete, and returns when readers see it.
    async fn flush(&self, job: JobId) -> Result<(), ServiceError>;
}
