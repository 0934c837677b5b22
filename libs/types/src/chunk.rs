use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Reason;

/// A chunk: a contiguous run of a job's records, the unit of staging, queueing, retry and commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChunkId(pub i64);

/// A commit group: the open files of a job's tables, which become visible together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupId(pub i64);

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a chunk's records are read from. Stored with the chunk, so old forms must stay readable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ChunkSource {
    /// Bytes `start..end` of a durable input that can be addressed: nothing was copied.
    Range {
        /// Offset of the first byte of the first record.
        start: u64,
        /// Offset just past the last record.
        end: u64,
    },
    /// Rows `start..end` of a durable Parquet or Arrow file, counted over the whole file.
    Rows {
        /// First row.
        start: u64,
        /// Just past the last row.
        end: u64,
    },
    /// A compressed copy in staging, because the input cannot be read again or not from the middle.
    Staged {
        /// Object key below the output's staging prefix.
        key: String,
        /// Offset, in the decompressed input, of the first byte.
        start: u64,
        /// Offset just past the last byte; the copy may go on.
        end: u64,
        /// Bytes of the copy before the first record (more than zero in a part of a split chunk).
        skip: u64,
    },
    /// One record that can't even be read: longer than the record limit, or behind the break of a broken array.
    /// It is never held: it only becomes a reject.
    Reject {
        /// Offset of its first byte.
        start: u64,
        /// Offset just past it.
        end: u64,
        /// Why.
        reason: Reason,
        /// What is wrong.
        message: String,
    },
}

impl ChunkSource {
    /// How much input the chunk stands for: bytes, or rows for a columnar input.
    pub fn extent(&self) -> u64 {
        let (Self::Range { start, end }
        | Self::Rows { start, end }
        | Self::Staged { start, end, .. }
        | Self::Reject { start, end, .. }) = self;
        end - start
    }
}

/// Where a chunk is on its path. Stored as text; the catalog is the only judge of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChunkState {
    /// Durable and waiting for a worker.
    Staged,
    /// A worker has claimed it and is at work under a lease.
    Claimed,
    /// An attempt is complete in an open commit group; nothing is visible yet.
    Written,
    /// Visible in every table, for good.
    Committed,
    /// Replaced by smaller chunks that cover the same records.
    Split,
}

impl ChunkState {
    /// The stored form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Claimed => "claimed",
            Self::Written => "written",
            Self::Committed => "committed",
            Self::Split => "split",
        }
    }

    /// Reads the stored form.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Staged, Self::Claimed, Self::Written, Self::Committed, Self::Split]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// Where a commit group is on its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupState {
    /// Its files are being written; after a crash they are deleted.
    Open,
    /// Its chunks and files are committed in the catalog; the Delta logs may not have them yet.
    Committed,
    /// The Delta logs have it.
    Published,
    /// It was given up; its files are deleted.
    Abandoned,
}

impl GroupState {
    /// The stored form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Committed => "committed",
            Self::Published => "published",
            Self::Abandoned => "abandoned",
        }
    }

    /// Reads the stored form.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::Committed, Self::Published, Self::Abandoned].into_iter().find(|state| state.as_str() == text)
    }
}
