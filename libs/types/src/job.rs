use std::fmt;

use serde::{Deserialize, Serialize};

/// A job's row in the catalog. Users name a job by its key, a string that they may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub i64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a job is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Taking input, or working on chunks. A job that was interrupted stays in this state and resumes.
    Running,
    /// Everything is committed and published.
    Done,
    /// It ended with an error that another try of the same command may get past.
    Failed,
    /// A user ended it. What was committed stays.
    Cancelled,
}

impl JobState {
    /// The stored form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads the stored form.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Done, Self::Failed, Self::Cancelled].into_iter().find(|state| state.as_str() == text)
    }
}

/// What tells one content of an input from another without reading it, so that a source that changed between
/// two tries is noticed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InputIdentity {
    /// Absolute URI: `file:///...`, `s3://bucket/key`, or `-` for a stream.
    pub uri: String,
    /// Size in bytes; none for a stream.
    pub size: Option<u64>,
    /// ETag of an object, or the modification time of a file in nanoseconds since the epoch.
    pub version: Option<String>,
}
