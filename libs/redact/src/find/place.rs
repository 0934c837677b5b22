use super::view::{Match, View};
use crate::Class;
use crate::cue::{Cue, any};
use crate::lexicon::join;
use crate::token::{Gap, Kind, Shape};

/// Words in a name of a place, at most.
const WORDS: usize = 4;

/// Never part of a street's or place's name.
const NOT_NAMES: u64 = any(&[Cue::Never, Cue::Unit, Cue::Drug]);

/// A ZIP code at `i`: after a state, or after the word.
pub(crate) fn zip(view: &View<'_>, i: usize) -> Option<Match> {
    let length = view.number(i)?.1;
    if length != 5 && length != 9 {
        return None;
    }
    let plus = view.joint(i + 1) == b'-' && view.joined(i + 2) && view.digits(i + 2, 4, 4).is_some();
    let last = if plus { i + 2 } else { i };
    let mut at = i.wrapping_sub(1);
    while view.at(at).kind == Kind::Punct && matches!(view.at(at).byte, b',' | b'.' | b':' | b'-') {
        at = at.wrapping_sub(1);
    }
    let before = view.at(at);
    let near = view.at(i).gap <= Gap::Line;
    let state = is_state(view, at) && before.kind == Kind::Word;
    let cued = view.cue_before(i, 4, Cue::ZipLabel.bit()) != 0;
    let place = (view
        .last
        .is_some_and(|last| last.next == at.wrapping_add(1) && matches!(last.class, Class::Place | Class::Street)))
        && !view.unit_after(last + 1);
    (near && (state || cued || place || (plus && length == 5 && !view.joined(i))))
        .then(|| view.find(i, last, Class::Zip, "ZIP code"))
}

fn is_state(view: &View<'_>, i: usize) -> bool {
    let token = view.at(i);
    (token.has(Cue::StateAbbr) && token.shape == Shape::Upper && token.len() == 2)
        || (token.has(Cue::State) && token.is_capital())
        || (token.has(Cue::StateAbbr)
            && token.len() == 2
            && view.at(i + 1).kind == Kind::Number
            && view.at(i + 1).len() == 5)
}

/// A street with its number at `i`, or a post office box.
pub(crate) fn street(view: &View<'_>, i: usize) -> Option<Match> {
    if view.word_is(i.wrapping_sub(1), &["box"]) && view.at(i).gap <= Gap::Space {
        let mut first = i - 1;
        while first > 0
            && i - first < 6
            && (view.word_is(first - 1, &["p", "o", "po", "post", "office"]) || view.before(first, 1).is(b'.'))
        {
            first -= 1;
        }
        return (first + 1 < i).then(|| view.find(first, i, Class::Street, "post office box"));
    }
    let glued = view.joined(i + 1) && view.at(i + 1).kind == Kind::Word && view.at(i + 1).len() > 2;
    if glued
        || view.number(i)?.1 > 6
        || (view.joined(i) && view.before(i, 1).kind != Kind::Punct)
        || matches!(view.joint(i), b'/' | b'.')
    {
        return None;
    }
    let mut at = i + 1;
    if view.joined(at) && view.at(at).kind == Kind::Word && view.at(at).len() == 1 {
        at += 1;
    } else if view.joint(at) == b'-' && view.joined(at + 1) && view.at(at + 1).kind == Kind::Number {
        at += 2;
    }
    if view.at(at).has(Cue::Direction) {
        at += 1;
        if view.at(at).is(b'.') {
            at += 1;
        }
    }
    let last = street_name(view, at)?;
    Some(view.find(i, unit_of_street(view, last), Class::Street, "number and street"))
}

