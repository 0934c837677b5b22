use std::io::Read;
use std::sync::OnceLock;

use crate::RedactError;
use crate::cue::Cue;

/// Names, places and words, with weights: see `data/README.md`.
static ENTRIES: &[u8] = include_bytes!("../data/lexicon.zst");
static CUES: &str = include_str!("../data/cues.txt");

/// Slots of the table: twice the entries, so that a look-up rarely touches a second one.
const SLOTS: usize = 1 << 19;

/// Bytes of the entries, unpacked: a bound for a reader that trusts nothing.
const UNPACKED: u64 = 8 << 20;

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash of a folded word, eight bytes at a time. In whatever parts a word is given, its hash is the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WordHash {
    hash: u64,
    /// Bytes that are not in the hash yet, fewer than eight, the first one lowest; and their bits.
    rest: u64,
    bits: u32,
}

impl WordHash {
    pub(crate) const fn new() -> Self {
        Self { hash: SEED, rest: 0, bits: 0 }
    }

    pub(crate) const fn push(self, byte: u8) -> Self {
        self.push_all(byte as u64, 1)
    }

    /// Adds one to eight bytes, the first one lowest, and zeros above them.
    #[inline]
    pub(crate) const fn push_all(self, bytes: u64, count: u32) -> Self {
        let (rest, bits) = (self.rest | bytes << self.bits, self.bits + 8 * count);
        if bits < 64 {
            return Self { hash: self.hash, rest, bits };
        }
        let left = if bits == 64 { 0 } else { bytes >> (64 - self.bits) };
        Self { hash: mix(self.hash ^ rest), rest: left, bits: bits - 64 }
    }

    pub(crate) const fn finish(self) -> u64 {
        mix(self.hash ^ self.rest)
    }

    pub(crate) fn of(word: &str) -> u64 {
        Self::of_bytes(word.as_bytes())
    }

    fn of_bytes(word: &[u8]) -> u64 {
        word.iter().fold(Self::new(), |hash, byte| hash.push(*byte)).finish()
    }
}

/// Both halves of a product of twice the width: each bit of it depends on most of `word`.
const fn mix(word: u64) -> u64 {
    let product = word as u128 * 0x9e37_79b9_7f4a_7c15;
    product as u64 ^ (product >> 64) as u64
}

