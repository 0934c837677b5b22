//! CMS's files as streams of rows: comma-separated text in Latin-1 or UTF-8 with titles above the header, and lines of
//! fixed width; as they are, or in the archives in which CMS offers them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use csv::{ByteRecord, Reader, ReaderBuilder};
use zip::ZipArchive;

use crate::LoadError;

/// Most bytes of a file that are read. The largest there is, of nine-digit ZIP codes, is below 100 MB.
const LONGEST: u64 = 1 << 30;

/// A file's path and what it should be, for errors.
#[derive(Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) path: &'a Path,
    pub(crate) expected: &'static str,
    /// How the file's name starts and ends within CMS's archive, in capitals.
    pub(crate) member: (&'static str, &'static str),
}

impl Named<'_> {
    pub(crate) fn problem(&self, problem: impl Into<String>) -> LoadError {
        LoadError::Format { path: PathBuf::from(self.path), expected: self.expected, problem: problem.into() }
    }

    /// Whether a member of an archive is the file.
    fn is_in(&self, member: &str) -> bool {
        let name = member.rsplit('/').next().unwrap_or(member).to_ascii_uppercase();
        name.starts_with(self.member.0) && name.ends_with(self.member.1)
    }
}

/// Rows of comma-separated text.
pub(crate) struct Table<'a, R> {
    name: Named<'a>,
    reader: Reader<R>,
    record: ByteRecord,
    rows: u64,
}

/// Opens a file, or its member in an archive, and hands it over with its name.
pub(crate) fn open<T>(
    name: Named<'_>,
    use_it: impl FnOnce(&mut dyn Read, &str) -> Result<T, LoadError>,
) -> Result<T, LoadError> {
    let mut file = BufReader::new(File::open(name.path).map_err(LoadError::io(name.path))?);
    let mut start = [0; 2];
    let is_packed = file.read_exact(&mut start).is_ok() && &start == b"PK";
    file.rewind().map_err(LoadError::io(name.path))?;
    if !is_packed {
        let own_name = name.path.file_name().unwrap_or_default().to_string_lossy();
        return use_it(&mut file.take(LONGEST), &own_name);
    }
    let packed = |error: zip::result::ZipError| name.problem(format!("the archive can't be read ({error})"));
    let mut archive = ZipArchive::new(file).map_err(packed)?;
    let names = archive.file_names().collect::<Result<Vec<_>, _>>().map_err(packed)?;
    // Of the two editions for qualifying participants and others, which differ in a column that is not read, either will do.
    let member = names.iter().find(|member| name.is_in(member)).map(ToString::to_string);
    drop(names);
    let member = member.ok_or_else(|| name.problem(format!("the archive has no '{}...'", name.member.0)))?;
    let mut content = archive.by_name(&member).map_err(packed)?.take(LONGEST);
    use_it(&mut content, &member)
}

/// Opens a file as comma-separated text.
pub(crate) fn open_table<T>(
    name: Named<'_>,
    use_it: impl FnOnce(&mut Table<'_, &mut dyn Read>, &str) -> Result<T, LoadError>,
) -> Result<T, LoadError> {
    open(name, |reader, file_name| use_it(&mut Table::new(name, reader), file_name))
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
    open(name, |reader, _| {
        let mut reader = BufReader::with_capacity(256 << 10, reader);
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let read =
                (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(LoadError::io(name.path))?;
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
    })
}
