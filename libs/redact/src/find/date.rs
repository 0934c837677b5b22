use super::view::{Match, View};
use crate::Class;
use crate::cue::{Cue, any};
use crate::token::{Gap, Kind, Shape};

const SEASONED: std::ops::RangeInclusive<u64> = 1880..=2120;

/// Second numbers of common scores: `10/30` is not the thirtieth of October.
const OUT_OF: [u64; 9] = [15, 20, 21, 24, 25, 27, 28, 29, 30];

fn is_month(value: u64) -> bool {
    (1..=12).contains(&value)
}

fn is_day(value: u64) -> bool {
    (1..=31).contains(&value)
}

fn is_year(value: u64) -> bool {
    SEASONED.contains(&value)
}

/// A date that starts with the number at `i`.
pub(crate) fn from_number(view: &View<'_>, i: usize) -> Option<Match> {
    let separator = view.joint(i + 1);
    let slashed = matches!(separator, b'/' | b'-' | b'.' | 0x5c);
    // In the middle of something else, such as 1.2.3.4 or 120/80/60.
    let inside = view.joined(i)
        && matches!(view.before(i, 1).byte, b'.' | b'/')
        && view.before(i, 2).kind == Kind::Number
        && view.last.is_none_or(|last| last.next + 1 != i);
    if inside {
        return None;
    }
    if slashed {
        let three = three_parts(view, i, separator);
        if three.is_some() {
            return three;
        }
        let two = two_parts(view, i, separator);
        if two.is_some() {
            return two;
        }
    }
    day_month(view, i).or_else(|| compact(view, i))
}

/// `2020-03-14`, `3/14/2020`, `14.3.2020`, `3/14/20`
fn three_parts(view: &View<'_>, i: usize, separator: u8) -> Option<Match> {
    if view.joint(i + 3) != separator || !view.joined(i + 2) || !view.joined(i + 4) {
        return None;
    }
    let ((a, a_len), (b, b_len), (c, c_len)) = (view.number(i)?, view.number(i + 2)?, view.number(i + 4)?);
    let goes_on =
        matches!(view.joint(i + 5), b'/' | b'-' | b'.') && view.joined(i + 6) && view.at(i + 6).kind == Kind::Number;
    if b_len > 2 || (goes_on && !range_of_dates(view, i + 6)) {
        return None;
    }
    let day_and_month = a_len <= 2 && ((is_month(a) && is_day(b)) || (is_day(a) && is_month(b)));
    let good = (a_len == 4 && is_year(a) && c_len <= 2 && ((is_month(b) && is_day(c)) || (is_day(b) && is_month(c))))
        || (day_and_month && c_len == 4 && is_year(c))
        || (day_and_month
            && c_len == 2
            && !view.unit_after(i + 5)
            && (separator != b'.' || (a_len == 2 && b_len == 2)));
    good.then(|| view.find(i, time_after(view, i + 4), Class::Date, "date"))
}

/// True if a date of three parts starts here: then what stands before is the first of a range.
fn range_of_dates(view: &View<'_>, i: usize) -> bool {
    matches!(view.joint(i + 1), b'/' | b'.' | b'-') && view.joint(i + 3) == view.joint(i + 1)
}

/// The last token of an ISO 8601 time that is written to the date: `2020-03-14T10:22:33Z`.
fn time_after(view: &View<'_>, last: usize) -> usize {
    if !(view.joined(last + 1) && view.word_is(last + 1, &["t"]) && view.joined(last + 2)) {
        return last;
    }
    let mut end = last + 2;
    while end < last + 14 && view.joined(end + 1) {
        let token = view.at(end + 1);
        let part = token.kind == Kind::Number
            || view.word_is(end + 1, &["z"])
            || (matches!(token.byte, b':' | b'.' | b'+' | b'-')
                && view.joined(end + 2)
                && view.at(end + 2).kind == Kind::Number);
        if !part {
            break;
        }
        end += 1;
    }
    end
}

