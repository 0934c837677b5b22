//! One test for each rule of the framer.

use forebay_framing::{BrokenArray, CutKind, Framer, Framing, Targets, elements, header_end, rows};

use crate::reference::{self, CSV};

const ALL: Targets = Targets { records: u64::MAX, bytes: u64::MAX, record_limit: u64::MAX };
const EACH: Targets = Targets { records: 1, ..ALL };

/// The cuts as text, with a mark for what they are.
fn cuts(framing: &Framing, targets: Targets, input: &[u8]) -> Vec<String> {
    let cuts = reference::frame(framing, targets, [input]);
    let expected = reference::cuts(framing, targets, input);
    assert_eq!(cuts, expected);
    let text = |start, end| String::from_utf8_lossy(&input[start as usize..end as usize]).into_owned();
    cuts.iter()
        .map(|cut| match cut.kind {
            CutKind::Chunk => text(cut.start, cut.end),
            CutKind::Oversize => format!("oversize {}", text(cut.start, cut.end)),
            CutKind::Broken(problem) => format!("{problem:?} {}", text(cut.start, cut.end)),
        })
        .collect()
}

#[test]
fn a_chunk_closes_with_the_record_that_reaches_a_target() {
    let input = b"1\n22\n333\n4444\n5\n";
    assert_eq!(cuts(&Framing::Lines, Targets { records: 2, ..ALL }, input), ["1\n22\n", "333\n4444\n", "5\n"]);
    assert_eq!(cuts(&Framing::Lines, Targets { bytes: 5, ..ALL }, input), ["1\n22\n", "333\n4444\n", "5\n"]);
    assert_eq!(cuts(&Framing::Lines, Targets { bytes: 6, ..ALL }, input), ["1\n22\n333\n", "4444\n5\n"]);
    assert_eq!(cuts(&Framing::Lines, ALL, input), ["1\n22\n333\n4444\n5\n"]);
}

#[test]
fn no_input_has_no_lines_and_blank_lines_are_records() {
    assert!(cuts(&Framing::Lines, ALL, b"").is_empty());
    assert_eq!(cuts(&Framing::Lines, EACH, b"\n\r\na\r\n\nlast"), ["\n", "\r\n", "a\r\n", "\n", "last"]);
}

#[test]
fn a_record_over_the_limit_is_cut_alone() {
    let targets = Targets { record_limit: 4, ..ALL };
    let input = b"a\nbb\n12345\n123\n1234\nc\n12345";
    assert_eq!(
        cuts(&Framing::Lines, targets, input),
        ["a\nbb\n", "oversize 12345\n", "123\n", "oversize 1234\n", "c\n", "oversize 12345"]
    );
    let input = b"[1, \"a\", \"abc\", [1,2] ,3]";
    assert_eq!(cuts(&Framing::JsonArray, targets, input), ["1, \"a\"", "oversize \"abc\"", "oversize [1,2]", "3"]);
}

#[test]
fn whitespace_around_an_element_counts_for_the_limit_and_shows_in_the_cut() {
    let targets = Targets { record_limit: 8, ..ALL };
    assert_eq!(
        cuts(&Framing::JsonArray, targets, b"[1,         2,3         ,4,         ]"),
        ["1", "oversize          2", "oversize 3         ", "4", "oversize          "]
    );
    assert!(cuts(&Framing::JsonArray, targets, b"           [           ]           ").is_empty());
}

#[test]
fn the_chunk_before_an_endless_record_is_cut_while_it_is_skipped() {
    let mut framer = Framer::new(Framing::Lines, Targets { record_limit: 100, ..ALL });
    let mut cuts = Vec::new();
    framer.push(b"a\nb\n", &mut cuts);
    for _ in 0..1000 {
        framer.push(&[b'x'; 1000], &mut cuts);
    }
    assert_eq!(cuts.len(), 1);
    assert_eq!((framer.record_start(), framer.offset()), (4, 1_000_004));
    // Its bytes may be gone: a higher limit comes too late for it.
    framer.set_targets(ALL);
    framer.push(b"\nc\n", &mut cuts);
    framer.finish(&mut cuts);
    let ranges: Vec<_> = cuts.iter().map(|cut| (cut.start, cut.end, cut.first_record, cut.kind)).collect();
    assert_eq!(
        ranges,
        [(0, 4, 0, CutKind::Chunk), (4, 1_000_005, 2, CutKind::Oversize), (1_000_005, 1_000_007, 3, CutKind::Chunk)]
    );
}

