use std::ops::Range;
use std::sync::Arc;

use crate::cue::{Cue, any};
use crate::find::context::{Left, Right, left, right};
use crate::find::name::{Grade, grade};
use crate::find::view::View;
use crate::fold::fold_word;
use crate::lexicon::Lexicon;
use crate::near::Letters;
use crate::scan::Span;
use crate::token::{Gap, Kind, Lexer, Shape, Token};
use crate::{Class, Classes};

/// Values of one record that are looked for, at most: more would make a hostile record slow.
const VALUES: usize = 256;
/// Tokens of one value that are looked at.
const TOKENS: usize = 24;
/// Words of names that are looked for, at most: every word of a text may be compared with each of them.
const NAMES: usize = 1024;
/// Letters of a name that is found misspelt, at least.
const MISSPELT: usize = 5;
/// Digits of a number that is looked for, at least.
const DIGITS: usize = 4;
/// Letters and digits of a number that is looked for, at most.
const CODE: usize = 64;

/// What a record holds in a field of its own, to be found in its texts.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// What it is.
    pub class: Class,
    /// The value, as it stands in the field.
    pub value: &'a str,
}

/// The known identifiers of one record, made ready for its texts. Holds protected text: it has no `Debug` of its content.
#[derive(Clone, Default)]
pub struct KnownSet {
    /// Bit `hash % 64` of every name and first word of a phrase.
    mask: u64,
    names: Vec<KnownName>,
    phrases: Vec<Phrase>,
    /// The words of all phrases, and the letters and digits of all codes: two pieces of memory instead of many.
    words: Vec<u64>,
    plain: Vec<u8>,
    codes: Vec<Code>,
    /// Bit of the first byte of every code.
    first: [u64; 2],
    /// Bit of the first digit of every number that a phrase begins with.
    digits: u16,
    /// Names as they stand in their fields, one a person.
    pub(crate) persons: Vec<Box<str>>,
    /// Whose dates are shifted together.
    pub(crate) subject: Arc<str>,
}

#[derive(Clone)]
struct KnownName {
    hash: u64,
    /// What a misspelt word is compared with, if it is long enough.
    letters: Option<Letters>,
    person: u16,
    /// It is an ordinary word too.
    doubtful: bool,
}

#[derive(Clone)]
struct Phrase {
    words: Range<usize>,
    class: Class,
}

#[derive(Clone)]
struct Code {
    plain: Range<usize>,
    class: Class,
}

impl std::fmt::Debug for KnownSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KnownSet").field("values", &(self.names.len() + self.phrases.len() + self.codes.len())).finish()
    }
}

