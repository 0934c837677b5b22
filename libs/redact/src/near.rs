//! Words that are nearly alike.

use crate::fold::fold_letters;

/// Longest word that is compared letter by letter, in bytes.
const LONGEST: usize = 40;

/// The folded letters of a word, made ready to be compared with others.
#[derive(Clone)]
pub(crate) struct Letters {
    bytes: [u8; LONGEST],
    length: usize,
    /// A bit for each letter that is in it.
    set: u32,
}

impl Letters {
    /// The letters of a word; none if it is too long to be compared.
    pub(crate) fn of(word: &str) -> Option<Self> {
        let mut letters = Self { bytes: [0; LONGEST], length: 0, set: 0 };
        fold_letters(word, |c| {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                if let Some(place) = letters.bytes.get_mut(letters.length) {
                    *place = byte;
                }
                letters.length += 1;
                letters.set |= 1 << (byte % 32);
            }
        });
        (letters.length <= LONGEST).then_some(letters)
    }

    /// Bytes of the folded letters.
    pub(crate) const fn len(&self) -> usize {
        self.length
    }

    /// True if a few insertions, deletions, changes or swaps of neighbours lead from one to the other.
    pub(crate) fn is_near(&self, other: &Self, most: usize) -> bool {
        // A change takes one letter out of the set and puts another in, all else does less: this spares most comparisons.
        (self.set ^ other.set).count_ones() as usize <= 2 * most
            && self.length.abs_diff(other.length) <= most
            && distance_within(&self.bytes[..self.length], &other.bytes[..other.length], most)
    }
}

/// The same of two words of at most [`LONGEST`] bytes (optimal string alignment).
fn distance_within(a: &[u8], b: &[u8], most: usize) -> bool {
    let mut rows = [[0_u8; LONGEST + 1]; 3];
    for (at, cell) in rows[0].iter_mut().enumerate().take(b.len() + 1) {
        *cell = at as u8;
    }
    for i in 1..=a.len() {
        let (now, before, earlier) = (i % 3, (i + 2) % 3, (i + 1) % 3);
        rows[now][0] = i as u8;
        let mut least = i as u8;
        for j in 1..=b.len() {
            let cost = u8::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[before][j] + 1).min(rows[now][j - 1] + 1).min(rows[before][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[earlier][j - 2] + 1);
            }
            rows[now][j] = best;
            least = least.min(best);
        }
        if usize::from(least) > most {
            return false;
        }
    }
    usize::from(rows[a.len() % 3][b.len()]) <= most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_misspellings_are_near() {
        for (a, b, most, near) in [
            ("kowalski", "Kowalsky", 1, true),
            ("kowalski", "kowlaski", 1, true),
            ("kowalski", "kowaski", 1, true),
            ("kowalski", "kolawsky", 1, false),
            ("montgomery", "mongomerry", 2, true),
            ("Nu\u{f1}ez", "nunes", 1, true),
            ("lopez", "lo", 1, false),
        ] {
            let (a_letters, b_letters) = (Letters::of(a).unwrap(), Letters::of(b).unwrap());
            assert_eq!(a_letters.is_near(&b_letters, most), near, "{a} {b}");
            assert_eq!(b_letters.is_near(&a_letters, most), near, "{b} {a}");
        }
    }

    #[test]
    fn the_set_of_letters_spares_nothing_that_is_near() {
        // Every word that one step leads to, with letters that stand for all others.
        let word = b"montgomery";
        let near = |other: &[u8]| {
            let of = |bytes: &[u8]| Letters::of(std::str::from_utf8(bytes).unwrap()).unwrap();
            assert!(of(word).is_near(&of(other), 1), "{}", String::from_utf8_lossy(other));
        };
        for at in 0..word.len() {
            near(&[&word[..at], &word[at + 1..]].concat());
            for letter in b"mz" {
                near(&[&word[..at], &[*letter], &word[at + 1..]].concat());
                near(&[&word[..at], &[*letter], &word[at..]].concat());
            }
        }
    }

    #[test]
    fn long_words_are_not_compared() {
        assert!(Letters::of(&"a".repeat(LONGEST)).is_some() && Letters::of(&"a".repeat(LONGEST + 1)).is_none());
    }
}
