//! Writes a store: blocks of entries in ascending order, then the index of blocks, then the trailer.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use xxhash_rust::xxh3::xxh3_64;

use super::entry::{changed, put_length};
use crate::Npi;

/// First bytes of a store and last bytes of a complete one.
pub(super) const MAGIC: &[u8; 8] = b"fbNPPES1";
/// Bytes of a block's checksum, which comes first in it.
pub(super) const CHECKSUM: usize = 8;
/// Offset and length of the footer, its checksum, and the magic.
pub(super) const TRAILER: usize = 32;
/// What the footer starts with: active, deactivated, newest day, and what the store was loaded from.
pub(super) const COUNTS: usize = 32;
/// One line of the index: first identifier and offset of a block.
pub(super) const INDEX_LINE: usize = 12;

/// A block is closed when it has this many bytes: what one read brings in, and what a look-up has to search.
const BLOCK: usize = 4096;

/// Writes entries, which come in ascending order of their identifiers, each once.
pub(crate) struct Writer {
    out: BufWriter<File>,
    /// Bytes written so far.
    at: u64,
    block: Vec<u8>,
    first: u32,
    /// First identifier and offset of each block. 12 bytes for 4 KiB: 3 MB for eight million providers.
    index: Vec<(u32, u64)>,
    active: u64,
    deactivated: u64,
    newest: u32,
    sources: u64,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) active: u64,
    pub(crate) deactivated: u64,
}

impl Writer {
    /// Starts a store in an empty file; `sources` stands for what it is loaded from.
    pub(crate) fn new(file: File, sources: u64) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        out.write_all(MAGIC)?;
        Ok(Self {
            out,
            at: MAGIC.len() as u64,
            block: vec![0; CHECKSUM],
            first: 0,
            index: Vec::new(),
            active: 0,
            deactivated: 0,
            newest: 0,
            sources,
        })
    }

    /// Adds an entry.
    pub(crate) fn push(&mut self, npi: Npi, body: &[u8], in_use: bool) -> io::Result<()> {
        if self.block.len() == CHECKSUM {
            self.first = npi.number();
        }
        self.block.extend_from_slice(&npi.number().to_le_bytes());
        put_length(&mut self.block, body.len());
        self.block.extend_from_slice(body);
        *(if in_use { &mut self.active } else { &mut self.deactivated }) += 1;
        self.newest = self.newest.max(changed(body));
        if self.block.len() >= BLOCK { self.close_block() } else { Ok(()) }
    }

    fn close_block(&mut self) -> io::Result<()> {
        let checksum = xxh3_64(&self.block[CHECKSUM..]);
        self.block[..CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        self.out.write_all(&self.block)?;
        self.index.push((self.first, self.at));
        self.at += self.block.len() as u64;
        self.block.truncate(CHECKSUM);
        Ok(())
    }

    /// Writes what comes after the entries, and waits until all of it is on disk.
    pub(crate) fn finish(mut self) -> io::Result<Written> {
        if self.block.len() > CHECKSUM {
            self.close_block()?;
        }
        let mut footer = Vec::with_capacity(COUNTS + self.index.len() * INDEX_LINE);
        for count in [self.active, self.deactivated, u64::from(self.newest), self.sources] {
            footer.extend_from_slice(&count.to_le_bytes());
        }
        for (first, at) in &self.index {
            footer.extend_from_slice(&first.to_le_bytes());
            footer.extend_from_slice(&at.to_le_bytes());
        }
        self.out.write_all(&footer)?;
        for word in [self.at, footer.len() as u64, xxh3_64(&footer)] {
            self.out.write_all(&word.to_le_bytes())?;
        }
        self.out.write_all(MAGIC)?;
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        Ok(Written { active: self.active, deactivated: self.deactivated })
    }
}
