use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use forebay_objects::PutPayload;

/// Bytes below which a frame is joined to the one before: each that is kept costs memory of its own.
const SMALL: usize = 16 << 10;

/// Bytes of small frames that are joined to one.
const JOINED: usize = 128 << 10;

/// Bytes of a stream that no copy has yet: its frames as they came, so that nothing is moved but small ones.
pub(crate) struct Held {
    frames: VecDeque<Bytes>,
    /// Small frames, behind the others.
    joined: BytesMut,
    from: u64,
    end: u64,
}

impl Held {
    /// Nothing yet; the next byte is that at `offset`.
    pub(crate) fn at(offset: u64) -> Self {
        Self { frames: VecDeque::new(), joined: BytesMut::new(), from: offset, end: offset }
    }

    /// Takes the bytes that follow.
    pub(crate) fn push(&mut self, frame: Bytes) {
        self.end += frame.len() as u64;
        if frame.len() >= SMALL {
            self.seal();
            self.frames.push_back(frame);
            return;
        }
        if self.joined.len() + frame.len() > self.joined.capacity() {
            self.seal();
            self.joined = BytesMut::with_capacity(JOINED);
        }
        self.joined.extend_from_slice(&frame);
    }

    /// How many bytes are held.
    pub(crate) fn len(&self) -> u64 {
        self.end - self.from
    }

    /// Puts the small frames behind the others.
    fn seal(&mut self) {
        if !self.joined.is_empty() {
            self.frames.push_back(self.joined.split().freeze());
        }
    }

    /// The bytes `start..end`, if all of them are held.
    pub(crate) fn slice(&mut self, start: u64, end: u64) -> Option<PutPayload> {
        self.seal();
        if start < self.from || end > self.end {
            return None;
        }
        let mut at = self.from;
        let parts = self.frames.iter().filter_map(|frame| {
            let first = at;
            at += frame.len() as u64;
            let (from, to) = (start.clamp(first, at), end.clamp(first, at));
            (from < to).then(|| frame.slice((from - first) as usize..(to - first) as usize))
        });
        Some(parts.collect())
    }

    /// Lets go of what comes before `offset`.
    pub(crate) fn release(&mut self, offset: u64) {
        self.seal();
        while self.from < offset
            && let Some(frame) = self.frames.front_mut()
        {
            let gone = (offset - self.from).min(frame.len() as u64);
            frame.advance(gone as usize);
            self.from += gone;
            if frame.is_empty() {
                self.frames.pop_front();
            }
        }
    }

    /// Lets go of what comes from `offset` on.
    pub(crate) fn truncate(&mut self, offset: u64) {
        self.seal();
        while self.end > offset
            && let Some(frame) = self.frames.back_mut()
        {
            let kept = (frame.len() as u64).saturating_sub(self.end - offset);
            self.end -= frame.len() as u64 - kept;
            frame.truncate(kept as usize);
            if frame.is_empty() {
                self.frames.pop_back();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(held: &mut Held, start: u64, end: u64) -> Option<Vec<u8>> {
        held.slice(start, end).map(|parts| Bytes::from(parts).to_vec())
    }

    #[test]
    fn small_frames_are_joined() {
        let mut held = Held::at(0);
        let large = Bytes::from(vec![b'l'; SMALL]);
        for frame in std::iter::repeat_n(Bytes::from_static(b"s"), 3 * JOINED).chain([large.clone(), large]) {
            held.push(frame);
        }
        assert_eq!((held.len(), held.frames.len()), ((3 * JOINED + 2 * SMALL) as u64, 5));
        let parts = held.slice(0, held.end).unwrap();
        assert_eq!(parts.content_length() as u64, held.len());
    }

    #[test]
    fn what_is_held_is_found_across_frames_and_let_go_at_both_ends() {
        let mut held = Held::at(10);
        for frame in ["abcd", "", "ef", "ghij"] {
            held.push(Bytes::from_static(frame.as_bytes()));
        }
        assert_eq!(text(&mut held, 10, 20).unwrap(), b"abcdefghij");
        assert_eq!(text(&mut held, 13, 17).unwrap(), b"defg");
        assert_eq!((text(&mut held, 9, 12), text(&mut held, 18, 21)), (None, None));
        held.release(15);
        held.truncate(18);
        assert_eq!(text(&mut held, 15, 18).unwrap(), b"fgh");
        assert_eq!((text(&mut held, 14, 18), text(&mut held, 15, 19)), (None, None));
        held.push(Bytes::from_static(b"xy"));
        assert_eq!(text(&mut held, 17, 20).unwrap(), b"hxy");
        held.release(20);
        assert_eq!(text(&mut held, 20, 20).unwrap(), b"");
    }
}