#[test]
fn long_frames_of_lines_give_the_same_cuts() {
    // Longer than what is counted at once, with lines longer than that among short ones.
    let lines = (0..20_000).map(|i| "x".repeat(if i % 7_000 == 6_999 { 70_000 } else { i % 23 }));
    let input = lines.collect::<Vec<_>>().join("\n");
    for records in [3, 1_000, 6_998, 6_999, 7_000, u64::MAX] {
        for bytes in [50_000, u64::MAX] {
            for record_limit in [10, 69_999, 70_001, u64::MAX] {
                cuts(&Framing::Lines, Targets { records, bytes, record_limit }, input.as_bytes());
            }
        }
    }
}

#[test]
fn finishing_twice_changes_nothing() {
    for framing in [Framing::Lines, CSV, Framing::JsonArray] {
        for input in ["[1,2", "[1]", "[1] x", "[1},", "x", "["] {
            let mut framer = Framer::new(framing.clone(), ALL);
            let mut cuts = Vec::new();
            framer.push(input.as_bytes(), &mut cuts);
            framer.finish(&mut cuts);
            let first = cuts.clone();
            framer.finish(&mut cuts);
            assert_eq!(cuts, first);
        }
    }
}

#[test]
fn quotes_open_only_where_a_field_starts() {
    assert_eq!(cuts(&CSV, EACH, b"a,\"x\ny\",b\nc\n"), ["a,\"x\ny\",b\n", "c\n"]);
    assert_eq!(cuts(&CSV, EACH, b"\"\"\"\n\"\r\nb\n"), ["\"\"\"\n\"\r\n", "b\n"]);
    assert_eq!(cuts(&CSV, EACH, b"5\" pipe,x\"\ny\n"), ["5\" pipe,x\"\n", "y\n"]);
    assert_eq!(cuts(&CSV, EACH, b"\"a\"b\"\nc\"\n"), ["\"a\"b\"\n", "c\"\n"]);
    assert_eq!(cuts(&CSV, EACH, b"a\n\n\"never closed\nb\n"), ["a\n", "\n", "\"never closed\nb\n"]);
}

#[test]
fn a_quote_may_follow_a_byte_order_mark() {
    assert_eq!(cuts(&CSV, EACH, b"\xEF\xBB\xBF\"a\nb\",c\nd\n").len(), 2);
    assert_eq!(cuts(&CSV, EACH, b"\xEF\xBB\"a\nb\",c\nd\n").len(), 3);
    assert_eq!(header_end(&CSV, b"\xEF\xBB\xBF\"a\nb\",c\nd\n"), Some(11));
}

#[test]
fn a_header_ends_with_its_row() {
    assert_eq!(header_end(&CSV, b"a,\"b\n\"\n1,2\n"), Some(7));
    assert_eq!(header_end(&CSV, b"a,\"b\n"), None);
    assert_eq!(header_end(&Framing::Lines, b"a,\"b\n\"\n"), Some(5));
    assert_eq!(header_end(&Framing::JsonArray, b"[1]\n"), None);
}

#[test]
fn rows_come_without_their_terminators() {
    let slice = b"a,b\r\n\n\"x\r\n\",\r\nlast\r";
    let found: Vec<&[u8]> = rows(slice, b',', b'"').map(|row| &slice[row]).collect();
    assert_eq!(found, [&b"a,b"[..], b"", b"\"x\r\n\",", b"last\r"]);
}

#[test]
fn elements_are_split_at_their_commas_and_trimmed() {
    let input = b"\xEF\xBB\xBF \n[ {\"a\":[1,2]} , \"x,]\\\"\" ,\n-1.5,null , [[],{}] ]\n";
    assert_eq!(cuts(&Framing::JsonArray, EACH, input), ["{\"a\":[1,2]}", "\"x,]\\\"\"", "-1.5", "null", "[[],{}]"]);
    assert_eq!(cuts(&Framing::JsonArray, Targets { records: 2, ..ALL }, b"[1 , 2 , 3]"), ["1 , 2", "3"]);
    assert!(cuts(&Framing::JsonArray, ALL, b" [ ] ").is_empty());
}

