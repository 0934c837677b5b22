use std::time::Duration;

use async_trait::async_trait;

use crate::answer::{Entry, Patience};
use crate::keys::CacheKey;

/// The cache behind the process' own failed. The message never holds a key.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the enrichment cache failed: {0}")]
pub(crate) struct StoreError(pub(crate) String);

/// What somebody who wants to ask upstream for a key finds.
#[derive(Clone, Debug)]
pub(crate) enum Claim {
    /// The key is the caller's to ask for, until it is settled or given up. What is known of it, if anything is, does
    /// not hold.
    Mine(Option<Entry>),
    /// Somebody has the answer by now.
    Known(Entry),
    /// Somebody else is asking.
    Theirs,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Keys that are known.
    pub entries: u64,
    /// Of these, out of date: they are only for times when the upstream can't be asked.
    pub expired: u64,
    /// Bytes, about.
    pub bytes: u64,
}

/// A cache that outlives the process, or that processes share.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// What is known of each key, fresh or not.
    async fn get(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>, StoreError>;

    /// Takes keys to ask for with this patience, among all processes.
    async fn claim(&self, keys: &[CacheKey], patience: Patience) -> Result<Vec<Claim>, StoreError>;

    /// Keeps an answer for `keep`, and ends the claim. A failure takes the place of no answer, however old that is.
    async fn settle(&self, key: &CacheKey, entry: &Entry, keep: Duration) -> Result<(), StoreError>;

    /// Ends claims without an answer.
    async fn give_up(&self, keys: &[CacheKey]) -> Result<(), StoreError>;

    /// Does no more for a claim, whose caller went away: it ends by itself.
    fn forget(&self, key: &CacheKey);

    /// What it holds.
    async fn stats(&self) -> Result<StoreStats, StoreError>;

    /// Forgets everything, or what is out of date. Gives how many entries went.
    async fn purge(&self, expired_only: bool) -> Result<u64, StoreError>;
}
