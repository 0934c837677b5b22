use crate::Class;
use crate::cue::Cue;
use crate::lexicon::Lexicon;
use crate::token::{Gap, Kind, Token};

/// What a rule found: a range of bytes, and the token to go on at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) class: Class,
    /// The rule, for `--explain`.
    pub(crate) why: &'static str,
    pub(crate) next: usize,
}

/// A text, its tokens, and what was found last: all that rules look at.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) lexicon: &'static Lexicon,
    pub(crate) text: &'a str,
    pub(crate) tokens: &'a [Token],
    /// The last find, whose `next` tells where it ended.
    pub(crate) last: Option<Match>,
}

impl<'a> View<'a> {
    /// The token at an index, which may be before the first (wrapped) or after the last.
    pub(crate) fn at(&self, index: usize) -> &'a Token {
        self.tokens.get(index).unwrap_or(&Token::NONE)
    }

    /// The token before.
    pub(crate) fn before(&self, index: usize, steps: usize) -> &'a Token {
        self.at(index.wrapping_sub(steps))
    }

    pub(crate) fn bytes(&self, index: usize) -> &'a [u8] {
        let token = self.at(index);
        self.text.as_bytes().get(token.start as usize..token.end as usize).unwrap_or_default()
    }

    pub(crate) fn word_is(&self, index: usize, words: &[&str]) -> bool {
        self.at(index).kind == Kind::Word && {
            let bytes = self.bytes(index);
            words.iter().any(|word| bytes.eq_ignore_ascii_case(word.as_bytes()))
        }
    }

    /// A number of at most 18 digits.
    pub(crate) fn number(&self, index: usize) -> Option<(u64, usize)> {
        let token = self.at(index);
        if token.kind != Kind::Number || token.len() > 18 {
            return None;
        }
        let value = self.bytes(index).iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
        Some((value, token.len()))
    }

    /// The number, if it has between `least` and `most` digits.
    pub(crate) fn digits(&self, index: usize, least: usize, most: usize) -> Option<u64> {
        self.number(index).filter(|(_, length)| (least..=most).contains(length)).map(|(value, _)| value)
    }

    /// True if nothing stands between this token and the one before.
    pub(crate) fn joined(&self, index: usize) -> bool {
        self.at(index).gap == Gap::None && index > 0
    }

    /// The punctuation at an index, if it follows without a gap.
    pub(crate) fn joint(&self, index: usize) -> u8 {
        let token = self.at(index);
        if token.kind == Kind::Punct && token.gap == Gap::None { token.byte } else { 0 }
    }

    /// True if the last find ended just before this token.
    pub(crate) fn follows_find(&self, index: usize, class: Class) -> bool {
        self.last.is_some_and(|last| last.next == index && last.class == class)
    }

    /// The cues, of those in `mask`, of the nearest word before that has one; at most `steps` tokens away and in the same
    /// paragraph. A number or the end of a sentence ends the search.
    pub(crate) fn cue_before(&self, index: usize, steps: usize, mask: u64) -> u64 {
        let mut gap = self.at(index).gap;
        for step in 1..=steps {
            let token = self.before(index, step);
            match token.kind {
                Kind::None | Kind::Number | Kind::Email | Kind::Url => return 0,
                _ if gap == Gap::Break => return 0,
                Kind::Punct if matches!(token.byte, b';' | b'!' | b'?') => return 0,
                Kind::Punct if token.byte == b'.' && gap >= Gap::Space && self.before(index, step + 1).len() > 4 => {
                    return 0;
                }
                Kind::Word if token.cues & mask != 0 => return token.cues & mask,
                _ => gap = token.gap,
            }
        }
        0
    }

    /// True if a unit of measure follows.
    pub(crate) fn unit_after(&self, index: usize) -> bool {
        let token = self.at(index);
        token.gap <= Gap::Space
            && (token.is(b'%')
                || (token.kind == Kind::Word && token.has(Cue::Unit) && !token.is_capital())
                || (token.is(b'-') && self.at(index + 1).has(Cue::Unit)))
    }

    /// A find over the tokens `first..=last`.
    pub(crate) fn find(&self, first: usize, last: usize, class: Class, why: &'static str) -> Match {
        Match { start: self.at(first).start, end: self.at(last).end, class, why, next: last + 1 }
    }
}
