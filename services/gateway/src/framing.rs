use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_api::{Constraint, Event, Observer, ServiceError, SubmitEvent};
use forebay_budget::{Budget, Pool, Pressure, Reservation};
use forebay_catalog::{Catalog, Cursor, Job, NewChunk};
use forebay_decode::{CsvHeader, Dialect};
use forebay_framing::{Framer, Framing, Targets, header_end};
use forebay_objects::{
    Compression, Content, FRAME_BYTES, Input, InputInfo, PutPayload, Staging, StoreError, decompress,
};
use forebay_recipe::Prepared;
use forebay_seal::{Keys, is_sealed, open_stream};
use forebay_types::JobState;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::cutter::{Cutter, most_held};
use crate::error::Failure;
use crate::sent::{SentFrames, resume_point};
use crate::waits::Waits;

/// Bytes of an input that its content is recognised by.
const PREFIX: u64 = 64 << 10;

/// How often the backlog is looked at while it is full.
const BACKLOG_POLL: Duration = Duration::from_millis(50);

/// Cuts the inputs of one job into chunks and makes them durable.
pub(crate) struct JobFraming {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) budget: Budget,
    /// Budget of the raw bytes that are held while a chunk is cut.
    pub(crate) intake: Pool,
    pub(crate) job: Job,
    pub(crate) prepared: Prepared,
    pub(crate) staging: Staging,
    /// Encrypts copies of what is protected.
    pub(crate) keys: Keys,
    /// Opens encrypted inputs.
    pub(crate) input_keys: Keys,
    /// Input bytes that a chunk aims at.
    pub(crate) chunk_bytes: u64,
    /// Chunks that may wait for workers.
    pub(crate) backlog: u64,
    pub(crate) changed: Arc<Notify>,
    pub(crate) stop: CancellationToken,
    /// Bytes that the job's tenant may have in staging.
    pub(crate) quota: Option<u64>,
    /// What the framing waits for, for those who watch.
    pub(crate) waits: Waits,
    /// Who counts bytes.
    pub(crate) observer: Observer,
    /// The client that submitted the job.
    pub(crate) events: mpsc::Sender<Result<SubmitEvent, ServiceError>>,
}

/// One input while it is cut.
pub(crate) struct InputFraming {
    pub(crate) index: u32,
    pub(crate) input: Input,
    pub(crate) info: InputInfo,
    pub(crate) header: Option<Vec<u8>>,
    /// Everything before is durable.
    pub(crate) offset: u64,
    pub(crate) records: u64,
}

pub(crate) type Frames = BoxStream<'static, Result<Bytes, StoreError>>;

impl JobFraming {
    /// Cuts every input that is not done yet. `sent` is what a client sends.
    pub(crate) async fn run(&self, sent: Option<SentFrames>) -> Result<(), Failure> {
        for known in self.catalog.inputs(self.job.id).await? {
            if known.complete {
                continue;
            }
            let input = Input::reopen(&known.identity).await?;
            let start = if sent.is_some() { resume_point(&known).offset } else { 0 };
            let stream = match &sent {
                Some(sent) => self.counted(sent.of(known.index, &known.identity.uri, start)),
                None => input.frames(0),
            };
            let known_info = known.info.as_deref().and_then(|text| serde_json::from_str(text).ok());
            let (info, stream) = match known_info {
                // In the middle there is nothing to recognise it by.
                Some(info) if start > 0 => (info, stream),
                known_info => self.recognise(known_info, &input, stream).await?,
            };
            let state = InputFraming {
                index: known.index,
                input,
                info,
                header: known.header,
                offset: known.offset,
                records: known.records,
            };
            self.frame(state, start, stream).await?;
        }
        self.catalog.finish_input(self.job.id).await?;
        self.changed.notify_waiters();
        Ok(())
    }

    /// Counts what a client sends.
    fn counted(&self, frames: Frames) -> Frames {
        let observer = self.observer.clone();
        frames.inspect_ok(move |frame| observer.tell(Event::Received { bytes: frame.len() as u64 })).boxed()
    }

