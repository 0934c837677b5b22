use std::iter::FusedIterator;
use std::ops::Range;

use crate::BYTE_ORDER_MARK;
use crate::block::{Block, parity};

/// Finds the ends of CSV rows.
#[derive(Clone, Debug)]
pub(crate) struct RowScanner {
    delimiter: u8,
    quote: u8,
    state: State,
    /// How many bytes of a byte order mark were seen where one may stand; 3 where none may.
    mark: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A quote opens a quoted field here: a field starts, or a quote has just closed one and the next reopens it.
    Edge,
    /// Inside a field that is not quoted, or after the closing quote and something else.
    Field,
    /// Inside a quoted field.
    Quoted,
}

impl RowScanner {
    /// Between two rows.
    pub(crate) fn new(delimiter: u8, quote: u8) -> Self {
        Self { delimiter, quote, state: State::Edge, mark: BYTE_ORDER_MARK.len() }
    }

    /// At the start of the input, where a byte order mark may stand before a quote.
    pub(crate) fn at_start(delimiter: u8, quote: u8) -> Self {
        Self { mark: 0, ..Self::new(delimiter, quote) }
    }

    /// The index just past the next `\n` that ends a row in `bytes`, which continue at `at` what was scanned before.
    #[inline]
    pub(crate) fn next_end(&mut self, bytes: &[u8], mut at: usize) -> Option<usize> {
        while self.mark < BYTE_ORDER_MARK.len() && at < bytes.len() {
            at += self.pass_mark(bytes[at]);
        }
        while at < bytes.len() {
            let block = Block::load(&bytes[at..]);
            if let Some(index) = self.pass_block(&block, &bytes[at..at + block.len()]) {
                return Some(at + index + 1);
            }
            at += block.len();
        }
        None
    }

    /// One byte where a byte order mark may stand; says how many bytes were used up.
    fn pass_mark(&mut self, byte: u8) -> usize {
        if byte == BYTE_ORDER_MARK[self.mark] {
            self.mark += 1;
            return 1;
        }
        if self.mark > 0 {
            // It was the start of a field after all.
            self.state = State::Field;
        }
        self.mark = BYTE_ORDER_MARK.len();
        0
    }

    /// Scans up to the first end of a row in a block, and says where that is.
    #[inline]
    fn pass_block(&mut self, block: &Block, bytes: &[u8]) -> Option<usize> {
        let newlines = block.equal(b'\n');
        let quotes = block.equal(self.quote);
        let delimiters = block.equal(self.delimiter);
        // If every quote opens or closes a field, all that lies between an odd one and the next is quoted.
        let quoted = parity(quotes) ^ if self.state == State::Quoted { u64::MAX } else { 0 };
        let edges = (newlines | delimiters | quotes) & !quoted;
        let may_open = edges << 1 | u64::from(self.state == State::Edge);
        if quotes & quoted & !may_open != 0 {
            return self.pass_bytes(bytes);
        }
        let ends = newlines & !quoted;
        if ends != 0 {
            self.state = State::Edge;
            return Some(ends.trailing_zeros() as usize);
        }
        self.state = if quoted & block.last() != 0 {
            State::Quoted
        } else if edges & block.last() != 0 {
            State::Edge
        } else {
            State::Field
        };
        None
    }

    /// The same for a block in which a quote stands inside a field that is not quoted.
    #[cold]
    fn pass_bytes(&mut self, bytes: &[u8]) -> Option<usize> {
        for (index, &byte) in bytes.iter().enumerate() {
            let is_quote = byte == self.quote;
            self.state = match self.state {
                State::Quoted if is_quote => State::Edge,
                State::Quoted => State::Quoted,
                State::Edge if is_quote => State::Quoted,
                _ if byte == b'\n' => {
                    self.state = State::Edge;
                    return Some(index);
                }
                _ if byte == self.delimiter => State::Edge,
                _ => State::Field,
            };
        }
        None
    }
}

/// The rows of a slice; see [`rows`].
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    slice: &'a [u8],
    at: usize,
    scanner: RowScanner,
}

/// The rows of a chunk of CSV, blank ones too, each without the `\n` or `\r\n` that ends it.
///
/// The slice must start where a row does, and after the byte order mark if the input has one.
pub fn rows(slice: &[u8], delimiter: u8, quote: u8) -> Rows<'_> {
    Rows { slice, at: 0, scanner: RowScanner::new(delimiter, quote) }
}

impl Iterator for Rows<'_> {
    type Item = Range<usize>;

    #[inline]
    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        if start == self.slice.len() {
            return None;
        }
        let Some(next) = self.scanner.next_end(self.slice, start) else {
            self.at = self.slice.len();
            return Some(start..self.at);
        };
        self.at = next;
        let row = &self.slice[start..next - 1];
        Some(start..start + row.strip_suffix(b"\r").unwrap_or(row).len())
    }
}

impl FusedIterator for Rows<'_> {}
