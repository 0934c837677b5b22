use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{PoisonError, RwLock};

use crate::answer::Entry;

/// What an entry costs besides its bytes: its place in a table that is at least a third full, also while the table
/// grows; a reference count; and the allocator's rounding.
const OVERHEAD: usize = 144;

/// The cache of this process, bounded in bytes, in two generations: what is asked for moves to the younger one, and when
/// that has half of the bytes, the older one goes with all that nobody has asked for since. A batch of keys is looked up
/// under one lock. See `docs/decisions/2026-11-22-answers-in-generations.md` for why it is no cache of a library.
pub(crate) struct MemoryCache {
    /// Most bytes of a generation.
    half: usize,
    generations: RwLock<Generations>,
}

#[derive(Default)]
struct Generations {
    young: Generation,
    old: Generation,
}

#[derive(Default)]
struct Generation {
    entries: HashMap<u128, Entry, BuildHasherDefault<Fingerprinted>>,
    bytes: usize,
}

/// Takes a part of a fingerprint for its hash: it is one.
#[derive(Default)]
struct Fingerprinted(u64);

impl Hasher for Fingerprinted {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn write_u128(&mut self, fingerprint: u128) {
        self.0 = fingerprint as u64;
    }
}

fn weight(entry: &Entry) -> usize {
    entry.as_bytes().len() + OVERHEAD
}

impl Generation {
    fn put(&mut self, fingerprint: u128, entry: Entry) {
        self.bytes += weight(&entry);
        if let Some(before) = self.entries.insert(fingerprint, entry) {
            self.bytes -= weight(&before);
        }
    }

    fn take(&mut self, fingerprint: u128) -> Option<Entry> {
        let entry = self.entries.remove(&fingerprint)?;
        self.bytes -= weight(&entry);
        Some(entry)
    }
}

impl Generations {
    fn put(&mut self, fingerprint: u128, entry: Entry, half: usize) {
        // What is larger than a share of it would push out everything else.
        if weight(&entry) > half / 8 {
            self.young.take(fingerprint);
            self.old.take(fingerprint);
            return;
        }
        if self.young.bytes + weight(&entry) > half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.put(fingerprint, entry);
    }
}

impl MemoryCache {
    pub(crate) fn new(bytes: u64) -> Self {
        let half = usize::try_from(bytes / 2).unwrap_or(usize::MAX);
        Self { half, generations: RwLock::default() }
    }

    pub(crate) fn get(&self, fingerprint: u128) -> Option<Entry> {
        let mut found = None;
        self.get_all([fingerprint], |_, entry| found = entry.cloned());
        found
    }

    /// Looks a batch of keys up, and tells `on` the place of each and what is known of it.
    pub(crate) fn get_all(
        &self,
        fingerprints: impl IntoIterator<Item = u128>,
        mut on: impl FnMut(usize, Option<&Entry>),
    ) {
        let mut aged = Vec::new();
        {
            let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
            for (place, fingerprint) in fingerprints.into_iter().enumerate() {
                let young = generations.young.entries.get(&fingerprint);
                let found = young.or_else(|| generations.old.entries.get(&fingerprint));
                if young.is_none() && found.is_some() {
                    aged.push(fingerprint);
                }
                on(place, found);
            }
        }
        if !aged.is_empty() {
            let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
            for fingerprint in aged {
                if let Some(entry) = generations.old.take(fingerprint) {
                    generations.put(fingerprint, entry, self.half);
                }
            }
        }
    }

    pub(crate) fn put(&self, fingerprint: u128, entry: Entry) {
        self.put_all([(fingerprint, entry)]);
    }

    pub(crate) fn put_all(&self, entries: impl IntoIterator<Item = (u128, Entry)>) {
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        for (fingerprint, entry) in entries {
            generations.old.take(fingerprint);
            generations.put(fingerprint, entry, self.half);
        }
    }

    pub(crate) fn clear(&self) {
        *self.generations.write().unwrap_or_else(PoisonError::into_inner) = Generations::default();
    }

    /// Entries, and their bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        let (young, old) = (&generations.young, &generations.old);
        ((young.entries.len() + old.entries.len()) as u64, (young.bytes + old.bytes) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::answer::Outcome;

    fn entry(text: &str) -> Entry {
        Entry::new(&Outcome::Missing(text.to_owned().into()), Duration::from_secs(60))
    }

    #[test]
    fn it_keeps_to_its_bytes_and_forgets_what_nobody_asks_for() {
        let cache = MemoryCache::new(64 << 10);
        for n in 0..2_000 {
            cache.put(n, entry("text"));
            // Asked for again and again.
            assert!(cache.get(7.min(n)).is_some(), "{n}");
            assert!(cache.size().1 <= 64 << 10);
        }
        assert!(cache.get(8).is_none() && cache.get(1_999).is_some() && cache.size().0 > 150);
    }

    #[test]
    fn the_newest_answer_holds_whatever_the_generation() {
        let cache = MemoryCache::new(32 << 10);
        cache.put(1, entry("first"));
        for n in 2..110 {
            cache.put(n, entry("text"));
        }
        cache.put(1, entry("second"));
        let mut found = Vec::new();
        cache.get_all([1, 1_000, 2], |place, entry| {
            found.push((place, entry.and_then(|e| e.reason().map(str::to_owned))))
        });
        assert_eq!(found[..2], [(0, Some("second".to_owned())), (1, None)]);
        cache.clear();
        assert_eq!((cache.size(), cache.get(1)), ((0, 0), None));
    }

    #[test]
    fn what_is_far_too_large_is_not_kept_and_pushes_nothing_out() {
        let cache = MemoryCache::new(32 << 10);
        cache.put(1, entry("text"));
        cache.put(2, entry(&"x".repeat(16 << 10)));
        assert!(cache.get(1).is_some() && cache.get(2).is_none());
    }
}
