use super::view::{Match, View};
use crate::Class;
use crate::cue::Cue;
use crate::token::{Gap, Kind, Shape};

/// Whoever was born in this year or before is, or would be, over 89. Safe Harbor drops such a year.
pub(crate) const OLDEST_YEAR: u64 = 1936;

/// An age over 89 that starts with the number at `i`, or a year of birth that tells one.
pub(crate) fn over_89(view: &View<'_>, i: usize) -> Option<Match> {
    let (value, length) = view.number(i)?;
    if length == 4 && (1850..=OLDEST_YEAR).contains(&value) {
        let born = (1..=3).any(|step| view.word_is(i.wrapping_sub(step), &["born", "dob", "birth", "yob"]));
        return born.then(|| view.find(i, i, Class::Age, "year of birth over 89 years ago"));
    }
    if !(90..=125).contains(&value) || view.unit_before_decimal(i) {
        return None;
    }
    (old_follows(view, i + 1) || age_precedes(view, i) || stands_by_name(view, i, value))
        .then(|| view.find(i, i, Class::Age, "age over 89"))
}

/// `Mr. Smith, 93, has`, `Maria Lopez (93)`; in a table the cell behind that of a name or a number: `| Lopez, Maria | 93 |`
fn stands_by_name(view: &View<'_>, i: usize, value: u64) -> bool {
    let next = view.at(i + 1);
    let closed = |by: &[u8]| next.kind == Kind::Punct && by.contains(&next.byte);
    let at = i.wrapping_sub(1);
    let named = view.follows_find(at, Class::Name);
    match view.at(at).byte {
        b',' if !view.joined(i) => named && closed(b",);"),
        b'(' => named && closed(b",)"),
        b'|' => {
            let numbered = [Class::Mrn, Class::Account, Class::Id].iter().any(|class| view.follows_find(at, *class));
            value <= 115 && closed(b"|") && (named || numbered)
        }
        _ => false,
    }
}

/// `year-old`, `years old`, `yo`, `y/o`, `y.o.`, `yr old`, `F` or `M` written to the number
fn old_follows(view: &View<'_>, i: usize) -> bool {
    let mut at = i;
    if view.at(at).is(b'-') {
        at += 1;
    }
    let token = view.at(at);
    if token.gap > Gap::Line || token.kind != Kind::Word {
        return false;
    }
    if view.word_is(at, &["yo", "yof", "yom"]) {
        return true;
    }
    if view.word_is(at, &["f", "m"]) {
        return token.shape == Shape::Initial && view.joined(at);
    }
    if !view.word_is(at, &["year", "years", "yr", "yrs", "y"]) {
        return false;
    }
    let mut next = at + 1;
    while view.at(next).kind == Kind::Punct && matches!(view.at(next).byte, b'-' | b'.' | b'/') && next < at + 3 {
        next += 1;
    }
    view.word_is(next, &["old", "o"]) || (view.word_is(next, &["of"]) && view.word_is(next + 1, &["age"]))
}

/// `aged 92`, `age: 92`, `turned 92`
fn age_precedes(view: &View<'_>, i: usize) -> bool {
    let mut at = i.wrapping_sub(1);
    while view.at(at).kind == Kind::Punct && matches!(view.at(at).byte, b':' | b'=' | b'*') {
        at = at.wrapping_sub(1);
    }
    view.word_is(at, &["aged", "age", "turned", "turning"])
        || (view.word_is(at, &["of", "is"]) && view.word_is(at.wrapping_sub(1), &["age"]))
}

/// `ninety-two year old`, `in her nineties`, `centenarian`
pub(crate) fn in_words(view: &View<'_>, i: usize) -> Option<Match> {
    if view.word_is(i, &["nineties", "centenarian", "nonagenarian"]) {
        let decade = view.word_is(i.wrapping_sub(1), &["the", "nineteen"]);
        return (!decade).then(|| view.find(i, i, Class::Age, "age over 89"));
    }
    if !view.word_is(i, &["ninety", "hundred"]) {
        return None;
    }
    let mut last = i;
    if view.at(i + 1).is(b'-') && view.at(i + 2).kind == Kind::Word && !view.word_is(i + 2, &["year"]) {
        last = i + 2;
    } else if view.word_is(i + 1, &["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]) {
        last = i + 1;
    }
    (old_follows(view, last + 1) || age_precedes(view, i)).then(|| view.find(i, last, Class::Age, "age over 89"))
}

impl View<'_> {
    /// True if the number is the fraction of a decimal, or leads one.
    fn unit_before_decimal(&self, i: usize) -> bool {
        (self.joined(i) && matches!(self.before(i, 1).byte, b'.' | b'/'))
            || (matches!(self.joint(i + 1), b'.' | b'/') && self.joined(i + 2) && self.at(i + 2).kind == Kind::Number)
            || self.before(i, 1).has(Cue::DateLabel) && self.before(i, 1).is_capital()
    }
}
