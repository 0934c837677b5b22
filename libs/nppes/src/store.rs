//! The dissemination file's providers on local disk: one file, sorted by identifier, found by an index in memory and
//! one positional read. It is never changed in place, so that any number of processes can read it.

mod entry;
mod writer;

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use xxhash_rust::xxh3::xxh3_64;

pub use entry::Entry;
pub(crate) use entry::{Active, LONGEST, Newest, TEXTS, Text, encode_deactivated, put_length, take_length};
use writer::{CHECKSUM, COUNTS, INDEX_LINE, MAGIC, TRAILER};
pub(crate) use writer::{Writer, Written};

use crate::{Npi, StoreError};

/// An open store. It stays what it was when it was opened, also when a newer one takes its place on disk.
pub struct Store {
    path: PathBuf,
    file: File,
    /// First identifiers of the blocks, ascending; kept apart from the offsets because they are searched.
    firsts: Vec<u32>,
    /// Offsets of the blocks, and of what follows the last.
    offsets: Vec<u64>,
    info: StoreInfo,
    sources: u64,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreInfo {
    /// Identifiers in use.
    pub active: u64,
    /// Deactivated identifiers.
    pub deactivated: u64,
    /// The newest change to any entry; `None` in an empty store.
    pub newest: Option<Date>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).field("info", &self.info).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a store and reads its index: 3 MB for eight million providers. Blocks, as everything here does.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let file = File::open(&path).map_err(StoreError::io("open", &path))?;
        let length = file.metadata().map_err(StoreError::io("look at", &path))?.len();
        let not_a_store = || StoreError::NotAStore(path.clone());
        let trailer_at = length.checked_sub(TRAILER as u64).ok_or_else(not_a_store)?;
        let mut trailer = [0; TRAILER];
        file.read_exact_at(&mut trailer, trailer_at).map_err(StoreError::io("read", &path))?;
        let (footer_at, footer_length, checksum) = (word(&trailer, 0), word(&trailer, 8), word(&trailer, 16));
        let fits = footer_at >= MAGIC.len() as u64
            && footer_length >= COUNTS as u64
            && footer_at.checked_add(footer_length) == Some(trailer_at)
            && (footer_length - COUNTS as u64).is_multiple_of(INDEX_LINE as u64);
        if &trailer[24..] != MAGIC || !fits {
            return Err(not_a_store());
        }
        let mut footer = vec![0; footer_length as usize];
        file.read_exact_at(&mut footer, footer_at).map_err(StoreError::io("read", &path))?;
        if xxh3_64(&footer) != checksum {
            return Err(StoreError::Damaged { path, at: footer_at });
        }
        let info = StoreInfo {
            active: word(&footer, 0),
            deactivated: word(&footer, 8),
            newest: u32::try_from(word(&footer, 16)).ok().and_then(entry::unpack),
        };
        let lines = footer[COUNTS..].chunks_exact(INDEX_LINE);
        let firsts = lines.clone().map(|line| u32::from_le_bytes([line[0], line[1], line[2], line[3]])).collect();
        let offsets = lines.map(|line| word(line, 4)).chain([footer_at]).collect();
        Ok(Self { path, file, firsts, offsets, info, sources: word(&footer, 24) })
    }

    /// Whether a file begins as a store does, rather than as one of the registry's files that have to be loaded first.
    pub fn is_store(path: &Path) -> Result<bool, StoreError> {
        let mut start = [0; MAGIC.len()];
        let mut file = File::open(path).map_err(StoreError::io("open", path))?;
        match file.read_exact(&mut start) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            read => read.map(|()| &start == MAGIC).map_err(StoreError::io("read", path)),
        }
    }

    /// Bytes of its index in memory.
    pub fn index_bytes(&self) -> u64 {
        (self.firsts.len() * size_of::<u32>() + self.offsets.len() * size_of::<u64>()) as u64
    }

    /// What the store holds.
    pub fn info(&self) -> StoreInfo {
        self.info
    }

    /// Whether the file under the store's name is still the one that is open here.
    pub fn is_current(&self) -> Result<bool, StoreError> {
        let here = self.file.metadata().map_err(StoreError::io("look at", &self.path))?;
        let there = std::fs::metadata(&self.path).map_err(StoreError::io("look at", &self.path))?;
        Ok((here.dev(), here.ino()) == (there.dev(), there.ino()))
    }

    /// Looks one identifier up.
    pub fn get(&self, npi: Npi) -> Result<Option<Entry>, StoreError> {
        let mut block = Block::default();
        self.get_with(npi, &mut block)
    }

    /// Looks many identifiers up, reading no block twice; the answers are in the order of the questions. The caller
    /// bounds their number: an answer takes about 500 bytes.
    pub fn get_many(&self, npis: &[Npi]) -> Result<Vec<Option<Entry>>, StoreError> {
        let mut order: Vec<usize> = (0..npis.len()).collect();
        order.sort_unstable_by_key(|place| npis[*place]);
        let mut answers = vec![None; npis.len()];
        let mut block = Block::default();
        for place in order {
            answers[place] = self.get_with(npis[place], &mut block)?;
        }
        Ok(answers)
    }

    fn get_with(&self, npi: Npi, block: &mut Block) -> Result<Option<Entry>, StoreError> {
        let Some(number) = self.firsts.partition_point(|first| *first <= npi.number()).checked_sub(1) else {
            return Ok(None);
        };
        if block.number != Some(number) {
            self.read(number, block)?;
        }
        let mut rest = block.entries();
        while !rest.is_empty() {
            let (found, body) = take_entry(&mut rest).ok_or_else(|| self.damaged(number))?;
            if found >= npi.number() {
                let is_it = found == npi.number();
                return is_it.then(|| entry::decode(npi, body).ok_or_else(|| self.damaged(number))).transpose();
            }
        }
        Ok(None)
    }

    fn read(&self, number: usize, block: &mut Block) -> Result<(), StoreError> {
        block.number = None;
        let (start, end) = (self.offsets[number], self.offsets[number + 1]);
        let length = end.checked_sub(start).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length > CHECKSUM).ok_or_else(|| self.damaged(number))?;
        block.bytes.resize(length, 0);
        self.file.read_exact_at(&mut block.bytes, start).map_err(StoreError::io("read", &self.path))?;
        if xxh3_64(block.entries()) != word(&block.bytes, 0) {
            return Err(self.damaged(number));
        }
        block.number = Some(number);
        Ok(())
    }

    fn damaged(&self, block: usize) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), at: self.offsets[block] }
    }

    /// What stands for the files that were loaded last.
    pub(crate) fn sources(&self) -> u64 {
        self.sources
    }

    /// Goes over all entries in ascending order.
    pub(crate) fn scan(&self) -> Scan<'_> {
        Scan { store: self, block: Block::default(), next: 0, at: 0 }
    }
}

