use super::context::{Left, Right, credential, label, left, right};
use super::view::{Match, View};
use crate::Class;
use crate::cue::{Cue, any};
use crate::token::{Gap, Kind, Shape, Token};

/// Words of one name, at most.
const WORDS: usize = 6;

/// What a word by itself says about being a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grade {
    /// It is something else.
    Never,
    /// An ordinary word.
    Plain,
    /// In no list at all.
    Unknown,
    /// A name and also an ordinary word: `May`, `Grant`, `Brown`.
    Doubtful,
    /// A name.
    Known,
}

const NEVER: u64 = any(&[Cue::Never, Cue::Weekday, Cue::Drug, Cue::Title, Cue::Credential, Cue::Country]);
const SELDOM: u64 =
    any(&[Cue::Medical, Cue::Month, Cue::State, Cue::Role, Cue::Kin, Cue::EponymNoun, Cue::Facility, Cue::CareWord]);

/// Grades a capitalised word.
pub(crate) fn grade(token: &Token) -> Grade {
    if token.kind != Kind::Word || token.len() < 2 {
        return Grade::Never;
    }
    let (lexeme, word) = (token.lexeme, token.lexeme.word());
    let known = lexeme.given().max(lexeme.family());
    if token.cues & NEVER != 0 {
        // "Long", "Do", "An" and the like are names only in full.
        let name_too =
            known >= 5 && token.shape == Shape::Title && token.cues & any(&[Cue::Drug, Cue::Weekday, Cue::Title]) == 0;
        return if name_too && !matches!(token.lexeme.given(), 0..=2) { Grade::Doubtful } else { Grade::Never };
    }
    if token.cues & SELDOM != 0 {
        let doubtful = known >= 5 && token.shape == Shape::Title;
        return if doubtful {
            Grade::Doubtful
        } else if token.has(Cue::Medical) {
            Grade::Never
        } else {
            Grade::Plain
        };
    }
    if token.shape == Shape::Upper && token.len() < 4 && known < 5 {
        return Grade::Never;
    }
    match (word, known) {
        (0, 0) => Grade::Unknown,
        (0, _) => Grade::Known,
        (1, 0) => Grade::Plain,
        (1, 1..=3) => Grade::Doubtful,
        (1, _) => Grade::Known,
        (2, 0..=3) | (_, 0..=3) => Grade::Plain,
        (2, 6..) if lexeme.given() >= 6 => Grade::Known,
        _ => Grade::Doubtful,
    }
}

/// Words that may be one name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) first: usize,
    pub(crate) last: usize,
    /// Words with two letters or more.
    words: u32,
    initials: u32,
    /// A common word stands behind an initial, and is a family name there.
    initialled: bool,
    known: u32,
    unknown: u32,
    /// Sum of the weights.
    weight: u32,
    /// The first is listed as a given name; one after the first as a family name.
    given: u32,
    family: u32,
    eponyms: u32,
    uppers: u32,
    /// Letters with digits behind them, as made-up names of test data have.
    numbered: u32,
    inverted: bool,
}

impl Run {
    const fn at(first: usize) -> Self {
        Self {
            first,
            last: first,
            words: 0,
            initials: 0,
            initialled: false,
            known: 0,
            unknown: 0,
            weight: 0,
            given: 0,
            family: 0,
            eponyms: 0,
            uppers: 0,
            numbered: 0,
            inverted: false,
        }
    }

    /// Takes an initial, and returns the token behind it; none if it is no initial of a name.
    fn initial(&mut self, view: &View<'_>, at: usize) -> Option<usize> {
        let pointed = view.joint(at + 1) == b'.';
        let leads = view.at(at + 1 + usize::from(pointed)).is_capital();
        // "LOPEZ, MARIA C": the last of a name, where nothing goes on.
        let behind = view.at(at + 1);
        let ends = self.inverted && self.words > 1 && (behind.kind != Kind::Word || behind.gap >= Gap::Line);
        let good = (pointed || ends || (self.words > 0 && leads)) && (self.words > 0 || leads);
        if !good || (view.word_is(at, &["i"]) && !pointed) {
            return None;
        }
        self.initials += 1;
        self.last = at + usize::from(pointed);
        Some(self.last + 1)
    }

    /// Takes a word with what is written to it, and returns the token to go on at.
    fn word(&mut self, view: &View<'_>, at: usize) -> usize {
        self.add(view.at(at), at);
        if view.joined(at + 1) && view.digits(at + 1, 2, 4).is_some() {
            self.numbered += 1;
            self.last = at + 1;
        }
        let next = self.last + 1;
        let hyphen = view.joint(next) == b'-'
            && view.joined(next + 1)
            && view.at(next + 1).is_capital()
            && view.at(next + 1).len() > 1;
        if hyphen {
            return next + 1;
        }
        if self.words == 1 && self.initials == 0 && view.at(next).is(b',') && comes_first(view, self.first, next + 1) {
            self.inverted = true;
            return next + 1;
        }
        next
    }