impl KnownSet {
    pub(crate) fn new<'a>(
        lexicon: &'static Lexicon,
        subject: Arc<str>,
        values: impl IntoIterator<Item = Known<'a>>,
    ) -> Self {
        let mut set = Self { subject, ..Self::default() };
        let mut tokens = Vec::new();
        for known in values.into_iter().take(VALUES) {
            match known.class {
                Class::Name => set.add_name(known.value, cut(lexicon, known.value, &mut tokens)),
                Class::Street | Class::Place | Class::Organization => {
                    set.add_phrase(known, cut(lexicon, known.value, &mut tokens));
                }
                // Every date is found by its form, every address by its sign.
                Class::Date | Class::Age | Class::Email | Class::Url | Class::Ip => {}
                Class::Phone
                | Class::Fax
                | Class::Ssn
                | Class::Mrn
                | Class::Plan
                | Class::Account
                | Class::License
                | Class::Vehicle
                | Class::Device
                | Class::Biometric
                | Class::Zip
                | Class::Id => set.add_code(known),
            }
        }
        set
    }

    /// True if there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.phrases.is_empty() && self.codes.is_empty()
    }

    fn add_name(&mut self, value: &str, tokens: &[Token]) {
        let words = || {
            tokens.iter().filter(|token| {
                token.kind == Kind::Word
                    && token.len() >= 2
                    && token.cues & any(&[Cue::Title, Cue::Credential, Cue::Suffix, Cue::Particle]) == 0
            })
        };
        let shared =
            words().find_map(|token| self.names.iter().find(|name| name.hash == token.hash).map(|name| name.person));
        let person = shared.unwrap_or(self.persons.len() as u16);
        if shared.is_none() && words().next().is_some() {
            self.persons.push(value.into());
        }
        for token in words() {
            if self.names.len() == NAMES || self.names.iter().any(|name| name.hash == token.hash) {
                continue;
            }
            self.mask |= 1 << (token.hash % 64);
            let doubtful = token.len() < 3
                || token.lexeme.word() >= 2
                || matches!(grade(token), Grade::Never | Grade::Plain | Grade::Doubtful);
            let letters = Letters::of(&value[token.start as usize..token.end as usize]);
            let letters = letters.filter(|letters| letters.len() >= MISSPELT);
            self.names.push(KnownName { hash: token.hash, letters, person, doubtful });
        }
    }

    fn add_phrase(&mut self, known: Known<'_>, tokens: &[Token]) {
        let start = self.words.len();
        let mut words = tokens.iter().filter(|token| {
            matches!(token.kind, Kind::Word | Kind::Number)
                && !(token.has(Cue::StreetSuffix) && known.class == Class::Street)
        });
        self.words.extend(words.clone().map(|token| key(token, known.value)));
        let letters = tokens.iter().filter(|token| token.kind == Kind::Word).map(Token::len).sum::<usize>();
        let enough = letters >= 3 && (known.class != Class::Street || self.words.len() >= start + 2);
        let Some(first) = words.next().filter(|_| enough) else {
            return self.words.truncate(start);
        };
        self.mask |= 1 << (self.words[start] % 64);
        if first.kind == Kind::Number {
            self.digits |= digit(known.value.as_bytes()[first.start as usize]);
        }
        self.phrases.push(Phrase { words: start..self.words.len(), class: known.class });
    }

    fn add_code(&mut self, known: Known<'_>) {
        let start = self.plain.len();
        if start == 0 {
            // What most records hold fits in, so that it need not grow.
            self.plain.reserve(CODE);
        }
        let bytes = known.value.bytes().filter(u8::is_ascii_alphanumeric).take(CODE + 1);
        self.plain.extend(bytes.map(|byte| byte.to_ascii_uppercase()));
        let plain = &self.plain[start..];
        let digits = plain.iter().filter(|b| b.is_ascii_digit()).count();
        if digits < DIGITS || plain.len() > CODE {
            return self.plain.truncate(start);
        }
        // A US number is written with and without its country code.
        let abroad = matches!(known.class, Class::Phone | Class::Fax) && plain.len() == 11 && plain[0] == b'1';
        for start in abroad.then_some(start + 1).into_iter().chain([start]) {
            let first = self.plain[start];
            self.first[usize::from(first / 64)] |= 1 << (first % 64);
            self.codes.push(Code { plain: start..self.plain.len(), class: known.class });
        }
    }

    pub(crate) fn find(&self, view: &View<'_>, range: Range<usize>, classes: Classes, spans: &mut Vec<Span>) {
        if self.is_empty() {
            return;
        }
        let mut i = range.start;
        while i < range.end {
            let token = view.at(i);
            let found = match token.kind {
                Kind::Word => self.word(view, i),
                Kind::Number => self.number(view, i),
                Kind::Punct | Kind::Email | Kind::Url | Kind::Tag | Kind::None => None,
            };
            let Some((first, last, class, person)) = found else {
                i += 1;
                continue;
            };
            if classes.has(class) {
                spans.push(Span {
                    start: view.at(first).start,
                    end: view.at(last).end,
                    class,
                    why: "known from the record",
                    person,
                });
            }
            i = last.max(i) + 1;
        }
    }

    fn number(&self, view: &View<'_>, i: usize) -> Option<(usize, usize, Class, Option<u16>)> {
        let starts_phrase = view.bytes(i).first().is_some_and(|first| self.digits & digit(*first) != 0);
        let phrase = if starts_phrase { self.phrase(view, i) } else { None };
        phrase.or_else(|| self.code(view, i))
    }

    fn word(&self, view: &View<'_>, i: usize) -> Option<(usize, usize, Class, Option<u16>)> {
        let token = view.at(i);
        if self.mask >> (token.hash % 64) & 1 != 0 {
            let phrase = self.phrase(view, i);
            if phrase.is_some() {
                return phrase;
            }
            if let Some(name) = self.names.iter().find(|name| name.hash == token.hash)
                && self.is_name_here(view, i, name)
            {
                let (first, last) = self.whole(view, i);
                return Some((first, last, Class::Name, Some(name.person)));
            }
        }
        if (view.joined(i + 1) || view.joined(i)) && self.starts_code(view.bytes(i)) {
            let code = self.code(view, i);
            if code.is_some() {
                return code;
            }
        }
        let person = self.misspelt(view, i)?;
        let (first, last) = self.whole(view, i);
        Some((first, last, Class::Name, Some(person)))
    }

    /// An ordinary word needs more than the same letters: a capital, and company or no other reason for the capital.
    fn is_name_here(&self, view: &View<'_>, i: usize, name: &KnownName) -> bool {
        let token = view.at(i);
        let behind = right(view, i);
        if behind == Right::Eponym && token.has(Cue::Eponym) {
            return false;
        }
        if !name.doubtful {
            return true;
        }
        if !token.is_capital() {
            return false;
        }
        let company = |at: usize| {
            let other = view.at(at);
            other.is_capital()
                && other.gap <= Gap::Line
                && (other.shape == Shape::Initial || self.names.iter().any(|name| name.hash == other.hash))
        };
        let starts = token.gap == Gap::Break || (view.before(i, 1).is(b'.') && !view.before(i, 2).has(Cue::Title));
        company(i + 1)
            || (i > 0 && company(i - 1))
            || left(view, i) >= Left::Weak
            || behind >= Right::Strong && behind != Right::Eponym
            || (!starts
                && token.shape == Shape::Title
                && token.gap != Gap::Line
                && token.cues & any(&[Cue::Month, Cue::Never]) == 0)
    }

    /// The name with its initials and other known words on both sides.
    fn whole(&self, view: &View<'_>, i: usize) -> (usize, usize) {
        let is_known = |at: usize| {
            view.at(at).kind == Kind::Word
                && view.at(at).is_capital()
                && self.names.iter().any(|name| name.hash == view.at(at).hash)
        };
        let is_initial = |at: usize| {
            view.at(at).kind == Kind::Word && view.at(at).shape == Shape::Initial && !view.joined(at + 1)
                || (view.at(at).shape == Shape::Initial && view.joint(at + 1) == b'.')
        };
        let (mut first, mut last) = (i, i);
        for _ in 0..4 {
            let point = usize::from(view.before(first, 1).is(b'.') && view.before(first, 2).shape == Shape::Initial);
            let at = first.wrapping_sub(1 + point);
            let initial = is_initial(at) && view.at(first).gap <= Gap::Space && !view.word_is(at, &["i", "a"]);
            if !(initial || is_known(at)) || view.at(first).gap > Gap::Line {
                break;
            }
            first = at;
        }
        for _ in 0..4 {
            let skip =
                usize::from(matches!(view.at(last + 1).byte, b',' | b'-') && view.at(last + 1).kind == Kind::Punct);
            let at = last + 1 + skip;
            let token = view.at(at);
            if token.gap > Gap::Line
                || !(is_known(at)
                    || (is_initial(at)
                        && (skip == 1 || is_known(at + 1) || is_known(at + 2) || view.joint(at + 1) == b'.')))
            {
                break;
            }
            last = if token.shape == Shape::Initial && view.joint(at + 1) == b'.' { at + 1 } else { at };
        }
        (first, last)
    }

    fn phrase(&self, view: &View<'_>, i: usize) -> Option<(usize, usize, Class, Option<u16>)> {
        let first = key(view.at(i), view.text);
        if self.mask >> (first % 64) & 1 == 0 {
            return None;
        }
        let (last, class) = self
            .phrases
            .iter()
            .map(|phrase| (&self.words[phrase.words.clone()], phrase.class))
            .filter(|(words, _)| words[0] == first)
            .filter_map(|(words, class)| {
                let (mut at, mut last) = (i, i);
                for word in words {
                    while view.at(at).kind == Kind::Punct && at < last + 4 {
                        at += 1;
                    }
                    if key(view.at(at), view.text) != *word || (at > i && view.at(at).gap == Gap::Break) {
                        return None;
                    }
                    last = at;
                    at += 1;
                }
                // One word in small letters may be just a word.
                let one = words.len() == 1 && view.at(i).shape == Shape::Lower && view.at(i).lexeme.word() > 0;
                (!one).then_some((last, class))
            })
            .max_by_key(|(last, _)| *last)?;
        let suffix =
            class == Class::Street && view.at(last + 1).has(Cue::StreetSuffix) && view.at(last + 1).gap <= Gap::Line;
        Some((i, last + usize::from(suffix), class, None))
    }

    fn starts_code(&self, bytes: &[u8]) -> bool {
        bytes.first().is_some_and(|b| {
            let b = b.to_ascii_uppercase();
            b < 128 && self.first[usize::from(b / 64)] >> (b % 64) & 1 != 0
        })
    }

    /// A known number or code, with any separators in it.
    fn code(&self, view: &View<'_>, i: usize) -> Option<(usize, usize, Class, Option<u16>)> {
        if !self.starts_code(view.bytes(i))
            || (view.joined(i) && matches!(view.before(i, 1).kind, Kind::Number | Kind::Word))
        {
            return None;
        }
        self.codes
            .iter()
            .filter_map(|code| {
                matches_code(view, i, &self.plain[code.plain.clone()]).map(|last| (i, last, code.class, None))
            })
            .max_by_key(|found| found.1)
    }

    /// The person whose name a capitalised word nearly is.
    fn misspelt(&self, view: &View<'_>, i: usize) -> Option<u16> {
        let token = view.at(i);
        let candidate = token.is_capital()
            && token.len() >= MISSPELT
            && token.lexeme.word() == 0
            && token.cues & any(&[Cue::Medical, Cue::Drug, Cue::Eponym, Cue::Month, Cue::State]) == 0;
        if !candidate || self.names.is_empty() {
            return None;
        }
        let word = Letters::of(std::str::from_utf8(view.bytes(i)).unwrap_or_default())?;
        let most = if word.len() >= 9 { 2 } else { 1 };
        let near = |name: &&KnownName| name.letters.as_ref().is_some_and(|letters| letters.is_near(&word, most));
        self.names.iter().find(near).map(|name| name.person)
    }
}

