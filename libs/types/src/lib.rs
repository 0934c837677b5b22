//! The words every other crate shares: identifiers, sizes, chunk sources, states and reject reasons.
//!
//! No IO, no async runtime, no wire format. See `docs/architecture.md` for how the words fit together.

mod bytesize;
mod chunk;
mod job;
mod reject;

pub use bytesize::{ByteSize, ParseByteSizeError};
pub use chunk::{ChunkId, ChunkSource, ChunkState, GroupId, GroupState};
pub use job::{InputIdentity, JobId, JobState};
pub use reject::{MESSAGE_LIMIT, RECORDS_IGNORED, REJECTS_TABLE, Reason, Reject};