    fn add(&mut self, token: &Token, at: usize) {
        let grade = grade(token);
        if self.words == 0 {
            self.given = token.lexeme.given();
        } else {
            self.family =
                self.family.max(token.lexeme.family()).max(if self.inverted { token.lexeme.given() } else { 0 });
        }
        self.words += 1;
        self.last = at;
        self.known += u32::from(grade == Grade::Known);
        self.unknown += u32::from(grade == Grade::Unknown);
        self.weight += token.lexeme.given().max(token.lexeme.family());
        self.eponyms += u32::from(token.has(Cue::Eponym));
        self.uppers += u32::from(token.shape == Shape::Upper);
    }
}

/// True if what stands between two words of a name is right for it.
fn together(token: &Token) -> bool {
    token.gap == Gap::Space || token.gap == Gap::Line
}

/// Collects the words of a name from `i`. With `first`, the first word is taken whatever it is.
pub(crate) fn run(view: &View<'_>, i: usize, first: bool) -> Option<Run> {
    let mut run = Run::at(i);
    let mut at = i;
    while (run.words + run.initials) < WORDS as u32 {
        let token = view.at(at);
        let linked = together(token) || view.joint(at.wrapping_sub(1)) == b'-' || view.before(at, 1).is(b'.');
        if at > i && (!linked || (token.gap == Gap::Line && grade(token) < Grade::Doubtful)) {
            break;
        }
        let numbered = view.joined(at + 1) && view.at(at + 1).kind == Kind::Number;
        if token.shape == Shape::Initial && token.kind == Kind::Word && !numbered {
            let Some(next) = run.initial(view, at) else { break };
            at = next;
        } else if let Some(particles) = particles(view, &run, at) {
            at += particles;
        } else if initialled(view, &run, at) {
            run.initialled = true;
            at = run.word(view, at);
        } else if token.is_capital()
            && (grade(token) >= Grade::Unknown
                || (first && at == i)
                || (run.inverted && run.words == 1)
                || shouted_family(view, &run, token))
        {
            at = run.word(view, at);
        } else {
            break;
        }
    }
    if run.words == 0 {
        return None;
    }
    // "Jr.", "III"
    let comma = usize::from(view.at(run.last + 1).is(b','));
    let suffix = view.at(run.last + 1 + comma);
    if suffix.has(Cue::Suffix) && suffix.is_capital() {
        run.last += 1 + comma;
    }
    Some(run)
}

/// True if a common family name that is a common word too stands behind an initial: `J. Smith`. Not where the letter may
/// count, grade or tell a side, as in `vitamin B. Black stool`, `A. Rest` and `L. Hand`: then something has to lead to it.
fn initialled(view: &View<'_>, run: &Run, at: usize) -> bool {
    let token = view.at(at);
    if run.words > 0 || run.initials == 0 || !token.is_capital() {
        return false;
    }
    let comma = usize::from(view.at(at + 1).is(b','));
    let clinical = token.cues & any(&[Cue::Medical, Cue::Drug]) != 0 && token.lexeme.family() < 5;
    if token.len() >= 2 && !clinical && credential(view, at + 1 + comma) {
        return true;
    }
    // In capitals a letter at the start of a line may number it: "F. YOUNG ADULTS".
    let within = view.at(run.first).gap == Gap::Space && view.at(run.first).len() == 1;
    let shouted = token.shape == Shape::Upper
        && token.lexeme.family() >= 6
        && within
        && token.cues & (NEVER | SELDOM | Cue::Eponym.bit()) == 0;
    let named = token.shape == Shape::Title && token.lexeme.family() >= 5 || shouted;
    let counts = run.initials == 1
        && view.bytes(run.first).first().is_some_and(|c| matches!(c, b'A'..=b'E' | b'K' | b'L' | b'R' | b'T'));
    let before = run.first.wrapping_sub(1);
    let led = view.word_is(before, &["by", "with", "from", "to", "and", "per", "for", "mr", "ms", "mrs"]);
    named && (!counts || led)
}

/// True if a very common family name, though a common word, ends a name in capitals: `daughter LWAZI WHITE`.
fn shouted_family(view: &View<'_>, run: &Run, token: &Token) -> bool {
    token.shape == Shape::Upper
        && run.words == 1
        && run.uppers == 1
        && token.lexeme.family() >= 6
        && left(view, run.first) >= Left::Strong
}