/// The first tokens of a value.
fn cut<'t>(lexicon: &'static Lexicon, value: &str, tokens: &'t mut Vec<Token>) -> &'t [Token] {
    tokens.clear();
    Lexer::new(lexicon, value).fill(tokens, TOKENS);
    tokens
}

fn matches_code(view: &View<'_>, i: usize, plain: &[u8]) -> Option<usize> {
    let (mut rest, mut at) = (plain, i);
    while at < i + 32 {
        let token = view.at(at);
        match token.kind {
            Kind::Number | Kind::Word => {
                let bytes = view.bytes(at);
                if bytes.len() > rest.len() || !bytes.eq_ignore_ascii_case(&rest[..bytes.len()]) {
                    return None;
                }
                rest = &rest[bytes.len()..];
                if rest.is_empty() {
                    let goes_on = view.joined(at + 1) && matches!(view.at(at + 1).kind, Kind::Number | Kind::Word);
                    return (!goes_on).then_some(at);
                }
            }
            Kind::Punct if matches!(token.byte, b'-' | b'.' | b'/' | b'(' | b')' | b'_' | b'+') => {}
            _ => return None,
        }
        at += 1;
        if view.at(at).gap > Gap::Space {
            return None;
        }
    }
    None
}

/// The bit of a digit.
fn digit(byte: u8) -> u16 {
    1 << (byte % 16)
}

