use crate::Class;
use crate::cue::Cue;
use crate::fold::{Folded, fold};
use crate::lexicon::{Lexeme, Lexicon};
use crate::spelling::Spelling;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Letters, with apostrophes between them.
    Word,
    /// ASCII digits.
    Number,
    /// One other character; `byte` is its ASCII form, or 0.
    Punct,
    Email,
    Url,
    /// A tag of ours, or of those who redacted before us. Never looked into.
    Tag,
    /// Before the first and after the last one.
    None,
}

/// How a word is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Lower,
    /// One capital letter.
    Initial,
    /// A capital, then small letters only.
    Title,
    /// Capitals only, two or more.
    Upper,
    /// A capital first, others within: `McDonald`.
    Mixed,
}

/// What stands between a token and the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Gap {
    None,
    Space,
    /// The end of a line.
    Line,
    /// An empty line, or the start of the text.
    Break,
}

/// One token: where it is, and all that is known of it by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) kind: Kind,
    pub(crate) shape: Shape,
    pub(crate) gap: Gap,
    pub(crate) byte: u8,
    pub(crate) lexeme: Lexeme,
    pub(crate) hash: u64,
    pub(crate) cues: u64,
}

impl Token {
    pub(crate) const NONE: Self = Self {
        start: 0,
        end: 0,
        kind: Kind::None,
        shape: Shape::Lower,
        gap: Gap::Break,
        byte: 0,
        lexeme: Lexeme::NONE,
        hash: 0,
        cues: 0,
    };

    pub(crate) const fn has(&self, cue: Cue) -> bool {
        self.cues & cue.bit() != 0
    }

    pub(crate) const fn is(&self, byte: u8) -> bool {
        self.byte == byte && matches!(self.kind, Kind::Punct)
    }

    pub(crate) const fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// A word that starts with a capital letter.
    pub(crate) const fn is_capital(&self) -> bool {
        matches!(self.kind, Kind::Word) && !matches!(self.shape, Shape::Lower)
    }
}

/// Longest local part and host name of an e-mail address that are looked at (RFC 5321, 4.5.3.1).
const LOCAL_PART: usize = 64;
const HOST: usize = 253;
/// A tag between brackets is not longer.
const TAG: usize = 48;
/// Where a URL ends at the latest.
const URL: usize = 2048;

/// Stands for the cues of a word that was not looked up yet, and can only be a name.
const NAME_ONLY: u64 = u64::MAX;

/// Ends of clinical words and names of substances. A word in no list that ends so is no name.
const CLINICAL: [&[u8]; 62] = [
    b"itis",
    b"osis",
    b"emia",
    b"aemia",
    b"ectomy",
    b"otomy",
    b"ostomy",
    b"pathy",
    b"scopy",
    b"graphy",
    b"gram",
    b"logy",
    b"logist",
    b"therapy",
    b"plasty",
    b"uria",
    b"algia",
    b"penia",
    b"plegia",
    b"paresis",
    b"phasia",
    b"trophy",
    b"megaly",
    b"rrhea",
    b"rrhage",
    b"mycin",
    b"cillin",
    b"cycline",
    b"pril",
    b"sartan",
    b"statin",
    b"olol",
    b"azole",
    b"idine",
    b"zepam",
    b"zolam",
    b"mab",
    b"nib",
    b"tinib",
    b"navir",
    b"vir",
    b"parin",
    b"oxacin",
    b"semide",
    b"thiazide",
    b"gliptin",
    b"glutide",
    b"gliflozin",
    b"formin",
    b"setron",
    b"tidine",
    b"prazole",
    b"caine",
    b"barbital",
    b"amine",
    b"oxetine",
    b"triptan",
    b"dronate",
    b"steroid",
    b"toxin",
    b"philia",
    b"blast",
];

fn is_clinical(word: &[u8]) -> bool {
    let Some(last) = word.last().map(u8::to_ascii_lowercase).filter(|_| word.len() >= 6) else { return false };
    CLINICAL.iter().any(|end| {
        end[end.len() - 1] == last
            && word.len() >= end.len() + 2
            && word[word.len() - end.len()..].eq_ignore_ascii_case(end)
    })
}

