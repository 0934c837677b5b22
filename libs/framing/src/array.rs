use crate::element::{ElementScanner, is_space, trim};
use crate::ledger::Ledger;
use crate::{BYTE_ORDER_MARK, BrokenArray, Cut, CutKind};

/// Follows one JSON array from before its opening bracket to the end of the input.
#[derive(Clone, Debug)]
pub(crate) struct ArrayScanner {
    phase: Phase,
    scanner: ElementScanner,
    /// A comma came before the element being read, so that it counts even if it is empty.
    after_comma: bool,
    /// From the first to the last byte of the element so far that is not whitespace.
    element: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Before the opening bracket, with this many bytes of a byte order mark.
    Before(usize),
    /// Behind an element, before the comma.
    Behind,
    /// In an element or the whitespace before it.
    Inside,
    /// Behind the array.
    After,
    /// In what can't be framed; it reaches to the end of the input.
    Broken { problem: BrokenArray, start: u64 },
}

impl ArrayScanner {
    /// At the start of the input.
    pub(crate) fn new() -> Self {
        Self::at(Phase::Before(0))
    }

    /// Just past a cut.
    pub(crate) fn behind_element() -> Self {
        Self::at(Phase::Behind)
    }

    fn at(phase: Phase) -> Self {
        Self { phase, scanner: ElementScanner::default(), after_comma: false, element: None }
    }

    /// A frame that starts at `offset`.
    pub(crate) fn push(&mut self, frame: &[u8], offset: u64, ledger: &mut Ledger, cuts: &mut Vec<Cut>) {
        let mut at = 0;
        while at < frame.len() {
            let (byte, place) = (frame[at], offset + at as u64);
            at += match self.phase {
                Phase::Inside => self.pass_element(&frame[at..], place, ledger, cuts),
                Phase::Before(mark) => {
                    ledger.skip_to(place + 1);
                    self.pass_before(byte, place, mark);
                    1
                }
                Phase::Behind if is_space(byte) => 1,
                Phase::Behind => self.pass_behind(byte, place, ledger, cuts),
                Phase::After => {
                    if !is_space(byte) {
                        self.phase = Phase::Broken { problem: BrokenArray::TrailingData, start: place };
                    }
                    1
                }
                Phase::Broken { .. } => frame.len() - at,
            };
            match self.phase {
                Phase::Inside => {}
                Phase::Broken { start, .. } => ledger.skip_to(start),
                _ => ledger.skip_to(offset + at as u64),
            }
        }
    }

    /// The input ends at `offset`.
    pub(crate) fn finish(&mut self, offset: u64, ledger: &mut Ledger, cuts: &mut Vec<Cut>) {
        let (problem, start) = match self.phase {
            Phase::After => return,
            Phase::Before(_) => (BrokenArray::NotAnArray, 0),
            Phase::Broken { problem, start } => (problem, start),
            Phase::Behind | Phase::Inside => {
                if let Some((first, end)) = self.element.take() {
                    ledger.end_element(first..end, offset, cuts);
                }
                (BrokenArray::Unclosed, offset)
            }
        };
        ledger.cut_alone(start..offset, CutKind::Broken(problem), cuts);
        ledger.skip_to(offset);
        self.phase = Phase::After;
    }

    fn pass_before(&mut self, byte: u8, place: u64, mark: usize) {
        let in_mark = (1..BYTE_ORDER_MARK.len()).contains(&mark);
        self.phase = match byte {
            // `mark` counts the bytes from the start of the input, so it is also the place of the next one.
            _ if place == mark as u64 && BYTE_ORDER_MARK.get(mark) == Some(&byte) => Phase::Before(mark + 1),
            b'[' if !in_mark => Phase::Inside,
            _ if !in_mark && is_space(byte) => Phase::Before(mark),
            _ => Phase::Broken { problem: BrokenArray::NotAnArray, start: 0 },
        };
    }

    /// The byte that comes first behind an element; says how many bytes were used up.
    fn pass_behind(&mut self, byte: u8, place: u64, ledger: &mut Ledger, cuts: &mut Vec<Cut>) -> usize {
        if matches!(byte, b',' | b']' | b'}') {
            self.stop(byte, place, ledger, cuts);
            return 1;
        }
        // Not just past a cut, then: take it as the start of an element.
        ledger.skip_to(place);
        self.phase = Phase::Inside;
        0
    }

    /// As much of an element as `bytes`, which start at `place`, have; says how many bytes were used up.
    #[inline]
    fn pass_element(&mut self, bytes: &[u8], place: u64, ledger: &mut Ledger, cuts: &mut Vec<Cut>) -> usize {
        let stop = self.scanner.next_stop(bytes, 0);
        if let Some(solid) = trim(&bytes[..stop.unwrap_or(bytes.len())]) {
            let first = self.element.map_or(place + solid.start as u64, |(first, _)| first);
            self.element = Some((first, place + solid.end as u64));
        }
        let Some(stop) = stop else {
            return bytes.len();
        };
        let end = place + stop as u64;
        let element = self.element.take();
        if element.is_some() || self.after_comma || bytes[stop] == b',' {
            let (first, last) = element.unwrap_or((end, end));
            ledger.end_element(first..last, end, cuts);
        }
        self.stop(bytes[stop], end, ledger, cuts);
        stop + 1
    }

    /// A comma or a closing bracket of the array at `place`.
    #[inline]
    fn stop(&mut self, byte: u8, place: u64, ledger: &mut Ledger, cuts: &mut Vec<Cut>) {
        if byte == b',' {
            self.phase = Phase::Inside;
            self.after_comma = true;
            ledger.skip_to(place + 1);
            return;
        }
        ledger.close(cuts);
        self.phase = match byte {
            b']' => Phase::After,
            _ => Phase::Broken { problem: BrokenArray::Mismatched, start: place },
        };
    }
}
