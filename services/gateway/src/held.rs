use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use forebay_objects::PutPayload;

/// Bytes of a stream that no copy has yet: its frames as they came, so that nothing is moved.
#[derive(Default)]
pub(crate) struct Held {
    frames: VecDeque<Bytes>,
    from: u64,
    end: u64,
}

impl Held {
    /// Nothing yet; the next byte is that at `offset`.
    pub(crate) fn at(offset: u64) -> Self {
        Self { frames: VecDeque::new(), from: offset, end: offset }
    }

    /// Takes the bytes that follow.
    pub(crate) fn push(&mut self, frame: Bytes) {
        self.end += frame.len() as u64;
        self.frames.push_back(frame);
    }

    /// The bytes `start..end`, if all of them are held.
    pub(crate) fn slice(&self, start: u64, end: u64) -> Option<PutPayload> {
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

    fn text(held: &Held, start: u64, end: u64) -> Option<Vec<u8>> {
        held.slice(start, end).map(|parts| Bytes::from(parts).to_vec())
    }

    #[test]
    fn what_is_held_is_found_across_frames_and_let_go_at_both_ends() {
        let mut held = Held::at(10);
        for frame in ["abcd", "", "ef", "ghij"] {
            held.push(Bytes::from_static(frame.as_bytes()));
        }
        assert_eq!(text(&held, 10, 20).unwrap(), b"abcdefghij");
        assert_eq!(text(&held, 13, 17).unwrap(), b"defg");
        assert_eq!((text(&held, 9, 12), text(&held, 18, 21)), (None, None));
        held.release(15);
        held.truncate(18);
        assert_eq!(text(&held, 15, 18).unwrap(), b"fgh");
        assert_eq!((text(&held, 14, 18), text(&held, 15, 19)), (None, None));
        held.push(Bytes::from_static(b"xy"));
        assert_eq!(text(&held, 17, 20).unwrap(), b"hxy");
        held.release(20);
        assert_eq!(text(&held, 20, 20).unwrap(), b"");
    }
}
