mod commits;
mod concurrency;
mod deaths;
mod framing;
mod jobs;
mod outbox;
mod recovery;
mod shared;
mod speed;
mod usage;
mod walk;

use std::time::Duration;

use forebay_testing::postgres::Postgres;
use forebay_types::{ChunkId, ChunkSource, GroupId, InputIdentity, JobId};
use tempfile::TempDir;

use crate::{AddedChunk, Catalog, Claim, ClaimOutcome, CommitResult, Cursor, File, NewChunk, NewJob, WrittenChunk};

const LEASE: Duration = Duration::from_secs(60);
const ME: &str = "worker-1";

/// The databases that every test runs on.
#[derive(Clone, Copy, Debug)]
enum Db {
    Sqlite,
    Postgres,
}

/// A database of a test's own, which can be opened again.
struct Store {
    url: String,
    _folder: Option<TempDir>,
}

impl Store {
    async fn open(&self) -> Catalog {
        Catalog::open(&self.url).await.unwrap()
    }
}

impl Db {
    fn store(self) -> Store {
        match self {
            Self::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let url = format!("sqlite:{}", folder.path().join("catalog.db").display());
                Store { url, _folder: Some(folder) }
            }
            Self::Postgres => Store { url: Postgres::shared().database(), _folder: None },
        }
    }

    async fn empty(self) -> Catalog {
        match self {
            Self::Sqlite => Catalog::open("sqlite::memory:").await.unwrap(),
            Self::Postgres => self.store().open().await,
        }
    }
}

/// Makes tests of functions that take a [`Db`], one for each database.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() {
                super::$test(crate::tests::Db::Sqlite).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() {
                super::$test(crate::tests::Db::Postgres).await;
            })*
        }
    };
}
use on_both;

fn new_job(key: &str) -> NewJob {
    NewJob {
        tenant: String::new(),
        key: key.to_owned(),
        recipe_name: "clinical".to_owned(),
        recipe: "tables: {}".to_owned(),
        digest: "d1".to_owned(),
        output: "/out".to_owned(),
        format: "ndjson".to_owned(),
        settings: "{}".to_owned(),
        inputs: vec![InputIdentity { uri: "file:///in".to_owned(), size: Some(1_000), version: Some("1".to_owned()) }],
        max_rejects: None,
        traceparent: None,
        sink: None,
    }
}

async fn open(catalog: &Catalog, key: &str) -> JobId {
    catalog.open_job(new_job(key)).await.unwrap().job.id
}

/// A chunk of the first input, whose records are ten bytes long.
fn chunk(first_record: u64, records: u64) -> NewChunk {
    let source = ChunkSource::Range { start: first_record * 10, end: (first_record + records) * 10 };
    NewChunk { input: 0, source, first_record, records, checksum: Some(7 << 64), bytes: records * 10 }
}

fn cursor(records: u64, complete: bool) -> Cursor {
    Cursor { input: 0, offset: records * 10, records, complete, header: None, info: None }
}

/// Frames the whole of a job's input into chunks of these many records.
async fn frame(catalog: &Catalog, job: JobId, sizes: &[u64]) -> Vec<AddedChunk> {
    let mut at = 0;
    let mut chunks = Vec::new();
    for size in sizes {
        chunks.push(chunk(at, *size));
        at += size;
    }
    let added = catalog.add_chunks(job, &chunks, cursor(at, true)).await.unwrap();
    assert!(catalog.finish_input(job).await.unwrap());
    added
}

async fn claim(catalog: &Catalog, chunk: ChunkId) -> Claim {
    match catalog.claim(chunk, ME, LEASE).await.unwrap() {
        ClaimOutcome::Claimed(claim) => *claim,
        other => panic!("{chunk} is not to be had: {other:?}"),
    }
}

fn written(records: u64) -> WrittenChunk {
    WrittenChunk {
        records_in: records,
        rejects: [("syntax".to_owned(), 1)].into(),
        rows: [("patients".to_owned(), records - 1), ("visits".to_owned(), records * 2)].into(),
        stages: [("decode".to_owned(), 5)].into(),
        counts: [("enrichment.keys".to_owned(), 3)].into(),
    }
}

/// Claims a chunk and writes it into a group.
async fn write(catalog: &Catalog, chunk: ChunkId, group: GroupId) -> (ChunkId, u32) {
    let claim = claim(catalog, chunk).await;
    assert!(catalog.mark_written(chunk, claim.attempt, group, &written(claim.records)).await.unwrap());
    (chunk, claim.attempt)
}

fn file(table: &str) -> File {
    File { table: table.to_owned(), path: format!("{table}.parquet"), bytes: 100, rows: 9, add: "{}".to_owned() }
}

async fn commit(catalog: &Catalog, group: GroupId, chunks: &[(ChunkId, u32)]) {
    let result = catalog.commit_group(group, &[file("patients"), file("visits")], chunks).await.unwrap();
    assert_eq!(result, CommitResult::Committed);
}

async fn count(catalog: &Catalog, job: JobId, state: &str) -> u64 {
    catalog.progress(job).await.unwrap().chunks[state]
}
