//! What holds for every text.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed, and says why")]

use arrow_array::{Array, StringArray};
use forebay_redact::{Class, Dates, Key, Known, Policy, Redactor, Style};
use proptest::prelude::*;

fn redactor() -> Redactor {
    Redactor::new(Policy::default()).unwrap()
}

/// Texts of words, identifiers, marks, direction signs and punctuation, in any order.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => "[a-z]{1,9}",
        2 => "[A-Z][a-z]{0,9}",
        1 => "[A-Z]{1,6}",
        2 => "[0-9]{1,11}",
        1 => Just("Dr. Maria Lopez".to_owned()),
        1 => Just("03/14/2020".to_owned()),
        1 => Just("(212) 555-0123".to_owned()),
        1 => Just("ana@example.org".to_owned()),
        1 => Just("[NAME]".to_owned()),
        1 => Just("MRN 12345678".to_owned()),
        1 => Just("Jose\u{301} Nu\u{303}n\u{303}ez".to_owned()),
        1 => Just("\u{202e}\u{5d3}\u{5d5}\u{5d3} \u{202c}".to_owned()),
        1 => Just("12 Oak Street, Boston, MA 02114".to_owned()),
        2 => "[-.,:;/()@#'\\[\\]+*\u{2019}\u{2013}\u{a0}\u{200b}\n\r\t]",
        2 => any::<char>().prop_map(|c| c.to_string()),
    ];
    let gap = prop_oneof![3 => Just(" "), 1 => Just(""), 1 => Just("\n")];
    prop::collection::vec((piece, gap), 0..40)
        .prop_map(|pieces| pieces.into_iter().map(|(piece, gap)| piece + gap).collect())
}

/// The text with each span cut out, and with its tag, made from what `find` says alone.
fn by_spans(redactor: &Redactor, text: &str) -> String {
    let (mut out, mut at) = (String::new(), 0);
    for span in redactor.find(text, None) {
        let (start, end) = (span.start as usize, span.end as usize);
        assert!(at <= start && start < end && end <= text.len(), "spans are in order, apart, and not empty");
        out.push_str(&text[at..start]);
        out.push_str(&format!("[{}]", span.class.as_str()));
        at = end;
    }
    out + &text[at..]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_outside_spans_is_untouched(text in texts()) {
        let redactor = redactor();
        prop_assert_eq!(redactor.redact(&text, None), by_spans(&redactor, &text));
    }

    #[test]
    fn tags_stay_as_they_are(text in texts()) {
        let redactor = redactor();
        let once = redactor.redact(&text, None);
        for span in redactor.find(&once, None) {
            let found = &once[span.start as usize..span.end as usize];
            prop_assert!(!found.contains("[NAME]") && !found.contains("[DATE]"), "{:?} in {:?}", found, once);
        }
    }

    #[test]
    fn columns_give_what_single_texts_give(rows in prop::collection::vec(prop::option::of(texts()), 0..8)) {
        let redactor = redactor();
        let column = StringArray::from(rows.clone());
        let redacted = redactor.redact_column(&column, |_| None, true).unwrap();
        prop_assert_eq!(redacted.texts.len(), rows.len());
        for (row, text) in rows.iter().enumerate() {
            match text {
                Some(text) => prop_assert_eq!(redacted.texts.value(row), redactor.redact(text, None)),
                None => prop_assert!(redacted.texts.is_null(row)),
            }
        }
        prop_assert_eq!(redacted.places.unwrap().len(), rows.len());
    }

    #[test]
    fn known_values_are_never_left(name in "[A-Z][a-z]{4,9}", text in texts()) {
        let redactor = redactor();
        let known = redactor.known("", [Known { class: Class::Name, value: &name }]);
        let told = format!("Dr. {name} today");
        let text = format!("{text} seen by {told}");
        prop_assert!(!redactor.redact(&text, Some(&known)).contains(&told));
    }

    #[test]
    fn any_bytes_as_known_values_do_no_harm(values in prop::collection::vec(any::<String>(), 0..6), text in texts()) {
        let redactor = redactor();
        for class in Class::ALL {
            let known = redactor.known("p", values.iter().map(|value| Known { class, value }));
            redactor.redact(&text, Some(&known));
        }
    }
}

