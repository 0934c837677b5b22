use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{PoisonError, RwLock};

use crate::answer::Entry;

/// What an entry costs besides its bytes: its place in a table that is at least a third full, also while the table
/// grows; a reference count; and the allocator's rounding.
const OVERHEAD: usize = 144;

/// Keys of a batch that are looked up before any of their answers is read, so that the processor waits for several of
/// them at a time.
const BLOCK: usize = 64;

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
    /// Those that are to be dropped when the lock is free: that takes a while.
    outdated: Vec<Generation>,
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
            let young = std::mem::take(&mut self.young);
            self.outdated.push(std::mem::replace(&mut self.old, young));
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
        self.get_all(&[fingerprint], |_| true, |_, entry| found = entry.ok().cloned());
        found
    }

    /// Looks a batch of keys up, and tells `on` the place of each with what is known of it, if that `holds`; otherwise,
    /// as an error, with what is known all the same.
    pub(crate) fn get_all(
        &self,
        fingerprints: &[u128],
        holds: impl Fn(&Entry) -> bool,
        mut on: impl FnMut(usize, Result<&Entry, Option<&Entry>>),
    ) {
        let mut aged = Vec::new();
        {
            let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
            let mut found = Vec::with_capacity(BLOCK.min(fingerprints.len()));
            for (block, fingerprints) in fingerprints.chunks(BLOCK).enumerate() {
                found.extend(fingerprints.iter().map(|fingerprint| {
                    let young = generations.young.entries.get(fingerprint);
                    let entry = young.or_else(|| generations.old.entries.get(fingerprint));
                    if young.is_none() && entry.is_some() {
                        aged.push(*fingerprint);
                    }
                    entry.filter(|entry| holds(entry)).ok_or(entry)
                }));
                found.drain(..).enumerate().for_each(|(place, found)| on(block * BLOCK + place, found));
            }
        }
        if !aged.is_empty() {
            self.change(|generations| {
                // All of them before any is put: that may make the younger generation the older one, and the older go.
                let aged: Vec<_> = aged.iter().filter_map(|key| Some((*key, generations.old.take(*key)?))).collect();
                aged.into_iter().for_each(|(key, entry)| generations.put(key, entry, self.half));
            });
        }
    }

    pub(crate) fn put(&self, fingerprint: u128, entry: Entry) {
        self.put_all([(fingerprint, entry)]);
    }

    pub(crate) fn put_all(&self, entries: impl IntoIterator<Item = (u128, Entry)>) {
        self.change(|generations| {
            for (fingerprint, entry) in entries {
                generations.old.take(fingerprint);
                generations.put(fingerprint, entry, self.half);
            }
        });
    }

    pub(crate) fn clear(&self) {
        self.change(|generations| {
            let all = std::mem::take(generations);
            generations.outdated.extend([all.young, all.old]);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Generations)) {
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut generations);
        let outdated = std::mem::take(&mut generations.outdated);
        drop(generations);
        drop(outdated);
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
    use crate::answer::{Outcome, Patience};

    fn entry(text: &str) -> Entry {
        Entry::new(&Outcome::Missing(text.to_owned().into()), Duration::from_secs(60), Patience::default())
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
        let holds = |entry: &Entry| entry.reason() == Some("second");
        cache.get_all(&[1, 1_000, 2], holds, |place, entry| {
            let reason = |entry: &Entry| entry.reason().map(str::to_owned);
            found.push((place, entry.map(reason).map_err(|entry| entry.and_then(reason))));
        });
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(found, [(0, Ok(text("second"))), (1, Err(None)), (2, Err(text("text")))]);
        cache.clear();
        assert_eq!((cache.size(), cache.get(1)), ((0, 0), None));
    }

    #[test]
    fn what_was_just_asked_for_stays_also_when_it_fills_a_generation() {
        let count = |cache: &MemoryCache, keys: std::ops::Range<u128>| {
            let mut known = 0;
            cache.get_all(&keys.collect::<Vec<_>>(), |_| true, |_, found| known += usize::from(found.is_ok()));
            known
        };
        let cache = MemoryCache::new(32 << 10);
        let each = (16 << 10) / weight(&entry("text")) as u128;
        // A whole generation of them, and half of one after it.
        (0..each * 3 / 2).for_each(|n| cache.put(n, entry("text")));
        assert_eq!(count(&cache, 0..each), each as usize);
        assert_eq!(count(&cache, 0..each), each as usize);
    }

    #[test]
    fn what_is_far_too_large_is_not_kept_and_pushes_nothing_out() {
        let cache = MemoryCache::new(32 << 10);
        cache.put(1, entry("text"));
        cache.put(2, entry(&"x".repeat(16 << 10)));
        assert!(cache.get(1).is_some() && cache.get(2).is_none());
    }
}
