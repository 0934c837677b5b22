use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{RecordBatch, UInt32Array};
use forebay_api::{AttemptItem, AttemptOutcome, ServiceError};
use forebay_budget::{Pool, Reservation};
use forebay_catalog::Claim;
use forebay_decode::{ColumnarMismatch, Decoded, Decoder, Dialect, Position};
use forebay_objects::{FRAME_BYTES, Input};
use forebay_recipe::OnError;
use forebay_steps::{ChunkTable, StepContext};
use forebay_types::{ChunkSource, RECORDS_IGNORED, REJECTS_TABLE, Reject};
use futures::StreamExt;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
#[expect(deprecated, reason = "its replacement is an example to copy; until that is a library, this is")]
use parquet::arrow::async_reader::ParquetObjectReader;
use tokio::sync::{Semaphore, mpsc};

use crate::context::{InputContext, JobContext};
use crate::failure::Failure;
use crate::model::Models;
use crate::quarantine;
use crate::rejects::rejects_batch;
use crate::source::{ChunkReader, Window};

/// Rows in a batch of a columnar input.
const BATCH_ROWS: usize = 8192;

/// One attempt at one chunk: from its bytes to the items that the storage writer takes.
pub(crate) struct Attempt {
    pub(crate) job: Arc<JobContext>,
    pub(crate) input: InputContext,
    pub(crate) claim: Claim,
    /// As many chunks are decoded at a time as this has permits.
    pub(crate) cpu: Arc<Semaphore>,
    /// Budget of one record that is larger than a frame.
    pub(crate) large: Pool,
    /// Models of language, and their budget.
    pub(crate) models: Arc<Models>,
    /// What the recipe's steps run with.
    pub(crate) steps: StepContext,
    pub(crate) items: mpsc::Sender<Result<AttemptItem, ServiceError>>,
    pub(crate) outcome: AttemptOutcome,
    /// Rows that steps want to see together.
    pub(crate) collected: Vec<Vec<RecordBatch>>,
}