/// A text, and one of 16 times its length, take steps in that proportion.
#[test]
fn pathological_texts_take_linear_time() {
    let redactor = redactor();
    let shapes: [fn(usize) -> String; 14] = [
        |n| "7".repeat(n),
        |n| " ".repeat(n),
        |n| "a".repeat(n),
        |n| "A".repeat(n),
        |n| "[".repeat(n),
        |n| "(((((".repeat(n / 10) + &")))))".repeat(n / 10),
        |n| "Al ".repeat(n / 3),
        |n| "Dr. ".repeat(n / 4),
        |n| "@".repeat(n),
        |n| "1/".repeat(n / 2),
        |n| "a1".repeat(n / 2),
        |n| "http://".repeat(n / 7),
        |n| "Maria Lopez, ".repeat(n / 13),
        |n| "\u{301}".repeat(n / 2),
    ];
    for shape in shapes {
        let (small, large) = (redactor.steps(&shape(1 << 16)), redactor.steps(&shape(1 << 20)));
        assert!(large <= small.max(64) * 17, "{:?}: {small} and {large} steps", &shape(8));
        redactor.redact(&shape(1 << 20), None);
    }
}

#[test]
fn a_span_across_windows_is_found() {
    let redactor = redactor();
    for filler in 1900..2100 {
        let text = "word ".repeat(filler) + "on March 3, 2020 Dr. Maria Lopez called (212) 555-0123 about MRN 12345678";
        let redacted = redactor.redact(&text, None);
        assert!(redacted.ends_with("on [DATE] Dr. [NAME] called [PHONE] about MRN [MRN]"), "{filler}");
    }
}

#[test]
fn known_identifiers_are_found_however_they_are_written() {
    let redactor = redactor();
    let known = redactor.known(
        "p1",
        [
            Known { class: Class::Name, value: "Zbigniew Kowalczyk" },
            Known { class: Class::Name, value: "May Grant" },
            Known { class: Class::Mrn, value: "A-448-120" },
            Known { class: Class::Phone, value: "(212) 555-0123" },
            Known { class: Class::Street, value: "12 Crow Hollow" },
            Known { class: Class::Place, value: "Zzyzx" },
        ],
    );
    for (text, expected) in [
        ("KOWALCZYK, ZBIGNIEW is here", "[NAME] is here"),
        ("kowalczyk was late", "[NAME] was late"),
        ("Z. Kowalczyk's knee", "[NAME]'s knee"),
        ("the Kowalzcyk family", "the [NAME] family"),
        ("Kowalczik is well", "[NAME] is well"),
        ("it was May Grant who called", "it was [NAME] who called"),
        ("You may grant access in clinic", "You may grant access in clinic"),
        ("chart A448120 open", "chart [MRN] open"),
        ("ring 2125550123 now", "ring [PHONE] now"),
        ("lives on 12 Crow Hollow now", "lives on [STREET] now"),
        ("drove through Zzyzx today", "drove through [PLACE] today"),
    ] {
        assert_eq!(redactor.redact(text, Some(&known)), expected);
    }
}

#[test]
fn pseudonyms_and_shifted_dates_are_consistent_and_keyed() {
    let make = |secret: &[u8]| {
        let key = Key::new(secret);
        Redactor::new(Policy { style: Style::Pseudonym, dates: Dates::Shift, key, ..Policy::default() }).unwrap()
    };
    let (one, other) = (make(b"0123456789abcdef"), make(b"fedcba9876543210"));
    let known = one.known("p1", [Known { class: Class::Name, value: "Maria Lopez" }]);
    let text = "Maria Lopez came on 2020-03-01. Ms. Lopez left on 2020-03-11.";
    let redacted = one.redact(text, Some(&known));
    let tokens: Vec<_> = redacted.match_indices("[NAME-").map(|(at, _)| &redacted[at..at + 23]).collect();
    assert!(tokens.len() == 2 && tokens[0] == tokens[1], "{redacted}");
    assert_ne!(redacted, other.redact(text, Some(&known)));
    assert_eq!(redacted, one.redact(text, Some(&known)));
    assert!(!redacted.contains("2020-03-01"), "{redacted}");
    let elsewhere = one.known("p2", [Known { class: Class::Name, value: "Maria Lopez" }]);
    assert_ne!(redacted, one.redact(text, Some(&elsewhere)), "another subject's dates move otherwise");
    assert_eq!(
        Redactor::new(Policy { style: Style::Pseudonym, ..Policy::default() }).unwrap_err().to_string(),
        "pseudonyms and shifted dates need a key: give one"
    );
}

#[test]
fn secrets_and_known_values_are_not_shown() {
    let redactor = redactor();
    let known = redactor.known("p1", [Known { class: Class::Name, value: "Zbigniew Kowalczyk" }]);
    let shown = format!("{known:?} {:?}", Key::new(b"0123456789abcdef"));
    assert!(!shown.contains("owalczyk") && !shown.contains("p1") && !shown.contains("0123"), "{shown}");
}
