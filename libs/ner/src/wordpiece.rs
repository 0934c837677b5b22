//! BERT's tokenizer: words by white space and punctuation, each cut into the longest pieces of a vocabulary.
//! Sources: J. Devlin et al., arXiv 1810.04805, and the behaviour that `BertNormalizer`, `BertPreTokenizer` and `WordPiece`
//! are documented to have (<https://huggingface.co/docs/tokenizers>).
//!
//! A word keeps where it stands in the text, in bytes, whatever normalisation does to its letters.

use std::collections::HashMap;

use serde::Deserialize;
use unicode_normalization::char::decompose_canonical;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

/// A word, or a punctuation mark, and its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// First byte.
    pub(crate) start: usize,
    /// Behind the last byte.
    pub(crate) end: usize,
    /// How many pieces it has.
    pub(crate) pieces: usize,
}

/// A vocabulary, and how words are made ready for it.
#[derive(Debug)]
pub(crate) struct WordPiece {
    vocabulary: HashMap<Box<str>, u32>,
    prefix: String,
    /// Most letters of a word that is cut.
    longest: usize,
    /// Bytes of the longest piece.
    widest: usize,
    form: Form,
    unknown: u32,
    pub(crate) first: u32,
    pub(crate) last: u32,
}

/// What becomes of letters.
#[derive(Clone, Copy, Debug)]
struct Form {
    lowercase: bool,
    strip_accents: bool,
    split_chinese: bool,
    drop_controls: bool,
}

#[derive(Deserialize)]
struct File {
    model: ModelPart,
    normalizer: Option<NormalizerPart>,
}

#[derive(Deserialize)]
struct ModelPart {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    vocab: serde_json::Value,
    continuing_subword_prefix: Option<String>,
    max_input_chars_per_word: Option<usize>,
}

#[derive(Deserialize)]
struct NormalizerPart {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default = "yes")]
    lowercase: bool,
    strip_accents: Option<bool>,
    #[serde(default = "yes")]
    handle_chinese_chars: bool,
    #[serde(default = "yes")]
    clean_text: bool,
}

/// `tokenizer_config.json`, which stands beside `vocab.txt`.
#[derive(Deserialize)]
struct Settings {
    #[serde(default = "yes")]
    do_lower_case: bool,
    strip_accents: Option<bool>,
    #[serde(default = "yes")]
    tokenize_chinese_chars: bool,
}

const fn yes() -> bool {
    true
}

impl WordPiece {
    /// Reads the text of `tokenizer.json`.
    pub(crate) fn from_json(text: &[u8]) -> Result<Self, String> {
        let file: File = serde_json::from_slice(text).map_err(|error| format!("is no tokenizer: {error}"))?;
        if file.model.kind != "WordPiece" {
            return Err(format!("has a model of type '{}'; only WordPiece is read", file.model.kind));
        }
        let Some(normalizer) = file.normalizer.filter(|normalizer| normalizer.kind == "BertNormalizer") else {
            return Err("has another normalizer than BertNormalizer, the only one that is read".to_owned());
        };
        let vocabulary: HashMap<Box<str>, u32> = serde_json::from_value(file.model.vocab)
            .map_err(|error| format!("has no vocabulary of words and numbers: {error}"))?;
        let form = Form {
            lowercase: normalizer.lowercase,
            strip_accents: normalizer.strip_accents.unwrap_or(normalizer.lowercase),
            split_chinese: normalizer.handle_chinese_chars,
            drop_controls: normalizer.clean_text,
        };
        let prefix = file.model.continuing_subword_prefix.unwrap_or_else(|| "##".to_owned());
        Self::new(vocabulary, prefix, file.model.max_input_chars_per_word.unwrap_or(100), form)
    }

    /// Reads the texts of `vocab.txt` and, if it is there, `tokenizer_config.json`.
    pub(crate) fn from_lines(vocabulary: &str, settings: Option<&[u8]>) -> Result<Self, String> {
        let settings: Settings = serde_json::from_slice(settings.unwrap_or(b"{}"))
            .map_err(|error| format!("tokenizer_config.json beside it is broken: {error}"))?;
        let form = Form {
            lowercase: settings.do_lower_case,
            strip_accents: settings.strip_accents.unwrap_or(settings.do_lower_case),
            split_chinese: settings.tokenize_chinese_chars,
            drop_controls: true,
        };
        let vocabulary = vocabulary.lines().zip(0..).map(|(piece, id)| (piece.trim_end().into(), id)).collect();
        Self::new(vocabulary, "##".to_owned(), 100, form)
    }

    fn new(vocabulary: HashMap<Box<str>, u32>, prefix: String, longest: usize, form: Form) -> Result<Self, String> {
        let id = |piece: &str| {
            vocabulary.get(piece).copied().ok_or_else(|| format!("has no {piece}, which the model needs"))
        };
        let (unknown, first, last) = (id("[UNK]")?, id("[CLS]")?, id("[SEP]")?);
        let widest = vocabulary.keys().map(|piece| piece.len()).max().unwrap_or(0);
        // A longer word costs its length times that of the longest piece.
        Ok(Self { vocabulary, prefix, longest: longest.min(1000), widest, form, unknown, first, last })
    }

    /// The largest number of a piece.
    pub(crate) fn largest(&self) -> u32 {
        self.vocabulary.values().copied().max().unwrap_or(0)
    }

