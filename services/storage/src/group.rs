use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use forebay_api::{AttemptHeader, Event};
use forebay_budget::Pool;
use forebay_catalog::{Catalog, File, WrittenChunk};
use forebay_lake::{EncodedRowGroup, Encoding, FinishedFile, Pages, ParquetFile, encode};
use forebay_objects::Place;
use forebay_types::{ChunkId, GroupId};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

use crate::attempt::{AttemptBuffer, Held};
use crate::error::Failure;

/// One table's file, begun when its first row group is there.
type SharedFile = Arc<Mutex<Option<ParquetFile>>>;

/// What a group needs to write its files.
#[derive(Clone, Debug)]
pub(crate) struct GroupContext {
    /// Where the job's tables are.
    pub(crate) output: Place,
    /// Begins every file's name, so that two catalogs can write to one table.
    pub(crate) prefix: String,
    /// Decoded bytes of a row group.
    pub(crate) row_group_bytes: u64,
    /// Bytes of an upload's part.
    pub(crate) part_bytes: usize,
    /// As many row groups are encoded at a time as this has permits.
    pub(crate) encoders: Arc<Semaphore>,
    /// Budget of what encoding itself holds.
    pub(crate) encoding: Pool,
}

/// The open files of a job's tables, which become visible together.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) opened: Instant,
    /// When an attempt was added last.
    pub(crate) added: Instant,
    chunks: Vec<(ChunkId, u32)>,
    /// What its chunks add up to.
    work: WrittenChunk,
    /// Bytes of its files, once they are closed.
    pub(crate) bytes: u64,
    tables: BTreeMap<String, OpenTable>,
    tasks: JoinSet<Result<(), Failure>>,
    context: GroupContext,
}

#[derive(Debug, Default)]
struct OpenTable {
    pending: Held,
    encoding: Option<Encoding>,
    file: SharedFile,
    /// Bytes of the file, and an estimate of those on the way to it.
    bytes: Arc<std::sync::atomic::AtomicU64>,
}

impl Group {
    pub(crate) fn new(id: GroupId, context: GroupContext) -> Self {
        let now = forebay_runtime::now();
        Self {
            id,
            opened: now,
            added: now,
            chunks: Vec::new(),
            work: WrittenChunk::default(),
            bytes: 0,
            tables: BTreeMap::new(),
            tasks: JoinSet::new(),
            context,
        }
    }

    /// Size of the largest file.
    pub(crate) fn largest(&self) -> u64 {
        self.tables.values().map(|table| table.bytes.load(std::sync::atomic::Ordering::Relaxed)).max().unwrap_or(0)
    }

    /// Counts what a complete attempt has made of its chunk.
    pub(crate) fn count(&mut self, written: &WrittenChunk) {
        self.work.records_in += written.records_in;
        for (sums, counts) in [(&mut self.work.rows, &written.rows), (&mut self.work.rejects, &written.rejects)] {
            for (name, n) in counts {
                *sums.entry(name.clone()).or_default() += n;
            }
        }
    }