impl Attempt {
    /// Does the work. Whatever was sent is void unless the last item went out.
    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        self.collected = vec![Vec::new(); self.job.prepared.layout.tables.len()];
        if self.claim.quarantined {
            quarantine::reject_all(&mut self).await?;
        } else {
            match (&self.claim.source, self.input.dialect.clone()) {
                (ChunkSource::Reject { start, end, reason, message }, _) => {
                    let reject = Reject {
                        reason: *reason,
                        path: String::new(),
                        message: message.clone(),
                        record: self.claim.first_record + 1,
                        offset: *start,
                        length: end - start,
                        raw: None,
                    };
                    self.outcome.records_in += 1;
                    self.send_rejects(&[reject]).await?;
                }
                (ChunkSource::Rows { .. }, _) | (_, None) => self.columnar().await?,
                (_, Some(dialect)) => self.text(dialect).await?,
            }
            self.steps().await?;
        }
        let outcome = std::mem::take(&mut self.outcome);
        self.send(AttemptItem::Done(outcome)).await
    }

    async fn text(&mut self, dialect: Dialect) -> Result<(), Failure> {
        let mut reader = ChunkReader::open(&self.claim, &self.input.identity, &self.job.staging).await?;
        let (ChunkSource::Range { start, .. } | ChunkSource::Staged { start, .. }) = self.claim.source else {
            return Err(Failure::Fatal("the chunk has no bytes".to_owned()));
        };
        let layout = Arc::clone(&self.job.prepared.layout);
        let at = Position { record: self.claim.first_record + 1, offset: start };
        let mut decoder = Decoder::new(layout, at);
        let mut window = Window::default();
        let mut more = true;
        let mut large: Option<Reservation> = None;
        while more {
            if window.bytes().len() > FRAME_BYTES && large.is_none() {
                // Part of a record that is longer than a frame: one attempt at a time may hold such a one.
                let all = self.large.capacity();
                large = Some(self.large.reserve(all).await.map_err(|error| Failure::Fatal(error.to_string()))?);
            } else if window.bytes().len() <= FRAME_BYTES {
                large = None;
            }
            let read = Instant::now();
            more = reader.read(&mut window).await?;
            self.spent("read", read);
            let permit = self.permit().await?;
            let decode = Instant::now();
            let dialect = dialect.clone();
            let (next_decoder, next_window, decoded) = forebay_runtime::blocking(move || {
                let mut decoded = Vec::new();
                let result = decoder.decode(&dialect, window.bytes(), !more, &mut decoded).and_then(|used| {
                    window.consume(used);
                    if more { Ok(()) } else { decoder.finish(&mut decoded) }
                });
                (decoder, window, result.map(|()| decoded))
            })
            .await
            .map_err(resume_panic)?;
            (decoder, window) = (next_decoder, next_window);
            drop(permit);
            self.spent("decode", decode);
            for decoded in decoded? {
                self.take(decoded).await?;
            }
        }
        Ok(())
    }

    async fn columnar(&mut self) -> Result<(), Failure> {
        let ChunkSource::Rows { start, end } = self.claim.source else {
            return self.staged_batches().await;
        };
        let input = Input::reopen(&self.input.identity).await?;
        let uri = self.input.identity.uri.clone();
        let unreadable = |error: parquet::errors::ParquetError| Failure::Fatal(format!("{uri}: {error}"));
        let Some((store, path)) = input.object() else {
            return Err(Failure::Fatal("a columnar input must be a file".to_owned()));
        };
        #[expect(deprecated, reason = "as above")]
        let reader = ParquetObjectReader::new(Arc::clone(store), path.clone());
        let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(unreadable)?;
        ColumnarMismatch::check(&self.job.prepared.layout, builder.schema())
            .map_err(|error| Failure::Fatal(format!("{uri}: {error}")))?;
        // Row groups before the chunk are not even opened.
        let (mut groups, mut first, mut row) = (Vec::new(), 0, 0);
        for (index, group) in builder.metadata().row_groups().iter().enumerate() {
            let next = row + group.num_rows() as u64;
            if next <= start {
                first = next;
            } else if row < end {
                groups.push(index);
            }
            row = next;
        }
        let mut stream = builder
            .with_row_groups(groups)
            .with_offset((start - first) as usize)
            .with_limit((end - start) as usize)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(unreadable)?;
        let layout = Arc::clone(&self.job.prepared.layout);
        let mut decoder = Decoder::new(layout, Position { record: start + 1, offset: start });
        while let Some(batch) = stream.next().await {
            let permit = self.permit().await?;
            let decode = Instant::now();
            let decoded = decoder.decode_batch(&batch.map_err(unreadable)?)?;
            drop(permit);
            self.spent("decode", decode);
            self.take(decoded).await?;
        }
        let read = decoder.position().offset - start;
        if read != end - start {
            return Err(Failure::Fatal(format!("{uri} ends after {read} of the chunk's {} rows", end - start)));
        }
        Ok(())
    }

    /// A staged chunk of an Arrow input: a stream of its own.
    async fn staged_batches(&mut self) -> Result<(), Failure> {
        let mut reader = ChunkReader::open(&self.claim, &self.input.identity, &self.job.staging).await?;
        let mut raw = Window::default();
        while reader.read(&mut raw).await? {}
        let uri = &self.input.identity.uri;
        let unreadable = |error: arrow_schema::ArrowError| Failure::Fatal(format!("{uri}: {error}"));
        let stream = arrow_ipc::reader::StreamReader::try_new(raw.bytes(), None).map_err(unreadable)?;
        ColumnarMismatch::check(&self.job.prepared.layout, &stream.schema())
            .map_err(|error| Failure::Fatal(format!("{uri}: {error}")))?;
        let first = self.claim.first_record;
        let layout = Arc::clone(&self.job.prepared.layout);
        let mut decoder = Decoder::new(layout, Position { record: first + 1, offset: first });
        let batches: Vec<_> = stream.collect::<Result<_, _>>().map_err(unreadable)?;
        for batch in batches {
            let decoded = decoder.decode_batch(&batch)?;
            self.take(decoded).await?;
        }
        Ok(())
    }

    /// Sends a run of decoded records on, or keeps its rows for the steps.
    pub(crate) async fn take(&mut self, mut decoded: Decoded) -> Result<(), Failure> {
        #[cfg(feature = "faults")]
        {
            let first = self.claim.first_record + 1 + self.outcome.records_in;
            crate::faults::abort_at_record(first, decoded.records);
            crate::faults::panic_at_record(first, decoded.records);
        }
        self.outcome.records_in += decoded.records;
        if decoded.ignored > 0 {
            *self.outcome.counts.entry(RECORDS_IGNORED.to_owned()).or_default() += decoded.ignored;
        }
        self.send_rejects(&decoded.rejects).await?;
        decoded.batches = self.redacted(decoded.batches, decoded.parents).await?;
        if !self.job.steps.is_empty() {
            for (table, batch) in self.collected.iter_mut().zip(decoded.batches) {
                table.push(batch);
            }
            return Ok(());
        }
        let job = Arc::clone(&self.job);
        for (table, batch) in job.prepared.layout.tables.iter().zip(decoded.batches) {
            self.send_rows(&table.name, batch).await?;
        }
        Ok(())
    }

    /// Takes identifiers out of whole records, off the async threads.
    async fn redacted(
        &mut self,
        batches: Vec<RecordBatch>,
        parents: Vec<UInt32Array>,
    ) -> Result<Vec<RecordBatch>, Failure> {
        let Some(redaction) = self.job.redaction.clone() else { return Ok(batches) };
        let answers = self.ask_models(&redaction, &batches).await?;
        let permit = self.permit().await?;
        let redact = Instant::now();
        let redacted = tokio::task::spawn_blocking(move || redaction.apply(batches, &parents, &answers))
            .await
            .map_err(resume_panic)??;
        drop(permit);
        self.spent("redact", redact);
        Ok(redacted)
    }

    /// Runs the recipe's steps over the chunk's tables.
    async fn steps(&mut self) -> Result<(), Failure> {
        if self.job.steps.is_empty() {
            return Ok(());
        }
        let layout = Arc::clone(&self.job.prepared.layout);
        let tables = layout
            .tables
            .iter()
            .zip(std::mem::take(&mut self.collected))
            .map(|(plan, batches)| ChunkTable { name: plan.name.clone(), schema: plan.schema(), batches })
            .collect();
        let run = Instant::now();
        let (job, context) = (Arc::clone(&self.job), self.steps.clone());
        let result =
            tokio::spawn(async move { job.steps.run(tables, &context).await }).await.map_err(resume_panic)??;
        self.spent("steps", run);
        self.outcome.counts.extend(result.counts);
        for table in result.tables {
            for batch in table.batches {
                self.send_rows(&table.name, batch).await?;
            }
        }
        Ok(())
    }

    async fn send_rows(&mut self, table: &str, batch: RecordBatch) -> Result<(), Failure> {
        let mut from = 0;
        while from < batch.num_rows() {
            let rows = (batch.num_rows() - from).min(BATCH_ROWS * 2);
            // A whole batch goes on as it is: a slice would count, and keep, all of it.
            let part = if rows == batch.num_rows() { batch.clone() } else { batch.slice(from, rows) };
            self.send(AttemptItem::Batch { table: table.to_owned(), batch: part }).await?;
            from += rows;
        }
        Ok(())
    }

    pub(crate) async fn send_rejects(&mut self, rejects: &[Reject]) -> Result<(), Failure> {
        let Some(first) = rejects.first() else { return Ok(()) };
        if self.job.prepared.recipe.on_error == OnError::Fail && !self.claim.quarantined {
            let place = if first.path.is_empty() { String::new() } else { format!(", {}", first.path) };
            return Err(Failure::Fatal(format!(
                "{}, record {}{place}: {}: {} (on_error is fail)",
                self.input.identity.uri, first.record, first.reason, first.message
            )));
        }
        for reject in rejects {
            *self.outcome.rejects.entry(reject.reason.code().to_owned()).or_default() += 1;
        }
        for part in rejects.chunks(1024) {
            let batch = rejects_batch(&self.job, &self.input.identity.uri, part)?;
            self.send(AttemptItem::Batch { table: REJECTS_TABLE.to_owned(), batch }).await?;
        }
        Ok(())
    }

    async fn send(&mut self, item: AttemptItem) -> Result<(), Failure> {
        let wait = Instant::now();
        // The writer stops listening when it has failed; its own error is the one that is told.
        let sent = self.items.send(Ok(item)).await.map_err(|_| Failure::Stale);
        self.spent("wait_for_storage", wait);
        sent
    }

    pub(crate) async fn permit(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.cpu).acquire_owned().await.map_err(|_| Failure::Stale)
    }

    pub(crate) fn spent(&mut self, stage: &str, since: Instant) {
        let stages: &mut BTreeMap<String, u64> = &mut self.outcome.stages;
        let micros = since.elapsed().as_micros() as u64;
        match stages.get_mut(stage) {
            Some(total) => *total += micros,
            None => {
                stages.insert(stage.to_owned(), micros);
            }
        }
    }
}

/// Lets a panic of a blocking task go on in the attempt's own task, where it is counted against the chunk.
pub(crate) fn resume_panic(error: tokio::task::JoinError) -> Failure {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => Failure::Transient(error.to_string()),
    }
}