/// Where the next token starts or a gap goes on, and the gap so far. Handed on by value, so that it stays in registers.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    at: usize,
    gap: Gap,
}

impl Cursor {
    fn space(self, length: usize) -> Self {
        Self { at: self.at + length, gap: self.gap.max(Gap::Space) }
    }

    /// Adds a token that starts where the gap ends, and goes on behind it.
    #[inline]
    fn push(self, tokens: &mut Vec<Token>, token: Token) -> Self {
        tokens.push(Token { gap: self.gap, ..token });
        Self { at: token.end as usize, gap: Gap::None }
    }

    fn punct(self, tokens: &mut Vec<Token>, byte: u8, length: usize) -> Self {
        let (start, end) = (self.at as u32, (self.at + length) as u32);
        self.push(tokens, Token { start, end, kind: Kind::Punct, byte, ..Token::NONE })
    }

    #[inline]
    fn word(self, tokens: &mut Vec<Token>, spelling: Spelling, end: usize) -> Self {
        let (start, end, shape, hash) = (self.at as u32, end as u32, spelling.shape(), spelling.hash());
        // "Löwer" is not "lower".
        let cues = if spelling.is_foreign_name() { NAME_ONLY } else { 0 };
        self.push(tokens, Token { start, end, kind: Kind::Word, shape, hash, cues, ..Token::NONE })
    }
}

/// Cuts a text into tokens, in one pass over its bytes.
#[derive(Debug)]
pub(crate) struct Lexer<'t> {
    lexicon: &'static Lexicon,
    text: &'t str,
    bytes: &'t [u8],
    cursor: Cursor,
    /// Tokens from here on were not looked up yet.
    looked_up: usize,
}

impl<'t> Lexer<'t> {
    pub(crate) fn new(lexicon: &'static Lexicon, text: &'t str) -> Self {
        Self { lexicon, text, bytes: text.as_bytes(), cursor: Cursor { at: 0, gap: Gap::Break }, looked_up: 0 }
    }

    /// Adds tokens until there are `limit`. False at the end of the text.
    pub(crate) fn fill(&mut self, tokens: &mut Vec<Token>, limit: usize) -> bool {
        self.looked_up = tokens.len();
        let more = self.cut(tokens, limit);
        // After all are cut, not one by one: the lexicon is larger than a core's cache, and a processor waits for many
        // words at a time if none of them needs the one before.
        for token in tokens.iter_mut().skip(self.looked_up).filter(|token| token.kind == Kind::Word) {
            self.look_up(token);
        }
        more
    }

    fn look_up(&self, token: &mut Token) {
        let name_only = token.cues == NAME_ONLY;
        (token.lexeme, token.cues) = self.lexicon.get(token.hash);
        if name_only {
            (token.lexeme, token.cues) = (token.lexeme.as_name(), 0);
        }
        if token.lexeme == Lexeme::NONE
            && token.cues == 0
            && is_clinical(&self.bytes[token.start as usize..token.end as usize])
        {
            token.cues = Cue::Medical.bit();
        }
    }

    fn cut(&mut self, tokens: &mut Vec<Token>, limit: usize) -> bool {
        let mut cursor = self.cursor;
        while tokens.len() < limit {
            // Most tokens stand behind one space.
            if self.bytes.get(cursor.at) == Some(&b' ') {
                cursor = cursor.space(1);
            }
            let Some(byte) = self.bytes.get(cursor.at) else { return false };
            cursor = match *byte {
                // Words first: a jump to one of many places is foreseen less often than a branch.
                byte if byte.is_ascii_alphabetic() => self.word(cursor, tokens),
                b'0'..=b'9' => self.number(cursor, tokens),
                b'\'' | b'`' => cursor.punct(tokens, b'\'', 1),
                b'\n' | b'\r' => self.line(cursor, *byte),
                0..=b' ' | 0x7f => cursor.space(1),
                0x80.. => self.high(cursor, tokens),
                byte => self.special(cursor, tokens, byte),
            };
        }
        self.cursor = cursor;
        true
    }

