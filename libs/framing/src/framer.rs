use memchr::{memchr, memchr_iter, memrchr};

use crate::array::ArrayScanner;
use crate::csv::RowScanner;
use crate::ledger::Ledger;
use crate::{Cut, Framing, Targets};

/// How much of a frame of lines is counted before it is clear whether a chunk closes in it: little enough to be
/// still in the cache when one does and the lines are gone through one by one.
const WINDOW: usize = 64 << 10;

/// Cuts a stream of bytes at record boundaries. It keeps no bytes.
#[derive(Clone, Debug)]
pub struct Framer {
    scanner: Scanner,
    ledger: Ledger,
    offset: u64,
}

#[derive(Clone, Debug)]
enum Scanner {
    Lines,
    Csv(RowScanner),
    Array(ArrayScanner),
}

impl Framer {
    /// At the start of a stream.
    pub fn new(framing: Framing, targets: Targets) -> Self {
        Self::resume(framing, targets, 0, 0)
    }

    /// At offset `offset`, just past a cut, with `records` records before it. At offset 0 the stream starts.
    pub fn resume(framing: Framing, targets: Targets, offset: u64, records: u64) -> Self {
        let scanner = match framing {
            Framing::Lines => Scanner::Lines,
            Framing::Csv { delimiter, quote } if offset == 0 => Scanner::Csv(RowScanner::at_start(delimiter, quote)),
            Framing::Csv { delimiter, quote } => Scanner::Csv(RowScanner::new(delimiter, quote)),
            Framing::JsonArray if offset == 0 => Scanner::Array(ArrayScanner::new()),
            Framing::JsonArray => Scanner::Array(ArrayScanner::behind_element()),
        };
        Self { scanner, ledger: Ledger::new(targets, offset, records), offset }
    }

    /// Changes the targets. The open chunk closes, at the earliest, with the next record that ends.
    pub fn set_targets(&mut self, targets: Targets) {
        self.ledger.set_targets(targets);
    }

    /// Takes the next bytes of the stream, as many as there are, and adds the cuts that are certain by now to `cuts`.
    pub fn push(&mut self, frame: &[u8], cuts: &mut Vec<Cut>) {
        let Self { scanner, ledger, offset } = self;
        match scanner {
            Scanner::Lines => {
                for (index, window) in frame.chunks(WINDOW).enumerate() {
                    push_lines(window, *offset + (index * WINDOW) as u64, ledger, cuts);
                }
            }
            Scanner::Csv(rows) => {
                let mut at = 0;
                while let Some(end) = rows.next_end(frame, at) {
                    ledger.end_record(*offset + end as u64, cuts);
                    at = end;
                }
            }
            Scanner::Array(array) => array.push(frame, *offset, ledger, cuts),
        }
        *offset += frame.len() as u64;
        ledger.end_frame(*offset, cuts);
    }

    /// The stream is at its end: cuts the last record, which may lack its terminator, and the open chunk.
    pub fn finish(&mut self, cuts: &mut Vec<Cut>) {
        match &mut self.scanner {
            Scanner::Array(array) => array.finish(self.offset, &mut self.ledger, cuts),
            Scanner::Lines | Scanner::Csv(_) if self.ledger.start() < self.offset => {
                self.ledger.end_record(self.offset, cuts);
            }
            Scanner::Lines | Scanner::Csv(_) => {}
        }
        self.ledger.close(cuts);
    }

    /// Offset just past the last byte that was pushed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Offset where the record being read starts: all records before it are in cuts or in the open chunk. Once the
    /// distance to [`offset`](Self::offset) is more than the record limit, the record's bytes are not needed.
    pub fn record_start(&self) -> u64 {
        self.ledger.start()
    }
}

/// Part of a frame of lines that starts at `offset`.
fn push_lines(window: &[u8], offset: u64, ledger: &mut Ledger, cuts: &mut Vec<Cut>) {
    let (Some(first), Some(last)) = (memchr(b'\n', window), memrchr(b'\n', window)) else {
        return;
    };
    let end = |newline: usize| offset + newline as u64 + 1;
    if ledger.within_limit(window.len()) {
        let count = memchr_iter(b'\n', &window[first..=last]).count() as u64;
        if ledger.end_records(count, end(first), end(last)) {
            return;
        }
    }
    for newline in memchr_iter(b'\n', window) {
        ledger.end_record(end(newline), cuts);
    }
}

/// The index just past the first record of a stream that begins with `prefix`, where the record ends in it. A JSON
/// array has no header: none.
pub fn header_end(framing: &Framing, prefix: &[u8]) -> Option<usize> {
    match *framing {
        Framing::Lines => memchr(b'\n', prefix).map(|newline| newline + 1),
        Framing::Csv { delimiter, quote } => RowScanner::at_start(delimiter, quote).next_end(prefix, 0),
        Framing::JsonArray => None,
    }
}
