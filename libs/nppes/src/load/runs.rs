//! Sorting by identifier in bounded memory: sorted runs on disk, and a merge over them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::store::{Newest, Scan, Writer, put_length, take_length};
use crate::{Npi, StoreError};

/// Least bytes that a run's reader needs to be of use.
const LEAST_READ: u64 = 16 << 10;
/// More than this does not make reading faster.
const MOST_READ: u64 = 1 << 20;

/// Collects entries in any order, and writes a sorted run whenever its memory is full.
pub(crate) struct RunWriter {
    path: PathBuf,
    out: BufWriter<File>,
    memory: u64,
    entries: Vec<u8>,
    /// Identifier and place among the entries, which is also the order in which they came.
    order: Vec<(u32, u32)>,
    /// Where the runs are in the file.
    runs: Vec<(u64, u64)>,
    at: u64,
}

impl RunWriter {
    /// Writes runs to the file `path`, with at most `memory` bytes.
    pub(crate) fn new(path: PathBuf, memory: u64) -> Result<Self, StoreError> {
        let file = File::create(&path).map_err(StoreError::io("create", &path))?;
        // An entry is some 120 bytes, and 8 in the order; what is not needed of either is never touched.
        let entries = usize::try_from(memory / 4 * 3).unwrap_or(usize::MAX).min(u32::MAX as usize);
        Ok(Self {
            path,
            out: BufWriter::with_capacity(256 << 10, file),
            memory,
            entries: Vec::with_capacity(entries),
            order: Vec::with_capacity(entries / 32),
            runs: Vec::new(),
            at: 0,
        })
    }

    /// Adds an entry.
    pub(crate) fn push(&mut self, npi: Npi, body: &[u8]) -> Result<(), StoreError> {
        let is_full = self.entries.len() + body.len() + 4 > self.entries.capacity();
        if is_full || self.order.len() == self.order.capacity() {
            self.spill()?;
        }
        self.order.push((npi.number(), self.entries.len() as u32));
        put_length(&mut self.entries, body.len());
        self.entries.extend_from_slice(body);
        Ok(())
    }

    fn spill(&mut self) -> Result<(), StoreError> {
        let start = self.at;
        self.order.sort_unstable();
        for (npi, place) in &self.order {
            let mut rest = &self.entries[*place as usize..];
            let length = take_length(&mut rest).unwrap_or(0);
            let end = self.entries.len() - rest.len() + length;
            let entry = &self.entries[*place as usize..end];
            let written = self.out.write_all(&npi.to_le_bytes()).and_then(|()| self.out.write_all(entry));
            written.map_err(StoreError::io("write", &self.path))?;
            self.at += 4 + entry.len() as u64;
        }
        if self.at > start {
            self.runs.push((start, self.at));
        }
        self.order.clear();
        self.entries.clear();
        Ok(())
    }

    /// Ends the last run; the memory is free again.
    pub(crate) fn finish(mut self) -> Result<Runs, StoreError> {
        self.spill()?;
        self.out.flush().map_err(StoreError::io("write", &self.path))?;
        let file = File::open(&self.path).map_err(StoreError::io("open", &self.path))?;
        Ok(Runs { path: self.path, file: Arc::new(file), memory: self.memory, runs: self.runs })
    }
}

/// Sorted runs on disk.
pub(crate) struct Runs {
    path: PathBuf,
    file: Arc<File>,
    memory: u64,
    runs: Vec<(u64, u64)>,
}

impl Runs {
    /// Writes what holds of an older store's entries, which come first, and the runs, in the order of their making.
    pub(crate) fn merge(&self, older: Option<Scan<'_>>, out: &mut Writer, out_path: &Path) -> Result<(), StoreError> {
        let each = self.memory / (self.runs.len() as u64 + 1);
        if each < LEAST_READ {
            let needed = LEAST_READ * (self.runs.len() as u64 + 1);
            return Err(StoreError::Memory { needed, allowed: self.memory });
        }
        let runs = self.runs.iter().map(|(start, end)| Input::Run {
            path: &self.path,
            reader: BufReader::with_capacity(
                each.min(MOST_READ) as usize,
                Span { file: Arc::clone(&self.file), at: *start, end: *end },
            ),
        });
        let inputs = older.map(Input::Store).into_iter().chain(runs);
        let mut sources: Vec<Source<'_>> = inputs.map(|input| Source { input, body: Vec::new() }).collect();
        let mut heap = BinaryHeap::with_capacity(sources.len());
        for (number, source) in sources.iter_mut().enumerate() {
            heap.extend(source.advance()?.map(|npi| Reverse((npi, number))));
        }
        let mut newest = Newest::default();
        while let Some(Reverse((npi, number))) = heap.pop() {
            newest.offer(&sources[number].body);
            heap.extend(sources[number].advance()?.map(|npi| Reverse((npi, number))));
            if heap.peek().is_none_or(|Reverse((next, _))| *next != npi) {
                let (body, in_use) = newest.chosen();
                out.push(npi, body, in_use).map_err(StoreError::io("write", out_path))?;
                newest.clear();
            }
        }
        Ok(())
    }
}

/// One of the sorted inputs with its current entry.
struct Source<'a> {
    input: Input<'a>,
    body: Vec<u8>,
}

enum Input<'a> {
    Store(Scan<'a>),
    Run { path: &'a Path, reader: BufReader<Span> },
}

impl Source<'_> {
    fn advance(&mut self) -> Result<Option<Npi>, StoreError> {
        match &mut self.input {
            Input::Store(scan) => scan.next_into(&mut self.body),
            Input::Run { path, reader } => read_entry(reader, &mut self.body).map_err(StoreError::io("read", path)),
        }
    }
}

fn read_entry(reader: &mut BufReader<Span>, body: &mut Vec<u8>) -> io::Result<Option<Npi>> {
    let mut number = [0; 4];
    if reader.buffer().is_empty() && reader.get_ref().is_empty() {
        return Ok(None);
    }
    reader.read_exact(&mut number)?;
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let mut byte = [0];
        reader.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            break;
        }
    }
    body.resize(length, 0);
    reader.read_exact(body)?;
    let npi = Npi::from_number(u64::from(u32::from_le_bytes(number)));
    npi.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// A part of a file.
struct Span {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Span {
    fn is_empty(&self) -> bool {
        self.at >= self.end
    }
}

impl Read for Span {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = (self.end - self.at).min(out.len() as u64) as usize;
        let read = self.file.read_at(&mut out[..length], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
