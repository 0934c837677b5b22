use super::view::{Match, View};
use crate::Class;
use crate::cue::{Cue, any};
use crate::token::{Gap, Kind, Shape};

/// A code is not longer, in tokens and bytes.
const TOKENS: usize = 48;
const BYTES: usize = 40;

const CUES: u64 = any(&[
    Cue::MrnLabel,
    Cue::SsnLabel,
    Cue::PlanLabel,
    Cue::AccountLabel,
    Cue::LicenseLabel,
    Cue::VehicleLabel,
    Cue::DeviceLabel,
    Cue::Biometric,
    Cue::IdLabel,
    Cue::CodeLabel,
    Cue::PhoneLabel,
]);

/// A run of letters and digits that may be somebody's number.
struct Code<'a> {
    first: usize,
    last: usize,
    digits: usize,
    letters: usize,
    /// Its letters and digits, in upper case.
    plain: Vec<u8>,
    raw: &'a [u8],
}

/// A number or code that starts at the token `i`: by what it is itself (check digits), by the word before it, or by its
/// length alone.
pub(crate) fn code(view: &View<'_>, i: usize) -> Option<Match> {
    let code = run(view, i)?;
    if code.digits < 4 {
        return None;
    }
    if let Some((class, why)) = known_form(&code) {
        return Some(view.find(code.first, code.last, class, why));
    }
    if view.unit_after(code.last + 1) || decimal(view, &code) {
        return None;
    }
    let cues = view.cue_before(i, 4, CUES);
    if cues & Cue::CodeLabel.bit() != 0 && cues & any(&[Cue::MrnLabel, Cue::VehicleLabel]) == 0 {
        return None;
    }
    if let Some((class, why)) = by_cue(view, &code, cues) {
        return Some(view.find(code.first, code.last, class, why));
    }
    by_length(view, &code).map(|(class, why)| view.find(code.first, code.last, class, why))
}

/// What stands after "plate": up to three groups of capitals and digits, at least one digit among them.
pub(crate) fn plate(view: &View<'_>, i: usize) -> Option<Match> {
    if !(1..=5).any(|step| view.before(i, step).has(Cue::VehicleLabel)) {
        return None;
    }
    let mut cue = i.wrapping_sub(1);
    while (view.at(cue).kind == Kind::Punct || view.word_is(cue, &["number", "no", "is", "of", "tag"])) && i - cue < 4 {
        cue = cue.wrapping_sub(1);
    }
    let told =
        cue + 1 < i || view.word_is(cue.wrapping_sub(1), &["license", "licence", "number", "tag", "vehicle", "car"]);
    if !view.word_is(cue, &["plate", "plates"]) || !told || view.at(i).gap > Gap::Space {
        return None;
    }
    let (mut at, mut last, mut digits, mut size) = (i, i, 0, 0);
    while at < i + 6 && view.at(at).gap <= Gap::Space {
        let token = view.at(at);
        match token.kind {
            Kind::Number => digits += token.len(),
            Kind::Word if matches!(token.shape, Shape::Upper | Shape::Initial) => {}
            Kind::Punct if token.is(b'-') && view.joined(at) && view.joined(at + 1) => {
                at += 1;
                continue;
            }
            _ => break,
        }
        size += token.len();
        if size > 8 {
            break;
        }
        last = at;
        at += 1;
    }
    (digits > 0 && size >= 4).then(|| view.find(i, last, Class::Vehicle, "licence plate"))
}

fn run<'a>(view: &View<'a>, i: usize) -> Option<Code<'a>> {
    let mut code = Code { first: i, last: i, digits: 0, letters: 0, plain: Vec::new(), raw: &[] };
    let mut at = i;
    while at < i + TOKENS {
        let token = view.at(at);
        match token.kind {
            Kind::Number => {
                code.digits += token.len();
                code.last = at;
            }
            Kind::Word if token.len() <= 8 && view.bytes(at).is_ascii() => {
                code.letters += token.len();
                code.last = at;
            }
            Kind::Punct
                if matches!(token.byte, b'-' | b'/' | b'.' | b'_') && view.joined(at) && view.joined(at + 1) => {}
            _ => break,
        }
        at += 1;
        if !view.joined(at) {
            break;
        }
    }
    let raw = view.text.as_bytes().get(view.at(i).start as usize..view.at(code.last).end as usize)?;
    if raw.len() > BYTES {
        return (code.letters == 0).then_some(Code { raw, ..code });
    }
    if code.letters > 0 || code.digits >= 7 {
        code.plain = raw.iter().filter(|b| b.is_ascii_alphanumeric()).map(u8::to_ascii_uppercase).collect();
    }
    Some(Code { raw, ..code })
}

/// Part of a decimal number, such as 0.1234567 or 1234567.8
fn decimal(view: &View<'_>, code: &Code<'_>) -> bool {
    code.letters == 0
        && (code.raw.iter().filter(|b| **b == b'.').count() == 1 && !code.raw.contains(&b'-')
            || (view.joined(code.first)
                && view.before(code.first, 1).is(b'.')
                && view.before(code.first, 2).kind == Kind::Number))
}

