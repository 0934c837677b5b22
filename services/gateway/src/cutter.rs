use bytes::Bytes;
use forebay_api::Constraint;
use forebay_budget::Reservation;
use forebay_catalog::NewChunk;
use forebay_decode::Dialect;
use forebay_framing::{Cut, CutKind, Framer};
use forebay_objects::{FRAME_BYTES, PutPayload};
use forebay_types::ChunkSource;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use tokio_util::task::AbortOnDropHandle;
use xxhash_rust::xxh3::Xxh3;

use crate::chunker::{RunningChecksum, chunk_of};
use crate::error::Failure;
use crate::framing::{InputFraming, JobFraming};
use crate::held::Held;
use crate::sample::rows_per_record;

/// Fewest bytes at a chunk's start that say something about its records.
const LEAST_SAMPLE: usize = 4 << 10;

/// Most copies that are written at the same time, however small they are.
const MOST_COPIES: usize = 16;

/// Chunks, of the largest size, that one submission holds: the one that is cut, and those whose copies are written. A
/// disk and a store take long to answer, and the next chunk comes meanwhile.
pub const CHUNKS_HELD: u64 = 3;

/// Most bytes of an input that a submission holds until they are copied.
pub fn most_held(chunk_bytes: u64, record_limit: u64) -> u64 {
    CHUNKS_HELD * chunk_bytes + record_limit
}

/// A chunk that can be read again, and how far the input is with it.
pub(crate) struct Placed {
    chunk: NewChunk,
    offset: u64,
    records: u64,
    /// Bytes that were held until now.
    held: u64,
}

