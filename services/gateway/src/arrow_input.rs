use std::io::{self, Read};

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use bytes::{Buf, Bytes};
use forebay_catalog::NewChunk;
use forebay_decode::ColumnarMismatch;
use forebay_lake::allocated_bytes;
use forebay_objects::{Content, checksum};
use forebay_types::ChunkSource;
use futures::StreamExt;
use tokio::sync::mpsc;

use crate::arrow_messages::Messages;
use crate::error::Failure;
use crate::framing::{Frames, InputFraming, JobFraming};

/// Length of `ARROW1` and its least padding: behind it, and more zeros where its writer aligns to more than eight
/// bytes, an Arrow file has an Arrow stream.
/// Source: Arrow columnar format, "IPC File Format".
const FILE_MAGIC: usize = 8;

/// What an Arrow file begins and ends with.
const MAGIC: &[u8] = b"ARROW1";

impl JobFraming {
    /// Cuts an Arrow stream, or file, into staged chunks of whole batches, each an Arrow stream of its own.
    pub(crate) async fn frame_arrow(&self, mut state: InputFraming, frames: Frames) -> Result<(), Failure> {
        let uri = state.input.identity().uri.clone();
        let skip = if state.info.content == Content::ArrowFile { FILE_MAGIC } else { 0 };
        let _reserved = self.reserve_intake(true).await?;
        let mut batches = read_batches(frames, skip);
        let most = self.targets(None).records;
        let (mut held, mut rows, mut bytes) = (Vec::new(), 0u64, 0u64);
        let mut seen = 0u64;
        let mut checked = false;
        loop {
            // The end is said: a reader that is gone without it has died of its input.
            let batch = batches.recv().await.unwrap_or_else(|| Err("the Arrow data is broken".to_owned()));
            let batch = batch.map_err(|message| Failure::unusable(format!("{uri}: {message}")))?;
            if let (Some(batch), false) = (&batch, checked) {
                ColumnarMismatch::check(&self.prepared.layout, &batch.schema())
                    .map_err(|error| Failure::unusable(format!("{uri}: {error}")))?;
                checked = true;
            }
            let ended = batch.is_none();
            if let Some(batch) = batch {
                seen += batch.num_rows() as u64;
                // A resumed input is read over, up to where it was left.
                if seen <= state.records {
                    continue;
                }
                rows += batch.num_rows() as u64;
                bytes += allocated_bytes(&batch);
                held.push(batch);
            }
            if rows > 0 && (ended || rows >= most || bytes >= self.chunk_bytes) {
                let chunk = self.stage_batches(&state, std::mem::take(&mut held), rows).await?;
                state.records += rows;
                state.offset += chunk.bytes;
                (rows, bytes) = (0, 0);
                self.wait_for_room().await?;
                self.add(&state, &[chunk], false).await?;
            }
            if ended {
                return self.add(&state, &[], true).await;
            }
        }
    }

    async fn stage_batches(
        &self,
        state: &InputFraming,
        batches: Vec<RecordBatch>,
        rows: u64,
    ) -> Result<NewChunk, Failure> {
        let encode = |batches: &[RecordBatch]| -> Result<Vec<u8>, arrow_schema::ArrowError> {
            let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema())?;
            for batch in batches {
                writer.write(batch)?;
            }
            writer.into_inner()
        };
        let raw = encode(&batches).map_err(|error| Failure::unusable(error.to_string()))?;
        let (start, sum) = (state.offset, checksum(&raw));
        let (end, key) = (start + raw.len() as u64, self.staging_key(state, start, sum));
        self.stage(key.clone(), raw.into()).await?;
        Ok(NewChunk {
            input: state.index,
            source: ChunkSource::Staged { key, start, end, skip: 0 },
            first_record: state.records,
            records: rows,
            checksum: self.kept_checksum(state, sum),
            bytes: end - start,
        })
    }
}

/// Reads batches, and after them none, off the async threads; at most two are held on the way.
fn read_batches(mut frames: Frames, skip: usize) -> mpsc::Receiver<Result<Option<RecordBatch>, String>> {
    let (raw, receiver) = mpsc::channel(2);
    let (out, batches) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(frame) = frames.next().await {
            if raw.send(frame.map_err(|error| error.to_string())).await.is_err() {
                return;
            }
        }
    });
    tokio::task::spawn_blocking(move || {
        let mut reader = ChannelReader { frames: receiver, current: Bytes::new() };
        let read = || -> Result<(), String> {
            let mut magic = vec![0; skip];
            let unreadable = |error: io::Error| format!("this is no readable Arrow data: {error}");
            reader.read_exact(&mut magic).map_err(unreadable)?;
            let start = first_word(&mut reader).map_err(unreadable)?;
            let stream = StreamReader::try_new(Messages::new(Read::chain(&start[..], &mut reader)), None)
                .map_err(|error| format!("this is no readable Arrow data: {error}"))?;
            for batch in stream {
                let batch = batch.map_err(|error| format!("the Arrow data is broken or cut off: {error}"))?;
                if out.blocking_send(Ok(Some(batch))).is_err() {
                    return Ok(());
                }
            }
            if !magic.is_empty() && !ends_with_magic(&mut reader).map_err(|error| error.to_string())? {
                return Err("the Arrow file is cut off: it does not end as it began".to_owned());
            }
            // A receiver that is gone does not want to know.
            drop(out.blocking_send(Ok(None)));
            Ok(())
        };
        // The reader takes much of a message on trust, and panics where it lies.
        let result = forebay_runtime::quiet::catch(read).unwrap_or_else(|| Err("the Arrow data is broken".to_owned()));
        if let Err(message) = result {
            // A receiver that is gone does not want to know.
            drop(out.blocking_send(Err(message)));
        }
    });
    batches
}

/// The first eight bytes that are not all zero: some writers pad the magic to more than eight bytes.
fn first_word(reader: &mut ChannelReader) -> io::Result<[u8; 8]> {
    let mut word = [0; 8];
    while word == [0; 8] {
        reader.read_exact(&mut word)?;
    }
    Ok(word)
}

/// Reads to the end: behind its batches an Arrow file has a footer, and then `ARROW1` again.
fn ends_with_magic(reader: &mut ChannelReader) -> io::Result<bool> {
    let (mut tail, mut block) = (Vec::new(), vec![0; 8 << 10]);
    loop {
        match reader.read(&mut block)? {
            0 => return Ok(tail == MAGIC),
            n => tail.extend_from_slice(&block[..n]),
        }
        let surplus = tail.len().saturating_sub(MAGIC.len());
        tail.drain(..surplus);
    }
}

struct ChannelReader {
    frames: mpsc::Receiver<Result<Bytes, String>>,
    current: Bytes,
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.frames.blocking_recv() {
                None => return Ok(0),
                Some(Ok(frame)) => self.current = frame,
                Some(Err(message)) => return Err(io::Error::other(message)),
            }
        }
        let n = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}
