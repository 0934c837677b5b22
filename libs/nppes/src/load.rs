//! Loads the registry's files into a store: read as streams, sorted on disk, merged, and put in place at once.

mod columns;
mod container;
mod deactivated;
mod rows;
mod runs;
mod sheet;

use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use columns::{Columns, Use};
use container::{Content, Wanted};
use deactivated::{Line, List};
use rows::{Row, RowError, Rows};
use runs::RunWriter;
use xxhash_rust::xxh3::xxh3_64;

use crate::store::{Store, Writer, Written, encode_deactivated};
use crate::{Npi, StoreError};

/// Least memory a load can do with, in bytes.
pub const LEAST_MEMORY: u64 = 8 << 20;
/// Of the memory, what readers, writers and the index take besides what is sorted.
const OVERHEAD: u64 = 4 << 20;

/// Files of the registry, packed as they come or unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The monthly file, which replaces all that the store holds; without it the others are added to the store.
    pub full: Option<PathBuf>,
    /// Weekly files, oldest first.
    pub updates: Vec<PathBuf>,
    /// Lists of deactivated identifiers. They may be older or newer than the other files: an entry holds if it was
    /// reactivated after the day on the list.
    pub deactivations: Vec<PathBuf>,
}

impl Sources {
    /// A number that changes when a file is added, left out or replaced: from names, sizes and times of change.
    fn fingerprint(&self) -> Result<u64, StoreError> {
        let mut text = Vec::new();
        for path in self.full.iter().chain(&self.updates).chain(&self.deactivations) {
            let file = fs::metadata(path).map_err(StoreError::io("look at", path))?;
            text.extend_from_slice(path.file_name().unwrap_or_default().as_encoded_bytes());
            for number in [0, file.len().cast_signed(), file.mtime(), file.mtime_nsec()] {
                text.extend_from_slice(&number.to_le_bytes());
            }
        }
        Ok(xxh3_64(&text))
    }
}

/// What a load did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Rows that were read, without headers.
    pub rows: u64,
    /// Rows that were passed over: no valid identifier, another number of columns, or no day where one is needed.
    pub unusable: u64,
    /// Identifiers in use in the store now.
    pub active: u64,
    /// Deactivated identifiers in the store now.
    pub deactivated: u64,
}

/// Opens the store `store` if these very files were the last to be loaded into it, and otherwise loads them first, as
/// [`load`] does; the report is of that load. Where another process is loading, it waits for it.
pub fn open_or_load(store: &Path, sources: &Sources, memory: u64) -> Result<(Store, Option<LoadReport>), StoreError> {
    if let Some(open) = open_if_loaded(store, sources)? {
        return Ok((open, None));
    }
    let place = Place::wait(store)?;
    if let Some(open) = open_if_loaded(store, sources)? {
        return Ok((open, None));
    }
    let report = load_at(&place, sources, memory)?;
    Ok((Store::open(store)?, Some(report)))
}

