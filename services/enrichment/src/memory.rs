use moka::sync::Cache;

use crate::answer::Entry;
use crate::keys::CacheKey;

/// What an entry costs besides its key and value: moka's own, two reference counts, and the allocator's rounding.
const OVERHEAD: usize = 240;

/// The cache of this process, bounded in bytes. What is least used goes first.
#[derive(Clone)]
pub(crate) struct MemoryCache(Cache<CacheKey, Entry>);

impl MemoryCache {
    pub(crate) fn new(bytes: u64) -> Self {
        let weigh = |key: &CacheKey, entry: &Entry| {
            u32::try_from(key.as_str().len() + entry.as_bytes().len() + OVERHEAD).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(bytes).weigher(weigh).build())
    }

    pub(crate) fn get(&self, key: &CacheKey) -> Option<Entry> {
        self.0.get(key)
    }

    pub(crate) fn put(&self, key: CacheKey, entry: Entry) {
        self.0.insert(key, entry);
    }

    pub(crate) fn clear(&self) {
        self.0.invalidate_all();
    }

    /// Entries, and their bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        self.0.run_pending_tasks();
        (self.0.entry_count(), self.0.weighted_size())
    }
}
