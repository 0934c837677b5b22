use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};

use crate::ring::{KeyId, TAG_LEN, WRAPPED_LEN};
use crate::{Keyring, SealError};

/// What everything that is sealed begins with. The last digit is the version.
const MAGIC: [u8; 8] = *b"FBSEAL\x001";

/// Bytes of a frame before it is encrypted; only the last one has fewer.
pub const FRAME_BYTES: usize = 64 << 10;

/// The same encrypted.
const SEALED_FRAME: usize = FRAME_BYTES + TAG_LEN;

/// Magic, key id, wrapped key.
const HEADER_LEN: usize = MAGIC.len() + 8 + WRAPPED_LEN;

/// True if bytes are the beginning of something sealed.
pub fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// The nonce of a frame: its number, and whether it is the last. A data key seals one object, so that none is used
/// twice.
fn nonce(frame: u32, last: bool) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 5..NONCE_LEN - 1].copy_from_slice(&frame.to_be_bytes());
    bytes[NONCE_LEN - 1] = u8::from(last);
    Nonce::assume_unique_for_key(bytes)
}

/// Encrypts one object, piece by piece.
pub struct Sealer {
    key: LessSafeKey,
    header: Option<Vec<u8>>,
    context: String,
    held: Vec<u8>,
    frame: u32,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("context", &self.context).finish_non_exhaustive()
    }
}

impl Sealer {
    /// Begins an object, under the first of the keys. Whoever opens it says the same `context`.
    pub fn new(keys: &Keyring, context: &str) -> Result<Self, SealError> {
        let (key, id, wrapped) = keys.data_key(context)?;
        let header = [MAGIC.as_slice(), &id.0, &wrapped].concat();
        Ok(Self { key, header: Some(header), context: context.to_owned(), held: Vec::new(), frame: 0 })
    }

    /// Takes bytes; appends what is complete to `out`.
    pub fn push(&mut self, mut plain: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        // A full frame is kept until more comes: it might be the last.
        while self.held.len() + plain.len() > FRAME_BYTES {
            let (taken, rest) = plain.split_at(FRAME_BYTES - self.held.len());
            self.held.extend_from_slice(taken);
            plain = rest;
            self.seal(false, out)?;
        }
        self.held.extend_from_slice(plain);
        Ok(())
    }

    /// Ends the object.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), SealError> {
        self.seal(true, out)
    }

    fn seal(&mut self, last: bool, out: &mut Vec<u8>) -> Result<(), SealError> {
        if let Some(header) = self.header.take() {
            out.extend_from_slice(&header);
        }
        let damaged = || SealError::Damaged(self.context.clone());
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(self.frame, last), Aad::from(self.context.as_bytes()), &mut self.held)
            .map_err(|_| damaged())?;
        out.extend_from_slice(&self.held);
        out.extend_from_slice(tag.as_ref());
        self.held.clear();
        self.frame = self.frame.checked_add(1).ok_or_else(damaged)?;
        Ok(())
    }
}

/// Decrypts one object, piece by piece. What it gives was authenticated; that nothing is missing behind it, only
/// [`Self::finish`] tells.
pub struct Opener {
    keys: Keyring,
    key: Option<LessSafeKey>,
    context: String,
    held: Vec<u8>,
    frame: u32,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("context", &self.context).finish_non_exhaustive()
    }
}

impl Opener {
    /// Begins an object that was sealed with a context.
    pub fn new(keys: &Keyring, context: &str) -> Self {
        Self { keys: keys.clone(), key: None, context: context.to_owned(), held: Vec::new(), frame: 0 }
    }

    fn damaged(&self) -> SealError {
        SealError::Damaged(self.context.clone())
    }

    /// Takes bytes; appends what is complete to `out`.
    ///
    /// # Errors
    /// [`SealError::Damaged`], [`SealError::UnknownKey`]. What was given before is what was sealed.
    pub fn push(&mut self, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        self.held.extend_from_slice(sealed);
        self.read_header()?;
        if self.key.is_none() {
            return Ok(());
        }
        let mut at = 0;
        // A full frame is kept until more comes: it might be the last.
        while self.held.len() - at > SEALED_FRAME {
            self.open(at..at + SEALED_FRAME, false, out)?;
            at += SEALED_FRAME;
        }
        self.held.drain(..at);
        Ok(())
    }

    /// Opens the last frame.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), SealError> {
        let all = 0..self.held.len();
        self.open(all, true, out)
    }

    fn read_header(&mut self) -> Result<(), SealError> {
        if self.key.is_some() || self.held.len() < HEADER_LEN {
            return Ok(());
        }
        let (magic, rest) = self.held.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(self.damaged());
        }
        let (id, rest) = rest.split_first_chunk::<8>().ok_or_else(|| self.damaged())?;
        let (wrapped, _) = rest.split_first_chunk::<WRAPPED_LEN>().ok_or_else(|| self.damaged())?;
        self.key = Some(self.keys.unwrap(KeyId(*id), wrapped, &self.context)?);
        self.held.drain(..HEADER_LEN);
        Ok(())
    }

    fn open(&mut self, range: std::ops::Range<usize>, last: bool, out: &mut Vec<u8>) -> Result<(), SealError> {
        let damaged = SealError::Damaged(self.context.clone());
        let (Some(key), Some(frame)) = (&self.key, self.held.get_mut(range)) else { return Err(damaged) };
        let opened = key.open_in_place(nonce(self.frame, last), Aad::from(self.context.as_bytes()), frame);
        out.extend_from_slice(opened.map_err(|_| damaged.clone())?);
        self.frame = self.frame.checked_add(1).ok_or(damaged)?;
        Ok(())
    }
}

impl Keyring {
    /// Encrypts a whole object.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let frames = plain.len().div_ceil(FRAME_BYTES).max(1);
        let mut out = Vec::with_capacity(HEADER_LEN + plain.len() + frames * TAG_LEN);
        let mut sealer = Sealer::new(self, context)?;
        sealer.push(plain, &mut out)?;
        sealer.finish(&mut out)?;
        Ok(out)
    }

    /// Decrypts a whole object.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut out = Vec::with_capacity(sealed.len());
        let mut opener = Opener::new(self, context);
        opener.push(sealed, &mut out)?;
        opener.finish(&mut out)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