/// Opens the store `store` if these very files were the last to be loaded into it.
pub fn open_if_loaded(store: &Path, sources: &Sources) -> Result<Option<Store>, StoreError> {
    if !store.try_exists().map_err(StoreError::io("look for", store))? {
        return Ok(None);
    }
    match Store::open(store) {
        Ok(open) => Ok((open.sources() == sources.fingerprint()?).then_some(open)),
        // What can't be read is replaced, if the whole file is at hand.
        Err(StoreError::NotAStore(_) | StoreError::Damaged { .. }) if sources.full.is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Loads files into the store `store`, which is made if it is not there. Until the very end the store stays as it is,
/// and readers that have it open keep what they opened; a load that ends in any other way changes nothing.
///
/// It holds `memory` bytes at most, and needs free disk beside the store for twice the size of the new one (about
/// 1 GB each for eight million providers), in a folder `<store>.loading`. It blocks, for minutes with the monthly file.
pub fn load(store: &Path, sources: &Sources, memory: u64) -> Result<LoadReport, StoreError> {
    load_at(&Place::take(store)?, sources, memory)
}

fn load_at(place: &Place, sources: &Sources, memory: u64) -> Result<LoadReport, StoreError> {
    if memory < LEAST_MEMORY {
        return Err(StoreError::Memory { needed: LEAST_MEMORY, allowed: memory });
    }
    let store = place.store.as_path();
    let fingerprint = sources.fingerprint()?;
    let older = match (&sources.full, store.try_exists().map_err(StoreError::io("look for", store))?) {
        (None, true) => Some(Store::open(store)?),
        _ => None,
    };
    let mut load = Load {
        runs: RunWriter::new(place.file("runs"), memory - OVERHEAD)?,
        spool: place.file("sheet"),
        memory,
        body: Vec::new(),
        report: LoadReport::default(),
    };
    for path in sources.full.iter().chain(&sources.updates) {
        let before = load.report;
        let spool = load.spool.clone();
        container::open(path, Wanted::Providers, &spool, |content| load.providers(path, content))?;
        let is_empty = load.report.rows - before.rows == load.report.unusable - before.unusable;
        if is_empty && sources.full.as_ref() == Some(path) {
            return Err(StoreError::source(path, "it has no providers, so the store stays as it was"));
        }
    }
    for path in &sources.deactivations {
        let spool = load.spool.clone();
        container::open(path, Wanted::Deactivations, &spool, |content| load.deactivations(path, content))?;
    }
    let (runs, report) = (load.runs.finish()?, load.report);
    let new = place.file("store");
    let out = File::create(&new).and_then(|file| Writer::new(file, fingerprint));
    let mut out = out.map_err(StoreError::io("create", &new))?;
    runs.merge(older.as_ref().map(Store::scan), &mut out, &new)?;
    let Written { active, deactivated } = out.finish().map_err(StoreError::io("write", &new))?;
    place.put(&new)?;
    Ok(LoadReport { active, deactivated, ..report })
}

/// A load under way.
struct Load {
    runs: RunWriter,
    spool: PathBuf,
    memory: u64,
    body: Vec<u8>,
    report: LoadReport,
}

/// Rows of one file, to tell a file with a few bad rows from one that is not what it should be.
#[derive(Default)]
struct Count {
    rows: u64,
    unusable: u64,
}

impl Load {
    fn providers(&mut self, path: &Path, content: Content<'_>) -> Result<(), StoreError> {
        let Content::Csv(reader) = content else {
            return Err(StoreError::source(path, "it is a sheet: the registry's file of providers is a CSV"));
        };
        let mut rows = Rows::new(reader);
        let header = next(&mut rows, path)?.ok_or_else(|| StoreError::source(path, "it is empty"))?;
        let columns = Columns::find(&header).map_err(|problem| StoreError::source(path, problem))?;
        let mut count = Count::default();
        let mut is_whole = true;
        while let Some(row) = next(&mut rows, path)? {
            count.rows += 1;
            is_whole = columns.fits(&row);
            match columns.read(&row, &mut self.body) {
                Use::Entry(npi) => self.runs.push(npi, &self.body)?,
                Use::Unusable => count.unusable += 1,
            }
        }
        if !is_whole {
            return Err(StoreError::source(path, "its last row is cut off: fetch it again"));
        }
        self.add(path, &count)
    }

    fn deactivations(&mut self, path: &Path, content: Content<'_>) -> Result<(), StoreError> {
        let mut list = List::default();
        let mut count = Count::default();
        match content {
            Content::Csv(reader) => {
                let mut rows = Rows::new(reader);
                while let Some(row) = next(&mut rows, path)? {
                    let cells: Vec<_> = (0..row.len()).map(|column| row.text(column)).collect();
                    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
                    let line = list.read(&cells).map_err(|problem| StoreError::source(path, problem))?;
                    self.line(line, &mut count)?;
                }
            }
            Content::Sheet(workbook) => {
                // An error of ours must not become one about the file, so it is carried past the reader.
                let mut failed = None;
                let read = sheet::read_rows(workbook, self.memory / 4, |cells| {
                    let line = list.read(cells)?;
                    self.line(line, &mut count).map_err(|error| {
                        failed = Some(error);
                        String::new()
                    })
                });
                failed.map_or(Ok(()), Err)?;
                read.map_err(|problem| StoreError::source(path, problem))?;
            }
        }
        list.finish().map_err(|problem| StoreError::source(path, problem))?;
        self.add(path, &count)
    }

    fn line(&mut self, line: Line, count: &mut Count) -> Result<(), StoreError> {
        match line {
            Line::None => return Ok(()),
            Line::Unusable => count.unusable += 1,
            Line::Deactivated(npi, since) => self.deactivate(npi, since)?,
        }
        count.rows += 1;
        Ok(())
    }

    fn deactivate(&mut self, npi: Npi, since: jiff::civil::Date) -> Result<(), StoreError> {
        self.body.clear();
        encode_deactivated(since, &mut self.body);
        self.runs.push(npi, &self.body)
    }

    /// Takes a file's counts over, unless more than one row in a hundred was of no use: then it is another file, or a
    /// damaged one, and must not replace what is there.
    fn add(&mut self, path: &Path, count: &Count) -> Result<(), StoreError> {
        if count.unusable > 10 + count.rows / 100 {
            let problem = format!(
                "{} of {} rows have no valid NPI, another number of columns than the header, or no date where one is needed",
                count.unusable, count.rows
            );
            return Err(StoreError::source(path, problem));
        }
        self.report.rows += count.rows;
        self.report.unusable += count.unusable;
        Ok(())
    }
}

/// The next row of a file; the errors name it.
fn next<'a, R: Read>(rows: &'a mut Rows<R>, path: &Path) -> Result<Option<Row<'a>>, StoreError> {
    rows.next().map_err(|error| match error {
        RowError::Io(source) => StoreError::Io { action: "read", path: path.to_owned(), source },
        RowError::TooLong(row) => {
            StoreError::source(path, format!("row {row} has no end: a quotation mark in it or before it is not closed"))
        }
    })
}