/// Cuts one text input into chunks and makes them durable.
pub(crate) struct Cutter<'a> {
    framing: &'a JobFraming,
    state: InputFraming,
    framer: Framer,
    dialect: Dialect,
    by_reference: bool,
    checksum: RunningChecksum,
    /// For input that must be copied: its bytes up to the framer's offset, unless it skips.
    held: Held,
    /// True while a record that is too long goes by: its bytes are not held.
    skipping: bool,
    /// Chunks on their way to where they can be read again, in their order.
    under_way: FuturesOrdered<BoxFuture<'static, Result<Placed, Failure>>>,
    /// Bytes of those.
    writing: u64,
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
        let reserved = framing.reserve_intake(!by_reference).await?;
        let offset = framer.offset();
        Ok(Self {
            framing,
            state,
            framer,
            dialect,
            by_reference,
            checksum: RunningChecksum::at(offset),
            held: Held::at(offset),
            skipping: false,
            under_way: FuturesOrdered::new(),
            writing: 0,
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
            self.wait_for_copies(frame.len() as u64).await?;
            self.held.push(frame.clone());
        }
        let mut cuts = Vec::new();
        self.framer.push(&frame, &mut cuts);
        for cut in &cuts {
            self.cut(cut, &frame, offset).await?;
        }
        if let Some(placed) = self.ready() {
            self.add(placed).await?;
        }
        if self.by_reference {
            self.checksum.take(&frame, offset, offset + frame.len() as u64);
        }
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
            self.held.truncate(self.framer.record_start());
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
        for cut in &cuts {
            self.cut(cut, &Bytes::new(), offset).await?;
        }
        let mut chunks = Vec::new();
        while let Some(placed) = self.under_way.next().await {
            chunks.push(self.arrive(placed?));
        }
        self.framing.wait_for_room().await?;
        self.framing.add(&self.state, &chunks, true).await
    }

    /// The next chunk that can be read again. Waits for ever while there is none on its way.
    pub(crate) async fn next_placed(&mut self) -> Result<Placed, Failure> {
        match self.under_way.next().await {
            Some(placed) => placed,
            None => std::future::pending().await,
        }
    }

    /// The same, if it is there by now.
    fn ready(&mut self) -> Option<Result<Placed, Failure>> {
        self.under_way.next().now_or_never().flatten()
    }

    /// Puts a chunk into the catalog, and those that follow it and can be read again by now: one step for all of them.
    pub(crate) async fn add(&mut self, first: Result<Placed, Failure>) -> Result<(), Failure> {
        let (mut chunks, mut next, mut failed) = (Vec::new(), Some(first), None);
        while let Some(placed) = next {
            match placed {
                Ok(placed) => chunks.push(self.arrive(placed)),
                Err(failure) => {
                    failed = Some(failure);
                    break;
                }
            }
            next = self.ready();
        }
        if !chunks.is_empty() {
            self.framing.wait_for_room().await?;
            self.framing.add(&self.state, &chunks, false).await?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Moves the cursor behind a chunk.
    fn arrive(&mut self, placed: Placed) -> NewChunk {
        self.writing -= placed.held;
        self.state.offset = placed.offset;
        self.state.records = placed.records;
        placed.chunk
    }

    /// Sends a chunk on its way.
    async fn cut(&mut self, cut: &Cut, frame: &Bytes, offset: u64) -> Result<(), Failure> {
        let limit = self.framing.prepared.recipe.source.record_limit;
        let (start, end) = (cut.start, cut.end);
        let mut chunk = chunk_of(cut, self.state.index, limit, ChunkSource::Range { start, end });
        let mut copy = None;
        if cut.kind == CutKind::Chunk {
            if self.by_reference {
                self.checksum.take(frame, offset, end.min(offset + frame.len() as u64));
                let running = self.checksum.finish(start, end);
                chunk.checksum = Some(match running {
                    Some(checksum) => checksum,
                    None => self.read_checksum(start, end).await?,
                });
            } else {
                // A frame may have thousands of small chunks.
                self.wait_for_copies(0).await?;
                let Some(raw) = self.held.slice(start, end) else {
                    return Err(Failure::unusable("a chunk's bytes were not held".to_owned()));
                };
                copy = Some(self.copy(&mut chunk, start, end, raw));
            }
        } else {
            self.checksum = RunningChecksum::at(end);
        }
        if !self.by_reference {
            self.release(end, frame, offset);
        }
        let held = if copy.is_some() { end - start } else { 0 };
        self.writing += held;
        let placed = Placed { chunk, offset: end, records: cut.first_record + cut.records, held };
        self.under_way.push_back(
            async move {
                if let Some(copy) = copy {
                    copy.await.map_err(|error| Failure::unusable(error.to_string()))??;
                }
                Ok(placed)
            }
            .boxed(),
        );
        Ok(())
    }

    /// Waits until copies have made room for one more, and for so many bytes more to be held.
    async fn wait_for_copies(&mut self, bytes: u64) -> Result<(), Failure> {
        let most = most_held(self.framing.chunk_bytes, self.framing.prepared.recipe.source.record_limit.0);
        while self.writing > 0 && (self.writing + self.held.len() + bytes > most || self.under_way.len() >= MOST_COPIES)
        {
            self.framing.waits.set(Some(Constraint::ObjectStore));
            let placed = self.next_placed().await;
            self.framing.waits.set(None);
            self.add(placed).await?;
        }
        Ok(())
    }

    /// Where cuts do not follow on each other, or one came late, the chunk's bytes are read again.
    async fn read_checksum(&mut self, start: u64, end: u64) -> Result<u128, Failure> {
        let mut hash = Xxh3::new();
        let (mut at, mut spare) = (start, Vec::new());
        while at < end {
            let next = end.min(at + FRAME_BYTES as u64);
            spare.clear();
            spare = self.state.input.read(at, next, spare).await?;
            hash.update(&spare);
            at = next;
        }
        Ok(hash.digest128())
    }

    /// Begins to write a chunk's copy.
    fn copy(
        &self,
        chunk: &mut NewChunk,
        start: u64,
        end: u64,
        raw: PutPayload,
    ) -> AbortOnDropHandle<Result<(), Failure>> {
        let mut hash = Xxh3::new();
        raw.iter().for_each(|part| hash.update(part));
        let sum = hash.digest128();
        let key = self.framing.staging_key(&self.state, start, sum);
        chunk.checksum = self.framing.kept_checksum(&self.state, sum);
        chunk.source = ChunkSource::Staged { key: key.clone(), start, end, skip: 0 };
        AbortOnDropHandle::new(tokio::spawn(self.framing.stage(key, raw)))
    }

    /// Lets go of what is in a copy.
    fn release(&mut self, end: u64, frame: &Bytes, offset: u64) {
        if self.skipping {
            self.skipping = false;
            self.held = Held::at(end);
            self.held.push(frame.slice((end.saturating_sub(offset) as usize).min(frame.len())..));
        } else {
            self.held.release(end);
        }
    }
}
