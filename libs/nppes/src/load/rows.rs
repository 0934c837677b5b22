//! CSV as a stream of rows, in a fixed amount of memory.

use std::borrow::Cow;
use std::io::{self, Read};

use csv_core::ReadRecordResult;

/// Bytes read at once.
const INPUT: usize = 256 << 10;
/// Longest row in bytes, which is also the memory that rows take. The registry's are below 20 KiB.
const LONGEST_ROW: usize = 1 << 20;
/// Most columns of a row; the registry's files have about 330.
const MOST_COLUMNS: usize = 4096;

/// Reads rows of comma-separated, quoted text with any line ends.
pub(crate) struct Rows<R> {
    reader: R,
    parser: csv_core::Reader,
    input: Vec<u8>,
    start: usize,
    end: usize,
    fields: Vec<u8>,
    ends: Vec<usize>,
    columns: usize,
    row: u64,
}

/// Why a row can't be read.
pub(crate) enum RowError {
    /// The reader failed.
    Io(io::Error),
    /// The row, counted from 1 with the header, is longer than any real one.
    TooLong(u64),
}

impl<R: Read> Rows<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            parser: csv_core::Reader::new(),
            input: vec![0; INPUT],
            start: 0,
            end: 0,
            fields: vec![0; LONGEST_ROW],
            ends: vec![0; MOST_COLUMNS],
            columns: 0,
            row: 0,
        }
    }

    /// The next row; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Row<'_>>, RowError> {
        let (mut written, mut ended) = (0, 0);
        self.row += 1;
        loop {
            if self.start == self.end {
                self.start = 0;
                self.end = fill(&mut self.reader, &mut self.input).map_err(RowError::Io)?;
            }
            let input = &self.input[self.start..self.end];
            let (outcome, taken, out, columns) =
                self.parser.read_record(input, &mut self.fields[written..], &mut self.ends[ended..]);
            self.start += taken;
            written += out;
            ended += columns;
            match outcome {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    return Err(RowError::TooLong(self.row));
                }
                ReadRecordResult::Record => {
                    self.columns = ended;
                    return Ok(Some(self.current()));
                }
                ReadRecordResult::End => return Ok(None),
            }
        }
    }

    fn current(&self) -> Row<'_> {
        Row { fields: &self.fields, ends: &self.ends[..self.columns] }
    }
}

/// Reads something, or nothing at the end.
fn fill(reader: &mut impl Read, input: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(input) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// One row.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    fields: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Row<'a> {
    /// How many columns it has.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// A column's bytes without blanks around them; nothing where the row has no such column.
    pub(crate) fn bytes(&self, column: usize) -> &'a [u8] {
        let Some(end) = self.ends.get(column) else {
            return &[];
        };
        let start = column.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.fields[start..*end].trim_ascii()
    }

    /// A column as text, out of UTF-8 or else of Latin-1, which some files are written in.
    pub(crate) fn text(&self, column: usize) -> Cow<'a, str> {
        let bytes = self.bytes(column);
        match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Vec<Vec<String>> {
        let mut rows = Rows::new(bytes);
        let mut found = Vec::new();
        while let Ok(Some(row)) = rows.next() {
            found.push((0..row.len()).map(|column| row.text(column).into_owned()).collect());
        }
        found
    }

    #[test]
    fn quotes_line_ends_and_both_encodings_are_read() {
        let text = b"\xef\xbb\xbf\"NPI\",\"Name\"\r\n\"1\",\"A \"\"B\"\"\r\nC, D\"\r\n2,Pe\xf1a\n3,Pe\xc3\xb1a";
        assert_eq!(all(text), [["NPI", "Name"], ["1", "A \"B\"\r\nC, D"], ["2", "Peña"], ["3", "Peña"]]);
    }

    #[test]
    fn a_quotation_mark_that_is_never_closed_is_an_error() {
        let mut text = b"\"NPI\"\n\"".to_vec();
        text.resize(2 * LONGEST_ROW, b'x');
        let mut rows = Rows::new(text.as_slice());
        assert!(matches!(rows.next(), Ok(Some(_))));
        assert!(matches!(rows.next(), Err(RowError::TooLong(2))));
        assert!(matches!(Rows::new([b','; MOST_COLUMNS].as_slice()).next(), Err(RowError::TooLong(1))));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(all(&bytes).len() <= bytes.len());
        }
    }
}