/// The last token of `Oak Street`, `42nd St.`, `St. James Ave`, `Martin Luther King Jr Blvd`.
fn street_name(view: &View<'_>, from: usize) -> Option<usize> {
    let (mut at, mut words, mut capitals) = (from, 0, true);
    while words <= 5 {
        let token = view.at(at);
        if token.gap > Gap::Space
            || token.cues & NOT_NAMES != 0 && !token.has(Cue::StreetSuffix) && token.shape != Shape::Title
        {
            return None;
        }
        let ordinal =
            token.kind == Kind::Number && view.joined(at + 1) && view.word_is(at + 1, &["st", "nd", "rd", "th"]);
        if ordinal {
            (at, words) = (at + 2, words + 1);
            continue;
        }
        if token.kind == Kind::Number && words > 0 && view.word_is(at - 1, &["highway", "hwy", "route", "rt"]) {
            return Some(at);
        }
        if token.kind != Kind::Word {
            return None;
        }
        let saint = words == 0 && view.word_is(at, &["st"]);
        if words > 0 && token.has(Cue::StreetRare) && capitals && token.is_capital() && rare(view, from, at) {
            return Some(at);
        }
        if words > 0 && token.has(Cue::StreetSuffix) && !saint && (token.is_capital() || !capitals) {
            let point = usize::from(view.joint(at + 1) == b'.' && token.len() <= 4);
            let mut last = at + point;
            // "Park Lane Drive"
            if view.at(last + 1).has(Cue::StreetSuffix)
                && view.at(last + 1).is_capital()
                && view.at(last + 1).gap == Gap::Space
                && view.at(last + 1).len() > 2
            {
                last += 1;
            }
            let long = view.at(at).len() >= 4 && view.number(from.wrapping_sub(1)).is_none_or(|(value, _)| value > 1);
            return (capitals || (words <= 2 && long)).then_some(last);
        }
        if matches!(view.at(at).byte, b'.') {
            return None;
        }
        capitals &= token.is_capital();
        if !capitals
            && (token.cues & any(&[Cue::Never, Cue::Unit, Cue::By, Cue::Speech, Cue::AgeWord]) != 0
                || token.lexeme.family() == 0 && token.lexeme.place() == 0)
        {
            return None;
        }
        (at, words) = (at + 1, words + 1);
        if view.at(at).is(b'.') && view.joined(at) && (saint || view.at(at - 1).len() == 1) {
            at += 1;
        }
    }
    None
}

/// Whether an unusual suffix ends a street's name: the number is long, and the word before is a name or an address goes on.
fn rare(view: &View<'_>, from: usize, at: usize) -> bool {
    let (name, number) = (view.before(at, 1).lexeme, view.before(from, 1).len());
    let next = view.at(at + 1);
    let followed = next.has(Cue::AddressUnit) || next.is(b',') || next.gap >= Gap::Line;
    let named = name.given().max(name.family()) >= 2 || name.place() > 0;
    number >= 3 && (named || followed) && !next.has(Cue::StreetSuffix) && !next.has(Cue::StreetRare)
}

/// Takes in `, Apt 4B`, `#12`, `N.W.`
fn unit_of_street(view: &View<'_>, last: usize) -> usize {
    let mut end = last;
    if view.at(end + 1).has(Cue::Direction)
        && view.at(end + 1).gap <= Gap::Space
        && view.at(end + 1).shape != Shape::Lower
    {
        end += 1;
    }
    let mut at = end + 1;
    if view.at(at).is(b',') {
        at += 1;
    }
    let word = view.at(at).has(Cue::AddressUnit) && view.at(at).is_capital();
    if view.at(at).gap > Gap::Space || !(word || view.at(at).is(b'#')) {
        return end;
    }
    at += 1;
    while view.at(at).kind == Kind::Punct && matches!(view.at(at).byte, b'.' | b'#') {
        at += 1;
    }
    let value = view.at(at);
    if value.gap > Gap::Space || !(value.kind == Kind::Number || (value.kind == Kind::Word && value.len() <= 2)) {
        return end;
    }
    end = at;
    while view.joined(end + 1)
        && (view.at(end + 1).kind == Kind::Number
            || (view.at(end + 1).kind == Kind::Word && view.at(end + 1).len() <= 2))
    {
        end += 1;
    }
    end
}

