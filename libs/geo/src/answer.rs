//! Answers of the Census geocoder: rows in any order, three columns where nothing was found and eight or more where
//! something was, and the longitude before the latitude in one cell.

use std::fmt;

use csv::{ByteRecord, ReaderBuilder};

use crate::{Batch, Point};

/// What the geocoder says of one address.
#[derive(Clone, PartialEq)]
pub enum Outcome {
    /// It was found.
    Match {
        /// Where.
        point: Point,
        /// Whether the address was found as it was written; otherwise one like it.
        exact: bool,
        /// The address that was found, as the geocoder writes it.
        matched_address: String,
    },
    /// It was not found.
    NoMatch,
    /// Several places fit equally well.
    Tie,
    /// The answer does not have it, or not in a known shape: ask again.
    Missing,
}

impl Outcome {
    /// A short code for reports and reason columns; `None` for a match.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Match { .. } => None,
            Self::NoMatch => Some("not_found"),
            Self::Tie => Some("ambiguous_address"),
            Self::Missing => Some("upstream_incomplete"),
        }
    }
}

// An address is the user's: it must not get into logs.
impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason().unwrap_or("found"))
    }
}

/// The body is no answer of the geocoder. It does not repeat what the body says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the geocoder's answer has no row for any of the addresses; it may be overloaded")]
pub struct AnswerError;

/// Reads an answer to a batch of `rows` addresses, in the order of the addresses. An answer that was cut off gives
/// what it has. The caller bounds the body's size.
pub fn parse_answers(body: &[u8], rows: u32) -> Result<Vec<Outcome>, AnswerError> {
    let mut outcomes = vec![Outcome::Missing; rows.min(Batch::MOST_ROWS) as usize];
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(body);
    let mut record = ByteRecord::new();
    let mut found = rows == 0;
    while reader.read_byte_record(&mut record).unwrap_or(false) {
        let cell =
            |column: usize| std::str::from_utf8(record.get(column).unwrap_or_default()).unwrap_or_default().trim();
        let number = cell(0).parse().ok().filter(|_| cell(0).bytes().all(|byte| byte.is_ascii_digit()));
        let place = number.and_then(|number: usize| outcomes.get_mut(number));
        if let Some((place, outcome)) = place.zip(read(&cell)) {
            *place = outcome;
            found = true;
        }
    }
    found.then_some(outcomes).ok_or(AnswerError)
}

/// What a row says; `None` if it is not whole.
fn read<'a>(cell: &impl Fn(usize) -> &'a str) -> Option<Outcome> {
    match cell(2) {
        "No_Match" => Some(Outcome::NoMatch),
        "Tie" => Some(Outcome::Tie),
        "Match" => {
            let (longitude, latitude) = cell(5).split_once(',')?;
            let point = Point::parse(latitude, longitude)?;
            Some(Outcome::Match { point, exact: cell(3) == "Exact", matched_address: cell(4).to_owned() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The recorded shapes with invented addresses; rows of the address service and of the one with geographies.
    const ANSWER: &str = "\
\"2\",\"9 NOWHERE LN, ELMVILLE, NH, 03001\",\"No_Match\"\n\
\"0\",\"1 MAIN ST, ELMVILLE, NH, 03001\",\"Match\",\"Exact\",\"1 MAIN ST, ELMVILLE, NH, 03001\",\"-71.5,42.8\",\"1234\",\"L\"\n\
\"3\",\"5 ELM ST, ELMVILLE, NH, 03001\",\"Tie\"\n\
\"1\",\"2 MAIN STREET, ELMVILLE, NH, 03001\",\"Match\",\"Non_Exact\",\"2 MAIN ST, ELMVILLE, NH, 03001\",\"-71.6,42.9\",\"1235\",\"R\",\"33\",\"011\",\"000100\",\"1000\"\n";

    #[test]
    fn ragged_rows_in_any_order_are_told_apart() {
        let found = |longitude, latitude, exact, matched: &str| {
            let matched_address = format!("{matched}, ELMVILLE, NH, 03001");
            Outcome::Match { point: Point { latitude, longitude }, exact, matched_address }
        };
        let outcomes = parse_answers(ANSWER.as_bytes(), 5).unwrap();
        let expected = [
            found(-71.5, 42.8, true, "1 MAIN ST"),
            found(-71.6, 42.9, false, "2 MAIN ST"),
            Outcome::NoMatch,
            Outcome::Tie,
            Outcome::Missing,
        ];
        assert_eq!(outcomes, expected);
        assert_eq!(outcomes[4].reason(), Some("upstream_incomplete"));
        assert_eq!(outcomes[0].reason(), None);
        assert!(!format!("{outcomes:?}").contains("MAIN"));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for body in [
            "",
            "<html><body>Service unavailable</body></html>",
            "9,x,Match\n",
            "0,x,Match,Exact,y,nowhere\n",
            "-0,a,Tie",
        ] {
            assert_eq!(parse_answers(body.as_bytes(), 2), Err(AnswerError), "{body}");
        }
        assert_eq!(parse_answers(b"", 0), Ok(Vec::new()));
        for place in ["200,42", "-71,91", "nan,nan", "1e1,2", "-71.5"] {
            let body = format!("0,\"a\",Match,Exact,\"b\",\"{place}\",1,L\n1,a,Tie\n");
            assert_eq!(parse_answers(body.as_bytes(), 2), Ok(vec![Outcome::Missing, Outcome::Tie]), "{place}");
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_gives_what_it_has() {
        for end in 0..ANSWER.len() {
            let whole = parse_answers(ANSWER.as_bytes(), 4).unwrap();
            if let Ok(outcomes) = parse_answers(&ANSWER.as_bytes()[..end], 4) {
                let complete = ANSWER[..end].matches('\n').count();
                let answered = outcomes.iter().filter(|outcome| **outcome != Outcome::Missing).count();
                assert!(answered == complete || answered == complete + 1);
                assert!(outcomes.iter().zip(&whole).filter(|(some, all)| some == all).count() >= complete);
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), rows in 0u32..20) {
            if let Ok(outcomes) = parse_answers(&bytes, rows) {
                prop_assert_eq!(outcomes.len(), rows as usize);
            }
        }
    }
}
