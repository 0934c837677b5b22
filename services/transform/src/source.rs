use bytes::Bytes;
use forebay_catalog::Claim;
use forebay_objects::{FRAME_BYTES, Input, Staging, StoreError};
use forebay_types::{ChunkSource, InputIdentity};
use futures::StreamExt;
use futures::stream::BoxStream;
use xxhash_rust::xxh3::Xxh3;

use crate::failure::Failure;

/// Room before each frame for the record that the one before it has begun: a longer one is moved with its frame.
const HEADROOM: usize = 32 << 10;

/// Bytes of a chunk that are not decoded yet.
#[derive(Default)]
pub(crate) struct Window {
    buffer: Vec<u8>,
    from: usize,
}

impl Window {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.from..]
    }

    /// Lets go of the first bytes.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.from += bytes;
    }

    /// Lets go of all bytes.
    pub(crate) fn clear(&mut self) {
        self.from = self.buffer.len();
    }

    /// Adds the bytes that follow.
    fn append(&mut self, frame: &[u8]) {
        self.buffer.drain(..self.from);
        self.from = 0;
        self.buffer.extend_from_slice(frame);
    }

    /// Adds a frame that has headroom: what is left goes there, so that the frame itself is not moved. Gives back the
    /// buffer that is free now.
    fn take(&mut self, mut frame: Vec<u8>) -> Vec<u8> {
        let left = self.bytes();
        match HEADROOM.checked_sub(left.len()) {
            Some(from) => {
                frame[from..HEADROOM].copy_from_slice(left);
                self.from = from;
                std::mem::replace(&mut self.buffer, frame)
            }
            None => {
                self.append(&frame[HEADROOM..]);
                frame
            }
        }
    }
}

/// A chunk's bytes, a frame at a time, checked against the checksum that was taken when it was cut.
pub(crate) struct ChunkReader {
    from: From,
    hash: Xxh3,
    expected: Option<u128>,
    name: String,
}

enum From {
    /// Read by reference; the next offset and the end.
    Input { input: Input, at: u64, end: u64, ahead: Option<tokio::task::JoinHandle<Result<Vec<u8>, StoreError>>> },
    /// Read from its copy; bytes still to be left out; bytes still to be taken.
    Staged { frames: BoxStream<'static, Result<Bytes, StoreError>>, skip: u64, take: u64 },
}

impl ChunkReader {
    pub(crate) async fn open(claim: &Claim, identity: &InputIdentity, staging: &Staging) -> Result<Self, Failure> {
        let from = match &claim.source {
            ChunkSource::Range { start, end } | ChunkSource::Reject { start, end, .. } => {
                let input = Input::reopen(identity).await?;
                From::Input { input, at: *start, end: *end, ahead: None }
            }
            ChunkSource::Staged { key, start, end, skip } => {
                From::Staged { frames: staging.read(key), skip: *skip, take: end - start }
            }
            ChunkSource::Rows { .. } => return Err(Failure::Fatal("rows of a columnar file are no bytes".to_owned())),
        };
        Ok(Self { from, hash: Xxh3::new(), expected: claim.checksum, name: identity.uri.clone() })
    }

    /// Adds the next frame. False at the end, where the checksum is compared.
    pub(crate) async fn read(&mut self, window: &mut Window) -> Result<bool, Failure> {
        match &mut self.from {
            From::Input { input, at, end, ahead } => {
                let next = |at| (at, (*end).min(at + FRAME_BYTES as u64));
                let frame = match ahead.take() {
                    Some(task) => task.await.map_err(|error| Failure::Transient(error.to_string()))??,
                    None if *at < *end => read_frame(input, next(*at), Vec::new()).await?,
                    None => return self.check(),
                };
                self.hash.update(&frame[HEADROOM..]);
                *at += (frame.len() - HEADROOM) as u64;
                let spare = window.take(frame);
                if *at < *end {
                    // The next frame is read while this one is decoded.
                    let (input, range) = (input.clone(), next(*at));
                    *ahead = Some(tokio::spawn(async move { read_frame(&input, range, spare).await }));
                }
                Ok(true)
            }
            From::Staged { frames, skip, take } => loop {
                if *take == 0 {
                    return self.check();
                }
                let Some(frame) = frames.next().await.transpose()? else { return self.check() };
                let left_out = (*skip).min(frame.len() as u64);
                let taken = (*take).min(frame.len() as u64 - left_out);
                *skip -= left_out;
                *take -= taken;
                if taken > 0 {
                    let frame = &frame[left_out as usize..(left_out + taken) as usize];
                    self.hash.update(frame);
                    window.append(frame);
                    return Ok(true);
                }
            },
        }
    }

    fn check(&self) -> Result<bool, Failure> {
        match self.expected {
            Some(expected) if self.hash.digest128() != expected => Err(Failure::Fatal(format!(
                "the bytes of a chunk of {} are not what they were when it was cut: the source has changed, or a disk \
                 is failing",
                self.name
            ))),
            _ => Ok(false),
        }
    }
}

/// Reads a frame, with headroom, into memory that is free.
async fn read_frame(input: &Input, (start, end): (u64, u64), mut spare: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    // What a long record needed is given back.
    if spare.capacity() > HEADROOM + 2 * FRAME_BYTES {
        spare = Vec::new();
    }
    spare.resize(HEADROOM, 0);
    input.read(start, end, spare).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: &[u8]) -> Vec<u8> {
        [&[b'?'; HEADROOM], bytes].concat()
    }

    #[test]
    fn what_is_left_of_a_frame_comes_before_the_next() {
        let mut window = Window::default();
        window.take(frame(b"abc"));
        assert_eq!(window.bytes(), b"abc");
        window.consume(2);
        assert_eq!(window.take(frame(b"de")).len(), HEADROOM + 3);
        assert_eq!(window.bytes(), b"cde");
        window.consume(3);
        window.take(frame(b""));
        assert_eq!(window.bytes(), b"");
    }

    #[test]
    fn a_record_longer_than_the_headroom_is_kept_whole() {
        let (mut window, long) = (Window::default(), vec![b'l'; HEADROOM + 1]);
        window.take(frame(&long));
        assert_eq!(window.take(frame(b"ab")).len(), HEADROOM + 2);
        window.append(b"c");
        assert_eq!(window.bytes(), [&long[..], b"abc"].concat());
    }
}