/// `3/14` where something says that it is a date; `03/2020`.
fn two_parts(view: &View<'_>, i: usize, separator: u8) -> Option<Match> {
    if !view.joined(i + 2) {
        return None;
    }
    let ((a, a_len), (b, b_len)) = (view.number(i)?, view.number(i + 2)?);
    let goes_on = matches!(view.joint(i + 3), b'/' | b'.') && view.joined(i + 4) && view.at(i + 4).kind == Kind::Number;
    if goes_on || view.unit_after(i + 3) || (view.joined(i + 3) && view.at(i + 3).kind == Kind::Word) {
        return None;
    }
    let found = |why| Some(view.find(i, i + 2, Class::Date, why));
    if matches!(separator, b'/' | b'-') {
        let month_year = a_len <= 2 && is_month(a) && b_len == 4 && (1900..=2099).contains(&b);
        let year_month = a_len == 4 && (1900..=2099).contains(&a) && b_len == 2 && is_month(b) && separator == b'-';
        let range_of_years = view.number(i).is_some_and(|(a, _)| a > 12) && b_len == 4;
        if (month_year && separator == b'/' || year_month) && !range_of_years {
            return found("month and year");
        }
    }
    if a_len > 2 || b_len > 2 || separator != b'/' || !((is_month(a) && is_day(b)) || (is_day(a) && is_month(b))) {
        return None;
    }
    let next = view.at(i + 3);
    if next.gap <= Gap::Space && next.kind == Kind::Word && next.has(Cue::EponymNoun) {
        return None;
    }
    let second_of_range = view.last.is_some_and(|last| {
        last.class == Class::Date
            && (last.next == i
                || (last.next + 1 == i
                    && (view.before(i, 1).is(b'-') || view.word_is(i - 1, &["to", "through", "and", "thru"]))))
    });
    let before_full = view.joint(i + 3) == b'-' && range_of_dates(view, i + 4);
    let cue = view.cue_before(i, 3, Cue::DateLabel.bit()) != 0 && is_month(a) && !scored(view, i);
    let stamped = is_month(a) && (clock_follows(view, i + 3) || stands_alone(view, i)) && !scored(view, i);
    let bare = is_month(a) && b > 12 && b_len == 2 && !OUT_OF.contains(&b) && !scored(view, i);
    (second_of_range || before_full || cue || stamped || bare)
        .then(|| view.find(i, i + 2, Class::Date, "day and month"))
}

/// True if a time of day as `0715` stands at `i`, as in notes that are stamped `3/9 0715`.
fn clock_follows(view: &View<'_>, i: usize) -> bool {
    let token = view.at(i);
    let clock = view.digits(i, 4, 4).is_some_and(|time| time < 2400 && time % 100 < 60);
    clock && token.gap == Gap::Space && !view.unit_after(i + 1) && view.joint(i + 1) != b'/'
}

/// True if `3/9` is a paragraph of its own, as the date of a letter, or ends the line of a signature: `, MD 3/9`.
fn stands_alone(view: &View<'_>, i: usize) -> bool {
    let ends = |least: Gap| view.at(i + 3).kind == Kind::None || view.at(i + 3).gap >= least;
    let signed = view.before(i, 1).has(Cue::Credential) && view.before(i, 1).shape == Shape::Upper;
    (view.at(i).gap == Gap::Break && i > 0 && ends(Gap::Break)) || (signed && ends(Gap::Line))
}

/// True if a score or measure stands before: `pain 3/10`, `strength 5/5`.
fn scored(view: &View<'_>, i: usize) -> bool {
    (1..=4).any(|step| {
        let token = view.before(i, step);
        token.kind == Kind::Word
            && (view.word_is(
                i.wrapping_sub(step),
                &[
                    "pain", "strength", "score", "scored", "apgar", "ratio", "scale", "grade", "bp", "murmur", "rated",
                    "dose", "motor", "power", "vision", "acuity", "reflexes", "stage", "level", "severity", "titer",
                    "phq", "gad", "moca", "mmse", "gcs", "gpa",
                ],
            ) || token.has(Cue::Drug))
    })
}

/// `14 March 2020`, `14-Mar-2020`, `14th of March`, `14Mar20`
fn day_month(view: &View<'_>, i: usize) -> Option<Match> {
    let day = view.digits(i, 1, 2).filter(|day| is_day(*day))?;
    let (mut at, mut list) = (i + 1, false);
    if view.joined(at) && view.word_is(at, &["st", "nd", "rd", "th"]) {
        at += 1;
    }
    if view.word_is(at, &["of", "day"]) {
        at += 1;
        if view.word_is(at, &["of"]) {
            at += 1;
        }
    } else if matches!(view.joint(at), b'-' | b'/' | b'.') {
        // "3. May" is the end of a sentence, unless a year follows.
        list = view.at(at).is(b'.') && !view.joined(at + 1);
        at += 1;
    }
    let month = view.at(at);
    if month.kind != Kind::Word || !month.has(Cue::Month) || month.gap > Gap::Line || day == 0 {
        return None;
    }
    let last = year_after(view, at);
    // "2 may be given", "3 March drives"
    let plain = month.shape == Shape::Lower && month.lexeme.word() == 3 && month.len() < 7;
    (last > at || !(plain || list)).then(|| view.find(i, last, Class::Date, "day and month"))
}

/// The token of a year that follows a month or day, else `last`. A point or comma may stand between.
fn year_after(view: &View<'_>, last: usize) -> usize {
    let mut at = last + 1;
    let mut dashed = false;
    if matches!(view.at(at).byte, b'.' | b',' | b'-' | b'/')
        && view.at(at).gap == Gap::None
        && view.at(at).kind == Kind::Punct
    {
        dashed = matches!(view.at(at).byte, b'-' | b'/');
        at += 1;
    }
    if view.at(at).is(b',') {
        at += 1;
    }
    if view.word_is(at, &["of"]) {
        at += 1;
    }
    if view.at(at).gap > Gap::Line {
        return last;
    }
    if view.at(at).is(b'\'') && view.digits(at + 1, 2, 2).is_some() && view.joined(at + 1) {
        return at + 1;
    }
    match view.number(at) {
        Some((year, 4)) if (1900..2100).contains(&year) || (is_year(year) && !view.unit_after(at + 1)) => at,
        Some((_, 2)) if dashed || view.joined(at) => at,
        _ => last,
    }
}