    /// The words of a text.
    pub(crate) fn words<'t>(&'t self, text: &'t str) -> Words<'t> {
        Words { pieces: self, text, at: 0, letters: String::new(), count: 0, buffer: String::new() }
    }
}

/// Goes through the words of a text, one at a time.
pub(crate) struct Words<'t> {
    pieces: &'t WordPiece,
    text: &'t str,
    at: usize,
    /// The normalised letters of the word, up to one more than a word may have.
    letters: String,
    count: usize,
    buffer: String,
}

impl Words<'_> {
    /// The next word; its pieces, at most `most` of them, go to the end of `ids`.
    pub(crate) fn next(&mut self, most: usize, ids: &mut Vec<u32>) -> Option<Word> {
        let (start, end) = self.span()?;
        let before = ids.len();
        if self.count > self.pieces.longest || !self.cut(ids) || ids.len() - before > most {
            ids.truncate(before);
            ids.push(self.pieces.unknown);
        }
        Some(Word { start, end, pieces: ids.len() - before })
    }

    /// Finds the next word, and normalises it.
    fn span(&mut self) -> Option<(usize, usize)> {
        self.letters.clear();
        self.count = 0;
        let mut span: Option<(usize, usize)> = None;
        let form = self.pieces.form;
        for (offset, c) in self.text[self.at..].char_indices() {
            let (start, end) = (self.at + offset, self.at + offset + c.len_utf8());
            let kind = kind(c, form);
            match (kind, span) {
                (Kind::Dropped, _) | (Kind::Mark | Kind::Space, None) => {}
                (Kind::Mark, Some(word)) => span = Some((word.0, end)),
                (Kind::Space, Some(word)) => {
                    self.at = end;
                    return Some(word);
                }
                (Kind::Alone, Some(word)) => {
                    self.at = start;
                    return Some(word);
                }
                (Kind::Alone, None) => {
                    self.push(c);
                    self.at = end;
                    return Some((start, end));
                }
                (Kind::Letter, word) => {
                    self.push(c);
                    span = Some((word.map_or(start, |word| word.0), end));
                }
            }
        }
        self.at = self.text.len();
        span
    }

    fn push(&mut self, c: char) {
        if self.count > self.pieces.longest {
            return;
        }
        let form = self.pieces.form;
        let (letters, count) = (&mut self.letters, &mut self.count);
        let mut lowered = |c: char| {
            if form.lowercase {
                for lower in c.to_lowercase() {
                    letters.push(lower);
                    *count += 1;
                }
            } else {
                letters.push(c);
                *count += 1;
            }
        };
        if !form.strip_accents || c.is_ascii() {
            return lowered(c);
        }
        decompose_canonical(c, |part| {
            if part.general_category() != GeneralCategory::NonspacingMark {
                lowered(part);
            }
        });
    }

    /// Cuts the word into the longest pieces from its beginning; false if a rest is in no vocabulary.
    fn cut(&mut self, ids: &mut Vec<u32>) -> bool {
        let mut from = 0;
        while from < self.letters.len() {
            let mut to = self.letters.floor_char_boundary(from + self.pieces.widest);
            let found = loop {
                if to == from {
                    break None;
                }
                self.buffer.clear();
                if from > 0 {
                    self.buffer.push_str(&self.pieces.prefix);
                }
                self.buffer.push_str(&self.letters[from..to]);
                if let Some(id) = self.pieces.vocabulary.get(self.buffer.as_str()) {
                    break Some(*id);
                }
                to = self.letters[from..to].char_indices().next_back().map_or(from, |(last, _)| from + last);
            };
            let Some(id) = found else { return false };
            ids.push(id);
            from = to;
        }
        !self.letters.is_empty()
    }
}

/// What a character is to the tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Letter,
    Space,
    /// A word by itself.
    Alone,
    /// An accent that is not looked at, but belongs to the letter before it.
    Mark,
    /// Not looked at.
    Dropped,
}

fn kind(c: char, form: Form) -> Kind {
    if c.is_ascii_alphanumeric() {
        return Kind::Letter;
    }
    if matches!(c, '\t' | '\n' | '\r') || c.is_whitespace() {
        return Kind::Space;
    }
    if c.is_ascii_punctuation() {
        return Kind::Alone;
    }
    let category = c.general_category();
    if form.strip_accents && category == GeneralCategory::NonspacingMark {
        return Kind::Mark;
    }
    match c.general_category_group() {
        GeneralCategoryGroup::Other if form.drop_controls => Kind::Dropped,
        GeneralCategoryGroup::Punctuation => Kind::Alone,
        _ if form.drop_controls && c == char::REPLACEMENT_CHARACTER => Kind::Dropped,
        _ if form.split_chinese && is_chinese(c) => Kind::Alone,
        _ => Kind::Letter,
    }
}

/// The blocks of CJK ideographs, as in BERT's own tokenizer.
const fn is_chinese(c: char) -> bool {
    matches!(c,
        '\u{4E00}'..='\u{9FFF}' | '\u{3400}'..='\u{4DBF}' | '\u{20000}'..='\u{2A6DF}' | '\u{2A700}'..='\u{2B73F}'
        | '\u{2B740}'..='\u{2B81F}' | '\u{2B920}'..='\u{2CEAF}' | '\u{F900}'..='\u{FAFF}' | '\u{2F800}'..='\u{2FA1F}')
}

#[cfg(test)]
mod tests;
