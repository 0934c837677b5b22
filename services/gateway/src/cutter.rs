use bytes::Bytes;
use forebay_budget::Reservation;
use forebay_catalog::NewChunk;
use forebay_decode::Dialect;
use forebay_framing::{Cut, CutKind, Framer};
use forebay_objects::{FRAME_BYTES, checksum};
use forebay_types::ChunkSource;
use xxhash_rust::xxh3::Xxh3;

use crate::chunker::{RunningChecksum, chunk_of};
use crate::error::Failure;
use crate::framing::{InputFraming, JobFraming};
use crate::sample::rows_per_record;

/// Fewest bytes at a chunk's start that say something about its records.
const LEAST_SAMPLE: usize = 4 << 10;

/// Cuts one text input into chunks and makes them durable.
pub(crate) struct Cutter<'a> {
    framing: &'a JobFraming,
    state: InputFraming,
    framer: Framer,
    dialect: Dialect,
    by_reference: bool,
    checksum: RunningChecksum,
    /// For input that must be copied: its bytes from `held_from` on, up to the framer's offset, unless it skips.
    held: Vec<u8>,
    held_from: u64,
    /// True while a record that is too long goes by: its bytes are not held.
    skipping: bool,
    rows_per_record: Option<f64>,
    sample_next: bool,
    _reserved: Reservation,
}

impl<'a> Cutter<'a> {
    pub(crate) async fn new(
        framing: &'a JobFraming,
        state: InputFraming,
        framer: Framer,
        dialect: Dialect,
        by_reference: bool,
    ) -> Result<Self, Failure> {
        let frames = 2 * FRAME_BYTES as u64;
        let limit = framing.prepared.recipe.source.record_limit.0;
        let needed = if by_reference { frames } else { frames + framing.chunk_bytes + limit };
        let reserved = framing.intake.reserve(needed).await.map_err(|error| Failure::unusable(error.to_string()))?;
        let offset = framer.offset();
        Ok(Self {
            framing,
            state,
            framer,
            dialect,
            by_reference,
            checksum: RunningChecksum::at(offset),
            held: Vec::new(),
            held_from: offset,
            skipping: false,
            rows_per_record: None,
            sample_next: true,
            _reserved: reserved,
        })
    }

    pub(crate) fn offset(&self) -> u64 {
        self.framer.offset()
    }

    /// Takes the next bytes of the input; `offset` is that of the first.
    pub(crate) async fn push(&mut self, frame: Bytes, offset: u64) -> Result<(), Failure> {
        if self.sample_next {
            self.sample(&frame);
        }
        self.framer.set_targets(self.framing.targets(self.rows_per_record));
        if !self.by_reference && !self.skipping {
            self.held.extend_from_slice(&frame);
        }
        let mut cuts = Vec::new();
        self.framer.push(&frame, &mut cuts);
        self.take_cuts(&cuts, &frame, offset, false).await?;
        self.checksum.take(&frame, offset, offset + frame.len() as u64);
        if let Some(last) = cuts.last() {
            let rest = frame.slice((last.end.saturating_sub(offset) as usize).min(frame.len())..);
            self.sample_next = rest.len() < LEAST_SAMPLE;
            if !self.sample_next {
                self.sample(&rest);
            }
        }
        let limit = self.framing.prepared.recipe.source.record_limit.0;
        if !self.by_reference && !self.skipping && self.framer.offset() - self.framer.record_start() > limit {
            self.skipping = true;
            self.held.truncate((self.framer.record_start() - self.held_from) as usize);
        }
        Ok(())
    }

    fn sample(&mut self, bytes: &[u8]) {
        if let Some(rows) = rows_per_record(&self.framing.prepared.layout, &self.dialect, bytes) {
            self.rows_per_record = Some(rows);
        }
        self.sample_next = false;
    }

    /// Ends the input.
    pub(crate) async fn finish(mut self) -> Result<(), Failure> {
        let mut cuts = Vec::new();
        self.framer.finish(&mut cuts);
        let offset = self.framer.offset();
        self.take_cuts(&cuts, &[], offset, true).await
    }

    async fn take_cuts(&mut self, cuts: &[Cut], frame: &[u8], offset: u64, complete: bool) -> Result<(), Failure> {
        let mut chunks = Vec::with_capacity(cuts.len());
        for cut in cuts {
            chunks.push(self.chunk(cut, frame, offset).await?);
            self.state.offset = cut.end;
            self.state.records = cut.first_record + cut.records;
        }
        if chunks.is_empty() && !complete {
            return Ok(());
        }
        self.framing.wait_for_room().await?;
        self.framing.add(&self.state, &chunks, complete).await
    }

    async fn chunk(&mut self, cut: &Cut, frame: &[u8], offset: u64) -> Result<NewChunk, Failure> {
        let limit = self.framing.prepared.recipe.source.record_limit;
        let (start, end) = (cut.start, cut.end);
        let source = ChunkSource::Range { start, end };
        let mut chunk = chunk_of(cut, self.state.index, limit, source);
        if cut.kind == CutKind::Chunk {
            if self.by_reference {
                self.checksum.take(frame, offset, end.min(offset + frame.len() as u64));
                let running = self.checksum.finish(start, end);
                chunk.checksum = Some(match running {
                    Some(checksum) => checksum,
                    None => self.read_checksum(start, end).await?,
                });
            } else {
                self.stage(&mut chunk, start, end).await?;
            }
        } else {
            self.checksum = RunningChecksum::at(end);
        }
        if !self.by_reference {
            self.release(end, frame, offset);
        }
        Ok(chunk)
    }

    /// Where cuts do not follow on each other, or one came late, the chunk's bytes are read again.
    async fn read_checksum(&self, start: u64, end: u64) -> Result<u128, Failure> {
        let mut hash = Xxh3::new();
        let (mut at, mut spare) = (start, Vec::new());
        while at < end {
            let next = end.min(at + FRAME_BYTES as u64);
            spare = self.state.input.read(at, next, spare).await?;
            hash.update(&spare);
            at = next;
        }
        Ok(hash.digest128())
    }

    async fn stage(&self, chunk: &mut NewChunk, start: u64, end: u64) -> Result<(), Failure> {
        let range = (start - self.held_from) as usize..(end - self.held_from) as usize;
        let Some(raw) = self.held.get(range) else {
            return Err(Failure::unusable("a chunk's bytes were not held".to_owned()));
        };
        let sum = checksum(raw);
        let key = self.framing.staging_key(&self.state, start, sum);
        self.framing.stage(&key, Bytes::copy_from_slice(raw)).await?;
        chunk.checksum = self.framing.kept_checksum(&self.state, sum);
        chunk.source = ChunkSource::Staged { key, start, end, skip: 0 };
        Ok(())
    }

    /// Lets go of what is durable now.
    fn release(&mut self, end: u64, frame: &[u8], offset: u64) {
        if self.skipping {
            self.skipping = false;
            self.held.clear();
            self.held.extend_from_slice(&frame[(end.saturating_sub(offset) as usize).min(frame.len())..]);
        } else {
            let gone = ((end - self.held_from) as usize).min(self.held.len());
            self.held.drain(..gone);
        }
        self.held_from = end;
    }
}
