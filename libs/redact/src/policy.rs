use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::known::{KnownSet, fold_words};
use crate::lexicon::Lexicon;
use crate::scan::Span;
use crate::shift::shifted;
use crate::{Class, Classes};

/// The secret that makes pseudonyms and shifts: with another one they are others. Never shown.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// A key of at least 16 bytes.
    pub fn new(secret: &[u8]) -> Option<Self> {
        if secret.len() < 16 {
            return None;
        }
        Hmac::new_from_slice(secret).ok().map(Self)
    }

    /// The first 8 bytes of HMAC-SHA-256 of a domain and a value.
    fn digest(&self, domain: &str, value: &str) -> u64 {
        let mut mac = self.0.clone();
        mac.update(domain.as_bytes());
        mac.update(&[0]);
        mac.update(value.as_bytes());
        mac.finalize().into_bytes().iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// A token that stands for a value: the same for the same value, class and key.
    pub fn pseudonym(&self, class: Class, value: &str) -> String {
        format!("[{}-{:016x}]", class.as_str(), self.digest(class.as_str(), value))
    }

    /// The token that stands for the value of a field: the one that the same value gets in a text.
    pub fn token(&self, class: Class, value: &str) -> String {
        self.pseudonym(class, &plain(class, value))
    }

    /// Days by which one subject's dates are moved: -364 to 364, never 0.
    pub fn shift(&self, subject: &str) -> i32 {
        let value = (self.digest("shift", subject) % 728) as i32;
        if value < 364 { value - 364 } else { value - 363 }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// What stands in the place of what was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// `[NAME]`
    #[default]
    Tag,
    /// `[NAME-3f9c20a1b7d4e865]`: the same person, the same token. Needs a key.
    Pseudonym,
    /// As many asterisks as there were characters.
    Mask,
}

/// What becomes of dates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dates {
    /// As everything else.
    #[default]
    Style,
    /// Moved by days that are constant for a subject, so that intervals stay. Not Safe Harbor: it needs an expert's
    /// determination. Needs a key; dates that lack a part, and texts without a subject, get a tag.
    Shift,
}

/// What is looked for and what becomes of it.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The classes to replace.
    pub classes: Classes,
    /// What stands in their place.
    pub style: Style,
    /// What becomes of dates.
    pub dates: Dates,
    /// For pseudonyms and shifts.
    pub key: Option<Key>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { classes: Classes::ALL, style: Style::Tag, dates: Dates::Style, key: None }
    }
}

impl Policy {
    /// Writes what stands in the place of `text[span]`.
    pub(crate) fn replace(
        &self,
        lexicon: &'static Lexicon,
        text: &str,
        span: &Span,
        known: Option<&KnownSet>,
        out: &mut Vec<u8>,
    ) {
        let found = &text[span.start as usize..span.end as usize];
        if span.class == Class::Date && self.dates == Dates::Shift {
            let subject = known.map(|known| &*known.subject).filter(|subject| !subject.is_empty());
            if let (Some(key), Some(subject)) = (&self.key, subject)
                && let Some(moved) = shifted(lexicon, found, key.shift(subject))
            {
                out.extend_from_slice(moved.as_bytes());
                return;
            }
            return tag(span.class, out);
        }
        match (self.style, &self.key) {
            (Style::Pseudonym, Some(key)) => {
                let person = span.person.and_then(|person| known?.persons.get(usize::from(person)));
                let value = person.map_or_else(|| plain(span.class, found), |name| fold_words(name));
                out.extend_from_slice(key.pseudonym(span.class, &value).as_bytes());
            }
            (Style::Mask, _) => out.extend(std::iter::repeat_n(b'*', found.chars().count())),
            (Style::Tag, _) | (Style::Pseudonym, None) => tag(span.class, out),
        }
    }
}

/// A value in one form, however it is written.
fn plain(class: Class, value: &str) -> String {
    match class {
        Class::Name => fold_words(value),
        _ => value.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect(),
    }
}

fn tag(class: Class, out: &mut Vec<u8>) {
    out.push(b'[');
    out.extend_from_slice(class.as_str().as_bytes());
    out.push(b']');
}
