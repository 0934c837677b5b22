use std::sync::atomic::{AtomicU64, Ordering};

use crate::rows::{Rows, Source};

/// What a service has done since it started.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    keys: AtomicU64,
    memory: AtomicU64,
    store: AtomicU64,
    reference: AtomicU64,
    shared: AtomicU64,
    upstream: AtomicU64,
    stale: AtomicU64,
    invalid: AtomicU64,
    failed: AtomicU64,
    calls: AtomicU64,
    waiting: AtomicU64,
}

/// What a service has done since it started, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Keys that were looked up.
    pub keys: u64,
    /// Of these, known to the cache of this process.
    pub memory: u64,
    /// Known to the cache that processes share, or that survives a run.
    pub store: u64,
    /// Answered by a reference file.
    pub reference: u64,
    /// Answered by whoever else was asking just then.
    pub shared: u64,
    /// Answered by the upstream.
    pub upstream: u64,
    /// Answered out of date, because the upstream could not be asked.
    pub stale: u64,
    /// Keys that can't be right.
    pub invalid: u64,
    /// Keys without an answer.
    pub failed: u64,
    /// Requests sent upstream.
    pub calls: u64,
    /// Keys that wait for the upstream now.
    pub waiting: u64,
}

impl Stats {
    /// Counts the keys of a batch once they are resolved.
    pub(crate) fn count(&self, rows: &Rows) {
        for (source, count) in Source::ALL.into_iter().zip(rows.counts()) {
            let counter = match source {
                Source::Memory => &self.memory,
                Source::Store => &self.store,
                Source::Reference => &self.reference,
                Source::Shared => &self.shared,
                Source::Upstream => &self.upstream,
                Source::Stale => &self.stale,
                Source::Invalid => &self.invalid,
                Source::None => &self.failed,
            };
            add(counter, *count);
            add(&self.keys, *count);
        }
    }

    pub(crate) fn called(&self) {
        add(&self.calls, 1);
    }

    /// Keys that wait for the upstream from now on.
    pub(crate) fn wait(&self, keys: usize) -> Waiting<'_> {
        add(&self.waiting, keys as u64);
        Waiting { counter: &self.waiting, left: keys as u64 }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            keys: read(&self.keys),
            memory: read(&self.memory),
            store: read(&self.store),
            reference: read(&self.reference),
            shared: read(&self.shared),
            upstream: read(&self.upstream),
            stale: read(&self.stale),
            invalid: read(&self.invalid),
            failed: read(&self.failed),
            calls: read(&self.calls),
            waiting: read(&self.waiting),
        }
    }
}

/// Keys that wait, as long as it lives and they are not answered.
pub(crate) struct Waiting<'a> {
    counter: &'a AtomicU64,
    left: u64,
}

impl Waiting<'_> {
    pub(crate) fn answered(&mut self, keys: usize) {
        let keys = (keys as u64).min(self.left);
        self.left -= keys;
        self.counter.fetch_sub(keys, Ordering::Relaxed);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.left, Ordering::Relaxed);
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