/// A place smaller than a state that starts with the capital word `i`.
pub(crate) fn place(view: &View<'_>, i: usize) -> Option<Match> {
    let after_street = view
        .last
        .is_some_and(|last| last.class == Class::Street && last.next + usize::from(view.before(i, 1).is(b',')) == i);
    let (last, weight) = listed(view, i);
    let length = last.map_or(0, |last| last + 1 - i);
    // "North Adamsville" is not "North".
    let only_leads =
        length == 1 && view.at(i + 1).is_capital() && view.at(i + 1).gap == Gap::Space && view.word_is(i, LEADS);
    if let Some(last) = last.filter(|_| !only_leads) {
        let state = state_after(view, last);
        let word = view.at(i);
        let within = view.word_is(i.wrapping_sub(1), &["in", "from", "near"])
            && ((word.lexeme.word() == 0 && weight >= 2) || (word.lexeme.word() < 3 && weight == 3))
            && word.shape == Shape::Title
            && !word.has(Cue::Eponym);
        let sure = after_street
            || state.is_some()
            || resides(view, i)
            || (length > 1 && weight >= 2)
            || within
            || (weight == 3 && preceded(view, i) && word.lexeme.word() == 0 && word.lexeme.given() < 4);
        let title =
            view.before(i, 1).has(Cue::Title) || (view.before(i, 1).is(b'.') && view.before(i, 2).has(Cue::Title));
        if sure && !title && !(word.has(Cue::State) && length == 1 && state.is_none() && !after_street) {
            return Some(with_state(view, i, last));
        }
    }
    unlisted(view, i, after_street)
}

/// Where the longest listed name of a place ends that starts at `i`, and its weight.
fn listed(view: &View<'_>, i: usize) -> (Option<usize>, u32) {
    let first = view.at(i);
    if first.shape == Shape::Initial {
        return (None, 0);
    }
    let mut best = if first.lexeme.place() > 0 { (Some(i), first.lexeme.place()) } else { (None, 0) };
    if !first.lexeme.starts_phrase() {
        return best;
    }
    let (mut hash, mut at) = (first.hash, i);
    for _ in 1..WORDS {
        at += 1;
        if view.at(at).is(b'.') && view.joined(at) {
            at += 1;
        }
        let token = view.at(at);
        if token.kind != Kind::Word || token.gap > Gap::Line || token.gap == Gap::None {
            break;
        }
        hash = join(hash, token.hash);
        let weight = view.lexicon.get(hash).0.place();
        if weight > 0 && token.is_capital() {
            best = (Some(at), weight.max(1));
        }
    }
    best
}

/// `lives in`, `from`, `moved to`: only a place can follow.
fn resides(view: &View<'_>, i: usize) -> bool {
    let before = view.before(i, 1);
    let near = view.at(i).gap <= Gap::Line;
    if near && before.is(b':') {
        return view.word_is(
            i.wrapping_sub(2),
            &["city", "town", "county", "hometown", "went", "flew", "residence", "birthplace", "location"],
        );
    }
    near && before.has(Cue::Preposition)
        && (2..=if view.follows_find(i.wrapping_sub(1), Class::Date) { 8 } else { 4 }).any(|step| {
            let token = view.before(i, step);
            token.kind == Kind::Word && token.has(Cue::Residence) && token.is_capital() == (token.shape == Shape::Title)
        })
}

fn preceded(view: &View<'_>, i: usize) -> bool {
    view.before(i, 1).kind == Kind::Word
        && view.word_is(i.wrapping_sub(1), &["in", "from", "near", "to", "at", "of"])
        && view.at(i).gap <= Gap::Line
}

