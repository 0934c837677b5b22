//! What must hold for any input, any frames and any targets.

use std::ops::Range;

use forebay_framing::{Cut, CutKind, Framer, Framing, Targets, elements, header_end, rows};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::reference::{self, CSV};

/// Pieces that mean something to a scanner, and some that mean nothing.
const PIECES: &[&[u8]] = &[
    b"\n",
    b"\n",
    b"\r\n",
    b"\r",
    b",",
    b",",
    b", ",
    b",\n  ",
    b"\"",
    b"\"",
    b"\"\"",
    b"\\",
    b"\\\\",
    b"\\\"",
    b"[",
    b"]",
    b"{",
    b"}",
    b" ",
    b"\t",
    b"a",
    b"12.5",
    b"\xEF\xBB\xBF",
    b"\xFF\x00",
    "Müller".as_bytes(),
    b"\"Jackson, \"\"Mike\"\"\nMD\"",
    b",\"a,b\",",
    b"{\"a\":[1,{\"b\":\"]}\\\"\"}],\"c\\\\\":{}}",
    b"[[[]],[{}]]",
    b"\"a,b]\"",
    b"-------------------------------------------------------------------------------",
    b"                                                                               ",
    b"\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\",
];

/// Pieces that keep a scanner in its fast path for longer.
const TAME: &[&[u8]] = &[
    b",\"a,b\",1\n",
    b"x,\"\"\"y\n\"\"\",\r\n",
    b",{\"a\":[1,{\"b\":\"]}\\\"\"}],\"c\\\\\":{}}",
    b", \"\\\\\"\n",
    b",[[1,2],[3,{\"k\":\"v, w\"}]] ",
    b"plain text that has nothing in it, but a comma",
];

/// What an input may start with.
const STARTS: &[&[u8]] = &[b"", b"[", b"[", b" [", b"\xEF\xBB\xBF[", b"\xEF\xBB\xBF\"", b"\xEF\xBB\"", b"\""];

fn input() -> impl Strategy<Value = Vec<u8>> {
    let piece = || prop_oneof![10 => select(PIECES).prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 0..9)];
    let wild = vec(piece(), 0..60);
    let tame = vec(prop_oneof![30 => select(TAME).prop_map(<[u8]>::to_vec), 1 => piece()], 0..40);
    let start = select(STARTS);
    (start, prop_oneof![wild, tame]).prop_map(|(start, pieces)| [start.to_vec(), pieces.concat()].concat())
}

fn framing() -> impl Strategy<Value = Framing> {
    prop_oneof![
        Just(Framing::Lines),
        Just(CSV),
        Just(Framing::Csv { delimiter: b'\\', quote: b'a' }),
        Just(Framing::JsonArray),
        Just(Framing::JsonArray)
    ]
}

fn targets() -> impl Strategy<Value = Targets> {
    let few = |most: u64| prop_oneof![0..most, Just(u64::MAX)];
    (few(9), few(300), few(100)).prop_map(|(records, bytes, record_limit)| Targets { records, bytes, record_limit })
}

fn split<'a>(input: &'a [u8], places: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|place| place.index(input.len() + 1)).collect();
    places.sort_unstable();
    let starts = std::iter::once(0).chain(places.clone());
    let ends = places.into_iter().chain([input.len()]);
    starts.zip(ends).map(|(start, end)| &input[start..end]).collect()
}

/// The records of a cut, by the means of a decoder.
fn records_of(framing: &Framing, input: &[u8], cut: &Cut) -> Vec<Range<usize>> {
    let start = cut.start as usize;
    let slice = &input[start..cut.end as usize];
    let inner: Vec<Range<usize>> = match *framing {
        Framing::Lines => lines(slice),
        Framing::Csv { delimiter, quote } => rows(slice, delimiter, quote).collect(),
        Framing::JsonArray => elements(slice).collect(),
    };
    inner.into_iter().map(|range| start + range.start..start + range.end).collect()
}

fn lines(slice: &[u8]) -> Vec<Range<usize>> {
    let mut end = 0;
    let mut lines = Vec::new();
    for line in slice.split_inclusive(|byte| *byte == b'\n') {
        let start = end;
        end += line.len();
        let content = line.strip_suffix(b"\r\n").or_else(|| line.strip_suffix(b"\n")).unwrap_or(line);
        lines.push(start..start + content.len());
    }
    lines
}