#[test]
fn elements_of_valid_json_are_its_values() {
    let texts = (0..200).map(|i| {
        let text = "\\\"".repeat(i % 70) + &"]},".repeat(i % 5);
        serde_json::json!({ "i": i, "t": text, "n": [[i], { "x": [] }] })
    });
    let value = serde_json::Value::Array(texts.collect());
    for text in [value.to_string(), serde_json::to_string_pretty(&value).expect("a value has a text")] {
        let [all] = &cuts(&Framing::JsonArray, ALL, text.as_bytes())[..] else { panic!("one chunk") };
        let parsed: Vec<serde_json::Value> =
            elements(all.as_bytes()).map(|element| serde_json::from_str(&all[element]).expect("an element")).collect();
        assert_eq!(serde_json::Value::Array(parsed), value);
    }
}

#[test]
fn empty_elements_are_records() {
    assert_eq!(cuts(&Framing::JsonArray, EACH, b"[1,,2]"), ["1", "", "2"]);
    assert_eq!(cuts(&Framing::JsonArray, EACH, b"[1,]"), ["1", ""]);
    assert_eq!(cuts(&Framing::JsonArray, EACH, b"[ ,1]"), ["", "1"]);
    assert_eq!(cuts(&Framing::JsonArray, ALL, b"[1, ]"), ["1, "]);
    let found: Vec<_> = elements(b"1, ").collect();
    assert_eq!(found, [0..1, 3..3]);
    assert_eq!(elements(b"").count(), 1);
}

#[test]
fn any_depth_of_nesting_is_counted() {
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let input = [b"[", &deep[..], b",{}]"].concat();
    let cuts = reference::frame(&Framing::JsonArray, EACH, input.chunks(1000));
    let lengths: Vec<u64> = cuts.iter().map(|cut| cut.end - cut.start).collect();
    assert_eq!(lengths, [200_000, 2]);
}

#[test]
fn a_broken_array_keeps_the_elements_before_the_break() {
    let check = |input: &str, expected: &[&str]| {
        assert_eq!(cuts(&Framing::JsonArray, EACH, input.as_bytes()), expected, "{input}");
    };
    check("", &["NotAnArray "]);
    check(" {\"a\":[1]} ", &["NotAnArray  {\"a\":[1]} "]);
    check("[1] \n [2]", &["1", "TrailingData [2]"]);
    check("[{\"a\":1}}, {\"a\":2}]", &["{\"a\":1}", "Mismatched }, {\"a\":2}]"]);
    check("[{\"a\":1]}, 2]", &["{\"a\":1]", "Mismatched }, 2]"]);
    check("[}", &["Mismatched }"]);
    check("[", &["Unclosed "]);
    check("[1, ", &["1", "Unclosed "]);
    check("[1,{\"a\":\"b, ", &["1", "{\"a\":\"b,", "Unclosed "]);
}

#[test]
fn a_break_counts_as_one_record() {
    let cuts = reference::frame(&Framing::JsonArray, ALL, [&b"[1,2"[..], b",3 "]);
    let counts: Vec<_> = cuts.iter().map(|cut| (cut.kind, cut.first_record, cut.records)).collect();
    assert_eq!(counts, [(CutKind::Chunk, 0, 3), (CutKind::Broken(BrokenArray::Unclosed), 3, 1)]);
}

#[test]
fn framings_are_stored_by_kind() {
    for (framing, text) in [
        (Framing::Lines, r#"{"kind":"lines"}"#),
        (CSV, r#"{"kind":"csv","delimiter":44,"quote":34}"#),
        (Framing::JsonArray, r#"{"kind":"json_array"}"#),
    ] {
        assert_eq!(serde_json::to_string(&framing).expect("a framing has a text"), text);
        assert_eq!(serde_json::from_str::<Framing>(text).expect("the text is a framing"), framing);
    }
}
