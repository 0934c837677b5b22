use std::collections::BTreeMap;

use forebay_types::{ChunkId, ChunkSource, GroupId, InputIdentity, JobId, JobState};
use serde::{Deserialize, Serialize};

/// What a job is opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// Whose job it is; empty where there is only one.
    pub tenant: String,
    /// Idempotency key, of the tenant's own.
    pub key: String,
    /// Name of the recipe.
    pub recipe_name: String,
    /// The recipe's resolved YAML text.
    pub recipe: String,
    /// Hex digest of recipe and settings: what must be equal for the key to mean the same job.
    pub digest: String,
    /// URI of the output.
    pub output: String,
    /// Input format.
    pub format: String,
    /// Settings as JSON text.
    pub settings: String,
    /// The inputs, in their order.
    pub inputs: Vec<InputIdentity>,
    /// More rejects than this fail the job.
    pub max_rejects: Option<u64>,
    /// The trace that it was submitted in: W3C's `traceparent`.
    pub traceparent: Option<String>,
    /// Where its committed groups are loaded besides, without secrets.
    pub sink: Option<String>,
}

/// A job. Times are in microseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its row.
    pub id: JobId,
    /// Whose job it is; empty where there is only one.
    pub tenant: String,
    /// Idempotency key, of the tenant's own.
    pub key: String,
    /// Name of the recipe.
    pub recipe_name: String,
    /// The recipe's resolved YAML text.
    pub recipe: String,
    /// Hex digest of recipe and settings.
    pub digest: String,
    /// URI of the output.
    pub output: String,
    /// Input format.
    pub format: String,
    /// Settings as JSON text.
    pub settings: String,
    /// More rejects than this fail the job.
    pub max_rejects: Option<u64>,
    /// The trace that it was submitted in: W3C's `traceparent`.
    pub traceparent: Option<String>,
    /// Where its committed groups are loaded besides, without secrets.
    pub sink: Option<String>,
    /// What it is doing.
    pub state: JobState,
    /// Why it failed.
    pub error: Option<String>,
    /// True when all its inputs are framed, so that it gets no more chunks.
    pub framed: bool,
    /// Creation time; no two jobs have the same.
    pub created_at: i64,
    /// When it ended.
    pub ended_at: Option<i64>,
}

/// One line of a list of jobs: a [`Job`] without its texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSummary {
    /// Its row.
    pub id: JobId,
    /// Idempotency key.
    pub key: String,
    /// Name of the recipe.
    pub recipe_name: String,
    /// What it is doing.
    pub state: JobState,
    /// Why it failed.
    pub error: Option<String>,
    /// Creation time; no two jobs have the same.
    pub created_at: i64,
    /// When it ended.
    pub ended_at: Option<i64>,
}

/// The answer to opening a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedJob {
    /// The job; look at its state, because it may have ended.
    pub job: Job,
    /// True if it existed.
    pub resumed: bool,
}

/// An input of a job, and how far it is framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its number in the job, from 0.
    pub index: u32,
    /// What it is.
    pub identity: InputIdentity,
    /// Everything before this offset is durable in chunks.
    pub offset: u64,
    /// Records before that offset.
    pub records: u64,
    /// True when its end was framed.
    pub complete: bool,
    /// Bytes of its CSV header.
    pub header: Option<Vec<u8>>,
    /// What the gateway needs to go on: framing and compression, as JSON that only the gateway understands.
    pub info: Option<String>,
}

/// How far an input is framed after some chunks were added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The input's number in the job.
    pub input: u32,
    /// Everything before this offset is in chunks.
    pub offset: u64,
    /// Records before that offset.
    pub records: u64,
    /// True if this is the input's end.
    pub complete: bool,
    /// Bytes of its CSV header; none leaves what is stored.
    pub header: Option<Vec<u8>>,
    /// What the gateway needs to go on; none leaves what is stored.
    pub info: Option<String>,
}

/// A chunk to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewChunk {
    /// Number of its input in the job.
    pub input: u32,
    /// Where its records are.
    pub source: ChunkSource,
    /// How many records of its input come before it.
    pub first_record: u64,
    /// How many records it has, at least one.
    pub records: u64,
    /// XXH3-128 of its bytes.
    pub checksum: Option<u128>,
    /// Input bytes that it stands for.
    pub bytes: u64,
}

/// A chunk that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddedChunk {
    /// Its row.
    pub chunk: ChunkId,
    /// Its number in the job, from 0, in the order of adding.
    pub seq: u64,
}

/// A chunk that waits for a worker, as the queue knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChunkRef {
    /// Its job.
    pub job: JobId,
    /// The chunk.
    pub chunk: ChunkId,
    /// Grows whenever the chunk goes back to waiting, so that the queue takes it again.
    pub epoch: u32,
}

