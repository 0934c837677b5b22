//! CMS's files as streams of rows: comma-separated text in Latin-1 or UTF-8 with titles above the header, and lines of
//! fixed width.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use csv::{ByteRecord, Reader, ReaderBuilder};

use crate::LoadError;

/// Most bytes of a file that are read. The largest there is, of nine-digit ZIP codes, is below 100 MB.
const LONGEST: u64 = 1 << 30;

/// A file's path and what it should be, for errors.
#[derive(Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) path: &'a Path,
    pub(crate) expected: &'static str,
}

impl Named<'_> {
    pub(crate) fn problem(&self, problem: impl Into<String>) -> LoadError {
        LoadError::Format { path: PathBuf::from(self.path), expected: self.expected, problem: problem.into() }
    }
}

/// Rows of comma-separated text.
pub(crate) struct Table<'a, R> {
    name: Named<'a>,
    reader: Reader<R>,
    record: ByteRecord,
    rows: u64,
}

/// Opens a file as comma-separated text.
pub(crate) fn open(name: Named<'_>) -> Result<Table<'_, impl Read>, LoadError> {
    let file = File::open(name.path).map_err(LoadError::io(name.path))?;
    Ok(Table::new(name, file.take(LONGEST)))
}

impl<'a, R: Read> Table<'a, R> {
    pub(crate) fn new(name: Named<'a>, reader: R) -> Self {
        let reader =
            ReaderBuilder::new().has_headers(false).flexible(true).buffer_capacity(64 << 10).from_reader(reader);
        Self { name, reader, record: ByteRecord::new(), rows: 0 }
    }

    /// The next row; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Row<'_>>, LoadError> {
        let has_row = self.reader.read_byte_record(&mut self.record).map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(source) => LoadError::io(self.name.path)(source),
            other => self.name.problem(format!("{other:?}")),
        })?;
        self.rows += 1;
        Ok(has_row.then_some(Row { name: self.name, number: self.rows, record: &self.record }))
    }
}

/// One row.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    name: Named<'a>,
    /// Counted from 1, without empty lines.
    number: u64,
    record: &'a ByteRecord,
}

impl Row<'_> {
    pub(crate) fn len(&self) -> usize {
        self.record.len()
    }

    /// A cell without blanks around it. What is not ASCII is in names only, which nobody reads here.
    pub(crate) fn cell(&self, column: usize) -> &str {
        let bytes = self.record.get(column).unwrap_or_default().trim_ascii();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// An error about this row.
    pub(crate) fn problem(&self, problem: &str) -> LoadError {
        self.name.problem(format!("row {}: {problem}", self.number))
    }
}

/// Calls `on_line` with each line and its number from 1, without its end.
pub(crate) fn lines(
    name: Named<'_>,
    mut on_line: impl FnMut(&[u8]) -> Result<(), &'static str>,
) -> Result<(), LoadError> {
    const LONGEST_LINE: u64 = 4096;
    let file = File::open(name.path).map_err(LoadError::io(name.path))?;
    let mut reader = BufReader::with_capacity(256 << 10, file);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(LoadError::io(name.path))?;
        if read == 0 {
            break;
        }
        if read as u64 == LONGEST_LINE {
            return Err(name.problem(format!("line {number} is too long")));
        }
        let text = line.trim_ascii_end();
        if !text.is_empty() {
            on_line(text).map_err(|problem| name.problem(format!("line {number}: {problem}")))?;
        }
    }
    Ok(())
}
