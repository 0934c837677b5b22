use std::ops::Range;

use crate::{Cut, CutKind, Targets};

/// The records found so far: those in cuts, those in the open chunk, and the start of the one being read.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    targets: Targets,
    /// Records in cuts.
    cut: u64,
    open: Option<Open>,
    /// Offset where the record being read starts.
    start: u64,
    /// The record being read was over the limit already when a frame ended, so its holder may have let it go.
    too_long: bool,
}

/// The open chunk.
#[derive(Clone, Debug)]
struct Open {
    range: Range<u64>,
    records: u64,
}

impl Ledger {
    pub(crate) fn new(targets: Targets, start: u64, records: u64) -> Self {
        Self { targets, cut: records, open: None, start, too_long: false }
    }

    pub(crate) fn set_targets(&mut self, targets: Targets) {
        self.targets = targets;
    }

    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Passes bytes that belong to no record.
    pub(crate) fn skip_to(&mut self, offset: u64) {
        self.start = offset;
    }

    /// The record being read ends at `end`, where the next one starts.
    #[inline]
    pub(crate) fn end_record(&mut self, end: u64, cuts: &mut Vec<Cut>) {
        self.end_element(self.start..end, end, cuts);
        self.start = end;
    }

    /// The record being read ends before the separator at `end`; without the whitespace around it, it is `range`.
    pub(crate) fn end_element(&mut self, range: Range<u64>, end: u64, cuts: &mut Vec<Cut>) {
        let limit = self.targets.record_limit;
        if self.too_long || end - self.start > limit {
            let whole = self.start..end;
            // It may be the whitespace that is too long: the length in the cut then has to show it.
            let range = if range.end - range.start > limit { range } else { whole };
            self.cut_alone(range, CutKind::Oversize, cuts);
            self.too_long = false;
            return;
        }
        let open = self.open.get_or_insert(Open { range: range.clone(), records: 0 });
        open.range.end = range.end;
        open.records += 1;
        if open.records >= self.targets.records || range.end - open.range.start >= self.targets.bytes {
            self.close(cuts);
        }
    }

    /// Takes `count` records at once, of which the first ends at `first_end`, the last at `end`, and the others are
    /// within the limit. Takes none and says false if one of them makes a cut.
    pub(crate) fn end_records(&mut self, count: u64, first_end: u64, end: u64) -> bool {
        let (start, records) = self.open.as_ref().map_or((self.start, 0), |open| (open.range.start, open.records));
        let makes_a_cut = self.too_long
            || first_end - self.start > self.targets.record_limit
            || records + count >= self.targets.records
            || end - start >= self.targets.bytes;
        if makes_a_cut {
            return false;
        }
        self.open = Some(Open { range: start..end, records: records + count });
        self.start = end;
        true
    }

    /// Whether `len` bytes of records can have no record over the limit, but for the first.
    pub(crate) fn within_limit(&self, len: usize) -> bool {
        len as u64 <= self.targets.record_limit
    }

    /// A frame ended at `offset`. If the record being read is too long by now, nothing joins the chunk before it.
    pub(crate) fn end_frame(&mut self, offset: u64, cuts: &mut Vec<Cut>) {
        if offset - self.start > self.targets.record_limit {
            self.close(cuts);
            self.too_long = true;
        }
    }

    /// Cuts the open chunk, and then a record of its own.
    pub(crate) fn cut_alone(&mut self, range: Range<u64>, kind: CutKind, cuts: &mut Vec<Cut>) {
        self.close(cuts);
        self.cut(Open { range, records: 1 }, kind, cuts);
    }

    /// Cuts the open chunk, if it has records.
    pub(crate) fn close(&mut self, cuts: &mut Vec<Cut>) {
        if let Some(open) = self.open.take() {
            self.cut(open, CutKind::Chunk, cuts);
        }
    }

    fn cut(&mut self, Open { range, records }: Open, kind: CutKind, cuts: &mut Vec<Cut>) {
        cuts.push(Cut { start: range.start, end: range.end, first_record: self.cut, records, kind });
        self.cut += records;
    }
}
