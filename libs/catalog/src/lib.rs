//! The only truth about jobs, chunks, commit groups and files.
//!
//! Queues may lose messages and workers may die: what this catalog says is what happened. Every change of state
//! is one short transaction that checks what it changes, so that of two workers with one chunk exactly one wins.
//! The path of a chunk is `staged -> claimed -> written -> committed`; an attempt that fails goes back to
//! `staged`, and a chunk that killed its worker may be `split` instead. `docs/architecture.md` tells the rest.
//!
//! SQL is portable (SQLite and PostgreSQL): 64-bit integers, text for states, no function of one database but the
//! clock and the lock of a name. Nothing here loads more than a bounded page of chunks.

mod attempts;
#[cfg(feature = "simulation")]
mod audited;
mod catalog;
mod connect;
mod deaths;
mod ending;
mod entity;
mod error;
mod framing;
mod groups;
mod jobs;
mod migration;
mod model;
mod orphans;
mod outbox;
mod progress;
mod recovery;
#[cfg(feature = "simulation")]
mod simulated;
mod staging;
mod usage;

#[cfg(test)]
mod tests;

#[cfg(feature = "simulation")]
pub use audited::{AuditedChunk, AuditedGroup};
pub use catalog::Catalog;
pub use error::{CatalogError, Conflict};
pub use model::{
    AddedChunk, ChunkRef, Claim, ClaimOutcome, CommitResult, Cursor, DeathVerdict, File, Input, Job, JobProgressRow,
    JobSummary, NewChunk, NewJob, OpenedJob, QueueDepth, Recovery, StagedKey, TenantUsage, UnpublishedGroup,
    WrittenChunk,
};
