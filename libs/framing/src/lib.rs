//! Finds where records begin and end in a stream of bytes, without a full parse, and closes chunks at targets.
//!
//! A [`Framer`] holds no input: only counters and a few bytes of state, so that a line of 1 GiB costs no more
//! memory than a short one. What it says depends on the bytes alone and never on how they were split into frames.
//! [`elements`] and [`rows`] find the same boundaries again inside a chunk.

mod array;
mod block;
mod csv;
mod element;
mod framer;
mod ledger;

use serde::{Deserialize, Serialize};

pub use csv::{Rows, rows};
pub use element::{Elements, elements};
pub use framer::{Framer, header_end};

/// What an input in UTF-8 may start with.
const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// How the records of a stream are told apart. Stored with a job, so old forms must stay readable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Framing {
    /// A record is a line that ends in `\n`. Blank lines count as records: the decoder skips them.
    Lines,
    /// A record is a row of RFC 4180: a `\n` in a quoted field does not end it. Blank lines count as records.
    ///
    /// A quote opens a quoted field only where a field starts; elsewhere it is a byte like any other. The
    /// delimiter, the quote and `\n` must differ, or the boundaries mean nothing.
    Csv {
        /// The byte between fields.
        delimiter: u8,
        /// The byte around quoted fields; two of them inside stand for one.
        quote: u8,
    },
    /// A record is an element of one JSON array that is the whole input.
    JsonArray,
}

/// When a chunk closes, and what is too long for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    /// A chunk closes with the record that makes it this many.
    pub records: u64,
    /// A chunk closes with the record that makes it this many bytes.
    pub bytes: u64,
    /// A record longer than this, in bytes, is never part of a chunk. The terminator of a line or row counts, and
    /// so does whitespace around an array element: it is what a holder of the record would have to hold.
    pub record_limit: u64,
}

/// A run of whole records that was found in the stream.
///
/// Cuts come in the order of the stream and cover every record once. Those of lines and rows touch; those of array
/// elements leave out the commas and whitespace between two cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Offset in the stream of the first byte.
    pub start: u64,
    /// Offset just past the last byte.
    pub end: u64,
    /// How many records came before it in the stream.
    pub first_record: u64,
    /// How many records it has; never 0.
    pub records: u64,
    /// What it is.
    pub kind: CutKind,
}

/// What a cut is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutKind {
    /// Records to decode.
    Chunk,
    /// One record that is longer than the limit and was never held.
    Oversize,
    /// A break in the structure of a JSON array. It counts as one record, so that it becomes one reject.
    Broken(BrokenArray),
}

/// What is wrong with an input that should be one JSON array. The elements before it were cut as usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum BrokenArray {
    /// The first byte that is not whitespace is no `[`, or there is none. The cut covers the whole input.
    #[error("the input does not start with '['")]
    NotAnArray,
    /// The array is complete and something else follows. The cut covers it to the end of the input.
    #[error("the array ends before the input does")]
    TrailingData,
    /// The array is closed by a `}`. The cut covers the input from there to its end.
    #[error("a '}}' stands where the array could end in ']'")]
    Mismatched,
    /// The input ends inside the array. The cut is empty, at the end; what there is of the last element is a
    /// record before it.
    #[error("the input ends inside the array")]
    Unclosed,
}
