use crate::cue::Cue;
use crate::lexicon::Lexicon;
use crate::token::{Kind, Lexer, Shape, Token};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Two-digit years from here on are of the last century.
const PIVOT: i64 = 40;

/// Tokens of a date, its time and its weekday are fewer.
const TOKENS: usize = 24;

/// The three parts of a date, its weekday, and where in its text they stand.
struct Parts {
    year: (i64, Token),
    month: (i64, Token),
    day: (i64, Token),
    weekday: Option<Token>,
}

/// The date in a text, some days later, written as it was; none if a part of it is missing, or anything stands beside it:
/// that would be copied as it is.
pub(crate) fn shifted(lexicon: &'static Lexicon, text: &str, days: i32) -> Option<String> {
    let mut tokens = Vec::new();
    if Lexer::new(lexicon, text).fill(&mut tokens, TOKENS) {
        return None;
    }
    let parts = parts(text, &tokens)?;
    let moved = days_from_civil(parts.year.0, parts.month.0, parts.day.0) + i64::from(days);
    let (year, month, day) = civil_from_days(moved);
    let month = if parts.month.1.kind == Kind::Number {
        number(month, if parts.month.1.len() == 2 { 2 } else { 1 })
    } else {
        name_as(text, &parts.month.1, &MONTHS, month - 1)
    };
    let mut pieces = vec![
        (parts.year.1, number(year % if parts.year.1.len() == 2 { 100 } else { 10_000 }, parts.year.1.len())),
        (parts.month.1, month),
        (parts.day.1, number(day, if parts.day.1.len() == 2 { 2 } else { 1 })),
    ];
    // The first of January 1970 was a Thursday.
    pieces.extend(parts.weekday.map(|token| (token, name_as(text, &token, &WEEKDAYS, (moved + 4).rem_euclid(7)))));
    pieces.sort_by_key(|(token, _)| token.start);
    let (mut out, mut at) = (String::with_capacity(text.len() + 8), 0);
    for (token, piece) in pieces {
        out.push_str(text.get(at..token.start as usize)?);
        out.push_str(&piece);
        at = token.end as usize;
    }
    out.push_str(text.get(at..)?);
    Some(out)
}

fn number(value: i64, width: usize) -> String {
    format!("{value:0width$}")
}

fn text_of<'t>(text: &'t str, token: &Token) -> &'t str {
    &text[token.start as usize..token.end as usize]
}

/// One of the names, as short and in such letters as the one that the token is.
fn name_as(text: &str, token: &Token, names: &[&str], index: i64) -> String {
    let whole = names.iter().any(|name| name.len() > 3 && name.eq_ignore_ascii_case(text_of(text, token)));
    let name = names[index as usize];
    let name = if whole { name } else { &name[..3] };
    match token.shape {
        Shape::Upper => name.to_uppercase(),
        Shape::Lower => name.to_lowercase(),
        Shape::Initial | Shape::Title | Shape::Mixed => name.to_owned(),
    }
}

/// The parts of the date that a text is; none if it is anything else besides.
fn parts(text: &str, tokens: &[Token]) -> Option<Parts> {
    let (mut numbers, mut name, mut weekday, mut timed) = (Vec::new(), None, None, false);
    for token in tokens {
        let is = |word: &str| text_of(text, token).eq_ignore_ascii_case(word);
        match token.kind {
            Kind::Number => numbers.push(*token),
            // Not ASCII: it may be a digit of another script.
            Kind::Punct if token.byte != 0 => {}
            Kind::Word if token.has(Cue::Month) && name.is_none() => name = Some(*token),
            Kind::Word if token.has(Cue::Weekday) && weekday.is_none() => weekday = Some(*token),
            // What follows it is the time of day.
            Kind::Word if is("t") && numbers.len() == 3 && !timed => timed = true,
            Kind::Word if is("of") || (is("z") && timed) => {}
            Kind::Word | Kind::Punct | Kind::Email | Kind::Url | Kind::Tag | Kind::None => return None,
        }
    }
    let value = |token: &Token| text_of(text, token).parse::<i64>().ok();
    let (year, month, day) = match (name, numbers.as_slice()) {
        (Some(month), &[first, second]) => {
            let (day, year) = if first.len() == 4 { (second, first) } else { (first, second) };
            let start = text_of(text, &month).get(..3)?.to_ascii_lowercase();
            let index = MONTHS.iter().position(|name| name.to_ascii_lowercase().starts_with(&start))?;
            (year, (index as i64 + 1, month), day)
        }
        (None, &[first, second, third, ref rest @ ..]) if rest.is_empty() || timed => {
            let (year, month, day) = if first.len() == 4 {
                (first, second, third)
            } else if value(&first)? > 12 {
                (third, second, first)
            } else {
                (third, first, second)
            };
            (year, (value(&month)?, month), day)
        }
        _ => return None,
    };
    let full = match value(&year)? {
        full if year.len() > 2 => full,
        short if short >= PIVOT => 1900 + short,
        short => 2000 + short,
    };
    let parts = Parts { year: (full, year), month, day: (value(&day)?, day), weekday };
    let good =
        (1..=12).contains(&parts.month.0) && (1..=31).contains(&parts.day.0) && (1..=9990).contains(&parts.year.0);
    good.then_some(parts)
}

/// Days since 1970-01-01. Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of days since 1970-01-01. Source: as above, `civil_from_days`.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_keep_their_form() {
        let lexicon = Lexicon::shared().unwrap();
        for (text, days, after) in [
            ("2020-02-28", 2, Some("2020-03-01")),
            ("12/31/19", 1, Some("01/01/20")),
            ("3/9/2020", -9, Some("2/29/2020")),
            ("14-Mar-2020", 30, Some("13-Apr-2020")),
            ("March 3, 2020", -3, Some("February 29, 2020")),
            ("31.12.1999", 1, Some("01.01.2000")),
            ("2020-01-05T10:20:30.5+01:00", 1, Some("2020-01-06T10:20:30.5+01:00")),
            ("May of 2020", 3, None),
            ("March 2020", 3, None),
            ("3/14", 3, None),
            ("Tuesday, March 3, 2020", 1, Some("Wednesday, March 4, 2020")),
            ("Sun 5 Jan 2020", -1, Some("Sat 4 Jan 2020")),
        ] {
            assert_eq!(shifted(lexicon, text, days).as_deref(), after, "{text}");
        }
    }

    #[test]
    fn nothing_is_copied_out_beside_a_date() {
        let lexicon = Lexicon::shared().unwrap();
        for text in [
            "01/02/2020 - 01/05/2020",
            "Jan 5, 2020 Ann",
            "Oyelar, May 13, 2020",
            "Jan 5, 2020 - Feb",
            "Jan 3-5, 2020",
            "Jan 3rd, 2020",
            "2020-01-05 10:20",
            "2020-01-05 \u{663}/\u{664}",
            "2020-01-05 ana@example.org",
            "Mon, Tue 2020-01-05",
            &("2020-01-05".to_owned() + &".".repeat(TOKENS)),
        ] {
            assert_eq!(shifted(lexicon, text, 7), None, "{text}");
        }
    }
}
