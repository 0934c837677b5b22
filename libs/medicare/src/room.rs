//! Memory that tables may take.

use std::path::Path;

use crate::LoadError;

/// Is asked for bytes before they are held, and says why they can't be.
pub type Room<'a> = dyn FnMut(u64) -> Result<(), String> + 'a;

/// Bytes that are asked for at once.
const STEP: u64 = 64 << 10;

/// What a table that grows takes for each byte of an entry: as much again is free in it, and while it moves into a
/// larger place it is there twice.
const GROWTH: u64 = 3;

/// The room of one file.
pub(crate) struct Held<'a, 'b> {
    room: &'a mut Room<'b>,
    left: u64,
}

impl<'a, 'b> Held<'a, 'b> {
    pub(crate) fn new(room: &'a mut Room<'b>) -> Self {
        Self { room, left: 0 }
    }

    /// Takes the bytes of an entry of `bytes`.
    pub(crate) fn entry(&mut self, bytes: usize, path: &Path) -> Result<(), LoadError> {
        let bytes = bytes as u64 * GROWTH;
        if self.left < bytes {
            let fail = |problem| LoadError::Room { path: path.to_owned(), problem };
            (self.room)(STEP.max(bytes)).map_err(fail)?;
            self.left += STEP.max(bytes);
        }
        self.left -= bytes;
        Ok(())
    }
}
