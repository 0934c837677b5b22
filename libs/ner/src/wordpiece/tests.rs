use proptest::prelude::*;

use super::*;

const VOCABULARY: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nseen\nby\njose\nnun\n##ez\no\n'\nbri\n##en\n.\n\u{4e2d}\nun\n##aff\n##able\ni\n##i\nLopez";

fn pieces() -> WordPiece {
    WordPiece::from_lines(VOCABULARY, None).unwrap()
}

/// Each word as it stands in the text, with its pieces as they stand in the vocabulary.
fn words(pieces: &WordPiece, text: &str) -> Vec<(String, Vec<&'static str>)> {
    let (mut ids, mut found) = (Vec::new(), Vec::new());
    let mut words = pieces.words(text);
    while let Some(word) = words.next(100, &mut ids) {
        let names = ids.drain(..).map(|id| VOCABULARY.lines().nth(id as usize).unwrap()).collect();
        found.push((text[word.start..word.end].to_owned(), names));
    }
    found
}

#[test]
fn words_are_cut_into_the_longest_pieces_and_keep_their_place() {
    let found =
        words(&pieces(), "Seen by  JOS\u{c9} Nu\u{303}n\u{303}ez,O'Brien. \u{4e2d}\u{4e2d} unaffable\u{200b}un");
    let expected: [(&str, &[&str]); 13] = [
        ("Seen", &["seen"]),
        ("by", &["by"]),
        ("JOS\u{c9}", &["jose"]),
        ("Nu\u{303}n\u{303}ez", &["nun", "##ez"]),
        (",", &["[UNK]"]),
        ("O", &["o"]),
        ("'", &["'"]),
        ("Brien", &["bri", "##en"]),
        (".", &["."]),
        ("\u{4e2d}", &["\u{4e2d}"]),
        ("\u{4e2d}", &["\u{4e2d}"]),
        // A zero-width space is dropped, so that both are one word, which has no last piece.
        ("unaffable\u{200b}un", &["[UNK]"]),
        ("", &[]),
    ];
    assert_eq!(found.len(), 12);
    for ((word, names), (expected, expected_names)) in found.iter().zip(expected) {
        assert_eq!((word.as_str(), names.as_slice()), (expected, expected_names));
    }
}

#[test]
fn a_letter_that_becomes_several_keeps_its_place() {
    let found = words(&pieces(), "I\u{130} by");
    assert_eq!(found[0], ("I\u{130}".to_owned(), vec!["i", "##i"]));
    assert_eq!(found[1].0, "by");
}

#[test]
fn a_cased_vocabulary_is_read_from_json() {
    let json = r###"{"model": {"type": "WordPiece", "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "Lopez": 3}},
        "normalizer": {"type": "BertNormalizer", "lowercase": false, "strip_accents": null}}"###;
    let pieces = WordPiece::from_json(json.as_bytes()).unwrap();
    let mut ids = Vec::new();
    let mut words = pieces.words("Lopez lopez");
    while words.next(10, &mut ids).is_some() {}
    assert_eq!(ids, [3, 0]);
    for (broken, told) in [
        (json.replace("WordPiece", "BPE"), "only WordPiece"),
        (json.replace("BertNormalizer", "NFC"), "BertNormalizer"),
        (json.replace("[CLS]", "[CLX]"), "has no [CLS]"),
        ("{".to_owned(), "is no tokenizer"),
    ] {
        let error = WordPiece::from_json(broken.as_bytes()).unwrap_err();
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn endless_words_are_one_unknown_piece() {
    let text = "un".repeat(1 << 19);
    let mut ids = Vec::new();
    let pieces = pieces();
    let mut words = pieces.words(&text);
    assert_eq!(words.next(10, &mut ids), Some(Word { start: 0, end: 1 << 20, pieces: 1 }));
    assert_eq!((words.next(10, &mut ids), ids.as_slice()), (None, [pieces.unknown].as_slice()));
}

proptest! {
    #[test]
    fn words_are_in_order_apart_and_whole_characters(text in any::<String>(), more in "[a-z '\u{301}\u{4e2d}.]{0,60}") {
        let text = text + &more;
        let pieces = pieces();
        let (mut ids, mut at, mut count) = (Vec::new(), 0, 0);
        let mut words = pieces.words(&text);
        while let Some(word) = words.next(20, &mut ids) {
            prop_assert!(at <= word.start && word.start < word.end && word.pieces > 0);
            prop_assert!(text.get(at..word.start).is_some() && text.get(word.start..word.end).is_some());
            // Nothing that could be part of a name is between words.
            prop_assert!(!text[at..word.start].chars().any(char::is_alphanumeric) || text[at..word.start].chars().all(|c| kind(c, pieces.form) != Kind::Letter));
            at = word.end;
            count += word.pieces;
        }
        prop_assert_eq!(count, ids.len());
    }
}
