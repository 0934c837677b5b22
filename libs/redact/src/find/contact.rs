use super::view::{Match, View};
use crate::Class;
use crate::cue::{Cue, any};
use crate::token::{Gap, Kind};

/// How far before a number the word may stand that tells what it is.
const NEAR: usize = 5;

const PHONE: u64 = any(&[Cue::PhoneLabel, Cue::FaxLabel]);
const OTHERS: u64 = any(&[
    Cue::PhoneLabel,
    Cue::FaxLabel,
    Cue::MrnLabel,
    Cue::SsnLabel,
    Cue::PlanLabel,
    Cue::AccountLabel,
    Cue::LicenseLabel,
    Cue::DeviceLabel,
    Cue::IdLabel,
    Cue::CodeLabel,
]);

/// A telephone or fax number whose first digits are the token `i`.
pub(crate) fn phone(view: &View<'_>, i: usize) -> Option<Match> {
    let (_, length) = view.number(i)?;
    if view.joined(i)
        && matches!(view.before(i, 1).kind, Kind::Number | Kind::Word)
        && !view.word_is(i - 1, &["x", "tel", "ph"])
    {
        return None;
    }
    if view.before(i, 1).is(b'+')
        && view.joined(i)
        && let Some(last) = international(view, i)
    {
        return Some(finish(view, i - 1, last, "international phone"));
    }
    if let Some((first, last)) = north_american(view, i, length) {
        return Some(finish(view, first, last, "phone"));
    }
    let called = || {
        let cue = view.cue_before(i, NEAR, OTHERS);
        cue & PHONE != 0 && cue & Cue::MrnLabel.bit() == 0
    };
    match length {
        10 | 11 if !view.unit_after(i + 1) && called() => Some(finish(view, i, i, "phone beside a word")),
        3 if joint_number(view, i + 1, 4) && called() => Some(finish(view, i, i + 2, "phone beside a word")),
        4..=7 if extension(view, i) && !view.unit_after(i + 1) => Some(finish(view, i, i, "extension or pager")),
        1 if view.joint(i + 1) == b'-' && view.digits(i + 2, 4, 4).is_some() && extension(view, i) => {
            Some(finish(view, i, i + 2, "extension or pager"))
        }
        _ => None,
    }
}

/// True if `-`, `.` or a space and then `length` digits stand at `i`.
fn joint_number(view: &View<'_>, i: usize, length: usize) -> bool {
    matches!(view.joint(i), b'-' | b'.') && view.joined(i + 1) && view.digits(i + 1, length, length).is_some()
}

/// Pager and extension numbers are short: the word stands right before.
fn extension(view: &View<'_>, i: usize) -> bool {
    let mut at = i.wrapping_sub(1);
    while matches!(view.at(at).byte, b':' | b'#' | b'.') && view.at(at).kind == Kind::Punct {
        at = at.wrapping_sub(1);
    }
    view.word_is(
        at,
        &["pager", "beeper", "ext", "extension", "x", "tel", "phone", "telephone", "fax", "ph", "pgr", "bpr"],
    ) && (view.at(at).len() > 1
        || (at.wrapping_add(1) == i && (view.joined(i) || view.before(at, 1).kind == Kind::Number)))
}

/// `+44 20 7946 0958`: 8 to 15 digits in groups.
fn international(view: &View<'_>, i: usize) -> Option<usize> {
    let (mut digits, mut at, mut last) = (0, i, i);
    loop {
        let (_, length) = view.number(at)?;
        digits += length;
        if digits > 15 {
            break;
        }
        last = at;
        let mut next = at + 1;
        while view.at(next).kind == Kind::Punct
            && matches!(view.at(next).byte, b'-' | b'.' | b'(' | b')' | b' ')
            && view.at(next).gap <= Gap::Space
            && next < at + 4
        {
            next += 1;
        }
        if view.at(next).kind != Kind::Number || view.at(next).gap > Gap::Space {
            break;
        }
        at = next;
    }
    (8..=15).contains(&digits).then_some(last)
}