    /// What there is to tell of it when it is committed.
    pub(crate) fn committed(&self) -> Event<'_> {
        let WrittenChunk { records_in, rejects, rows, .. } = &self.work;
        Event::GroupCommitted { records_in: *records_in, rows: rows.values().sum(), rejects, bytes: self.bytes }
    }

    /// Takes a complete attempt. From here on its rows are in the group's files or in none: what can fail comes before
    /// the first of them is taken.
    pub(crate) fn add(&mut self, header: &AttemptHeader, buffer: AttemptBuffer) -> Result<(), Failure> {
        for (name, held) in &buffer.tables {
            let table = self.tables.entry(name.clone()).or_default();
            let sample = held.batches.iter().max_by_key(|batch| batch.num_rows()).filter(|batch| batch.num_rows() > 0);
            if let (None, Some(sample)) = (&table.encoding, sample) {
                table.encoding = Some(Encoding::choose(sample)?);
            }
        }
        self.added = forebay_runtime::now();
        self.chunks.push((header.chunk, header.attempt));
        for (name, held) in buffer.tables {
            let table = self.tables.entry(name.clone()).or_default();
            table.pending.append(held);
            if table.pending.bytes >= self.context.row_group_bytes || !table.pending.encoded.is_empty() {
                self.encode_pending(&name);
            }
        }
        Ok(())
    }

    /// Encodes early whatever waits, because the budget is nearly full.
    pub(crate) fn flush_pending(&mut self) {
        let names: Vec<String> = self.tables.keys().cloned().collect();
        for name in names {
            self.encode_pending(&name);
        }
    }

    /// Starts to encode what waits for a table.
    fn encode_pending(&mut self, name: &str) {
        let Some(table) = self.tables.get_mut(name) else { return };
        let mut held = std::mem::take(&mut table.pending);
        if held.rows == 0 {
            return;
        }
        let early = std::mem::take(&mut held.encoded);
        let encoding = table.encoding.clone();
        let writer = FileWriter {
            context: self.context.clone(),
            table: name.to_owned(),
            file: Arc::clone(&table.file),
            bytes: Arc::clone(&table.bytes),
            name: file_name(&self.context, self.id),
        };
        self.tasks.spawn(async move {
            for group in early {
                writer.append(group).await?;
            }
            match encoding {
                Some(encoding) => writer.encode(held, encoding).await,
                None => Ok(()),
            }
        });
    }

    /// Writes what is left and closes the files. On an error nothing of the group is visible.
    pub(crate) async fn finish(&mut self) -> Result<Vec<File>, Failure> {
        self.flush_pending();
        while let Some(task) = self.tasks.join_next().await {
            task??;
        }
        let mut closing = JoinSet::new();
        for (name, file) in self.open_files() {
            if let Some(file) = file.lock().await.take() {
                closing.spawn(async move { file.finish().await.map(|file| (name, file)) });
            }
        }
        // All of them come to an end, also after an error: a file that was left alone while it closed would be
        // neither finished nor given up.
        let mut files = Vec::new();
        let mut failed: Option<Failure> = None;
        while let Some(closed) = closing.join_next().await {
            match closed.map_err(Failure::from).and_then(|closed| closed.map_err(Failure::from)) {
                Ok((table, FinishedFile { name, bytes, rows, add })) => {
                    files.push(File { table, path: name, bytes, rows, add });
                }
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        files.sort_by(|a, b| a.table.cmp(&b.table));
        failed.map_or(Ok(files), Err)
    }

    fn open_files(&self) -> Vec<(String, SharedFile)> {
        self.tables.iter().map(|(name, table)| (name.clone(), Arc::clone(&table.file))).collect()
    }

    /// The attempts that are in it.
    pub(crate) fn chunks(&self) -> &[(ChunkId, u32)] {
        &self.chunks
    }

    /// Gives the group up: its tasks end, its uploads are aborted, its files deleted.
    pub(crate) async fn abandon(mut self) -> Result<(), Failure> {
        self.tasks.shutdown().await;
        for (_, file) in self.open_files() {
            if let Some(file) = file.lock().await.take() {
                file.abort().await;
            }
        }
        let tables: Vec<String> = self.tables.keys().cloned().collect();
        remove_files(&self.context.output, &self.context.prefix, self.id, &tables).await
    }
}

/// Deletes a group's files, as far as they exist, and what was begun of them: after it was given up, or after a
/// crash.
pub(crate) async fn remove_files(
    output: &Place,
    prefix: &str,
    group: GroupId,
    tables: &[String],
) -> Result<(), Failure> {
    for table in tables {
        forebay_lake::table_place(output, table)?.clear(&format!("{prefix}-{group}.parquet")).await?;
    }
    Ok(())
}

/// What the names of all files of a catalog's groups begin with.
pub(crate) fn file_prefix(catalog: &Catalog) -> String {
    let id = catalog.id().simple().to_string();
    format!("part-{}", &id[..12])
}

/// The group that a file is of, by its name.
pub(crate) fn group_of(prefix: &str, name: &str) -> Option<GroupId> {
    name.strip_prefix(prefix)?.strip_prefix('-')?.strip_suffix(".parquet")?.parse().ok().map(GroupId)
}

fn file_name(context: &GroupContext, group: GroupId) -> String {
    format!("{}-{group}.parquet", context.prefix)
}

/// Writes row groups to one table's file of a group.
struct FileWriter {
    context: GroupContext,
    table: String,
    name: String,
    file: SharedFile,
    bytes: Arc<std::sync::atomic::AtomicU64>,
}

impl FileWriter {
    async fn encode(&self, held: Held, encoding: Encoding) -> Result<(), Failure> {
        let Held { batches, reservations, bytes, rows, .. } = held;
        if batches.iter().all(|batch| batch.num_rows() == 0) || rows == 0 {
            return Ok(());
        }
        let permit = Arc::clone(&self.context.encoders)
            .acquire_owned()
            .await
            .map_err(|error| Failure::Internal(error.to_string()))?;
        let room = bytes.min(self.context.encoding.capacity() / 2);
        let reserved =
            self.context.encoding.reserve(room).await.map_err(|error| Failure::Internal(error.to_string()))?;
        let group = forebay_runtime::blocking(move || encode(&encoding, batches, &Pages::Memory)).await??;
        drop(reservations);
        self.append(group).await?;
        drop((reserved, permit));
        Ok(())
    }

    async fn append(&self, group: EncodedRowGroup) -> Result<(), Failure> {
        let mut file = self.file.lock().await;
        if file.is_none() {
            let place = forebay_lake::table_place(&self.context.output, &self.table)?;
            let encoding = group.encoding().clone();
            *file = Some(ParquetFile::create(&place, self.name.clone(), encoding, self.context.part_bytes)?);
        }
        if let Some(file) = file.as_mut() {
            file.append(group).await?;
            self.bytes.store(file.bytes(), std::sync::atomic::Ordering::Relaxed);
        }
        Ok(())
    }
}
