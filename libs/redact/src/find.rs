//! The rules. Each starts at one token, looks at a bounded number of its neighbours, and says what it found.

pub(crate) mod age;
pub(crate) mod contact;
pub(crate) mod context;
pub(crate) mod date;
pub(crate) mod id;
pub(crate) mod name;
pub(crate) mod place;
pub(crate) mod view;

use crate::Class;
use crate::cue::{Cue, any};
use crate::token::{Kind, Shape};
use view::{Match, View};

/// Small words that may start something: all others are passed over at once.
const STARTS: u64 = any(&[Cue::Month, Cue::Holiday, Cue::NumberWord, Cue::Weekday]);

/// True for most words and marks: those that start nothing, whatever stands beside them.
pub(crate) fn is_quiet(view: &View<'_>, i: usize) -> bool {
    let (token, before) = (view.at(i), view.before(i, 1));
    if token.kind == Kind::Punct {
        return token.byte != b':';
    }
    token.kind == Kind::Word
        && token.shape == Shape::Lower
        && token.cues & STARTS == 0
        && token.lexeme.given() < 3
        && view.at(i + 1).gap != crate::token::Gap::None
        && !before.has(Cue::Title)
        && before.byte != b'.'
}

/// What starts at the token `i`, if anything does.
pub(crate) fn at(view: &View<'_>, i: usize) -> Option<Match> {
    let token = view.at(i);
    match token.kind {
        Kind::Number => number(view, i),
        Kind::Word => word(view, i),
        Kind::Punct if token.byte == b':' && token.gap != crate::token::Gap::None => contact::colons(view, i),
        Kind::Email => Some(view.find(i, i, Class::Email, "e-mail address")),
        Kind::Url => Some(view.find(i, i, Class::Url, "web address")),
        Kind::Punct | Kind::Tag | Kind::None => None,
    }
}

fn number(view: &View<'_>, i: usize) -> Option<Match> {
    if matches!(view.joint(i + 1), b':' | b'-') || (view.joined(i + 1) && view.at(i + 1).kind == Kind::Word) {
        let address = contact::colons(view, i);
        if address.is_some() {
            return address;
        }
    }
    contact::ip(view, i)
        .or_else(|| id::plate(view, i))
        .or_else(|| contact::ssn(view, i))
        .or_else(|| contact::phone(view, i))
        .or_else(|| date::from_number(view, i))
        .or_else(|| age::over_89(view, i))
        .or_else(|| place::zip(view, i))
        .or_else(|| place::street(view, i))
        .or_else(|| id::code(view, i))
}

fn word(view: &View<'_>, i: usize) -> Option<Match> {
    let token = view.at(i);
    if token.shape == Shape::Lower {
        return small_word(view, i);
    }
    let next = view.at(i + 1);
    let with_digits = (next.gap == crate::token::Gap::None && next.kind == Kind::Number)
        || (matches!(view.joint(i + 1), b'-' | b'_' | b'/')
            && view.joined(i + 2)
            && view.at(i + 2).kind == Kind::Number)
        || (next.is(b':') && view.joined(i + 2));
    if token.shape != Shape::Title {
        let plate = id::plate(view, i);
        if plate.is_some() {
            return plate;
        }
    }
    if with_digits {
        let code = id::code(view, i).or_else(|| contact::colons(view, i));
        if code.is_some() {
            return code;
        }
    }
    if token.cues & STARTS != 0 {
        let date = if token.has(Cue::Month) {
            date::from_month(view, i)
        } else if token.has(Cue::Holiday) {
            date::from_holiday(view, i)
        } else if token.has(Cue::Weekday) {
            date::from_weekday(view, i)
        } else {
            age::in_words(view, i)
        };
        if date.is_some() {
            return date;
        }
    }
    bare_url(view, i)
        .or_else(|| place::organization(view, i))
        .or_else(|| place::place(view, i).filter(|_| context::left(view, i) < context::Left::Strong))
        .or_else(|| name::name(view, i))
}

fn small_word(view: &View<'_>, i: usize) -> Option<Match> {
    let token = view.at(i);
    if token.cues & STARTS != 0 {
        return if token.has(Cue::Month) { date::from_month(view, i) } else { age::in_words(view, i) };
    }
    if token.lexeme.given() >= 3 {
        let pair = name::lower_pair(view, i);
        if pair.is_some() {
            return pair;
        }
    }
    let next = view.at(i + 1);
    if next.gap == crate::token::Gap::None && next.kind == Kind::Number && !view.joined(i) {
        return id::code(view, i).or_else(|| contact::colons(view, i));
    }
    if view.before(i, 1).has(Cue::Title) || (view.before(i, 1).is(b'.') && view.before(i, 2).has(Cue::Title)) {
        return (context::left(view, i) == context::Left::Title).then(|| name::name(view, i)).flatten();
    }
    bare_url(view, i)
}

/// `mychart.example.org/visit/5`
fn bare_url(view: &View<'_>, i: usize) -> Option<Match> {
    if view.joint(i + 1) != b'.' {
        return None;
    }
    let mut at = i;
    while at < i + 12 && view.joint(at + 1) == b'.' && view.joined(at + 2) && view.at(at + 2).kind == Kind::Word {
        at += 2;
        if view.word_is(at, &["com", "org", "net", "edu", "gov", "io"]) && view.at(at).shape == Shape::Lower {
            let mut last = at;
            while last < at + 40
                && view.joined(last + 1)
                && (view.at(last + 1).kind != Kind::Punct
                    || (matches!(view.at(last + 1).byte, b'/' | b'-' | b'_' | b'?' | b'=' | b'&' | b'.')
                        && view.joined(last + 2)))
            {
                last += 1;
            }
            return Some(view.find(i, last, Class::Url, "web address"));
        }
    }
    None
}