/// `(212) 555-0123`, `212-555-0123`, `212.555.0123`, `1 212 555 0123`: the first and the last token.
fn north_american(view: &View<'_>, i: usize, length: usize) -> Option<(usize, usize)> {
    if length == 1 {
        view.digits(i, 1, 1).filter(|digit| *digit == 1)?;
        let mut area = i + 1;
        while view.at(area).kind == Kind::Punct && matches!(view.at(area).byte, b'-' | b'.' | b'(') && area < i + 3 {
            area += 1;
        }
        let close = view.at(area).gap <= Gap::Space && view.number(area).is_some_and(|(_, length)| length == 3);
        return if close { groups(view, area).map(|last| (i, last)) } else { None };
    }
    if length != 3 {
        return None;
    }
    // The international prefix of North America, dialled from abroad.
    if view.digits(i, 3, 3) == Some(1) && view.joint(i + 1) == b'-' {
        return groups(view, i + 2).map(|last| (i, last));
    }
    let last = groups(view, i)?;
    let open = view.before(i, 1).is(b'(') && view.joined(i) && view.at(i + 1).is(b')');
    let mut first = if open { i - 1 } else { i };
    if view.word_is(first.wrapping_sub(1), &["x"]) {
        return None;
    }
    if view.before(first, 1).is(b'+') {
        first -= 1;
    }
    Some((first, last))
}

/// The last token of area code, exchange and line, whose first is `i`.
fn groups(view: &View<'_>, i: usize) -> Option<usize> {
    let mut at = i + 1;
    let mut separator = 0;
    if view.at(at).is(b')') {
        at += 1;
    }
    if view.at(at).kind == Kind::Punct && matches!(view.at(at).byte, b'-' | b'.' | b'/') {
        separator = view.at(at).byte;
        at += 1;
    }
    if view.at(at).gap > Gap::Space {
        return None;
    }
    view.digits(at, 3, 3)?;
    let mut line = at + 1;
    let second = view.at(line);
    if second.kind == Kind::Punct && matches!(second.byte, b'-' | b'.' | b'/') {
        line += 1;
    } else if second.gap == Gap::None || separator != 0 && second.gap > Gap::Space {
        return None;
    }
    if view.at(line).gap > Gap::Space {
        return None;
    }
    view.digits(line, 4, 4)?;
    let goes_on = view.joined(line + 1) && (view.at(line + 1).kind == Kind::Number || joint_number(view, line + 1, 4));
    (!goes_on).then_some(line)
}

/// Takes an extension in, and tells fax from phone.
fn finish(view: &View<'_>, first: usize, mut last: usize, why: &'static str) -> Match {
    let mut at = last + 1;
    if view.at(at).is(b',') {
        at += 1;
    }
    if view.word_is(at, &["x", "ext", "extension"]) {
        at += 1;
        if matches!(view.at(at).byte, b'.' | b':') && view.at(at).kind == Kind::Punct {
            at += 1;
        }
        if view.digits(at, 1, 6).is_some() {
            last = at;
        }
    }
    let fax = view.cue_before(first, NEAR, OTHERS) & Cue::FaxLabel.bit() != 0;
    view.find(first, last, if fax { Class::Fax } else { Class::Phone }, why)
}