/// The last token of a state that follows, with or without a comma.
fn state_after(view: &View<'_>, last: usize) -> Option<usize> {
    let comma = view.at(last + 1).is(b',');
    let at = last + 1 + usize::from(comma);
    let token = view.at(at);
    if token.gap > Gap::Line || token.kind != Kind::Word {
        return None;
    }
    let abbreviation = token.has(Cue::StateAbbr)
        && token.shape == Shape::Upper
        && token.len() == 2
        && (comma || view.at(at + 1).kind == Kind::Number || !token.has(Cue::Credential));
    if abbreviation {
        return (!token.has(Cue::Credential) || comma).then_some(at);
    }
    if token.has(Cue::State) && token.is_capital() && (comma || view.at(at).lexeme.given() == 0) {
        return Some(at);
    }
    let two = view.word_is(at, &["new", "north", "south", "west", "rhode"])
        && view.at(at + 1).has(Cue::State)
        && token.is_capital();
    if two || (view.word_is(at, &["rhode"]) && view.word_is(at + 1, &["island"])) {
        return Some(at + 1);
    }
    let dotted = token.shape == Shape::Initial
        && view.joint(at + 1) == b'.'
        && view.at(at + 2).shape == Shape::Initial
        && view.joined(at + 2);
    (comma && dotted && view.word_is(at, &["n", "d", "r", "s", "w"])).then_some(at + 2)
}

/// A place with the state and ZIP code behind it, as one find: together they are an address.
fn with_state(view: &View<'_>, first: usize, last: usize) -> Match {
    let mut end = state_after(view, last).unwrap_or(last);
    if view.word_is(end + 1, &["county", "parish", "township"]) && view.at(end + 1).gap == Gap::Space {
        end += 1;
    }
    view.find(first, end, Class::Place, "place")
}

/// Places that no list has: before a state, after a street, after "lives in", before "County".
fn unlisted(view: &View<'_>, i: usize, after_street: bool) -> Option<Match> {
    let plain = |token: &crate::token::Token| {
        matches!(token.shape, Shape::Title | Shape::Mixed)
            && token.kind == Kind::Word
            && token.len() > 2
            && token.cues & NOT_PLACES == 0
    };
    let leads = plain(view.at(i + 1)) && view.at(i + 1).gap == Gap::Space && view.word_is(i, LEADS);
    if !(plain(view.at(i)) || leads) {
        return None;
    }
    let mut last = i + usize::from(leads);
    while last < i + 2 && plain(view.at(last + 1)) && view.at(last + 1).gap == Gap::Space {
        last += 1;
    }
    if last > i && view.at(i).gap <= Gap::Line && view.word_is(last, &["county", "parish", "township"]) {
        return Some(with_state(view, i, last));
    }
    let comma_state =
        view.at(last + 1).is(b',') && state_after(view, last).is_some() && !view.at(last + 2).has(Cue::Credential);
    let named =
        after_street || comma_state || formed(view, i, last, leads) || (resides(view, i) && strong_reside(view, i));
    named.then(|| with_state(view, i, last))
}

/// Never part of the name of a place that no list has.
const NOT_PLACES: u64 = any(&[
    Cue::Never,
    Cue::Country,
    Cue::Month,
    Cue::Weekday,
    Cue::Title,
    Cue::Medical,
    Cue::Drug,
    Cue::Facility,
    Cue::CareWord,
    Cue::State,
]);

/// First words of the names of many places.
const LEADS: &[&str] = &[
    "new", "north", "south", "east", "west", "port", "lake", "fort", "mount", "saint", "santa", "san", "los", "el",
    "st",
];

/// Ends of the names of US places.
const ENDS: [&[u8]; 24] = [
    b"town", b"ville", b"burgh", b"burg", b"borough", b"boro", b"ton", b"berg", b"port", b"haven", b"mouth", b"bury",
    b"stad", b"shire", b"chester", b"furt", b"side", b"view", b"land", b"field", b"ford", b"wood", b"dale", b"fort",
];

