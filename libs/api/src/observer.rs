use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a service has just done. No event holds a value of a record, nor a name that a user chose.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A client has sent input.
    Received {
        /// Its bytes.
        bytes: u64,
    },
    /// A copy of a chunk is in staging.
    Staged {
        /// Its bytes, before compression.
        bytes: u64,
    },
    /// A chunk was claimed, and the work on it begins.
    AttemptBegan,
    /// The work on a chunk is over, in this process.
    AttemptEnded {
        /// How.
        result: AttemptResult,
    },
    /// Leases were renewed.
    Leases {
        /// How many this process holds.
        held: u64,
    },
    /// A complete attempt came into a group.
    AttemptWritten {
        /// Microseconds by stage.
        stages: &'a BTreeMap<String, u64>,
    },
    /// A group of files is committed, for good.
    GroupCommitted {
        /// Records of its chunks.
        records_in: u64,
        /// Rows in its tables.
        rows: u64,
        /// Rejects by reason code.
        rejects: &'a BTreeMap<String, u64>,
        /// Bytes of its files.
        bytes: u64,
    },
    /// A group of files was given up.
    GroupGivenUp {
        /// True if newer attempts, or another writer, have its chunks.
        lost: bool,
    },
    /// A commit to a table's log has ended.
    LogCommitted {
        /// How.
        result: LogResult,
        /// How long it took.
        took: Duration,
    },
}

/// How the work on a chunk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// It is complete in an open group.
    Written,
    /// It was handed back, because the process stops.
    HandedBack,
    /// It is not the newest any more: its lease ran out, or its job has ended.
    Stale,
    /// It failed in a way that another try may get past.
    Retried,
    /// It failed, and its job with it.
    Failed,
    /// It panicked, or was taken for one that kills its worker.
    Died,
}

/// How a commit to a table's log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogResult {
    /// The files are visible.
    Published,
    /// They were before.
    AlreadyThere,
    /// They are not, or nobody knows.
    Failed,
}

/// Whoever wants to know what a service does, to count it. Clones tell the same one.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<dyn Fn(Event<'_>) + Send + Sync>>);

impl Observer {
    /// Calls a function at each event. It must be quick.
    pub fn new(observe: impl Fn(Event<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(observe)))
    }

    /// Tells of an event.
    pub fn tell(&self, event: Event<'_>) {
        if let Some(observe) = &self.0 {
            observe(event);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}