/// How many particles stand at `at`, within a name or, with a capital, before it: `de la`, `van`.
fn particles(view: &View<'_>, run: &Run, at: usize) -> Option<usize> {
    let token = view.at(at);
    let leads = run.words == 0 && token.shape == Shape::Title;
    let is_one = token.kind == Kind::Word
        && token.has(Cue::Particle)
        && (leads || (run.words > 0 && token.shape == Shape::Lower))
        && view.at(at + 1).gap == Gap::Space;
    if !is_one {
        return None;
    }
    let second = view.at(at + 1).has(Cue::Particle) && view.at(at + 1).shape == Shape::Lower;
    let count = 1 + usize::from(second);
    let name = view.at(at + count);
    (name.is_capital() && grade(name) >= Grade::Unknown).then_some(count)
}

/// True if `Last, First` stands here.
fn comes_first(view: &View<'_>, last: usize, first: usize) -> bool {
    let (family, given) = (view.at(last), view.at(first));
    let before = view.before(last, 1);
    let line = matches!(family.gap, Gap::Line | Gap::Break) || matches!(before.byte, b':' | b'(' | b'|');
    let pair = given.is_capital() && given.gap == Gap::Space && given.shape == family.shape;
    // What stands behind has to tell of a cell, and the run is not yet known: see `accepted`.
    let boxed = before.is(b'|') || (before.is(b':') && label(view, last.wrapping_sub(1)) == Left::Label);
    let listed = given.lexeme.given() >= 3 && !given.has(Cue::Medical);
    if pair && boxed && (grade(given) == Grade::Unknown || listed) && given.len() >= 3 {
        return true;
    }
    pair && given.lexeme.given() >= 2
        && grade(given) >= Grade::Doubtful
        && (line
            || family.shape == Shape::Upper
            || (given.lexeme.given() > given.lexeme.family() && family.lexeme.given() < family.lexeme.family()))
}

/// A name whose first capital word is `i`.
pub(crate) fn name(view: &View<'_>, i: usize) -> Option<Match> {
    let side = left(view, i);
    let first = view.at(i);
    if side == Left::Title {
        return titled(view, i);
    }
    let mut run = run(view, i, false)?;
    if first.has(Cue::Facility) && run.words == 1 {
        return None;
    }
    // "Patient Maria Lopez": the word that tells is not part of it.
    if first.cues & any(&[Cue::Role, Cue::Kin]) != 0 && run.words > 1 && first.lexeme.given() < 4 {
        run.first = i + 1;
    }
    let behind = right(view, run.last);
    accepted(view, &run, side, behind).map(|why| view.find(run.first, run.last, Class::Name, why))
}

/// A name after `Dr.` or `Mrs.`: whatever is capitalised.
fn titled(view: &View<'_>, i: usize) -> Option<Match> {
    let token = view.at(i);
    let run = if token.is_capital() {
        let verb = token.cues & any(&[Cue::StrongSpeech, Cue::Never, Cue::Month]) != 0 && token.lexeme.family() < 4;
        let plain = token.lexeme.word() == 3 && token.lexeme.family() < 2 && token.lexeme.given() < 2;
        let clinical =
            token.cues & any(&[Cue::Medical, Cue::Drug]) != 0 && token.lexeme.family() < 4 && token.lexeme.word() > 0;
        if verb || clinical || (plain && token.shape != Shape::Title) || (plain && token.has(Cue::Medical)) {
            return None;
        }
        run(view, i, true)?
    } else {
        return lower_titled(view, i);
    };
    Some(view.find(run.first, run.last, Class::Name, "name after a title"))
}

/// `dr smith` in a text that has no capitals.
fn lower_titled(view: &View<'_>, i: usize) -> Option<Match> {
    let good = |token: &Token| {
        token.kind == Kind::Word
            && token.shape == Shape::Lower
            && token.len() > 2
            && token.cues & any(&[Cue::Never, Cue::Medical, Cue::Drug, Cue::Speech, Cue::Particle]) == 0
            && match token.lexeme.word() {
                0 => true,
                1 => token.lexeme.family() >= 2,
                _ => token.lexeme.family() >= 5 || token.lexeme.given() >= 6,
            }
    };
    if !good(view.at(i)) || view.at(i).gap > Gap::Line {
        return None;
    }
    let next = view.at(i + 1);
    let two = next.gap == Gap::Space && good(next) && next.lexeme.family() >= 2;
    Some(view.find(i, i + usize::from(two), Class::Name, "name after a title"))
}

