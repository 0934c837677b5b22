use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use forebay_types::{ChunkId, JobState};

use crate::{BoxStream, Caller, ServiceError};

/// Which recipe a job runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipeSource {
    /// A shipped recipe, by name.
    Shipped(String),
    /// The text of a recipe file, with the name to use in errors.
    Inline {
        /// File name, for errors.
        name: String,
        /// The YAML text.
        text: String,
    },
}

/// A job to run: what, on which input, to where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmitRequest {
    /// Idempotency key. The same key with the same input resumes; with other input it is refused.
    /// Without one, a key is derived from recipe, settings and inputs.
    pub key: Option<String>,
    /// What to do with the records.
    pub recipe: RecipeSource,
    /// `--set` values over the recipe's own.
    pub settings: BTreeMap<String, String>,
    /// Input format, or `auto`.
    pub format: String,
    /// Where the tables are.
    pub output: String,
    /// Durable inputs, read by the gateway itself. Empty if the input comes as frames.
    pub inputs: Vec<String>,
    /// What the frames are pieces of, in order. Without any, they are one stream without a name.
    pub streams: Vec<StreamedInput>,
    /// More rejects than this fail the job.
    pub max_rejects: Option<u64>,
}

/// An input that a client sends. The same job must name the same ones each time that it is submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamedInput {
    /// Its name, for rejects and errors: a file's path, say.
    pub name: String,
    /// Its size in bytes, if that is known.
    pub size: Option<u64>,
    /// Tells this version of it from others: a file's time of modification, say.
    pub version: Option<String>,
}

/// A piece of an input that a client sends. Inputs come in order, each from its first byte, or from where
/// [`Accepted::resume`] says; the first frame of the next one ends the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFrame {
    /// Index of the input.
    pub input: u32,
    /// Where in the input it begins.
    pub offset: u64,
    /// At most 1 MiB, cut anywhere.
    pub data: Bytes,
}

/// How far an input that a client sends is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumePoint {
    /// Index of the input.
    pub input: u32,
    /// The first byte that is wanted. What is before it is durable, or can be left out.
    pub offset: u64,
    /// True if no more of it is wanted.
    pub complete: bool,
}

/// First answer to a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The job's key.
    pub job: String,
    /// True if an earlier submission of the same job is continued.
    pub resumed: bool,
    /// Set if the job had ended before: nothing was or will be written by this submission.
    pub ended: Option<JobState>,
    /// For frames: where each input is to be continued. Empty where the job reads its inputs itself.
    pub resume: Vec<ResumePoint>,
}

/// What a submission tells while it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitEvent {
    /// The job exists.
    Accepted(Accepted),
    /// A chunk is durable: its records will not be lost.
    ChunkDurable {
        /// The chunk.
        chunk: ChunkId,
        /// Index of its input.
        input: u32,
        /// Bytes of its input up to its end, all durable.
        durable_bytes: u64,
        /// Records framed so far in its input.
        records: u64,
    },
    /// The whole input is durable.
    Complete {
        /// How many chunks the job has.
        chunks: u64,
    },
}

/// Rows that a job has committed to one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRows {
    /// Table name.
    pub table: String,
    /// Committed rows.
    pub rows: u64,
}

/// One line of a list of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSummary {
    /// Idempotency key.
    pub job: String,
    /// Name of its recipe.
    pub recipe: String,
    /// What it is doing.
    pub state: JobState,
    /// Why it failed, for a failed job.
    pub error: Option<String>,
    /// Creation time, microseconds since the epoch, UTC.
    pub created_at: i64,
    /// End time, if it has ended.
    pub ended_at: Option<i64>,
}

/// How far a job is. Counts are of committed work unless they say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobProgress {
    /// The job.
    pub summary: JobSummary,
    /// Records read by committed chunks.
    pub records_in: u64,
    /// Rows by table.
    pub rows_out: Vec<TableRows>,
    /// Rejects by reason code.
    pub rejects: BTreeMap<String, u64>,
    /// Input bytes framed so far.
    pub bytes_in: u64,
    /// Input bytes in all, where that is known.
    pub bytes_total: Option<u64>,
    /// Bytes of committed files.
    pub bytes_out: u64,
    /// Chunks by state.
    pub chunks: BTreeMap<String, u64>,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Microseconds of work by stage, over all workers.
    pub stages: BTreeMap<String, u64>,
    /// What steps counted, such as `enrichment.keys`.
    pub counts: BTreeMap<String, u64>,
    /// What the job waits for, if it does: see [`Constraint`].
    pub constraint: Option<Constraint>,
}

/// What keeps a job from going faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Constraint {
    /// The client: the gateway has room and waits for input.
    Client,
    /// The gateway's memory budget.
    Budget,
    /// Transform workers: chunks wait for one.
    Workers,
    /// The storage writer and the object store behind it.
    ObjectStore,
    /// The tenant's quota of staged bytes.
    Quota,
}

impl Constraint {
    /// Stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Budget => "budget",
            Self::Workers => "workers",
            Self::ObjectStore => "object store",
            Self::Quota => "quota",
        }
    }
}

/// A rejected record as it is shown to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectRow {
    /// Input that it came from.
    pub input: String,
    /// Line, row or element number, from 1.
    pub record: u64,
    /// Offset of its first byte, or its row.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// Reason code.
    pub reason: String,
    /// Path of the field.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// The record, if it is kept; that of a protected one is encrypted.
    pub raw: Option<Vec<u8>>,
}

/// The only door for clients: takes input in, tells how jobs go. Whoever calls in the same process says for whom; across
/// gRPC the server finds out itself, and what a client passes as `caller` is not sent.
#[async_trait]
pub trait Gateway: Send + Sync {
    /// Starts or resumes a job. `frames` is read only if the request names no inputs of its own. The first event is [`SubmitEvent::Accepted`]; the job goes on after the last one.
    async fn submit(
        &self,
        caller: &Caller,
        request: SubmitRequest,
        frames: BoxStream<Result<InputFrame, ServiceError>>,
    ) -> Result<BoxStream<Result<SubmitEvent, ServiceError>>, ServiceError>;

    /// How far a job is now.
    async fn get_job(&self, caller: &Caller, job: &str) -> Result<JobProgress, ServiceError>;

    /// Jobs, newest first, at most `limit` of them older than `before` (a creation time).
    async fn list_jobs(
        &self,
        caller: &Caller,
        limit: u32,
        before: Option<i64>,
    ) -> Result<Vec<JobSummary>, ServiceError>;

    /// A job's progress now, on every change (at most a few a second), and at its end, which ends the stream.
    async fn watch_job(
        &self,
        caller: &Caller,
        job: &str,
    ) -> Result<BoxStream<Result<JobProgress, ServiceError>>, ServiceError>;

    /// Ends a job. Chunks at work are given up; what was committed stays.
    async fn cancel_job(&self, caller: &Caller, job: &str) -> Result<(), ServiceError>;

    /// A job's rejects.
    async fn rejects(
        &self,
        caller: &Caller,
        job: &str,
    ) -> Result<BoxStream<Result<RejectRow, ServiceError>>, ServiceError>;
}
