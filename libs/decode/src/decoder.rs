use std::sync::Arc;

use arrow_array::{RecordBatch, UInt32Array};
use arrow_schema::ArrowError;
use forebay_recipe::Layout;
use forebay_types::{Reason, Reject};

use crate::csv::{CsvHeader, End};
use crate::fault::Fault;
use crate::json::{Fate, JsonRecord, JsonState};
use crate::json_reader::JsonReader;
use crate::table::Tables;

/// Most rows of a table in one batch.
pub const BATCH_ROWS: usize = 8192;

/// Text held in a decoder's columns at which a batch is closed early, in bytes.
const BATCH_TEXT: usize = 8 << 20;

/// How the bytes of a chunk are to be read.
#[derive(Clone, Debug)]
pub enum Dialect {
    /// One JSON object a line.
    Lines,
    /// Elements of a JSON array, with commas between them.
    JsonArray,
    /// Rows of CSV.
    Csv(CsvHeader),
}

/// Where in its input a decoder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Number of the next record: its line, row or element, counted from 1.
    pub record: u64,
    /// Offset of the next byte in the decompressed input, or the next row of a columnar file.
    pub offset: u64,
}

/// What a run of records became.
#[derive(Debug)]
pub struct Decoded {
    /// One batch a table, in the layout's order, of at most [`BATCH_ROWS`] rows or those of one record.
    pub batches: Vec<RecordBatch>,
    /// For every row of every batch, the row of the parent's batch that it belongs to; for a row without a parent, a
    /// number that rows of the same record share.
    pub parents: Vec<UInt32Array>,
    /// Records that could not be processed.
    pub rejects: Vec<Reject>,
    /// Records read: those in the batches, the rejects, and those that were ignored.
    pub records: u64,
    /// Records of kinds that the recipe leaves out.
    pub ignored: u64,
}

/// Decodes the records of one chunk. It holds at most one batch a table.
#[derive(Debug)]
pub struct Decoder {
    pub(crate) layout: Arc<Layout>,
    pub(crate) tables: Tables,
    json: JsonState,
    scratch: String,
    pub(crate) rejects: Vec<Reject>,
    pub(crate) records: u64,
    ignored: u64,
    pub(crate) at: Position,
}

impl Decoder {
    /// A decoder for a chunk that starts at a position.
    pub fn new(layout: Arc<Layout>, at: Position) -> Self {
        Self {
            tables: Tables::new(Arc::clone(&layout)),
            json: JsonState::new(&layout),
            scratch: String::new(),
            rejects: Vec::new(),
            records: 0,
            ignored: 0,
            at,
            layout,
        }
    }

    /// Where the next record is.
    pub fn position(&self) -> Position {
        self.at
    }

    /// Decodes the whole records of a slice and appends full batches to `out`. Returns how many bytes were used:
    /// the rest is the start of a record, to be passed again with what follows it. With `last` there is no rest.
    pub fn decode(
        &mut self,
        dialect: &Dialect,
        slice: &[u8],
        last: bool,
        out: &mut Vec<Decoded>,
    ) -> Result<usize, ArrowError> {
        // One check over the whole slice is far cheaper than one a record, which is left for slices that fail it.
        let text = simdutf8::basic::from_utf8(slice).ok();
        let start = if self.at.offset == 0 && slice.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let used = match dialect {
            Dialect::Lines => self.lines(slice, text.is_some(), start, last, out)?,
            Dialect::JsonArray => self.elements(slice, text.is_some(), start, last, out)?,
            Dialect::Csv(header) => self.rows(header, slice, text, start, last, out)?,
        };
        self.at.offset += used as u64;
        Ok(used)
    }

    /// Hands out what is left.
    pub fn finish(&mut self, out: &mut Vec<Decoded>) -> Result<(), ArrowError> {
        if self.records > 0 {
            out.push(self.take()?);
        }
        Ok(())
    }

    fn lines(
        &mut self,
        slice: &[u8],
        valid: bool,
        start: usize,
        last: bool,
        out: &mut Vec<Decoded>,
    ) -> Result<usize, ArrowError> {
        let mut at = start;
        while at < slice.len() {
            let (end, next) = match memchr::memchr(b'\n', &slice[at..]) {
                Some(length) => (at + length, at + length + 1),
                None if last => (slice.len(), slice.len()),
                None => break,
            };
            let line = &slice[at..end];
            if !line.trim_ascii().is_empty() {
                self.json_record(line, valid, at, out)?;
            }
            self.at.record += 1;
            at = next;
        }
        Ok(if at == start && at < slice.len() && !last { 0 } else { at })
    }

