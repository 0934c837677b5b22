use super::id::is_name_tag;
use super::view::View;
use crate::Class;
use crate::cue::{Cue, any};
use crate::token::{Gap, Kind, Shape};

/// What stands before a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Left {
    None,
    /// `with`, `by`, `from`
    Weak,
    /// `daughter`, `patient`, `named`
    Strong,
    /// `Name:`, `Attending:`
    Label,
    /// `Dr.`
    Title,
}

/// What stands behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Right {
    None,
    /// `reports`, `is a 45-year-old`, `(MRN`
    Strong,
    /// `, MD`
    Credential,
    /// `disease`, `catheter`: then it is no person here.
    Eponym,
}

/// What the words before `i` say about a name that starts there.
pub(crate) fn left(view: &View<'_>, i: usize) -> Left {
    if view.at(i).gap == Gap::Break {
        return Left::None;
    }
    let mut at = i.wrapping_sub(1);
    let before = view.at(at);
    if before.is(b'.') && view.joined(at) {
        return if is_title(view, at.wrapping_sub(1), true) { Left::Title } else { Left::None };
    }
    if before.is(b':') || (before.is(b'*') && view.before(at, 1).is(b'*')) {
        return label(view, at);
    }
    // "Thanks,\nAnna"
    let closes = &["thanks", "regards", "sincerely", "best", "cheers", "warmly", "wishes", "you", "truly", "yours"];
    if before.is(b',') && view.at(i).gap == Gap::Line && view.word_is(at.wrapping_sub(1), closes) {
        return Left::Strong;
    }
    if matches!(before.byte, b'(' | b'"' | b',' | b'-' | b'/' | b'[') && before.kind == Kind::Punct {
        let comma = before.is(b',');
        at = at.wrapping_sub(1);
        let person = view.at(at);
        if person.cues & any(&[Cue::Kin, Cue::StrongBy]) != 0
            && person.kind == Kind::Word
            && (comma || before.is(b'(') || before.is(b'-'))
        {
            return Left::Strong;
        }
        return if comma && (view.follows_find(at + 1, Class::Name) || is_name_tag(view, at)) {
            Left::Weak
        } else {
            Left::None
        };
    }
    if before.kind != Kind::Word {
        return Left::None;
    }
    if is_title(view, at, false) {
        return Left::Title;
    }
    let joins = before.is_capital() && before.shape == Shape::Upper && before.len() < 4 && !before.has(Cue::Role);
    if before.cues & any(&[Cue::Kin, Cue::Role, Cue::StrongBy]) != 0 && !joins {
        return Left::Strong;
    }
    // "Maria and Jose"
    let list = view.word_is(at, &["and", "or"])
        && (view.follows_find(at, Class::Name) || is_name_tag(view, at.wrapping_sub(1)));
    if list {
        return Left::Strong;
    }
    if before.has(Cue::By) { Left::Weak } else { Left::None }
}

fn is_title(view: &View<'_>, i: usize, pointed: bool) -> bool {
    let token = view.at(i);
    // "90 ms. Troponin": milliseconds.
    let measure = token.shape == Shape::Lower && view.before(i, 1).kind == Kind::Number;
    if token.kind != Kind::Word || !token.has(Cue::Title) || measure {
        return false;
    }
    // Multiple sclerosis, morphine sulfate; a street; "miss" as a verb.
    match token.shape {
        Shape::Upper if !pointed => !view.word_is(i, &["ms", "fr", "lt"]),
        Shape::Lower if !pointed => view.word_is(i, &["dr", "mr", "mrs", "ms", "doctor", "prof", "professor", "drs"]),
        _ => !view.word_is(i, &["miss"]) || token.shape == Shape::Title,
    }
}

/// `Patient Name:`, `Attending:`, `Dictated by:`, `**Provider:**`
pub(super) fn label(view: &View<'_>, colon: usize) -> Left {
    let mut at = colon.wrapping_sub(1);
    for _ in 0..4 {
        let token = view.at(at);
        if token.kind == Kind::Word {
            let says = token.cues & any(&[Cue::NameLabel, Cue::Kin, Cue::Role, Cue::StrongBy, Cue::By]) != 0;
            return if says && !token.has(Cue::IdLabel) { Left::Label } else { Left::None };
        }
        if token.kind != Kind::Punct || !matches!(token.byte, b')' | b'*' | b'(' | b'_' | b':') {
            break;
        }
        at = at.wrapping_sub(1);
    }
    Left::None
}

/// What is done to persons, and hardly to anything else.
const DONE_TO_PERSONS: &[&str] = &[
    "seen",
    "admitted",
    "discharged",
    "advised",
    "told",
    "asked",
    "referred",
    "brought",
    "born",
    "transferred",
    "informed",
    "counseled",
    "hospitalized",
    "readmitted",
    "married",
    "instructed",
    "extubated",
    "intubated",
    "ambulating",
    "accompanied",
];

