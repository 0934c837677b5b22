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

/// Two-digit years from here on are of the last century.
const PIVOT: i64 = 40;

/// The three parts of a date, and where in its text they stand.
struct Parts {
    year: (i64, Token),
    month: (i64, Token),
    day: (i64, Token),
}

/// The date in a text, some days later, written as it was; none if a part of it is missing, or it is not the only one.
pub(crate) fn shifted(lexicon: &'static Lexicon, text: &str, days: i32) -> Option<String> {
    let mut tokens = Vec::new();
    Lexer::new(lexicon, text).fill(&mut tokens, 16);
    let parts = parts(text, &tokens)?;
    let (year, month, day) =
        civil_from_days(days_from_civil(parts.year.0, parts.month.0, parts.day.0) + i64::from(days));
    let mut pieces = [
        (parts.year.1, number(year % if parts.year.1.len() == 2 { 100 } else { 10_000 }, parts.year.1.len())),
        (parts.month.1, month_as(text, &parts.month.1, month)),
        (parts.day.1, number(day, if parts.day.1.len() == 2 { 2 } else { 1 })),
    ];
    pieces.sort_by_key(|(token, _)| token.start);
    let (mut out, mut at) = (String::with_capacity(text.len() + 8), 0);
    for (token, piece) in pieces {
        out.push_str(text.get(at..token.start as usize)?);
        out.push_str(&piece);
        at = token.end as usize;
    }
    // "3rd" would become "17rd".
    let tail = text.get(at..)?;
    let ordinal = tokens.iter().any(|token| {
        token.kind == Kind::Word && ["st", "nd", "rd", "th"].contains(&&text[token.start as usize..token.end as usize])
    });
    out.push_str(tail);
    (!ordinal).then_some(out)
}

fn number(value: i64, width: usize) -> String {
    format!("{value:0width$}")
}

fn month_as(text: &str, token: &Token, month: i64) -> String {
    if token.kind == Kind::Number {
        return number(month, if token.len() == 2 { 2 } else { 1 });
    }
    let name = MONTHS[(month - 1) as usize];
    let short = token.len() <= 4
        && !text[token.start as usize..token.end as usize].eq_ignore_ascii_case("june")
        && !text[token.start as usize..token.end as usize].eq_ignore_ascii_case("july");
    let name = if short { &name[..3] } else { name };
    match token.shape {
        Shape::Upper => name.to_uppercase(),
        Shape::Lower => name.to_lowercase(),
        Shape::Initial | Shape::Title | Shape::Mixed => name.to_owned(),
    }
}

fn parts(text: &str, tokens: &[Token]) -> Option<Parts> {
    let value = |token: &Token| text[token.start as usize..token.end as usize].parse::<i64>().ok();
    let numbers: Vec<_> = tokens.iter().filter(|token| token.kind == Kind::Number).take(4).collect();
    let name = tokens.iter().find(|token| token.kind == Kind::Word && token.has(Cue::Month));
    let full = |token: &Token| {
        let year = value(token)?;
        Some(if token.len() > 2 {
            year
        } else if year >= PIVOT {
            1900 + year
        } else {
            2000 + year
        })
    };
    let (year, month, day) = match (name, numbers.as_slice()) {
        (Some(month), [first, second]) => {
            let (day, year) = if first.len() == 4 { (second, first) } else { (first, second) };
            let text = text[month.start as usize..month.end as usize].to_ascii_lowercase();
            let index =
                MONTHS.iter().position(|name| name.to_ascii_lowercase().starts_with(text.get(..3).unwrap_or(&text)))?;
            (**year, (index as i64 + 1, *month), **day)
        }
        (None, [first, second, third, ..]) => {
            let (year, month, day) = if first.len() == 4 {
                (first, second, third)
            } else if value(first)? > 12 {
                (third, second, first)
            } else {
                (third, first, second)
            };
            (**year, (value(month)?, **month), **day)
        }
        _ => return None,
    };
    let parts = Parts { year: (full(&year)?, year), month, day: (value(&day)?, day) };
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
            ("March 2020", 3, None),
            ("3/14", 3, None),
        ] {
            assert_eq!(shifted(lexicon, text, days).as_deref(), after, "{text}");
        }
    }
}
