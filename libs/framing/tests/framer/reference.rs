//! Scanners that go byte by byte over the whole input, to compare the framer with.

use std::ops::Range;

use forebay_framing::{BrokenArray, Cut, CutKind, Framer, Framing, Targets};

/// A record: what counts for its length, what of it is in a cut, and what a decoder takes for it.
pub(crate) struct Record {
    pub(crate) extent: Range<usize>,
    pub(crate) range: Range<usize>,
    pub(crate) content: Range<usize>,
}

/// The records of an input, and what is wrong with its structure.
pub(crate) struct Found {
    pub(crate) records: Vec<Record>,
    pub(crate) broken: Option<(BrokenArray, usize)>,
}

pub(crate) const CSV: Framing = Framing::Csv { delimiter: b',', quote: b'"' };

pub(crate) fn find(framing: &Framing, input: &[u8]) -> Found {
    let ends = match *framing {
        Framing::Lines => (0..input.len()).filter(|&i| input[i] == b'\n').map(|i| i + 1).collect(),
        Framing::Csv { delimiter, quote } => row_ends(input, delimiter, quote),
        Framing::JsonArray => return array(input),
    };
    let mut records = Vec::new();
    let mut start = 0;
    for end in ends {
        let line = &input[start..end - 1];
        let content = start..start + line.strip_suffix(b"\r").unwrap_or(line).len();
        records.push(Record { extent: start..end, range: start..end, content });
        start = end;
    }
    if start < input.len() {
        let rest = start..input.len();
        records.push(Record { extent: rest.clone(), range: rest.clone(), content: rest });
    }
    Found { records, broken: None }
}

fn row_ends(input: &[u8], delimiter: u8, quote: u8) -> Vec<usize> {
    let mark = if input.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    let (mut field_start, mut quoted, mut after_quote) = (true, false, false);
    let mut ends = Vec::new();
    for (i, &byte) in input.iter().enumerate().skip(mark) {
        if quoted && after_quote && byte == quote {
            after_quote = false;
            continue;
        }
        if quoted && !after_quote {
            after_quote = byte == quote;
            continue;
        }
        (quoted, after_quote) = (field_start && byte == quote, false);
        field_start = !quoted && (byte == delimiter || byte == b'\n');
        if !quoted && byte == b'\n' {
            ends.push(i + 1);
        }
    }
    ends
}

fn space(byte: u8) -> bool {
    b" \t\r\n".contains(&byte)
}

fn record(input: &[u8], extent: Range<usize>) -> Record {
    let mut range = extent.clone();
    while range.start < range.end && space(input[range.start]) {
        range.start += 1;
    }
    while range.start < range.end && space(input[range.end - 1]) {
        range.end -= 1;
    }
    Record { extent, content: range.clone(), range }
}

fn array(input: &[u8]) -> Found {
    let mut at = if input.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    while at < input.len() && space(input[at]) {
        at += 1;
    }
    let mut records = Vec::new();
    if input.get(at) != Some(&b'[') {
        return Found { records, broken: Some((BrokenArray::NotAnArray, 0)) };
    }
    let (mut start, mut depth, mut in_string, mut escaped) = (at + 1, 0, false, false);
    for i in at + 1..input.len() {
        let (byte, was_escaped) = (input[i], escaped);
        escaped = byte == b'\\' && !was_escaped;
        if byte == b'"' && !was_escaped {
            in_string = !in_string;
        }
        if in_string {
            continue;
        }
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth > 0 => depth -= 1,
            b',' if depth == 0 => {
                records.push(record(input, start..i));
                start = i + 1;
            }
            b']' | b'}' => {
                let last = record(input, start..i);
                if !last.range.is_empty() || !records.is_empty() {
                    records.push(last);
                }
                return Found { records, broken: behind(input, i) };
            }
            _ => {}
        }
    }
    let last = record(input, start..input.len());
    if !last.range.is_empty() {
        records.push(last);
    }
    Found { records, broken: Some((BrokenArray::Unclosed, input.len())) }
}

fn behind(input: &[u8], close: usize) -> Option<(BrokenArray, usize)> {
    if input[close] == b'}' {
        return Some((BrokenArray::Mismatched, close));
    }
    (close + 1..input.len()).find(|&i| !space(input[i])).map(|i| (BrokenArray::TrailingData, i))
}

/// The cuts that the documentation promises.
pub(crate) fn cuts(framing: &Framing, targets: Targets, input: &[u8]) -> Vec<Cut> {
    let found = find(framing, input);
    let mut cuts: Vec<Cut> = Vec::new();
    let mut open = false;
    let mut count = 0;
    for Record { extent, range, .. } in found.records {
        let first_record = count;
        count += 1;
        let cut = |range: Range<usize>, kind| Cut {
            start: range.start as u64,
            end: range.end as u64,
            first_record,
            records: 1,
            kind,
        };
        let length = |range: &Range<usize>| (range.end - range.start) as u64;
        if length(&extent) > targets.record_limit {
            let range = if length(&range) > targets.record_limit { range } else { extent };
            cuts.push(cut(range, CutKind::Oversize));
            open = false;
            continue;
        }
        match cuts.last_mut().filter(|_| open) {
            Some(last) => (last.end, last.records) = (range.end as u64, last.records + 1),
            None => cuts.push(cut(range, CutKind::Chunk)),
        }
        open = cuts.last().is_some_and(|last| last.records < targets.records && last.end - last.start < targets.bytes);
    }
    if let Some((problem, start)) = found.broken {
        let kind = CutKind::Broken(problem);
        let (start, end) = (start as u64, input.len() as u64);
        cuts.push(Cut { start, end, first_record: count, records: 1, kind });
    }
    cuts
}

/// The framer's cuts of frames.
pub(crate) fn frame<'a>(framing: &Framing, targets: Targets, frames: impl IntoIterator<Item = &'a [u8]>) -> Vec<Cut> {
    let mut framer = Framer::new(framing.clone(), targets);
    let mut cuts = Vec::new();
    for frame in frames {
        framer.push(frame, &mut cuts);
        assert!(framer.record_start() <= framer.offset());
    }
    framer.finish(&mut cuts);
    cuts
}