/// The hash of a phrase and one word more.
pub(crate) const fn join(phrase: u64, word: u64) -> u64 {
    (phrase.rotate_left(23) ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// What the lexicon knows of a word: weights, and the number of its set of cues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lexeme(u32);

/// Set if a place of several words starts with this one.
const PHRASE: u32 = 1 << 10;
const CUE_SHIFT: u32 = 16;

impl Lexeme {
    pub(crate) const NONE: Self = Self(0);

    /// 0 (not one) to 7: how common it is as a given name.
    pub(crate) const fn given(self) -> u32 {
        self.0 & 7
    }

    /// 0 (not one) to 7: how common it is as a family name.
    pub(crate) const fn family(self) -> u32 {
        self.0 >> 3 & 7
    }

    /// 0 (not one) to 3: how common it is as an English word.
    pub(crate) const fn word(self) -> u32 {
        self.0 >> 6 & 3
    }

    /// 0 (not one) to 3: how large the largest US place of this name is.
    pub(crate) const fn place(self) -> u32 {
        self.0 >> 8 & 3
    }

    /// What is known of it as a name or place only.
    pub(crate) const fn as_name(self) -> Self {
        Self(self.0 & !(3 << 6))
    }

    pub(crate) const fn starts_phrase(self) -> bool {
        self.0 & PHRASE != 0
    }
}

/// A hash table of words: a tag of 32 bits and a [`Lexeme`] in each slot.
pub(crate) struct Lexicon {
    slots: Box<[u64]>,
    cue_sets: Vec<u64>,
}

impl Lexicon {
    /// The one lexicon of the process, unpacked when it is first asked for.
    pub(crate) fn shared() -> Result<&'static Self, RedactError> {
        static SHARED: OnceLock<Lexicon> = OnceLock::new();
        if let Some(lexicon) = SHARED.get() {
            return Ok(lexicon);
        }
        let loaded = Self::load()?;
        Ok(SHARED.get_or_init(|| loaded))
    }

    fn load() -> Result<Self, RedactError> {
        let broken = |what: &str| RedactError::Lexicon(what.to_owned());
        let mut lexicon = Self { slots: vec![0; SLOTS].into_boxed_slice(), cue_sets: vec![0] };
        let mut body = Vec::with_capacity(2 << 20);
        let mut unpacked = zstd::Decoder::new(ENTRIES).map_err(|error| broken(&error.to_string()))?.take(UNPACKED);
        unpacked.read_to_end(&mut body).map_err(|error| broken(&error.to_string()))?;
        let (mut rest, mut word) = (body.as_slice(), Vec::with_capacity(64));
        while let [shared, length, tail @ ..] = rest {
            let length = usize::from(*length);
            let (Some(suffix), Some(flags)) = (tail.get(..length), tail.get(length..length + 2)) else {
                return Err(broken("an entry is cut off"));
            };
            word.truncate(usize::from(*shared));
            word.extend_from_slice(suffix);
            lexicon.insert(&word, u32::from(u16::from_le_bytes([flags[0], flags[1]])));
            rest = &tail[length + 2..];
        }
        lexicon.load_cues()?;
        Ok(lexicon)
    }

    fn insert(&mut self, phrase: &[u8], flags: u32) {
        let mut words = phrase.split(|byte| *byte == b' ').map(WordHash::of_bytes);
        let first = words.next().unwrap_or_default();
        let hash = words.fold(first, join);
        if hash != first {
            self.merge(first, PHRASE);
        }
        self.merge(hash, flags);
    }

    fn merge(&mut self, hash: u64, flags: u32) {
        let (mut slot, tag) = place_of(hash);
        while self.slots[slot] != 0 && self.slots[slot] >> 32 != tag {
            slot = (slot + 1) % SLOTS;
        }
        self.slots[slot] |= tag << 32 | u64::from(flags);
    }

    /// Reads the cues: a word's set is known only when all have been read.
    fn load_cues(&mut self) -> Result<(), RedactError> {
        let mut sets = std::collections::BTreeMap::<&str, u64>::new();
        let mut bit = 0;
        for line in CUES.lines().filter(|line| !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix('@') {
                bit = Cue::parse(name).ok_or_else(|| RedactError::Lexicon(format!("no cue {name}")))?.bit();
                continue;
            }
            for word in line.split_whitespace() {
                *sets.entry(word).or_default() |= bit;
            }
        }
        for (word, set) in sets {
            let index = self.cue_sets.iter().position(|known| *known == set).unwrap_or_else(|| {
                self.cue_sets.push(set);
                self.cue_sets.len() - 1
            });
            let index = u16::try_from(index).map_err(|_| RedactError::Lexicon("too many sets of cues".to_owned()))?;
            self.merge(WordHash::of(word), u32::from(index) << CUE_SHIFT);
        }
        Ok(())
    }

    /// What is known of a word or phrase, with its cues.
    pub(crate) fn get(&self, hash: u64) -> (Lexeme, u64) {
        let (mut slot, tag) = place_of(hash);
        loop {
            let entry = self.slots[slot];
            // A free slot says of a word what is to be said of an unknown one: a processor cannot foresee which it is.
            if (entry == 0) | (entry >> 32 == tag) {
                let flags = entry as u32;
                return (Lexeme(flags & 0xffff), self.cue_sets[(flags >> CUE_SHIFT) as usize]);
            }
            slot = (slot + 1) % SLOTS;
        }
    }
}

/// The first slot to look at, and the tag, which is never 0 so that a taken slot is told from a free one.
const fn place_of(hash: u64) -> (usize, u64) {
    (hash as usize % SLOTS, (hash >> 32) | 1)
}

impl std::fmt::Debug for Lexicon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lexicon").field("cue_sets", &self.cue_sets.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_one_hash_in_whatever_parts_it_is_read() {
        let word = b"abcdefghijklmnopqrstuvwxyz";
        let packed = |part: &[u8]| part.iter().rev().fold(0, |bytes, byte| bytes << 8 | u64::from(*byte));
        for length in 0..word.len() {
            for first in 1..=8 {
                let (head, tail) = word[..length].split_at(first.min(length));
                let parts = head.chunks(3).chain(tail.chunks(8));
                let hash = parts.fold(WordHash::new(), |hash, part| hash.push_all(packed(part), part.len() as u32));
                assert_eq!(hash.finish(), WordHash::of_bytes(&word[..length]), "{length} {first}");
            }
        }
    }

    #[test]
    fn names_places_words_and_cues_are_found() {
        let lexicon = Lexicon::shared().unwrap();
        let get = |word: &str| lexicon.get(WordHash::of(word));
        assert!(get("mary").0.given() >= 6 && get("smith").0.family() >= 6);
        assert!(get("may").0.word() == 3 && get("may").0.given() > 0 && get("may").1 & Cue::Month.bit() != 0);
        assert!(get("boston").0.place() == 3);
        assert!(get("bay").0.starts_phrase());
        let phrase = join(WordHash::of("bay"), WordHash::of("minette"));
        assert!(lexicon.get(phrase).0.place() >= 1);
        assert_eq!(get("qqxzv"), (Lexeme(0), 0));
        assert_eq!(get("parkinson").1 & Cue::Eponym.bit(), Cue::Eponym.bit());
    }
}