    fn elements(
        &mut self,
        slice: &[u8],
        valid: bool,
        start: usize,
        last: bool,
        out: &mut Vec<Decoded>,
    ) -> Result<usize, ArrowError> {
        let mut used = start;
        for range in forebay_framing::elements(&slice[start..]) {
            let range = start + range.start..start + range.end;
            let after = slice[range.end..].iter().position(|byte| !byte.is_ascii_whitespace());
            let comma = after.map(|skip| range.end + skip).filter(|&at| slice[at] == b',');
            if comma.is_none() && !last {
                return Ok(used);
            }
            self.json_record(&slice[range.clone()], valid, range.start, out)?;
            self.at.record += 1;
            used = comma.map_or(slice.len(), |comma| comma + 1);
        }
        Ok(if last { slice.len() } else { used })
    }

    fn json_record(&mut self, text: &[u8], valid: bool, at: usize, out: &mut Vec<Decoded>) -> Result<(), ArrowError> {
        self.begin();
        let result = if valid || simdutf8::basic::from_utf8(text).is_ok() {
            let (layout, tables, state) = (&*self.layout, &mut self.tables, &mut self.json);
            let (reader, place) = (JsonReader::new(text, layout.depth_limit), self.records as u32);
            JsonRecord { reader, layout, tables, state, place }.decode()
        } else {
            Err(Fault::new(Reason::InvalidUtf8, "the record is not UTF-8"))
        };
        match result {
            Ok(Fate::Taken) => {}
            Ok(Fate::Ignored) => self.ignored += 1,
            Err(fault) => {
                JsonRecord::forget(&mut self.json);
                self.reject(*fault, text, at);
            }
        }
        self.close_full_batch(out)
    }

    fn rows(
        &mut self,
        header: &CsvHeader,
        slice: &[u8],
        text: Option<&str>,
        start: usize,
        last: bool,
        out: &mut Vec<Decoded>,
    ) -> Result<usize, ArrowError> {
        let mut at = start;
        while at < slice.len() {
            let blank = match &slice[at..] {
                [b'\n', ..] => 1,
                [b'\r', b'\n', ..] => 2,
                [b'\r'] if last => 1,
                _ => 0,
            };
            if blank > 0 {
                at += blank;
                self.at.record += 1;
                continue;
            }
            self.begin();
            let result = match text {
                Some(text) => header.decode_row(&self.layout, &mut self.tables, text, at, &mut self.scratch),
                None => self.row_of_doubtful_text(header, slice, at),
            };
            let next = match result {
                Ok((next, End::Newline)) => next,
                Ok((next, _)) if last => next,
                Ok(_) => {
                    // The row goes on in the next slice.
                    self.tables.roll_back();
                    self.records -= 1;
                    break;
                }
                Err(fault) => {
                    let (next, end) = header.row_end(slice, at);
                    if end != End::Newline && !last {
                        self.tables.roll_back();
                        self.records -= 1;
                        break;
                    }
                    self.reject(*fault, &slice[at..next], at);
                    next
                }
            };
            self.at.record += 1;
            at = next;
            self.close_full_batch(out)?;
        }
        Ok(if at == start && !last { 0 } else { at })
    }

    fn row_of_doubtful_text(
        &mut self,
        header: &CsvHeader,
        slice: &[u8],
        at: usize,
    ) -> crate::fault::Checked<(usize, End)> {
        let (next, end) = header.row_end(slice, at);
        match simdutf8::basic::from_utf8(&slice[at..next]) {
            Ok(row) => {
                header.decode_row(&self.layout, &mut self.tables, row, 0, &mut self.scratch).map(|_| (next, end))
            }
            Err(_) => Err(Fault::new(Reason::InvalidUtf8, "the row is not UTF-8")),
        }
    }

    #[inline]
    fn begin(&mut self) {
        self.records += 1;
        self.tables.begin_record();
    }

    /// Takes the current record back out of the tables and keeps it as a reject.
    #[cold]
    fn reject(&mut self, fault: Fault, raw: &[u8], at: usize) {
        self.tables.roll_back();
        self.rejects.push(Reject {
            reason: fault.reason,
            path: fault.path(),
            message: fault.into_message(),
            record: self.at.record,
            offset: self.at.offset + at as u64,
            length: raw.len() as u64,
            raw: Some(raw.to_vec()),
        });
    }

    #[inline]
    fn close_full_batch(&mut self, out: &mut Vec<Decoded>) -> Result<(), ArrowError> {
        let rows = self.tables.longest() >= BATCH_ROWS || self.records >= BATCH_ROWS as u64;
        if rows || (self.records.is_multiple_of(64) && self.tables.text_bytes() >= BATCH_TEXT) {
            out.push(self.take()?);
        }
        Ok(())
    }

    pub(crate) fn take(&mut self) -> Result<Decoded, ArrowError> {
        let (batches, parents) = self.tables.finish()?;
        Ok(Decoded {
            batches,
            parents,
            rejects: std::mem::take(&mut self.rejects),
            records: std::mem::take(&mut self.records),
            ignored: std::mem::take(&mut self.ignored),
        })
    }
}