/// Codes that are known by their form and check digits.
fn known_form(code: &Code<'_>) -> Option<(Class, &'static str)> {
    let plain = code.plain.as_slice();
    match plain.len() {
        32 if is_uuid(code.raw) => Some((Class::Id, "UUID")),
        17 if code.letters >= 2 && vin(plain) => Some((Class::Vehicle, "VIN with its check digit")),
        11 if code.letters >= 3 && mbi(plain) => Some((Class::Plan, "Medicare number")),
        9 if code.letters == 2 && dea(plain) => Some((Class::License, "DEA number with its check digit")),
        13..=19 if code.letters == 0 && code.raw.len() < 24 && luhn(plain.iter().copied()) => {
            Some((Class::Account, "card number with its check digit"))
        }
        _ => None,
    }
}

fn by_cue(view: &View<'_>, code: &Code<'_>, cues: u64) -> Option<(Class, &'static str)> {
    let year = code.letters == 0 && code.digits == 4 && code.raw.len() == 4 && matches!(&code.raw[..2], b"19" | b"20");
    if cues == 0 || (year && !next_to(view, code.first, Cue::MrnLabel)) || looks_like_code_list(code) {
        return None;
    }
    let long = code.digits >= 6 || (code.letters > 0 && code.digits >= 4 && code.raw.len() >= 6);
    let has = |cue: Cue| cues & cue.bit() != 0;
    let close = |cue: Cue| next_to(view, code.first, cue);
    let table = [
        (Cue::VehicleLabel, Class::Vehicle, long),
        (Cue::DeviceLabel, Class::Device, long),
        (Cue::Biometric, Class::Biometric, long),
        (Cue::SsnLabel, Class::Ssn, code.digits == 9),
        (Cue::MrnLabel, Class::Mrn, code.digits >= 5 || close(Cue::MrnLabel)),
        (Cue::LicenseLabel, Class::License, long),
        (Cue::AccountLabel, Class::Account, long),
        (Cue::PlanLabel, Class::Plan, long),
        (Cue::IdLabel, Class::Id, long || (code.digits >= 5 && close(Cue::IdLabel))),
    ];
    let (_, class, _) = table.into_iter().find(|(cue, _, good)| has(*cue) && *good)?;
    // "insurance member ID 123": the word before the word says more.
    let class = if class == Class::Id { owner(view, code.first).unwrap_or(class) } else { class };
    Some((class, "number beside a word"))
}

/// What kind of number "ID", "number" or "#" means, by the words before it.
fn owner(view: &View<'_>, i: usize) -> Option<Class> {
    let mask = CUES & !any(&[Cue::IdLabel, Cue::CodeLabel, Cue::PhoneLabel]);
    let cues = view.cue_before(i, 6, mask);
    [
        (Cue::VehicleLabel, Class::Vehicle),
        (Cue::DeviceLabel, Class::Device),
        (Cue::LicenseLabel, Class::License),
        (Cue::AccountLabel, Class::Account),
        (Cue::PlanLabel, Class::Plan),
        (Cue::MrnLabel, Class::Mrn),
    ]
    .into_iter()
    .find(|(cue, _)| cues & cue.bit() != 0)
    .map(|(_, class)| class)
}

/// True if the word right before, but for punctuation, is such a cue.
fn next_to(view: &View<'_>, i: usize, cue: Cue) -> bool {
    let mut at = i.wrapping_sub(1);
    while view.at(at).kind == Kind::Punct && matches!(view.at(at).byte, b':' | b'#' | b'.' | b'=' | b'(') {
        at = at.wrapping_sub(1);
    }
    view.at(at).has(cue) || view.word_is(at, &["number", "no", "num", "id", "is"]) && view.before(at, 1).has(cue)
}

/// ICD-10 and LOINC codes, and ranges of small numbers, beside words that only sometimes mean a number.
fn looks_like_code_list(code: &Code<'_>) -> bool {
    let loinc = code.letters == 0 && code.raw.len() <= 7 && code.raw.len() >= 3 && code.raw[code.raw.len() - 2] == b'-';
    let icd =
        code.letters >= 1 && code.raw[0].is_ascii_uppercase() && code.raw.get(3) == Some(&b'.') && code.raw.len() <= 8;
    loinc || icd
}