    fn line(&self, cursor: Cursor, byte: u8) -> Cursor {
        let two = byte == b'\r' && self.bytes.get(cursor.at + 1) == Some(&b'\n');
        let gap = if cursor.gap >= Gap::Line { Gap::Break } else { Gap::Line };
        Cursor { at: cursor.at + 1 + usize::from(two), gap }
    }

    fn number(&self, cursor: Cursor, tokens: &mut Vec<Token>) -> Cursor {
        let digits = self.bytes[cursor.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (start, end) = (cursor.at as u32, (cursor.at + digits) as u32);
        cursor.push(tokens, Token { start, end, kind: Kind::Number, ..Token::NONE })
    }

    fn high(&self, cursor: Cursor, tokens: &mut Vec<Token>) -> Cursor {
        let Some(c) = self.text[cursor.at..].chars().next() else { return cursor };
        let length = c.len_utf8();
        match fold(c) {
            Folded::Ascii(_) | Folded::Letter => self.word(cursor, tokens),
            Folded::Ignored => Cursor { at: cursor.at + length, ..cursor },
            Folded::Space => cursor.space(length),
            Folded::Line => Cursor { at: cursor.at + length, gap: Gap::Line },
            Folded::Apostrophe => cursor.punct(tokens, b'\'', length),
            Folded::Dash => cursor.punct(tokens, b'-', length),
            Folded::Other => cursor.punct(tokens, 0, length),
        }
    }

    /// A word, hashed as it is read. A possessive `'s` is not part of it.
    fn word(&self, cursor: Cursor, tokens: &mut Vec<Token>) -> Cursor {
        let (spelling, end) = self.letters(Spelling::new(), cursor.at);
        if matches!(self.bytes.get(end), Some(b'\'' | b'`' | 0x80..)) {
            let (spelling, end) = self.rest_of_word(spelling, end);
            return cursor.word(tokens, spelling, end);
        }
        cursor.word(tokens, spelling, end)
    }

    /// Takes the ASCII letters at `at`, and returns where they end.
    #[inline(always)]
    fn letters(&self, mut spelling: Spelling, mut at: usize) -> (Spelling, usize) {
        loop {
            let letters;
            (spelling, letters) = spelling.ascii(&self.bytes[at..]);
            at += letters;
            if letters < 8 {
                return (spelling, at);
            }
        }
    }

    /// Goes on with a word at what is no ASCII letter, and returns where it ends. Few words come here.
    #[cold]
    fn rest_of_word(&self, mut spelling: Spelling, mut end: usize) -> (Spelling, usize) {
        let mut at = end;
        loop {
            let (c, folded) = match self.bytes.get(at) {
                Some(b'\'' | b'`') => ('\'', Folded::Apostrophe),
                Some(0x80..) => match self.text[at..].chars().next() {
                    Some(c) => (c, fold(c)),
                    None => break,
                },
                _ => break,
            };
            at += c.len_utf8();
            match folded {
                Folded::Ascii(_) | Folded::Letter => {
                    spelling = spelling.other(c, folded);
                    end = at;
                }
                Folded::Ignored => end = at,
                Folded::Apostrophe if self.goes_on(at) => {}
                Folded::Apostrophe | Folded::Dash | Folded::Space | Folded::Line | Folded::Other => break,
            }
            let from = at;
            (spelling, at) = self.letters(spelling, from);
            if at > from {
                end = at;
            }
        }
        (spelling, end)
    }

    /// True if a letter stands at `at` that is not a possessive's `s`.
    fn goes_on(&self, at: usize) -> bool {
        let letter = |at: usize| self.bytes.get(at).is_some_and(|byte| byte.is_ascii_alphabetic() || *byte >= 0xc3);
        letter(at) && (letter(at + 1) || !matches!(self.bytes[at], b's' | b'S'))
    }

    /// Punctuation, and what it may belong to: tags, e-mail and web addresses.
    fn special(&mut self, cursor: Cursor, tokens: &mut Vec<Token>, byte: u8) -> Cursor {
        let at = cursor.at;
        let found = match byte {
            b'[' => self.tag(at),
            b'@' => self.email(at),
            b':' if self.bytes[at..].starts_with(b"://") => self.url(at, tokens),
            b'.' => self.www(at, tokens),
            _ => None,
        };
        let Some((start, end, kind)) = found else {
            return cursor.punct(tokens, byte, 1);
        };
        // What was taken for words before is part of the address.
        let mut gap = cursor.gap;
        while let Some(last) = tokens.last().filter(|last| last.start as usize >= start) {
            gap = last.gap;
            tokens.pop();
        }
        self.looked_up = self.looked_up.min(tokens.len());
        let start = tokens.last().map_or(start, |last| start.max(last.end as usize));
        Cursor { at: start, gap }.push(tokens, Token { start: start as u32, end: end as u32, kind, ..Token::NONE })
    }

    fn tag(&self, at: usize) -> Option<(usize, usize, Kind)> {
        let rest = &self.bytes[at + 1..];
        let length = rest.iter().take(TAG).position(|byte| *byte == b']')?;
        let end = at + length + 2;
        let inside = self.text.get(at + 1..end - 1)?;
        let ours = inside
            .split_once(['-', ' '])
            .map_or(inside, |(class, _)| class)
            .bytes()
            .all(|byte| byte.is_ascii_uppercase())
            && Class::parse(inside.split_once(['-', ' ']).map_or(inside, |(class, _)| class)).is_some();
        let theirs = inside.len() > 4 && inside.starts_with("**") && inside.ends_with("**");
        (ours || theirs).then_some((at, end, Kind::Tag))
    }

    fn email(&self, at: usize) -> Option<(usize, usize, Kind)> {
        let local =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | 0x80..);
        let before = &self.bytes[at.saturating_sub(LOCAL_PART)..at];
        let mut start = at - before.iter().rev().take_while(|byte| local(byte)).count();
        while !self.text.is_char_boundary(start) {
            start += 1;
        }
        while matches!(self.bytes.get(start), Some(b'.' | b'-')) {
            start += 1;
        }
        let host = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | 0x80..);
        let after = &self.bytes[at + 1..];
        let mut length = after.iter().take(HOST).take_while(|byte| host(byte)).count();
        while length > 0 && (matches!(after[length - 1], b'.' | b'-') || !self.text.is_char_boundary(at + 1 + length)) {
            length -= 1;
        }
        let end = at + 1 + length;
        let top = self.bytes[at + 1..end].rsplit(|byte| *byte == b'.').next().unwrap_or_default();
        let good = start < at && top.len() >= 2 && top.len() < length && !top[0].is_ascii_digit();
        good.then_some((start, end, Kind::Email))
    }

    fn url(&self, at: usize, tokens: &[Token]) -> Option<(usize, usize, Kind)> {
        let scheme = tokens.last().filter(|last| last.kind == Kind::Word && last.end as usize == at)?;
        Some((scheme.start as usize, self.url_end(at + 3), Kind::Url))
    }

    fn www(&self, at: usize, tokens: &[Token]) -> Option<(usize, usize, Kind)> {
        let last = tokens.last().filter(|last| last.end as usize == at && last.len() == 3)?;
        let www = self.bytes[last.start as usize..at].eq_ignore_ascii_case(b"www");
        (www && self.bytes.get(at + 1).is_some_and(u8::is_ascii_alphanumeric))
            .then(|| (last.start as usize, self.url_end(at + 1), Kind::Url))
    }

    fn url_end(&self, from: usize) -> usize {
        let rest = &self.bytes[from..];
        let stop = |byte: &u8| *byte <= b' ' || matches!(byte, b'"' | b'<' | b'>' | b')' | b']' | b'}' | b'|');
        let mut end = from + rest.iter().take(URL).position(stop).unwrap_or(rest.len().min(URL));
        while end > from
            && (matches!(self.bytes[end - 1], b'.' | b',' | b';' | b':' | b'!' | b'?' | b'\'')
                || !self.text.is_char_boundary(end))
        {
            end -= 1;
        }
        end
    }
}