/// What the words behind `last` say about a name that ends there.
pub(crate) fn right(view: &View<'_>, last: usize) -> Right {
    let mut at = last + 1;
    let next = view.at(at);
    if next.gap == Gap::Break {
        return Right::None;
    }
    if next.is(b'\'') && view.word_is(at + 1, &["s"]) {
        return possessive(view, at + 2);
    }
    if next.is(b'\'') && view.at(at + 1).has(Cue::EponymNoun) {
        return Right::Eponym;
    }
    if next.has(Cue::EponymNoun) && next.kind == Kind::Word && next.gap <= Gap::Line {
        return Right::Eponym;
    }
    if next.is(b'-') && next.gap == Gap::None && (view.at(at + 1).shape == Shape::Lower && view.joined(at + 1)) {
        return Right::Eponym;
    }
    if next.gap == Gap::Space && told_apart(view, at) {
        return Right::Strong;
    }
    let comma = next.is(b',');
    if comma {
        at += 1;
    }
    if credential(view, at) {
        return Right::Credential;
    }
    if next.is(b'(') || comma {
        return in_brackets(view, last + 2, comma);
    }
    if next.kind == Kind::Word && next.shape == Shape::Lower && next.gap <= Gap::Line {
        let is_a = view.word_is(at, &["is", "was"]) && view.word_is(at + 1, &["a", "an"]) && person_soon(view, at + 2);
        let passive = view.word_is(at, &["was", "is", "has"])
            && (view.word_is(at + 1, DONE_TO_PERSONS)
                || (view.word_is(at + 1, &["been"]) && view.word_is(at + 2, DONE_TO_PERSONS)));
        if next.has(Cue::StrongSpeech) || is_a || passive {
            return Right::Strong;
        }
    }
    Right::None
}

/// `Smith's mother` is one thing, `Graves's disease` another.
fn possessive(view: &View<'_>, at: usize) -> Right {
    let near = (at..at + 3)
        .any(|at| view.at(at).has(Cue::EponymNoun) && view.at(at).gap <= Gap::Space && view.at(at).kind == Kind::Word);
    if near {
        return Right::Eponym;
    }
    if view.at(at).has(Cue::Kin) { Right::Strong } else { Right::None }
}

/// `- wife` behind a name in a list, `| 00482913 |` behind a name in a table
fn told_apart(view: &View<'_>, at: usize) -> bool {
    let told = view.at(at + 1);
    match view.at(at).byte {
        b'-' => told.gap == Gap::Space && told.kind == Kind::Word && told.has(Cue::Kin) && !told.is_capital(),
        b'|' => told.kind == Kind::Number && (told.len() >= 6 || matches!(view.joint(at + 2), b'-' | b'/')),
        _ => false,
    }
}

/// `MD`, `M.D.`, `RN`, `Ph.D.`
pub(super) fn credential(view: &View<'_>, at: usize) -> bool {
    let token = view.at(at);
    if token.gap > Gap::Space || token.kind != Kind::Word {
        return false;
    }
    if token.has(Cue::Credential) && (token.shape == Shape::Upper || view.word_is(at, &["phd", "pharmd", "psyd"])) {
        return true;
    }
    token.len() <= 2
        && token.is_capital()
        && view.joint(at + 1) == b'.'
        && view.joined(at + 2)
        && view.at(at + 2).shape == Shape::Initial
        && (view.word_is(at, &["m", "d", "r", "ph"]) && view.word_is(at + 2, &["d", "o", "n"]))
}

/// `(MRN 123)`, `(45 yo)`, `, a 45-year-old`, `(daughter)`, `, DOB 3/4/50`
fn in_brackets(view: &View<'_>, at: usize, comma: bool) -> Right {
    let at = if view.word_is(at, &["a", "an", "the", "his", "her"]) { at + 1 } else { at };
    let token = view.at(at);
    if token.gap > Gap::Line {
        return Right::None;
    }
    let says = any(&[Cue::MrnLabel, Cue::SsnLabel, Cue::PhoneLabel, Cue::Kin]);
    let told = token.kind == Kind::Word
        && (token.cues & says != 0
            || view.word_is(at, &["dob", "age", "aged", "born", "self", "attending", "pcp", "surgeon"]))
        && !token.has(Cue::Medical);
    let number = token.kind == Kind::Number && (token.len() >= 6 || person_soon(view, at));
    let phone = comma && token.kind == Kind::Number && token.len() == 3 && matches!(view.joint(at + 1), b'-' | b'.');
    let open = comma && token.is(b'(') && view.digits(at + 1, 3, 3).is_some();
    if told || number || phone || open { Right::Strong } else { Right::None }
}

/// `45 year-old`, `72 yo`, `woman`
fn person_soon(view: &View<'_>, at: usize) -> bool {
    (at..at + 5).any(|at| {
        let token = view.at(at);
        token.kind == Kind::Word
            && token.gap <= Gap::Line
            && (token.has(Cue::PersonNoun) && token.len() > 1 || view.word_is(at, &["yo", "year", "y", "yr"]))
    }) && (view.at(at).kind == Kind::Number || view.at(at).shape == Shape::Lower)
}