/// `20200314` beside a word that tells that it is a date.
fn compact(view: &View<'_>, i: usize) -> Option<Match> {
    let value = view.digits(i, 8, 8)?;
    let ymd = is_year(value / 10_000) && is_month(value / 100 % 100) && is_day(value % 100);
    let mdy = is_month(value / 1_000_000) && is_day(value / 10_000 % 100) && is_year(value % 10_000);
    let mask = any(&[Cue::DateLabel, Cue::MrnLabel, Cue::IdLabel, Cue::PlanLabel, Cue::AccountLabel, Cue::PhoneLabel]);
    let cue = view.cue_before(i, 3, mask);
    ((ymd || mdy) && cue & Cue::DateLabel.bit() != 0 && cue & Cue::MrnLabel.bit() == 0)
        .then(|| view.find(i, i, Class::Date, "compact date"))
}

/// A date that starts with the name of a month at `i`.
pub(crate) fn from_month(view: &View<'_>, i: usize) -> Option<Match> {
    let month = view.at(i);
    let capital = month.is_capital();
    let mut at = i + 1;
    if view.at(at).is(b'.') && view.joined(at) && month.len() <= 4 {
        at += 1;
    }
    if view.word_is(at, &["the"]) {
        at += 1;
    }
    if view.at(at).gap > Gap::Line {
        return None;
    }
    // "March 3", "Mar 3rd, 2020", "March 3-5, 2020", "May-2020"
    if let Some(day) = view.digits(at, 1, 2).filter(|day| is_day(*day)) {
        let mut last = at;
        if view.joined(last + 1) && view.word_is(last + 1, &["st", "nd", "rd", "th"]) {
            last += 1;
        }
        let decimal = view.joint(last + 1) == b'.' && view.joined(last + 2) && view.at(last + 2).kind == Kind::Number;
        if view.at(last + 1).is(b'-') && view.digits(last + 2, 1, 2).is_some_and(|to| is_day(to) && to > day) {
            last += 2;
        }
        let end = year_after(view, last);
        let unit = view.unit_after(end + 1) && end == last;
        let sure = capital || end > last || month.lexeme.word() == 0 || month.len() >= 7;
        if sure
            && !unit
            && !decimal
            && (month.shape != Shape::Upper || month.len() != 3 || end > last || !view.joined(at))
        {
            return Some(view.find(i, end, Class::Date, "month and day"));
        }
        return None;
    }
    let dashed = if matches!(view.joint(at), b'-' | b'/' | b',') { at + 1 } else { at };
    if matches!(view.number(dashed), Some((year, 4)) if is_year(year)) {
        return Some(view.find(i, dashed, Class::Date, "month and year"));
    }
    if view.word_is(at, &["of"]) && matches!(view.number(at + 1), Some((year, 4)) if is_year(year)) {
        return Some(view.find(i, at + 1, Class::Date, "month and year"));
    }
    alone(view, i, capital).then(|| view.find(i, i, Class::Date, "month"))
}

/// A month by itself, where only a date can stand: `in March`, `since early June`. Of `May`, `March` and the short forms
/// something more is asked.
fn alone(view: &View<'_>, i: usize, capital: bool) -> bool {
    let month = view.at(i);
    if !capital || month.shape == Shape::Upper && month.len() <= 4 {
        return false;
    }
    let before = view.word_is(
        i.wrapping_sub(1),
        &[
            "in", "since", "until", "till", "last", "next", "this", "early", "late", "mid", "through", "during", "by",
            "from", "of",
        ],
    ) || (view.before(i, 1).is(b'-') && view.word_is(i.wrapping_sub(2), &["mid"]));
    let also_name = month.lexeme.given() >= 3 && !view.word_is(i, &["june", "april", "august", "january"]);
    let of = view.word_is(i.wrapping_sub(1), &["of", "by", "from"]);
    before && month.len() >= 3 && !(of && also_name) && !view.at(i + 1).is_capital()
}

/// A weekday that leads a date, with that date. By itself it is relative, and stays.
pub(crate) fn from_weekday(view: &View<'_>, i: usize) -> Option<Match> {
    let mut at = i + 1;
    while view.at(at).kind == Kind::Punct && matches!(view.at(at).byte, b',' | b'.' | b'(') && at < i + 3 {
        at += 1;
    }
    if view.at(at).gap > Gap::Space {
        return None;
    }
    let date = match view.at(at).kind {
        Kind::Number => from_number(view, at),
        Kind::Word if view.at(at).has(Cue::Month) => from_month(view, at),
        _ => None,
    }?;
    Some(Match { start: view.at(i).start, ..date })
}

/// A holiday with its year.
pub(crate) fn from_holiday(view: &View<'_>, i: usize) -> Option<Match> {
    let mut at = i + 1;
    if view.word_is(at, &["day", "eve"]) {
        at += 1;
    }
    if view.at(at).is(b',') {
        at += 1;
    }
    matches!(view.number(at), Some((year, 4)) if is_year(year))
        .then(|| view.find(i, at, Class::Date, "holiday and year"))
}