/// A chunk that a worker has claimed, with what it needs to work on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its job.
    pub job: JobId,
    /// The chunk.
    pub chunk: ChunkId,
    /// This attempt, from 1. Only the newest attempt may commit.
    pub attempt: u32,
    /// How many workers died of this chunk.
    pub deaths: u32,
    /// How many leases of it ran out since the last death.
    pub lapses: u32,
    /// How many attempts at it failed of something that passes.
    pub failures: u32,
    /// True if it killed too many: all its records become rejects, and the recipe does not run.
    pub quarantined: bool,
    /// Number of its input in the job.
    pub input: u32,
    /// Where its records are.
    pub source: ChunkSource,
    /// How many records of its input come before it. With `input`, its place in the job's order.
    pub first_record: u64,
    /// How many records it has.
    pub records: u64,
    /// XXH3-128 of its bytes.
    pub checksum: Option<u128>,
    /// Input bytes that it stands for.
    pub bytes: u64,
}

/// Leases of a chunk that run out until it is treated as if its worker had died of it.
const LAPSES_OF_A_DEATH: u32 = 5;

impl Claim {
    /// True if so many leases of the chunk ran out that its workers must have died of it, although nobody saw them
    /// die. Whoever claims it records a death in its place instead of working on it.
    pub fn is_presumed_deadly(&self) -> bool {
        self.lapses >= LAPSES_OF_A_DEATH
    }
}

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// The chunk is the caller's, for the length of the lease.
    Claimed(Box<Claim>),
    /// A suspect must be the only chunk at work in its process, and it, or this chunk, is not. Try again later.
    Busy,
    /// Somebody else has it, it is done, it must wait, or its job has ended. Forget the message.
    Gone,
}

/// What became of a chunk that a worker died of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeathVerdict {
    /// It waits for another try, alone.
    Retry,
    /// These two chunks took its place and wait for a try, each alone.
    Split([ChunkId; 2]),
    /// It waits for a worker that turns all its records into rejects.
    Quarantined,
    /// The attempt is not the newest or not at work any more. Nothing was recorded.
    Stale,
}

/// What an attempt made of its chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenChunk {
    /// Records read.
    pub records_in: u64,
    /// Rejects by reason code.
    pub rejects: BTreeMap<String, u64>,
    /// Rows by table.
    pub rows: BTreeMap<String, u64>,
    /// Time by stage, in microseconds.
    pub stages: BTreeMap<String, u64>,
    /// What steps counted. Absent in what older versions wrote.
    #[serde(default)]
    pub counts: BTreeMap<String, u64>,
}

/// A file of a commit group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The table that it belongs to.
    pub table: String,
    /// Its path below the table.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// The Delta log's add action for it, as JSON.
    pub add: String,
}

/// The answer to committing a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitResult {
    /// The group, its files and its chunks are committed, for good.
    Committed,
    /// Nothing was committed, because these chunks are not the group's any more. Abandon it.
    Lost(Vec<ChunkId>),
}

/// A group that is committed here and not yet in the Delta logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpublishedGroup {
    /// The group.
    pub group: GroupId,
    /// Its job.
    pub job: JobId,
    /// Its place in the job's order of commits, from 1 and without a gap: the version of the Delta transaction.
    pub commit_seq: i64,
    /// Its files.
    pub files: Vec<File>,
}

/// An object in staging that no chunk will read again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StagedKey {
    /// The job that it was staged for, which knows the output.
    pub job: JobId,
    /// Object key below the output's staging prefix.
    pub key: String,
}

/// What a dead process left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Groups whose files are to be deleted; then forget them.
    pub abandoned: Vec<(GroupId, JobId)>,
    /// Chunks that were at work when the process crashed. Record a death for each.
    pub claimed: Vec<Claim>,
    /// How many written chunks went back to waiting, because their group was not committed.
    pub unwritten: u64,
}

/// How far a job is. Rows, rejects, stages, `records_in` and `bytes_out` count committed work only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobProgressRow {
    /// The job.
    pub summary: JobSummary,
    /// True when all its inputs are framed.
    pub framed: bool,
    /// Records read.
    pub records_in: u64,
    /// Rows by table.
    pub rows: BTreeMap<String, u64>,
    /// Rejects by reason code.
    pub rejects: BTreeMap<String, u64>,
    /// Time by stage, in microseconds, over all workers.
    pub stages: BTreeMap<String, u64>,
    /// What steps counted.
    pub counts: BTreeMap<String, u64>,
    /// Input bytes framed.
    pub bytes_framed: u64,
    /// Input bytes in all, if the size of every input is known.
    pub bytes_total: Option<u64>,
    /// Bytes of committed files.
    pub bytes_out: u64,
    /// Chunks by state, every state.
    pub chunks: BTreeMap<String, u64>,
    /// Attempts beyond a chunk's first.
    pub retries: u64,
}

/// How much work there is for the fleet, in chunks of running jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Chunks that wait for a worker.
    pub waiting: u64,
    /// Chunks that are claimed.
    pub at_work: u64,
    /// Chunks that wait for their group's commit.
    pub written: u64,
    /// Input bytes, before compression, whose copies are in staging.
    pub staged_bytes: u64,
}

/// What a tenant has in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantUsage {
    /// Jobs that are running.
    pub running_jobs: u64,
    /// Input bytes, before compression, whose copies are in staging.
    pub staged_bytes: u64,
}