/// What a word or number is looked up by.
fn key(token: &Token, text: &str) -> u64 {
    match token.kind {
        Kind::Word => token.hash,
        Kind::Number => text.as_bytes()[token.start as usize..token.end as usize]
            .iter()
            .fold(7, |hash, b| hash * 31 + u64::from(*b)),
        _ => u64::MAX,
    }
}

/// A name's words, folded, in one form whatever their order.
pub(crate) fn fold_words(name: &str) -> String {
    let mut words: Vec<_> =
        name.split(|c: char| !c.is_alphanumeric() && c != '\'').map(fold_word).filter(|word| word.len() > 1).collect();
    words.sort_unstable();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexicon::Lexicon;

    fn set(values: &[Known<'_>]) -> KnownSet {
        KnownSet::new(Lexicon::shared().unwrap(), "".into(), values.iter().copied())
    }

    #[test]
    fn names_of_a_record_are_bounded() {
        let word = |n: usize| (0..4).map(|at| char::from(b'a' + (n / 26_usize.pow(at) % 26) as u8)).collect::<String>();
        let names: Vec<String> =
            (0..VALUES).map(|value| (0..TOKENS).map(|n| word(value * TOKENS + n) + " ").collect()).collect();
        let values: Vec<_> = names.iter().map(|value| Known { class: Class::Name, value }).collect();
        let set = set(&values);
        assert_eq!(set.names.len(), NAMES);
        assert!(set.persons.iter().map(|name| &**name).eq(names.iter().take(set.persons.len()).map(String::as_str)));
    }

    #[test]
    fn numbers_are_kept_in_every_form_that_they_are_written_in() {
        let plain = |class, value: &str| {
            let set = set(&[Known { class, value }]);
            let plain = |code: &Code| String::from_utf8_lossy(&set.plain[code.plain.clone()]).into_owned();
            set.codes.iter().map(plain).collect::<Vec<_>>()
        };
        assert_eq!(plain(Class::Phone, "+1 (212) 555-0123"), ["2125550123", "12125550123"]);
        assert_eq!(plain(Class::Mrn, "1 (212) 555-0123"), ["12125550123"]);
        assert_eq!(plain(Class::Id, "ab-12 34"), ["AB1234"]);
        assert_eq!(plain(Class::Id, "a-123"), [""; 0]);
        assert_eq!(plain(Class::Id, &"7".repeat(CODE)), ["7".repeat(CODE)]);
        assert_eq!(plain(Class::Id, &"7".repeat(CODE + 1)), [""; 0]);
    }
}