    /// Makes a copy of a chunk durable.
    pub(crate) fn stage(
        &self,
        key: String,
        raw: PutPayload,
    ) -> impl Future<Output = Result<(), Failure>> + Send + 'static {
        let (staging, observer) = (self.staging.clone(), self.observer.clone());
        async move {
            let bytes = raw.content_length() as u64;
            staging.put(&key, raw).await?;
            observer.tell(Event::Staged { bytes });
            Ok(())
        }
    }

    /// Finds out what an input holds. The stream that is given back begins at the input's start, decompressed.
    async fn recognise(
        &self,
        known: Option<InputInfo>,
        input: &Input,
        mut stream: Frames,
    ) -> Result<(InputInfo, Frames), Failure> {
        let uri = input.identity().uri.clone();
        let mut first = stream.next().await.transpose()?.unwrap_or_default();
        let sealed = is_sealed(&first);
        if sealed {
            let whole: Frames = futures::stream::once(async { Ok(first) }).chain(stream).boxed();
            stream = open_stream(self.input_keys.opening().map_err(StoreError::from)?, forebay_seal::INPUT, whole);
            first = stream.next().await.transpose()?.unwrap_or_default();
        }
        let compression = Compression::of(&first);
        let whole: Frames = futures::stream::once(async { Ok(first) }).chain(stream).boxed();
        let mut plain = match compression {
            Some(compression) => decompress(uri.clone(), compression, whole),
            None => whole,
        };
        if let Some(info) = known {
            return Ok((info, plain));
        }
        let first = match plain.next().await {
            Some(frame) => frame?,
            None => Bytes::new(),
        };
        let prefix = &first[..first.len().min(PREFIX as usize)];
        let format = self.prepared.recipe.source.format;
        let content = Content::of(format, prefix);
        refuse_unreadable(&uri, content, prefix)?;
        let plain = futures::stream::once(async { Ok(first) }).chain(plain).boxed();
        Ok((InputInfo { content, compression, sealed }, plain))
    }

    /// `start` is where the stream begins in the input.
    async fn frame(&self, state: InputFraming, start: u64, stream: Frames) -> Result<(), Failure> {
        let by_reference = state.input.is_durable() && state.info.compression.is_none() && !state.info.sealed;
        let staged = !by_reference || matches!(state.info.content, Content::ArrowFile | Content::ArrowStream);
        if staged
            && self.is_protected(&state)
            && let Err(error) = self.keys.sealing()
        {
            return Err(Failure::unusable(format!(
                "{}: this recipe protects fields, and this input has to be copied to staging: {error}; or give it as an \
                 uncompressed NDJSON, JSON, CSV or Parquet file, or, if it is synthetic or public, say --set protect=off",
                state.input.identity().uri
            )));
        }
        match state.info.content {
            Content::Parquet if by_reference => self.frame_parquet(state).await,
            Content::Parquet => Err(Failure::unusable(format!(
                "{}: Parquet can't be read from a stream or a compressed file; give the file itself",
                state.input.identity().uri
            ))),
            Content::ArrowFile | Content::ArrowStream => self.frame_arrow(state, stream).await,
            Content::Ndjson | Content::Json | Content::Csv => self.frame_text(state, start, stream, by_reference).await,
        }
    }

    /// Whether copies of an input's chunks are encrypted.
    fn is_protected(&self, state: &InputFraming) -> bool {
        state.info.sealed || self.prepared.is_protected()
    }

    /// The key of a chunk's copy in staging. That of an encrypted one tells nothing about its content.
    pub(crate) fn staging_key(&self, state: &InputFraming, start: u64, checksum: u128) -> String {
        let (job, input, sealed) = (self.job.id, state.index, self.is_protected(state));
        let name = if sealed { Uuid::new_v4().simple().to_string() } else { format!("{checksum:032x}") };
        self.staging.key(&format!("{job}/{input}-{start}-{name}"), sealed)
    }

    /// The checksum of a chunk's copy that the catalog keeps. One that is encrypted has its own, and what a few bytes
    /// add up to would tell them.
    pub(crate) fn kept_checksum(&self, state: &InputFraming, checksum: u128) -> Option<u128> {
        (!self.is_protected(state)).then_some(checksum)
    }

    async fn frame_text(
        &self,
        mut state: InputFraming,
        start: u64,
        stream: Frames,
        by_reference: bool,
    ) -> Result<(), Failure> {
        let csv = &self.prepared.recipe.source.csv;
        let framing = match state.info.content {
            Content::Csv => Framing::Csv { delimiter: csv.delimiter as u8, quote: csv.quote as u8 },
            Content::Json => Framing::JsonArray,
            _ => Framing::Lines,
        };
        // A durable input is read from where it was left; of a stream, what is durable already is read over.
        let mut stream = if by_reference && state.offset > 0 { state.input.frames(state.offset) } else { stream };
        let mut at = if by_reference { state.offset } else { start };
        let mut rest = Bytes::new();
        if state.info.content == Content::Csv && state.header.is_none() {
            (stream, rest) = self.read_header(&mut state, &framing, stream).await?;
            at = state.offset;
        }
        let dialect = match state.info.content {
            Content::Csv => {
                let header = CsvHeader::new(&self.prepared.layout, csv, state.header.as_deref())
                    .map_err(|error| Failure::unusable(format!("{}: {error}", state.input.identity().uri)))?;
                Dialect::Csv(header)
            }
            Content::Json => Dialect::JsonArray,
            _ => Dialect::Lines,
        };
        let framer = if state.offset == 0 {
            Framer::new(framing, self.targets(None))
        } else {
            Framer::resume(framing, self.targets(None), state.offset, state.records)
        };
        self.waits.set(Some(Constraint::Budget));
        let mut cutter = Cutter::new(self, state, framer, dialect, by_reference).await?;
        self.waits.set(None);
        if !rest.is_empty() {
            cutter.push(rest, at).await?;
            at = cutter.offset();
        }
        loop {
            let frame = tokio::select! {
                biased;
                // A client that pauses hears of its last chunk as soon as that is durable.
                placed = cutter.next_placed() => {
                    cutter.add(placed).await?;
                    continue;
                }
                frame = self.next_frame(&mut stream) => frame?,
            };
            let Some(frame) = frame else { break };
            let next = at + frame.len() as u64;
            let skip = cutter.offset().saturating_sub(at).min(frame.len() as u64);
            if skip < frame.len() as u64 {
                cutter.push(frame.slice(skip as usize..), at + skip).await?;
            }
            at = next;
        }
        cutter.finish().await
    }

    /// Reads a CSV header and leaves the input behind it. Without a header row there is nothing to read.
    async fn read_header(
        &self,
        state: &mut InputFraming,
        framing: &Framing,
        mut stream: Frames,
    ) -> Result<(Frames, Bytes), Failure> {
        if !self.prepared.recipe.source.csv.header {
            state.header = Some(Vec::new());
            return Ok((stream, Bytes::new()));
        }
        let limit = self.prepared.recipe.source.record_limit;
        let mut prefix = Vec::new();
        loop {
            let end = header_end(framing, &prefix);
            let more = if end.is_none() { stream.next().await.transpose()? } else { None };
            match (end, more) {
                (Some(end), _) => {
                    let rest = Bytes::from(prefix.split_off(end));
                    state.offset = end as u64;
                    state.header = Some(trim_line_end(prefix));
                    return Ok((stream, rest));
                }
                (None, Some(frame)) if prefix.len() as u64 <= limit.0 => prefix.extend_from_slice(&frame),
                (None, Some(_)) => {
                    return Err(Failure::unusable(format!(
                        "{}: no end of the CSV header in the first {limit}",
                        state.input.identity().uri
                    )));
                }
                (None, None) if prefix.iter().all(u8::is_ascii_whitespace) => {
                    return Err(Failure::unusable(format!(
                        "{}: the file is empty: not even a CSV header",
                        state.input.identity().uri
                    )));
                }
                (None, None) => {
                    state.offset = prefix.len() as u64;
                    state.header = Some(trim_line_end(prefix));
                    return Ok((stream, Bytes::new()));
                }
            }
        }
    }

    /// What the next chunk aims at: the recipe's rows, by what a record becomes, and half of it under pressure.
    pub(crate) fn targets(&self, rows_per_record: Option<f64>) -> Targets {
        // Before anything is known about the records, a nested one is taken to be a row a table.
        let ratio = rows_per_record.unwrap_or(self.prepared.layout.tables.len() as f64);
        let share = if self.budget.pressure() == Pressure::Normal { 1.0 } else { 0.5 };
        let records = (self.prepared.tuning.chunk_rows as f64 * share / ratio).max(1.0) as u64;
        Targets {
            records,
            bytes: ((self.chunk_bytes as f64 * share) as u64).max(1),
            record_limit: self.prepared.recipe.source.record_limit.0,
        }
    }

    /// The next frame, unless the gateway is about to stop.
    async fn next_frame(&self, stream: &mut Frames) -> Result<Option<Bytes>, Failure> {
        self.waits.set(Some(Constraint::Client));
        let frame = tokio::select! {
            frame = stream.next() => frame.transpose()?,
            () = self.stop.cancelled() => return Err(Failure::Stopping),
        };
        self.waits.set(None);
        Ok(frame)
    }

    /// Waits until workers have caught up and the budget has room.
    pub(crate) async fn wait_for_room(&self) -> Result<(), Failure> {
        self.waits.set(Some(Constraint::Budget));
        tokio::select! {
            () = self.budget.wait_for_intake() => {}
            () = self.stop.cancelled() => return Err(Failure::Stopping),
        }
        if let Some(quota) = self.quota {
            self.waits.set(Some(Constraint::Quota));
            while self.catalog.tenant_usage(&self.job.tenant).await?.staged_bytes >= quota && self.goes_on().await? {
                self.pause().await?;
            }
        }
        self.waits.set(Some(Constraint::Workers));
        while self.catalog.backlog(self.job.id).await? >= self.backlog && self.goes_on().await? {
            self.pause().await?;
        }
        self.waits.set(None);
        Ok(())
    }

    /// False when the job has ended: nobody works on its chunks any more, and the next one is refused.
    async fn goes_on(&self) -> Result<bool, Failure> {
        Ok(self.catalog.job_state(self.job.id).await? == JobState::Running)
    }

    /// Reserves what one submission holds of record data while it is cut: two frames, and of input that is copied the
    /// chunks on their way besides.
    pub(crate) async fn reserve_intake(&self, is_copied: bool) -> Result<Reservation, Failure> {
        let limit = self.prepared.recipe.source.record_limit.0;
        let held = if is_copied { most_held(self.chunk_bytes, limit) } else { 0 };
        let reserved = self.intake.reserve(2 * FRAME_BYTES as u64 + held).await;
        reserved.map_err(|error| Failure::unusable(error.to_string()))
    }

    /// Waits until something may have changed.
    async fn pause(&self) -> Result<(), Failure> {
        tokio::select! {
            () = self.changed.notified() => Ok(()),
            () = tokio::time::sleep(BACKLOG_POLL) => Ok(()),
            () = self.stop.cancelled() => Err(Failure::Stopping),
        }
    }

    /// Makes chunks durable, and with them how far the input is cut; then tells the client, if it listens: each
    /// event says all that the ones before it said, so that one may be left out.
    pub(crate) async fn add(&self, state: &InputFraming, chunks: &[NewChunk], complete: bool) -> Result<(), Failure> {
        let info = serde_json::to_string(&state.info).ok();
        let cursor = Cursor {
            input: state.index,
            offset: state.offset,
            records: state.records,
            complete,
            header: state.header.clone(),
            info,
        };
        let added = self.catalog.add_chunks(self.job.id, chunks, cursor).await?;
        self.changed.notify_waiters();
        if let Some(last) = added.last() {
            let durable = SubmitEvent::ChunkDurable {
                chunk: last.chunk,
                input: state.index,
                durable_bytes: state.offset,
                records: state.records,
            };
            drop(self.events.try_send(Ok(durable)));
        }
        Ok(())
    }
}

fn trim_line_end(mut line: Vec<u8>) -> Vec<u8> {
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        line.pop();
    }
    line
}

/// Refuses text that no record could be read from, with what to do about it.
fn refuse_unreadable(uri: &str, content: Content, prefix: &[u8]) -> Result<(), Failure> {
    if prefix.starts_with(&[0xff, 0xfe]) || prefix.starts_with(&[0xfe, 0xff]) {
        return Err(Failure::unusable(format!(
            "{uri}: the text is UTF-16; convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)"
        )));
    }
    if content == Content::Csv {
        if prefix.contains(&0) {
            return Err(Failure::unusable(format!(
                "{uri}: this is no text: it has NUL bytes, and no format that is known"
            )));
        }
        if prefix.contains(&b'\r') && !prefix.contains(&b'\n') {
            return Err(Failure::unusable(format!("{uri}: its lines end in CR alone; convert them (tr '\\r' '\\n')")));
        }
    }
    Ok(())
}
