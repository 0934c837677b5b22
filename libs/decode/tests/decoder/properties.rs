//! Any bytes, in any pieces.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::check::Subject;
use crate::columnar;

/// Pieces that mean something to a decoder of JSON, and some that mean nothing.
const JSON: &[&str] = &[
    "\n",
    "\r\n",
    ",",
    "[",
    "]",
    "{",
    "}",
    " ",
    ":",
    "\"",
    "\\",
    "\\ud800",
    "{\"id\":",
    "{\"id\":\"a\"",
    ",\"n\":",
    ",\"d\":",
    ",\"j\":",
    ",\"s\":",
    ",\"day\":\"2024-02-29\"",
    ",\"at\":\"2024-02-29 08:30\"",
    ",\"place\":{\"zip\":\"1\"}",
    ",\"parts\":[{\"name\":\"p\",\"bits\":[{\"b\":[{}]},{\"c\":\"x\"}]}]",
    ",\"what\":{\"ever\":[null]}",
    "\"x\\u00e9\"",
    "12",
    "-1.5e1",
    "1e999",
    "null",
    "true",
    "é",
    "\u{feff}",
    "}\n{\"id\":\"b\"}\n",
    "{\"id\":\"c\"},",
];

const CSV: &[&str] = &[
    "\n",
    "\n",
    "\r\n",
    "\r",
    ",",
    ",",
    ",",
    "\"",
    "\"\"",
    "a",
    "12",
    "1.5e1",
    "-9",
    "NA",
    "null",
    "[1]",
    "\"[\"\"x\"\"]\"",
    "2024-02-29",
    "é",
    "\u{feff}",
    "a,1,2,3,2024-02-29\n",
    "b,,,,\n",
    "\"c\n\",1,1e2,\"{}\",\n",
    "\"",
    " ",
];

fn text(pieces: &'static [&'static str], start: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        20 => select(pieces).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..3),
    ];
    vec(piece, 0..40).prop_map(move |pieces| [start.as_bytes(), &pieces.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn lines_are_the_same_in_any_pieces_and_conserved(input in text(JSON, ""), piece in 1usize..40) {
        Subject::lines().check(&input, piece);
    }

    #[test]
    fn an_array_is_the_same_in_any_pieces_and_conserved(input in text(JSON, "["), piece in 1usize..40) {
        Subject::array().check(&input, piece);
    }

    #[test]
    fn rows_are_the_same_in_any_pieces_and_conserved(input in text(CSV, ""), piece in 1usize..40) {
        Subject::csv().check(&input, piece);
    }

    #[test]
    fn bytes_of_no_meaning_are_conserved(input in vec(any::<u8>(), 0..200), piece in 1usize..40) {
        for subject in [Subject::lines(), Subject::array(), Subject::csv()] {
            subject.check(&input, piece);
        }
    }

    #[test]
    fn batches_are_the_same_in_any_slices_and_conserved(input in vec(any::<u8>(), 0..1_000)) {
        columnar::check(&input);
    }
}