/// A social security number (or taxpayer number) that starts with the number at `i`.
pub(crate) fn ssn(view: &View<'_>, i: usize) -> Option<Match> {
    let (value, length) = view.number(i)?;
    let cued = || view.cue_before(i, NEAR, OTHERS) & Cue::SsnLabel.bit() != 0;
    if length == 9 && cued() {
        return Some(view.find(i, i, Class::Ssn, "nine digits beside a word"));
    }
    if length == 4 && (masked(view, i) || !(1900..=2099).contains(&value) && cued()) {
        return Some(view.find(i, i, Class::Ssn, "last four digits"));
    }
    if length != 3 {
        return None;
    }
    let dashed = |at: usize| matches!(view.joint(at), b'-' | b'.') && view.joined(at + 1);
    if dashed(i + 1) && dashed(i + 3) && view.digits(i + 2, 2, 2).is_some() && view.digits(i + 4, 4, 4).is_some() {
        let goes_on = view.joined(i + 5) && matches!(view.at(i + 5).kind, Kind::Number | Kind::Word)
            || view.joint(i + 5) == b'-' && view.joined(i + 6) && view.at(i + 6).kind == Kind::Number;
        let inside = view.joined(i) && view.before(i, 1).is(b'-') && view.before(i, 2).kind == Kind::Number;
        return (!goes_on && !inside).then(|| view.find(i, i + 4, Class::Ssn, "three, two and four digits"));
    }
    let spaced = |at: usize, length: usize| view.at(at).gap == Gap::Space && view.digits(at, length, length).is_some();
    // An area that was never given out needs a word beside it.
    let area = value != 0 && value != 666 && value < 900;
    (spaced(i + 1, 2) && spaced(i + 2, 4) && (area || cued()) && view.before(i, 1).kind != Kind::Number)
        .then(|| view.find(i, i + 2, Class::Ssn, "three, two and four digits"))
}

/// `xxx-xx-1234`, `***-**-1234`
fn masked(view: &View<'_>, i: usize) -> bool {
    view.joined(i)
        && view.before(i, 1).is(b'-')
        && (view.word_is(i.wrapping_sub(2), &["xx"]) || view.before(i, 2).is(b'*'))
        && view.before(i, 3).kind != Kind::None
}

/// An IPv4 address of four numbers.
pub(crate) fn ip(view: &View<'_>, i: usize) -> Option<Match> {
    let octet = |at: usize| view.digits(at, 1, 3).is_some_and(|value| value <= 255);
    let point = |at: usize| view.joint(at) == b'.' && view.joined(at + 1);
    let four = octet(i) && (1..=3).all(|n| point(i + 2 * n - 1) && octet(i + 2 * n));
    if !four || (view.joint(i + 7) == b'.' && view.joined(i + 8) && view.at(i + 8).kind == Kind::Number) {
        return None;
    }
    let large = (0..4).any(|n| view.number(i + 2 * n).is_some_and(|(value, _)| value >= 20));
    let cued = (1..=3).any(|step| view.word_is(i.wrapping_sub(step), &["ip", "address", "host", "ipv4"]));
    let version = view.word_is(i.wrapping_sub(1), &["version", "v", "section", "release"]);
    ((large || cued) && !version).then(|| view.find(i, i + 6, Class::Ip, "IPv4 address"))
}

/// An IPv6 or MAC address: groups of hexadecimal digits between colons, from the token `i`.
pub(crate) fn colons(view: &View<'_>, i: usize) -> Option<Match> {
    if view.joined(i) && view.before(i, 1).kind != Kind::Punct {
        return None;
    }
    let (mut last, mut colons, mut dashes, mut double, mut hex) = (i, 0, 0, false, true);
    let mut at = i;
    while at < i + 40 && (at == i || view.joined(at)) {
        let token = view.at(at);
        match token.kind {
            Kind::Number | Kind::Word => {
                hex &= view.bytes(at).iter().all(u8::is_ascii_hexdigit);
                last = at;
            }
            Kind::Punct if token.byte == b':' => {
                double |= view.before(at, 1).is(b':') && view.joined(at);
                colons += 1;
            }
            Kind::Punct if token.byte == b'-' => dashes += 1,
            _ => break,
        }
        if !hex {
            return None;
        }
        at += 1;
    }
    let length = (view.at(last).end - view.at(i).start) as usize;
    if colons + dashes == 5 && (colons == 0 || dashes == 0) && length == 17 {
        return Some(view.find(i, last, Class::Device, "MAC address"));
    }
    (dashes == 0 && (colons == 7 || (double && (2..=7).contains(&colons) && length >= 6)))
        .then(|| view.find(i, last, Class::Ip, "IPv6 address"))
}