/// Long numbers without a word beside them.
fn by_length(view: &View<'_>, code: &Code<'_>) -> Option<(Class, &'static str)> {
    let one_number = code.first == code.last;
    if one_number
        && view.joined(code.first)
        && matches!(view.before(code.first, 1).byte, b'.' | b',' | b'<' | b'>' | b'$' | b'^')
    {
        return None;
    }
    if one_number && (6..=10).contains(&code.digits) && after_name(view, code.first) {
        return Some((Class::Mrn, "number after a name"));
    }
    let plain = code.plain.as_slice();
    if one_number && (7..=18).contains(&code.digits) {
        if code.digits == 10
            && matches!(plain[0], b'1' | b'2')
            && luhn(b"80840".iter().copied().chain(plain.iter().copied()))
        {
            return Some((Class::License, "NPI with its check digit"));
        }
        if code.digits == 10 && plain[0] >= b'2' && plain[3] >= b'2' {
            return Some((Class::Phone, "ten digits"));
        }
        return Some((Class::Id, "long number"));
    }
    let prefix = view.at(code.first);
    let lettered = prefix.kind == Kind::Word
        && matches!(prefix.shape, Shape::Upper | Shape::Initial)
        && !prefix.has(Cue::CodeLabel);
    let longest = code.raw.split(|b| !b.is_ascii_digit()).map(<[u8]>::len).max().unwrap_or(0);
    if lettered && prefix.len() <= 5 && (longest >= 6 || (code.digits >= 7 && !code.raw.contains(&b'.'))) {
        return Some((Class::Id, "letters and a long number"));
    }
    None
}

/// `Maria Lopez (12345678)`, `Maria Lopez, 12345678`
fn after_name(view: &View<'_>, i: usize) -> bool {
    let mut at = i;
    while view.before(at, 1).kind == Kind::Punct
        && matches!(view.before(at, 1).byte, b'(' | b',' | b'#' | b'-' | b':' | b'[')
        && i - at < 3
    {
        at -= 1;
    }
    at < i
        && (view.follows_find(at, Class::Name) || is_name_tag(view, at.wrapping_sub(1)))
        && view.at(at).gap <= Gap::Space
}

pub(crate) fn is_name_tag(view: &View<'_>, i: usize) -> bool {
    view.at(i).kind == Kind::Tag && view.bytes(i).starts_with(b"[NAME")
}

fn is_uuid(raw: &[u8]) -> bool {
    raw.len() == 36
        && raw
            .iter()
            .enumerate()
            .all(|(at, b)| if matches!(at, 8 | 13 | 18 | 23) { *b == b'-' } else { b.is_ascii_hexdigit() })
}

/// ISO/IEC 7812-1, annex B.
fn luhn(digits: impl DoubleEndedIterator<Item = u8>) -> bool {
    let sum: u32 = digits
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let digit = u32::from(digit - b'0') << (at % 2);
            digit / 10 + digit % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

/// 49 CFR 565.15: the ninth character is a check digit.
fn vin(plain: &[u8]) -> bool {
    const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    let value = |b: u8| match b {
        b'0'..=b'9' => Some(u32::from(b - b'0')),
        b'A'..=b'H' => Some(u32::from(b - b'A') + 1),
        b'J'..=b'N' => Some(u32::from(b - b'J') + 1),
        b'P' => Some(7),
        b'R' => Some(9),
        b'S'..=b'Z' => Some(u32::from(b - b'S') + 2),
        _ => None,
    };
    let sum = plain.iter().zip(WEIGHTS).try_fold(0, |sum, (b, weight)| value(*b).map(|value| sum + value * weight));
    let check = |sum: u32| if sum % 11 == 10 { b'X' } else { b'0' + (sum % 11) as u8 };
    sum.is_some_and(|sum| plain.get(8) == Some(&check(sum)))
}

/// CMS, "Understanding the Medicare Beneficiary Identifier format": eleven places, each a digit, a letter, or either.
fn mbi(plain: &[u8]) -> bool {
    let letter = |b: u8| b.is_ascii_uppercase() && !b"SLOIBZ".contains(&b);
    plain.iter().enumerate().all(|(at, b)| match at {
        0 => matches!(b, b'1'..=b'9'),
        1 | 4 | 7 | 8 => letter(*b),
        2 | 5 => letter(*b) || b.is_ascii_digit(),
        _ => b.is_ascii_digit(),
    })
}

/// DEA, "DEA Numbers": the last digit is that of (1st + 3rd + 5th) + 2 (2nd + 4th + 6th).
fn dea(plain: &[u8]) -> bool {
    if !plain[..2].iter().all(u8::is_ascii_uppercase) || !plain[2..].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let digit = |at: usize| u32::from(plain[at + 2] - b'0');
    (digit(0) + digit(2) + digit(4) + 2 * (digit(1) + digit(3) + digit(5))) % 10 == digit(6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits() {
        assert!(luhn(b"4111111111111111".iter().copied()) && !luhn(b"4111111111111112".iter().copied()));
        assert!(luhn(b"808401234567893".iter().copied()));
        assert!(vin(b"1M8GDM9AXKP042788") && !vin(b"1M8GDM9A1KP042788"));
        assert!(mbi(b"1EG4TE5MK73") && !mbi(b"1EG4TE5MK7A"));
        assert!(dea(b"AB1234563") && !dea(b"AB1234564"));
    }
}
