use bytes::Bytes;
use forebay_catalog::Claim;
use forebay_objects::{FRAME_BYTES, Input, Staging, StoreError};
use forebay_types::{ChunkSource, InputIdentity};
use futures::StreamExt;
use futures::stream::BoxStream;
use xxhash_rust::xxh3::Xxh3;

use crate::failure::Failure;

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

    /// Appends the next frame. False at the end, where the checksum is compared.
    pub(crate) async fn read(&mut self, buffer: &mut Vec<u8>) -> Result<bool, Failure> {
        let before = buffer.len();
        match &mut self.from {
            From::Input { input, at, end, ahead } => {
                let frame = match ahead.take() {
                    Some(task) => task.await.map_err(|error| Failure::Transient(error.to_string()))??,
                    None if *at < *end => input.read(*at, (*end).min(*at + FRAME_BYTES as u64), Vec::new()).await?,
                    None => return self.check(),
                };
                *at += frame.len() as u64;
                buffer.extend_from_slice(&frame);
                if *at < *end {
                    // The next frame is read while this one is decoded.
                    let (input, start, stop) = (input.clone(), *at, (*end).min(*at + FRAME_BYTES as u64));
                    *ahead = Some(tokio::spawn(async move { input.read(start, stop, frame).await }));
                }
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
                    buffer.extend_from_slice(&frame[left_out as usize..(left_out + taken) as usize]);
                    break;
                }
            },
        }
        self.hash.update(&buffer[before..]);
        Ok(true)
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
