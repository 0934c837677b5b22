/// ASCII look-alikes of U+00C0 to U+017F, a byte each; `*` where there is none.
static LATIN: &[u8; 192] = b"aaaaaaaceeeeiiiidnooooo*ouuuuytsaaaaaaaceeeeiiiidnooooo*ouuuuyty\
aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiiiiijjkkklllllll\
lllnnnnnnnnnoooooooorrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs";

/// What a character that is not ASCII means for a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folded {
    /// A letter that looks like an ASCII one.
    Ascii(u8),
    /// Another letter.
    Letter,
    /// Marks, joiners, soft hyphens, direction marks: they are within words, and not looked at.
    Ignored,
    /// An apostrophe.
    Apostrophe,
    /// A dash, however long.
    Dash,
    /// White space.
    Space,
    /// The end of a line.
    Line,
    /// Anything else.
    Other,
}

/// Folds a character that is not ASCII.
pub(crate) fn fold(c: char) -> Folded {
    match c {
        '\u{c0}'..='\u{17f}' => match LATIN[c as usize - 0xc0] {
            b'*' => Folded::Other,
            ascii => Folded::Ascii(ascii),
        },
        '\u{300}'..='\u{36f}'
        | '\u{ad}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' => Folded::Ignored,
        '\u{2018}' | '\u{2019}' | '\u{2bc}' | '\u{2032}' | '\u{ff07}' => Folded::Apostrophe,
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ff0d}' | '\u{fe58}' => Folded::Dash,
        '\u{2028}' | '\u{2029}' | '\u{85}' => Folded::Line,
        '\u{ff21}'..='\u{ff3a}' => Folded::Ascii(b'a' + (c as u32 - 0xff21) as u8),
        '\u{ff41}'..='\u{ff5a}' => Folded::Ascii(b'a' + (c as u32 - 0xff41) as u8),
        c if c.is_alphabetic() => Folded::Letter,
        c if c.is_whitespace() => Folded::Space,
        _ => Folded::Other,
    }
}

/// Gives the letters of a word as the lexicon holds them: ASCII letters in lower case; other letters as they are in lower
/// case.
pub(crate) fn fold_letters(word: &str, mut take: impl FnMut(char)) {
    for c in word.chars() {
        if c.is_ascii() {
            if c.is_ascii_alphanumeric() {
                take(c.to_ascii_lowercase());
            }
            continue;
        }
        match fold(c) {
            Folded::Ascii(ascii) => take(char::from(ascii)),
            Folded::Letter => c.to_lowercase().for_each(&mut take),
            Folded::Ignored | Folded::Apostrophe | Folded::Dash | Folded::Space | Folded::Line | Folded::Other => {}
        }
    }
}

/// A word as the lexicon holds it.
pub(crate) fn fold_word(word: &str) -> String {
    let mut folded = String::with_capacity(word.len());
    fold_letters(word, |c| folded.push(c));
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accents_are_folded() {
        for (word, folded) in
            [("Müller", "muller"), ("Nuñez", "nunez"), ("O\u{2019}Brien", "obrien"), ("Łukasz", "lukasz")]
        {
            assert_eq!(fold_word(word), folded);
        }
        for (word, folded) in [("Žižek", "zizek"), ("Ştefan", "stefan"), ("Jose\u{301}", "jose"), ("ŽĆĐŠ", "zcds")]
        {
            assert_eq!(fold_word(word), folded);
        }
    }
}
