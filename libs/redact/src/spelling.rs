use crate::fold::Folded;
use crate::lexicon::WordHash;
use crate::token::Shape;

/// How a word is spelt, as far as it was read.
#[derive(Clone, Copy)]
pub(crate) struct Spelling {
    hash: WordHash,
    letters: u32,
    uppers: u32,
    first_upper: bool,
    /// It has a letter that only looks like an ASCII one.
    foreign: bool,
}

impl Spelling {
    pub(crate) const fn new() -> Self {
        Self { hash: WordHash::new(), letters: 0, uppers: 0, first_upper: false, foreign: false }
    }

    /// Takes the ASCII letters that `bytes` begins with, eight at most, and says how many they are.
    #[inline]
    pub(crate) fn ascii(self, bytes: &[u8]) -> (Self, usize) {
        const EACH: u64 = 0x0101_0101_0101_0101;
        // A byte in each lane, the first one lowest. No sum of seven bits and these carries into the next lane.
        let block = first_eight(bytes);
        let folded = block | (0x20 * EACH);
        let seven = folded & (0x7f * EACH);
        let from_a = seven + (0x80 - u64::from(b'a')) * EACH;
        let above_z = seven + (0x7f - u64::from(b'z')) * EACH;
        let others = !(from_a & !above_z & !block) & (0x80 * EACH);
        let count = others.trailing_zeros() / 8;
        if count == 0 {
            return (self, 0);
        }
        let taken = u64::MAX >> (64 - 8 * count);
        let uppers = !block & (0x20 * EACH) & taken;
        let spelling = Self {
            hash: self.hash.push_all(folded & taken, count),
            letters: self.letters + count,
            // The highest lane of the product is the sum of all lanes: few processors that this is built for count bits.
            uppers: self.uppers + ((uppers >> 5).wrapping_mul(EACH) >> 56) as u32,
            first_upper: self.first_upper | ((self.letters == 0) & (uppers & 0xff != 0)),
            ..self
        };
        (spelling, count as usize)
    }

    pub(crate) fn other(mut self, c: char, folded: Folded) -> Self {
        if let Folded::Ascii(ascii) = folded {
            self.foreign = true;
            self.hash = self.hash.push(ascii);
        } else {
            for lower in c.to_lowercase() {
                self.hash = lower.encode_utf8(&mut [0; 4]).bytes().fold(self.hash, WordHash::push);
            }
        }
        self.first_upper |= c.is_uppercase() && self.letters == 0;
        self.uppers += u32::from(c.is_uppercase());
        self.letters += 1;
        self
    }

    pub(crate) const fn shape(&self) -> Shape {
        match (self.first_upper, self.uppers) {
            (false, _) => Shape::Lower,
            (true, _) if self.letters == 1 => Shape::Initial,
            (true, 1) => Shape::Title,
            (true, uppers) if uppers == self.letters => Shape::Upper,
            (true, _) => Shape::Mixed,
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// A capital first, and a letter that only looks like an ASCII one.
    pub(crate) const fn is_foreign_name(&self) -> bool {
        self.foreign && self.first_upper
    }
}

/// The first eight bytes, the first one lowest, and zeros where there are fewer.
#[inline]
fn first_eight(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(first) => u64::from_le_bytes(*first),
        None => bytes.iter().rev().fold(0, |block, byte| block << 8 | u64::from(*byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::{fold, fold_word};

    #[test]
    fn letters_are_read_as_one_by_one() {
        let words = [
            "a",
            "Smith",
            "SMITH",
            "abcdefg",
            "abcdefgh",
            "Abcdefghi",
            "McDonald",
            "z",
            "Z",
            "AZaz",
            "Nu\u{f1}ezlopez",
        ];
        for word in words {
            for after in ["", " ", "@", "[", "`", "{", "9", "\u{e9}", "\u{80}\u{7f}", " longer than a block"] {
                if after == "\u{e9}" && !word.is_ascii() {
                    continue;
                }
                let (text, mut spelling, mut at) = (format!("{word}{after}"), Spelling::new(), 0);
                loop {
                    let (more, taken) = spelling.ascii(&text.as_bytes()[at..]);
                    (spelling, at) = (more, at + taken);
                    match text[at..].chars().next().filter(|_| at < word.len()) {
                        Some(c) if taken < 8 => {
                            spelling = spelling.other(c, fold(c));
                            at += c.len_utf8();
                        }
                        Some(_) => {}
                        None => break,
                    }
                }
                assert_eq!((at, spelling.hash()), (word.len(), WordHash::of(&fold_word(word))), "{text}");
                let uppers = word.chars().filter(|c| c.is_uppercase()).count() as u32;
                assert_eq!((spelling.letters, spelling.uppers), (word.chars().count() as u32, uppers), "{text}");
                assert_eq!(spelling.first_upper, word.starts_with(char::is_uppercase), "{text}");
            }
        }
    }
}