/// The folder beside a store in which a load works, taken for one load.
struct Place {
    store: PathBuf,
    folder: PathBuf,
    /// Held to the end. The file stays: two processes could otherwise hold locks on two files of one name.
    _lock: File,
}

impl Place {
    /// Takes the place, or says that another process has it.
    fn take(store: &Path) -> Result<Self, StoreError> {
        let path = beside(store, ".lock");
        let lock = File::create(&path).map_err(StoreError::io("create", &path))?;
        match lock.try_lock() {
            Ok(()) => Self::with(store, lock),
            Err(TryLockError::WouldBlock) => Err(StoreError::Busy(store.to_owned())),
            Err(TryLockError::Error(source)) => Err(StoreError::Io { action: "lock", path, source }),
        }
    }

    /// Takes the place as soon as no other process has it.
    fn wait(store: &Path) -> Result<Self, StoreError> {
        let path = beside(store, ".lock");
        let lock = File::create(&path).map_err(StoreError::io("create", &path))?;
        lock.lock().map_err(StoreError::io("lock", &path))?;
        Self::with(store, lock)
    }

    fn with(store: &Path, lock: File) -> Result<Self, StoreError> {
        let place = Self { store: store.to_owned(), folder: beside(store, ".loading"), _lock: lock };
        place.clear()?;
        fs::create_dir(&place.folder).map_err(StoreError::io("create", &place.folder))?;
        Ok(place)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Puts a new store, which is on disk already, in the place of the old one.
    fn put(&self, new: &Path) -> Result<(), StoreError> {
        fs::rename(new, &self.store).map_err(StoreError::io("put a new store at", &self.store))?;
        let parent = self.store.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|folder| folder.sync_all()).map_err(StoreError::io("write", parent))
    }

    /// Removes what a load has left, also one that was killed.
    fn clear(&self) -> Result<(), StoreError> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &self.folder)(error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What can't be removed now is removed by the next load.
        drop(self.clear());
    }
}

fn beside(store: &Path, ending: &str) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