/// Where csv-core sees rows end. It passes over blank lines.
fn csv_core_ends(input: &[u8]) -> Vec<usize> {
    let mut reader = csv_core::ReaderBuilder::new().terminator(csv_core::Terminator::Any(b'\n')).build();
    let (mut output, mut fields) = (vec![0; input.len() + 1], vec![0; input.len() + 2]);
    let (mut at, mut ends) = (0, Vec::new());
    loop {
        let (result, used, ..) = reader.read_record(&input[at..], &mut output, &mut fields);
        at += used;
        match result {
            csv_core::ReadRecordResult::Record => ends.push(at),
            csv_core::ReadRecordResult::End => return ends,
            // The next call, with nothing, is the end of the input.
            csv_core::ReadRecordResult::InputEmpty => {}
            other => unreachable!("{other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn any_frames_give_the_cuts_of_the_reference(
        framing in framing(),
        targets in targets(),
        input in input(),
        places in vec(any::<Index>(), 0..12),
    ) {
        let expected = reference::cuts(&framing, targets, &input);
        prop_assert_eq!(&reference::frame(&framing, targets, [&input[..]]), &expected);
        prop_assert_eq!(&reference::frame(&framing, targets, split(&input, &places)), &expected);
        prop_assert_eq!(&reference::frame(&framing, targets, input.chunks(1)), &expected);
    }

    #[test]
    fn a_framer_resumes_behind_any_cut(
        framing in framing(),
        targets in targets(),
        input in input(),
        which in any::<Index>(),
    ) {
        let cuts = reference::frame(&framing, targets, [&input[..]]);
        let whole: Vec<&Cut> = cuts.iter().filter(|cut| !matches!(cut.kind, CutKind::Broken(_)) && cut.end > 0).collect();
        if whole.is_empty() {
            return Ok(());
        }
        let number = which.index(whole.len());
        let cut = whole[number];
        let mut framer = Framer::resume(framing, targets, cut.end, cut.first_record + cut.records);
        let mut rest = Vec::new();
        framer.push(&input[cut.end as usize..], &mut rest);
        framer.finish(&mut rest);
        prop_assert_eq!(&rest, &cuts[number + 1..]);
    }

    #[test]
    fn a_decoder_finds_the_same_records_whatever_the_targets(
        framing in framing(),
        targets in targets(),
        input in input(),
    ) {
        // A decoder takes off the byte order mark before it splits the first chunk into rows.
if framing != Framing::JsonArray && input.starts_with(b"\xEF\xBB\xBF") {
            return Ok(());
        }
        let targets = Targets { record_limit: u64::MAX, ..targets };
        let found = reference::find(&framing, &input);
        let expected: Vec<Range<usize>> = found.records.into_iter().map(|record| record.content).collect();
        let mut records = Vec::new();
        for cut in reference::frame(&framing, targets, [&input[..]]) {
            if cut.kind == CutKind::Chunk {
                let found = records_of(&framing, &input, &cut);
                prop_assert_eq!((cut.first_record, cut.records), (records.len() as u64, found.len() as u64));
                records.extend(found);
            }
        }
        prop_assert_eq!(records, expected);
    }

    #[test]
    fn rows_end_where_csv_core_says(input in input()) {
        let targets = Targets { records: 1, bytes: 1, record_limit: u64::MAX };
        let cuts = reference::frame(&CSV, targets, [&input[..]]);
        let mark = if input.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        // To csv-core, a line is blank too if it has nothing but the byte order mark.
        let ends: Vec<usize> = cuts
            .iter()
            .filter(|cut| !matches!(&input[(cut.start as usize).max(mark)..cut.end as usize], b"\n" | b""))
            .map(|cut| cut.end as usize)
            .collect();
        prop_assert_eq!(ends, csv_core_ends(&input));
        let first = cuts.first().map(|cut| cut.end as usize).filter(|end| input[..*end].ends_with(b"\n"));
        let header = header_end(&CSV, &input);
        prop_assert!(header == first || header.is_none());
    }

    #[test]
    fn what_targets_become_changes_chunks_but_no_records(
        framing in framing(),
        changes in vec((targets(), any::<Index>()), 1..5),
        input in input(),
    ) {
        let places: Vec<Index> = changes.iter().map(|(_, place)| *place).collect();
        let mut framer = Framer::new(framing.clone(), changes[0].0);
        let mut cuts = Vec::new();
        for (number, frame) in split(&input, &places).into_iter().enumerate() {
            framer.set_targets(changes[number % changes.len()].0);
            framer.push(frame, &mut cuts);
        }
        framer.finish(&mut cuts);
        let found = reference::find(&framing, &input);
        let expected = found.records.len() as u64 + u64::from(found.broken.is_some());
        let mut next = 0;
        for cut in &cuts {
            prop_assert_eq!(cut.first_record, next);
            prop_assert!(cut.records > 0 && cut.start <= cut.end);
            next += cut.records;
        }
        prop_assert_eq!(next, expected);
        prop_assert!(cuts.windows(2).all(|pair| pair[0].end <= pair[1].start));
    }
}