/// One block in memory.
#[derive(Default)]
struct Block {
    number: Option<usize>,
    bytes: Vec<u8>,
}

impl Block {
    fn entries(&self) -> &[u8] {
        self.bytes.get(CHECKSUM..).unwrap_or_default()
    }
}

/// A pass over all entries, one block in memory at a time.
pub(crate) struct Scan<'a> {
    store: &'a Store,
    block: Block,
    next: usize,
    /// Where the next entry starts within the block's entries.
    at: usize,
}

impl Scan<'_> {
    /// The next entry's identifier, which replaces `body` by its own.
    pub(crate) fn next_into(&mut self, body: &mut Vec<u8>) -> Result<Option<Npi>, StoreError> {
        while self.at >= self.block.entries().len() {
            if self.next >= self.store.firsts.len() {
                return Ok(None);
            }
            self.store.read(self.next, &mut self.block)?;
            self.next += 1;
            self.at = 0;
        }
        let damaged = || self.store.damaged(self.next - 1);
        let entries = self.block.entries();
        let mut rest = &entries[self.at..];
        let (number, found) = take_entry(&mut rest).ok_or_else(damaged)?;
        let npi = Npi::from_number(u64::from(number)).map_err(|_| damaged())?;
        body.clear();
        body.extend_from_slice(found);
        self.at = entries.len() - rest.len();
        Ok(Some(npi))
    }
}

/// Takes an identifier and its body off the front of a block's entries.
fn take_entry<'a>(rest: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    let (number, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    let length = take_length(rest)?;
    let (body, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some((u32::from_le_bytes(*number), body))
}

/// The eight bytes at a place that is known to be there.
fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
