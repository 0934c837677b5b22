use std::iter::FusedIterator;
use std::ops::Range;

use crate::block::{Block, parity};

/// Whether JSON allows `byte` between values.
#[inline]
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Finds where the elements of a JSON array end, by counting brackets outside strings.
///
/// Brackets are counted and not matched, so that any depth of nesting costs nothing; a decoder finds out whether an
/// element is valid. A backslash takes the meaning of a quote after it, in a string or (in garbage) outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct ElementScanner {
    /// Brackets that are open inside the element.
    depth: u64,
    in_string: bool,
    /// The next byte follows a backslash that is not itself escaped.
    escaped: bool,
}

impl ElementScanner {
    /// The index of the next comma between elements, or bracket that closes the array, in `bytes`, which continue at
    /// `at` what was scanned before. After it, the scanner is at the start of an element.
    #[inline]
    pub(crate) fn next_stop(&mut self, bytes: &[u8], mut at: usize) -> Option<usize> {
        while at < bytes.len() {
            let block = Block::load(&bytes[at..]);
            if let Some(index) = self.pass_block(&block) {
                *self = Self::default();
                return Some(at + index);
            }
            at += block.len();
        }
        None
    }

    #[inline]
    fn pass_block(&mut self, block: &Block) -> Option<usize> {
        let quotes = block.equal(b'"') & !self.escapes(block);
        let strings = parity(quotes) ^ if self.in_string { u64::MAX } else { 0 };
        self.in_string = strings & block.last() != 0;
        let opens = block.equal_with_bit_5(b'{') & !strings;
        let closes = block.equal_with_bit_5(b'}') & !strings;
        if self.depth > u64::from(closes.count_ones()) {
            // However the brackets stand, the depth never comes down to the element's own.
            self.depth = self.depth + u64::from(opens.count_ones()) - u64::from(closes.count_ones());
            return None;
        }
        self.walk(opens, closes, block.equal(b',') & !strings)
    }

    /// Which bytes follow a backslash that counts.
    #[inline]
    fn escapes(&mut self, block: &Block) -> u64 {
        let mut escaped = u64::from(self.escaped);
        let mut backslashes = block.equal(b'\\') & !escaped;
        self.escaped = false;
        while backslashes != 0 {
            let backslash = backslashes & backslashes.wrapping_neg();
            self.escaped = backslash == block.last();
            escaped |= backslash << 1;
            backslashes &= !(backslash | backslash << 1);
        }
        escaped
    }

    /// Follows the depth from bracket to bracket.
    #[inline]
    fn walk(&mut self, opens: u64, closes: u64, commas: u64) -> Option<usize> {
        let (brackets, stops) = (opens | closes, opens | closes | commas);
        let mut rest = u64::MAX;
        loop {
            let candidates = rest & if self.depth == 0 { stops } else { brackets };
            if candidates == 0 {
                return None;
            }
            let lowest = candidates & candidates.wrapping_neg();
            if opens & lowest != 0 {
                self.depth += 1;
            } else if self.depth == 0 {
                return Some(lowest.trailing_zeros() as usize);
            } else {
                self.depth -= 1;
            }
            // All bits above the lowest: none if it is the last.
            rest = !(lowest | (lowest - 1));
        }
    }
}

/// The elements of a slice; see [`elements`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    slice: &'a [u8],
    at: usize,
    done: bool,
    scanner: ElementScanner,
}

/// The elements of a chunk of a JSON array, without the whitespace around them.
///
/// The slice is the range of a cut: elements with commas between them, without the brackets of the array. An element
/// may be empty, as in `1,,2`, so that even an empty slice has one.
pub fn elements(slice: &[u8]) -> Elements<'_> {
    Elements { slice, at: 0, done: false, scanner: ElementScanner::default() }
}

impl Iterator for Elements<'_> {
    type Item = Range<usize>;

    #[inline]
    fn next(&mut self) -> Option<Range<usize>> {
        if self.done {
            return None;
        }
        let start = self.at;
        let stop = self.scanner.next_stop(self.slice, start);
        let end = stop.unwrap_or(self.slice.len());
        self.at = end + 1;
        self.done = stop.is_none_or(|stop| self.slice[stop] != b',');
        let (element, all) = (trim(&self.slice[start..end]), start..end);
        Some(element.map_or(all.end..all.end, |element| start + element.start..start + element.end))
    }
}

impl FusedIterator for Elements<'_> {}

/// The part of `bytes` from the first to the last that is not whitespace.
#[inline]
pub(crate) fn trim(bytes: &[u8]) -> Option<Range<usize>> {
    let end = bytes.iter().rposition(|&byte| !is_space(byte))?;
    let start = bytes.iter().position(|&byte| !is_space(byte))?;
    Some(start..end + 1)
}