/// The reason for which a run is taken for a name, if there is one.
fn accepted(view: &View<'_>, run: &Run, side: Left, behind: Right) -> Option<&'static str> {
    let single = run.words == 1;
    let first = view.at(run.first);
    if run.numbered > 0
        && (run.numbered == run.words || side >= Left::Weak)
        && (run.words > 1 || run.weight > 0 || run.unknown > 0)
    {
        let word = first.lexeme.word() < 2 || first.lexeme.given() >= 3;
        return (word && first.shape == Shape::Title && first.len() >= 3).then_some("name with digits");
    }
    if behind == Right::Eponym && (run.eponyms > 0 || single || run.known == 0) {
        return None;
    }
    if behind == Right::Credential {
        return Some("name before a credential");
    }
    if run.eponyms == run.words && side < Left::Strong && behind < Right::Strong && (single || first.lexeme.given() < 3)
    {
        return None;
    }
    if side >= Left::Strong {
        let plural = single && run.unknown == 1 && first.shape == Shape::Upper;
        return (!plural).then_some(if side == Left::Label {
            "name after a label"
        } else {
            "name after a word for a person"
        });
    }
    if behind == Right::Strong
        && (run.known > 0 || run.words > 1 || run.unknown == 1 && first.shape == Shape::Title || run.weight >= 5)
    {
        return Some("name before what persons do or have");
    }
    if run.inverted {
        return (run.weight >= 5).then_some("family name, given name");
    }
    if single {
        return alone(view, run, side);
    }
    if run.unknown == run.words {
        return (side == Left::Weak && run.uppers == 0).then_some("capitals after a word like 'with'");
    }
    if run.known > 0 {
        let named = run.known + run.unknown == run.words && run.uppers == 0;
        let good = run.given >= 2 || run.weight >= 5 || side == Left::Weak || named;
        return good.then_some("given and family name");
    }
    ((run.given >= 4 && run.family >= 4) || (side == Left::Weak && run.weight >= 6)).then_some("given and family name")
}

/// One listed word by itself.
fn alone(view: &View<'_>, run: &Run, side: Left) -> Option<&'static str> {
    let token = view.at(run.first);
    // In capitals an initial is evidence only before a word that is little else than a name: E. COLI is none.
    let shouted = run.uppers > 0 && (run.initials == 0 || run.weight < 2);
    if run.eponyms > 0 || shouted {
        return None;
    }
    let (weight, word) = (run.weight, token.lexeme.word());
    if run.initials > 0 {
        return (run.initialled || run.known > 0 && weight >= 2).then_some("initial and family name");
    }
    let next = view.at(run.last + 1);
    let acts = next.kind == Kind::Word && next.has(Cue::Speech) && next.shape == Shape::Lower && next.gap <= Gap::Line;
    let owns = next.is(b'\'') && view.joined(run.last + 1) && view.word_is(run.last + 2, &["s"]);
    let starts = matches!(token.gap, Gap::Break | Gap::Line) || view.before(run.first, 1).is(b'.');
    let placed = token.lexeme.place() >= 2 && token.lexeme.given() < 5;
    if word < 2 && run.known > 0 {
        if side == Left::Weak && !placed {
            return Some("listed name after a word like 'with'");
        }
        let enough = match (acts || owns, starts || placed) {
            (true, _) => 2,
            (false, true) => 4,
            (false, false) => 3 - u32::from(token.lexeme.given() >= 2),
        };
        let quiet = (placed && !acts) || (word > 0 && starts && !acts && !owns);
        return (weight >= enough && !quiet).then_some("listed name");
    }
    // "John has", "White was seen": common words, but more common names.
    let told = (acts || owns) && token.lexeme.given() >= 6 && token.cues & any(&[Cue::Month, Cue::State]) == 0;
    let within = side == Left::Weak && !starts && token.lexeme.given() >= 6 && token.shape == Shape::Title;
    (told || within).then_some("common name")
}

/// `maria lopez` in a text that has no capitals.
pub(crate) fn lower_pair(view: &View<'_>, i: usize) -> Option<Match> {
    let (first, second) = (view.at(i), view.at(i + 1));
    let plain = any(&[
        Cue::Never,
        Cue::Medical,
        Cue::Drug,
        Cue::Speech,
        Cue::Unit,
        Cue::Eponym,
        Cue::Month,
        Cue::Role,
        Cue::Kin,
        Cue::EponymNoun,
        Cue::Particle,
    ]);
    if second.kind != Kind::Word
        || second.gap != Gap::Space
        || second.shape != Shape::Lower
        || (first.cues | second.cues) & plain != 0
    {
        return None;
    }
    let (given, family) = (first.lexeme.given(), second.lexeme.family());
    let words = first.lexeme.word().max(second.lexeme.word());
    let side = left(view, i);
    let good = match words {
        0 => given >= 3 && family >= 2,
        _ if first.lexeme.word() == 0 => given >= 5 && family >= 5,
        _ => given >= 6 && family >= 6 && side >= Left::Strong,
    };
    let eponym = view.at(i + 2).has(Cue::EponymNoun);
    (good && !eponym).then(|| view.find(i, i + 1, Class::Name, "given and family name"))
}
