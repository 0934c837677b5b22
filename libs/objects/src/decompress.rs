use std::io::{self, Read};

use bytes::{Buf, Bytes};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::{Compression, FRAME_BYTES, StoreError};

/// Frames under way on each side of the decompressing thread.
const QUEUE: usize = 2;

/// Decompresses a stream of frames into frames of at most 1 MiB. However much a frame expands, no more than a few
/// are held: a compressed bomb only takes long.
pub fn decompress(
    name: String,
    compression: Compression,
    mut frames: BoxStream<'static, Result<Bytes, StoreError>>,
) -> BoxStream<'static, Result<Bytes, StoreError>> {
    #[cfg(feature = "simulation")]
    if forebay_runtime::simulation::is_on() {
        return crate::simulation::decompress_at_once(name, compression, frames);
    }
    let (raw, compressed) = mpsc::channel(QUEUE);
    let (plain, out) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        while let Some(frame) = frames.next().await {
            // A receiver that is gone has all it wants.
            if raw.send(frame).await.is_err() {
                return;
            }
        }
    });
    tokio::task::spawn_blocking(move || {
        let reader = FrameReader::new(compressed);
        if let Err(error) = pump(&name, compression, reader, &plain) {
            // The same: nobody is left to tell.
            drop(plain.blocking_send(Err(error)));
        }
    });
    ReceiverStream::new(out).boxed()
}

pub(crate) fn pump(
    name: &str,
    compression: Compression,
    reader: FrameReader,
    out: &mpsc::Sender<Result<Bytes, StoreError>>,
) -> Result<(), StoreError> {
    let corrupt = |error: io::Error| {
        let message = match compression {
            Compression::Gzip => format!("the gzip data is broken or cut off: {error}"),
            Compression::Zstd => format!("the zstd data is broken or cut off: {error}"),
        };
        StoreError::Corrupt { object: name.to_owned(), message }
    };
    let mut decoder: Box<dyn Read> = match compression {
        Compression::Gzip => {
            Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::with_capacity(64 << 10, reader)))
        }
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(reader).map_err(corrupt)?),
    };
    loop {
        let mut frame = vec![0; FRAME_BYTES];
        let mut filled = 0;
        while filled < frame.len() {
            match decoder.read(&mut frame[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) => {
                    frame.truncate(filled);
                    if out.blocking_send(Ok(frame.into())).is_err() {
                        return Ok(());
                    }
                    return Err(match error.downcast::<SourceFailed>() {
                        Ok(SourceFailed(source)) => source,
                        Err(error) => corrupt(error),
                    });
                }
            }
        }
        frame.truncate(filled);
        if filled == 0 || out.blocking_send(Ok(frame.into())).is_err() {
            return Ok(());
        }
    }
}

/// The compressed source could not be read: not the data's fault.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SourceFailed(StoreError);

pub(crate) struct FrameReader {
    frames: mpsc::Receiver<Result<Bytes, StoreError>>,
    current: Bytes,
}

impl FrameReader {
    pub(crate) fn new(frames: mpsc::Receiver<Result<Bytes, StoreError>>) -> Self {
        Self { frames, current: Bytes::new() }
    }
}

impl Read for FrameReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.frames.blocking_recv() {
                None => return Ok(0),
                Some(Ok(frame)) => self.current = frame,
                Some(Err(error)) => return Err(io::Error::other(SourceFailed(error))),
            }
        }
        let n = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    async fn round(compression: Compression, compressed: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let frames: Vec<Result<Bytes, StoreError>> =
            compressed.chunks(1000).map(|frame| Ok(Bytes::copy_from_slice(frame))).collect();
        let mut out = decompress("x".to_owned(), compression, futures::stream::iter(frames).boxed());
        let mut all = Vec::new();
        while let Some(frame) = out.next().await {
            all.extend_from_slice(&frame?);
        }
        Ok(all)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn members_and_frames_one_after_the_other_are_one_input() {
        let text: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let (a, b) = text.split_at(1_234_567);
        assert_eq!(round(Compression::Gzip, [gzip(a), gzip(b)].concat()).await.unwrap(), text);
        let zstd = |text: &[u8]| zstd::encode_all(text, 1).unwrap();
        assert_eq!(round(Compression::Zstd, [zstd(a), zstd(b)].concat()).await.unwrap(), text);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_cut_off_is_an_error_that_says_so() {
        let mut compressed = gzip(&vec![7; 100_000]);
        compressed.truncate(compressed.len() - 20);
        let error = round(Compression::Gzip, compressed).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_went_wrong_with_the_source_is_told_as_it_was() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let compressed = match compression {
                Compression::Gzip => gzip(&vec![7; 1 << 20]),
                Compression::Zstd => zstd::encode_all(&vec![7u8; 1 << 20][..], 1).unwrap(),
            };
            let half = Bytes::copy_from_slice(&compressed[..compressed.len() / 2]);
            let gone = StoreError::Interrupted { uri: "x".to_owned(), message: "gone".to_owned() };
            let mut out = decompress("x".to_owned(), compression, futures::stream::iter([Ok(half), Err(gone)]).boxed());
            let mut last = None;
            while let Some(frame) = out.next().await {
                last = Some(frame);
            }
            assert!(matches!(last, Some(Err(StoreError::Interrupted { .. }))), "{last:?}");
        }
    }
}
