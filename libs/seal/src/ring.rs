use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::SealError;

/// Bytes of a key.
pub(crate) const KEY_LEN: usize = 32;

/// Bytes that authenticate a frame.
pub(crate) const TAG_LEN: usize = 16;

/// Bytes of a wrapped data key: nonce, key, tag.
pub(crate) const WRAPPED_LEN: usize = NONCE_LEN + KEY_LEN + TAG_LEN;

/// The name that is stored beside what a key has encrypted: eight bytes of a digest of the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub(crate) [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The keys that a person keeps: the first encrypts, all of them decrypt. A key is exchanged by putting a new one
/// before it, and taking it away when nothing that it has encrypted is left.
#[derive(Clone)]
pub struct Keyring {
    keys: Arc<Vec<(KeyId, LessSafeKey)>>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

impl Keyring {
    /// Reads keys: one a line, or separated by commas; each 32 bytes as base64 or as hexadecimal digits. A line that
    /// begins with `#` is a comment. `place` is for errors.
    ///
    /// # Errors
    /// [`SealError::BadKey`], and [`SealError::NoKey`] if there is none.
    pub fn parse(text: &str, place: &str) -> Result<Self, SealError> {
        let mut keys = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
            for text in texts.take_while(|text| !text.starts_with('#')) {
                let bad = || SealError::BadKey { place: place.to_owned(), line };
                let bytes = key_bytes(text).ok_or_else(bad)?;
                keys.push((id_of(&bytes), aead(bytes.as_slice()).ok_or_else(bad)?));
            }
        }
        if keys.is_empty() { Err(SealError::NoKey) } else { Ok(Self { keys: Arc::new(keys) }) }
    }

    /// A new data key: itself, the id of the key that wraps it, and its wrapped form.
    pub(crate) fn data_key(&self, context: &str) -> Result<(LessSafeKey, KeyId, [u8; WRAPPED_LEN]), SealError> {
        let Some((id, key)) = self.keys.first() else { return Err(SealError::NoKey) };
        let mut wrapped = [0; WRAPPED_LEN];
        let mut plain = Zeroizing::new([0; KEY_LEN]);
        let mut nonce = [0; NONCE_LEN];
        rand::fill(plain.as_mut_slice()).map_err(|_| SealError::NoRandom)?;
        // Random ones may be repeated after 2^32 objects under one key, with a probability of 2^-32 (SP 800-38D, 8.3).
        rand::fill(&mut nonce).map_err(|_| SealError::NoRandom)?;
        let data = aead(plain.as_slice()).ok_or(SealError::NoRandom)?;
        let aad = Aad::from(wrapping(*id, context));
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, plain.as_mut_slice())
            .map_err(|_| SealError::NoRandom)?;
        wrapped[..NONCE_LEN].copy_from_slice(&nonce);
        wrapped[NONCE_LEN..NONCE_LEN + KEY_LEN].copy_from_slice(plain.as_slice());
        wrapped[NONCE_LEN + KEY_LEN..].copy_from_slice(tag.as_ref());
        Ok((data, *id, wrapped))
    }

    /// The data key in its wrapped form, of something with a name.
    pub(crate) fn unwrap(
        &self,
        id: KeyId,
        wrapped: &[u8; WRAPPED_LEN],
        context: &str,
    ) -> Result<LessSafeKey, SealError> {
        let Some((_, key)) = self.keys.iter().find(|(known, _)| *known == id) else {
            return Err(SealError::UnknownKey { name: context.to_owned(), id });
        };
        let damaged = || SealError::Damaged(context.to_owned());
        let mut sealed = Zeroizing::new(*wrapped);
        let (nonce, sealed) = sealed.split_at_mut(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let plain = key.open_in_place(nonce, Aad::from(wrapping(id, context)), sealed).map_err(|_| damaged())?;
        aead(plain).ok_or_else(damaged)
    }
}

fn aead(bytes: &[u8]) -> Option<LessSafeKey> {
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).ok()?))
}

fn id_of(key: &[u8; KEY_LEN]) -> KeyId {
    let digest = digest(&SHA256, Zeroizing::new([b"forebay key id\0", key.as_slice()].concat()).as_slice());
    let mut id = [0; 8];
    id.copy_from_slice(&digest.as_ref()[..8]);
    KeyId(id)
}

/// What a wrapped key is bound to.
fn wrapping(id: KeyId, context: &str) -> Vec<u8> {
    [b"forebay data key\0", id.0.as_slice(), context.as_bytes()].concat()
}

fn key_bytes(text: &str) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    if text.len() == 2 * KEY_LEN {
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            *byte = (digit(digits[0])? * 16 + digit(digits[1])?) as u8;
        }
        return Some(key);
    }
    // 43 characters and perhaps an equals sign.
    let text = text.strip_suffix('=').unwrap_or(text).as_bytes();
    if text.len() != 43 {
        return None;
    }
    let (mut bits, mut held, mut at) = (0u32, 0, 0);
    for character in text {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            *key.get_mut(at)? = (bits >> held) as u8;
            at += 1;
        }
    }
    (at == KEY_LEN).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_in_both_spellings_and_never_shown() {
        let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";
        let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=";
        let one = Keyring::parse(hex, "x").unwrap();
        let both = Keyring::parse(&format!("# ours\n\n{base64}\n{hex}, {base64}\n"), "x").unwrap();
        assert_eq!(format!("{one:?}"), format!("[{}]", one.keys[0].0));
        assert!(both.keys.iter().all(|(id, _)| *id == one.keys[0].0) && both.keys.len() == 3, "{both:?}");
    }

    #[test]
    fn what_is_no_key_is_refused_by_line() {
        let error = Keyring::parse("# c\nAAECAwQFBgc", "the file").unwrap_err();
        assert_eq!(error, SealError::BadKey { place: "the file".to_owned(), line: 2 });
        assert!(!error.to_string().contains("AAEC"), "{error}");
        assert_eq!(Keyring::parse("# c\n", "x").unwrap_err(), SealError::NoKey);
    }
}
