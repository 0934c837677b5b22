//! Street lines as the geocoder likes them.

/// Words after which comes the part of a building. USPS Publication 28, appendix C2, has more; these are the ones that
/// stand in addresses of practices, and are hardly ever part of a street's name.
const UNITS: [&str; 12] =
    ["APT", "APARTMENT", "BLDG", "BUILDING", "DEPT", "FL", "FLOOR", "RM", "ROOM", "STE", "SUITE", "UNIT"];

/// The street line without suite, floor, apartment and the like, which lower the geocoder's rate of matches. At least
/// two words stay, so that a street called Unit keeps its name.
pub fn without_unit(street: &str) -> &str {
    // Where the word before starts, if it is an ordinal: in "5TH FLOOR" the number comes first.
    let mut ordinal = None;
    for (words, (start, word)) in words_of(street).enumerate() {
        if words >= 2 && is_unit(word) {
            let cut = ordinal.filter(|_| words >= 3 && is_floor(word)).unwrap_or(start);
            return street[..cut].trim().trim_end_matches([' ', ',', '-', '\t']);
        }
        ordinal = is_ordinal(word).then_some(start);
    }
    street.trim()
}

/// Words with the places where they start; commas and blanks are between words.
fn words_of(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split([' ', ',', '\t']).filter_map(move |word| {
        let start = at;
        at += word.len() + 1;
        (!word.is_empty()).then_some((start, word))
    })
}

fn is_unit(word: &str) -> bool {
    let word = word.trim_end_matches(['.', ':']);
    word.starts_with('#') || UNITS.iter().any(|unit| is_unit_word(word, unit))
}

/// The word itself, or with a number directly behind it, as in `STE200`.
fn is_unit_word(word: &str, unit: &str) -> bool {
    let Some((start, rest)) = word.split_at_checked(unit.len()) else {
        return false;
    };
    start.eq_ignore_ascii_case(unit) && (rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_digit() || c == '#'))
}

fn is_floor(word: &str) -> bool {
    let word = word.trim_end_matches('.');
    ["FL", "FLOOR"].iter().any(|floor| word.eq_ignore_ascii_case(floor))
}

fn is_ordinal(word: &str) -> bool {
    let digits = word.trim_start_matches(|c: char| c.is_ascii_digit());
    digits.len() < word.len() && ["ST", "ND", "RD", "TH"].iter().any(|ending| digits.eq_ignore_ascii_case(ending))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_of_buildings_are_left_out() {
        for (street, expected) in [
            ("100 MAIN ST STE 200", "100 MAIN ST"),
            ("100 MAIN ST, SUITE 200", "100 MAIN ST"),
            ("100 Main St. Apt. 4", "100 Main St."),
            ("100 MAIN ST #12", "100 MAIN ST"),
            ("100 MAIN ST # 12", "100 MAIN ST"),
            ("100 MAIN ST STE200", "100 MAIN ST"),
            ("100 MAIN ST 5TH FLOOR", "100 MAIN ST"),
            ("100 MAIN ST FL 5", "100 MAIN ST"),
            ("100 5TH ST BLDG C UNIT 3", "100 5TH ST"),
            ("100 5TH FL", "100 5TH"),
            ("12 UNIT ST", "12 UNIT ST"),
            ("STE 200 100 MAIN ST", "STE 200 100 MAIN ST"),
            ("100 ROOMER AVE", "100 ROOMER AVE"),
            ("100 FLORIDA AVE", "100 FLORIDA AVE"),
            ("  100 MAIN ST  ", "100 MAIN ST"),
            ("PO BOX 12", "PO BOX 12"),
            ("", ""),
        ] {
            assert_eq!(without_unit(street), expected, "{street:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_left_is_a_part_of_what_was(street in ".{0,60}") {
            prop_assert!(street.contains(without_unit(&street)));
        }

        #[test]
        fn nothing_is_left_to_cut(street in "[0-9]{1,3} [A-Z]{2,6} (ST|AVE)( (STE|APT|#|FLOOR) ?[0-9]{1,3})?") {
            let once = without_unit(&street);
            prop_assert_eq!(without_unit(once), once);
        }
    }
}