/// `to Laurahaven`, `in North Teresaberg`: no word and no name, but formed like a place, after a word for where.
fn formed(view: &View<'_>, i: usize, last: usize, leads: bool) -> bool {
    let (token, lexeme) = (view.at(last), view.at(last).lexeme);
    if token.shape != Shape::Title || lexeme.word() != 0 || view.at(i).gap > Gap::Line || last > i + 1 {
        return false;
    }
    let word = view.bytes(last);
    let ends = |end: &&[u8]| word.len() >= end.len() + 3 && word[word.len() - end.len()..].eq_ignore_ascii_case(end);
    view.word_is(i.wrapping_sub(1), &["in", "from", "to", "near", "at"])
        && (leads || (last == i && lexeme.given() < 3 && ENDS.iter().any(ends)))
}

fn strong_reside(view: &View<'_>, i: usize) -> bool {
    // "born in March of 1948 in ..."
    let furthest = if view.follows_find(i.wrapping_sub(1), Class::Date) { 8 } else { 3 };
    view.before(i, 1).is(b':')
        || (view.word_is(i.wrapping_sub(1), &["in", "from", "to", "of", "near"])
            && (2..=furthest).any(|step| {
                view.word_is(
                    i.wrapping_sub(step),
                    &[
                        "lives",
                        "lived",
                        "living",
                        "resides",
                        "resided",
                        "residing",
                        "resident",
                        "moved",
                        "born",
                        "native",
                        "raised",
                        "grew",
                        "relocated",
                        "traveled",
                        "travelled",
                        "hometown",
                    ],
                )
            }))
}

/// A hospital, clinic, school or the like that has a name of its own, starting with the capital word `i`.
pub(crate) fn organization(view: &View<'_>, i: usize) -> Option<Match> {
    // Most capitals stand before a small word, which ends the name unless another capital follows: then it may join the two.
    let next = view.at(i + 1);
    if next.kind == Kind::Word && next.shape == Shape::Lower && !view.at(i + 2).is_capital() {
        return None;
    }
    let (mut own, mut at, mut last, mut middle) = (0, i, None, false);
    while at < i + 7 {
        let token = view.at(at);
        if at > i
            && (token.gap == Gap::None && !view.before(at, 1).is(b'-') && !view.before(at, 1).is(b'\'')
                || token.gap > Gap::Line)
        {
            break;
        }
        if at > i && view.at(at + 1).is_capital() && view.word_is(at, &["of", "and", "for"]) || token.is(b'&') {
            at += 1;
            continue;
        }
        if !token.is_capital()
            || token.cues & any(&[Cue::Title, Cue::Month, Cue::Drug]) != 0 && own == 0 && !view.word_is(at, &["st"])
        {
            break;
        }
        if at == i && token.has(Cue::Never) {
            return None;
        }
        if token.has(Cue::Facility) && own > 0 {
            last = Some(at);
        } else if (token.cues & any(&[Cue::CareWord, Cue::FacilityMid, Cue::Facility, Cue::Medical]) == 0
            && token.len() > 1)
            || (at == i && view.word_is(at, &["mercy"]))
        {
            own += 1;
        }
        middle |= own > 0 && last.is_none() && token.has(Cue::FacilityMid);
        at += 1;
        while (view.joint(at) == b'.' && token.len() <= 3)
            || view.joint(at) == b'-'
            || (view.joint(at) == b'\'' && view.word_is(at + 1, &["s"]))
        {
            at += if view.joint(at) == b'\'' { 2 } else { 1 };
        }
        if view.before(at, 1).is(b'\'') && view.word_is(at, &["s"]) {
            at += 1;
        }
    }
    let last = last?;
    // "Seen Clinic": a common word that only starts a sentence is not a name.
    let first = view.at(i);
    let starts = first.gap == Gap::Break || view.before(i, 1).is(b'.') || first.gap == Gap::Line;
    let common =
        first.lexeme.word() == 3 && first.lexeme.given() < 3 && first.lexeme.family() < 5 && first.lexeme.place() == 0;
    (!(starts && common && own == 1 && !middle))
        .then(|| view.find(i, last, Class::Organization, "name of an organisation"))
}
