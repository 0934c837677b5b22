//! What a chunk costs besides its data, on PostgreSQL and Redis, and that it costs the same however many wait.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use forebay_catalog::{Catalog, ClaimOutcome, Cursor, File, NewChunk, NewJob, WrittenChunk};
use forebay_objects::{Place, Staging, checksum};
use forebay_queue::{JobQueue, RedisQueue, WorkHandler, WorkItem};
use forebay_testing::postgres::Postgres;
use forebay_testing::redis::Redis;
use forebay_types::{ChunkSource, InputIdentity, JobId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const LEASE: Duration = Duration::from_secs(60);
const ME: &str = "worker-1";

/// Hands on what it gets.
struct Receiver(mpsc::UnboundedSender<WorkItem>);

#[async_trait]
impl WorkHandler for Receiver {
    async fn handle(&self, item: WorkItem) {
        self.0.send(item).unwrap();
    }
}

async fn open(catalog: &Catalog, key: &str) -> JobId {
    let job = NewJob {
        tenant: "local".to_owned(),
        key: key.to_owned(),
        recipe_name: "claims".to_owned(),
        recipe: "tables: {}".to_owned(),
        digest: "d".to_owned(),
        output: "/nowhere".to_owned(),
        format: "csv".to_owned(),
        settings: "{}".to_owned(),
        inputs: vec![InputIdentity { uri: "upload:in".to_owned(), size: None, version: None }],
        max_rejects: None,
        traceparent: None,
        sink: None,
    };
    catalog.open_job(job).await.unwrap().job.id
}

fn chunk(job: JobId, at: u64) -> NewChunk {
    let source = ChunkSource::Staged { key: format!("{job}/0-{at}.raw"), start: at, end: at + 1, skip: 0 };
    NewChunk { input: 0, source, first_record: at, records: 1, checksum: Some(0), bytes: 1 }
}

fn cursor(records: u64, complete: bool) -> Cursor {
    Cursor { input: 0, offset: records, records, complete, header: None, info: None }
}

fn written() -> WrittenChunk {
    WrittenChunk { records_in: 1, rows: [("claims".to_owned(), 1)].into(), ..WrittenChunk::default() }
}

fn file() -> File {
    File { table: "claims".to_owned(), path: "x.parquet".to_owned(), bytes: 1, rows: 1, add: "{}".to_owned() }
}

/// Times of what was done again and again.
#[derive(Default)]
struct Times(Mutex<Vec<(&'static str, Vec<Duration>)>>);

impl Times {
    async fn of<T>(&self, step: &'static str, work: impl Future<Output = T>) -> T {
        let since = Instant::now();
        let result = work.await;
        let took = since.elapsed();
        let mut times = self.0.lock().unwrap();
        match times.iter_mut().find(|(name, _)| *name == step) {
            Some((_, all)) => all.push(took),
            None => times.push((step, vec![took])),
        }
        result
    }

    fn medians(&self) -> Vec<(&'static str, Duration)> {
        let mut times = self.0.lock().unwrap();
        let median = |all: &mut Vec<Duration>| {
            all.sort();
            all[all.len() / 2]
        };
        times.iter_mut().map(|(name, all)| (*name, median(all))).collect()
    }
}

/// One chunk after the other, each through all steps alone: nothing is shared but the commit, which serves fifty, as
/// does a group's in practice, or more.
#[test]
#[ignore = "a measurement, for a machine that does nothing else: just cost"]
fn a_chunk_without_data_costs_less_than_ten_milliseconds() {
    const GROUP: u64 = 50;
    const CHUNKS: u64 = 600;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (postgres, redis, folder) = (Postgres::start(), Redis::start(), tempfile::tempdir().unwrap());
    let times = Times::default();
    runtime.block_on(async {
        let catalog = Box::pin(Catalog::open(&postgres.database())).await.unwrap();
        let queue = Arc::new(RedisQueue::open(&redis.url()).unwrap());
        let staging = Staging::new(Place::open(&folder.path().display().to_string()).unwrap());
        let (sender, mut messages) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let working = tokio::spawn({
            let (queue, stop) = (Arc::clone(&queue), stop.clone());
            async move { queue.run("cost", 4, Arc::new(Receiver(sender)), stop).await }
        });
        let job = open(&catalog, "one").await;
        let (mut group, mut chunks) = (catalog.open_group(job, ME, LEASE).await.unwrap(), Vec::new());
        for at in 0..CHUNKS {
            let raw = format!("record {at}\n");
            let key = staging.key(&format!("{job}/0-{at}-{:032x}", checksum(raw.as_bytes())), false);
            times.of("stage", staging.put(&key, bytes::Bytes::from(raw))).await.unwrap();
            times.of("add", catalog.add_chunks(job, &[chunk(job, at)], cursor(at + 1, false))).await.unwrap();
            let waiting = times.of("look", catalog.dispatchable(100)).await.unwrap();
            assert_eq!(waiting.len(), 1);
            let messages_of = |chunk: &forebay_catalog::ChunkRef| WorkItem::new(chunk.job, chunk.chunk, chunk.epoch);
            let items: Vec<_> = waiting.iter().map(messages_of).collect();
            let item = times
                .of("enqueue and receive", async {
                    queue.push(&items).await.unwrap();
                    messages.recv().await.unwrap()
                })
                .await;
            times.of("mark as enqueued", catalog.mark_dispatched(&waiting)).await.unwrap();
            let claimed = times.of("claim", catalog.claim(item.chunk, ME, LEASE)).await.unwrap();
            let ClaimOutcome::Claimed(claim) = claimed else { panic!("{claimed:?}") };
            let outcome = written();
            let marked = catalog.mark_written(claim.chunk, claim.attempt, group, &outcome);
            assert!(times.of("write", marked).await.unwrap());
            chunks.push((claim.chunk, claim.attempt));
            if at % GROUP == GROUP - 1 {
                let committed = async {
                    catalog.commit_group(group, &[file()], &chunks).await.unwrap();
                    catalog.mark_published(group).await.unwrap();
                    catalog.open_group(job, ME, LEASE).await.unwrap()
                };
                group = times.of("commit of fifty", committed).await;
                chunks.clear();
            }
        }
        stop.cancel();
        working.await.unwrap().unwrap();
    });
    let medians = times.medians();
    let of_one = |(name, median): &(&str, Duration)| if name.ends_with("fifty") { *median / 50 } else { *median };
    let total: Duration = medians.iter().map(of_one).sum();
    eprintln!("{medians:.2?}: {total:.2?} a chunk");
    assert!(total < Duration::from_millis(10), "{total:?}");
}

/// The calls that gateways, workers and whoever watches make all the time, with fifty chunks waiting and with fifty
/// thousand: by the rows that the server reads for them, as a machine that is busy has no say in that.
#[test]
fn fifty_thousand_waiting_chunks_cost_what_fifty_do() {
    const MANY: u64 = 50_000;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let postgres = Postgres::start();
    let url = postgres.database();
    let catalog = || runtime.block_on(Box::pin(Catalog::open(&url))).unwrap();
    let job = runtime.block_on(open(&catalog(), "one"));
    let (mut read, mut at) = (Vec::new(), 0);
    for waiting in [50, MANY] {
        let filled = catalog();
        while at < waiting {
            let next = waiting.min(at + 500);
            let chunks: Vec<_> = (at..next).map(|at| chunk(job, at)).collect();
            runtime.block_on(filled.add_chunks(job, &chunks, cursor(next, false))).unwrap();
            at = next;
        }
        drop(filled);
        // As a server does by itself soon after a table has grown.
        postgres.query_in(database(&url), "ANALYZE");
        let before = rows_read(&postgres, &url);
        runtime.block_on(calls(&catalog(), job));
        read.push(rows_read(&postgres, &url) - before);
    }
    // One look at all that waits would be as many rows more.
    assert!(read[1] < read[0] + MANY / 2, "{read:?}");
}

fn database(url: &str) -> &str {
    url.rsplit_once('/').unwrap().1
}

/// Rows of tables and of indexes that a database's server has read so far. A connection tells when it ends.
fn rows_read(postgres: &Postgres, url: &str) -> u64 {
    let query = |sql: &str| postgres.query_in(database(url), sql).trim().parse::<u64>().unwrap();
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                  AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let since = Instant::now();
    while query(others) > 0 {
        assert!(since.elapsed() < LEASE, "the catalog's connections do not end");
        std::thread::sleep(Duration::from_millis(10));
    }
    query(
        "SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables) + \
         (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)",
    )
}

/// The calls of a tick and of a few chunks.
async fn calls(catalog: &Catalog, job: JobId) {
    let group = catalog.open_group(job, ME, LEASE).await.unwrap();
    for _ in 0..9 {
        catalog.expire_leases().await.unwrap();
        catalog.undispatch_stale(LEASE).await.unwrap();
        let waiting = catalog.dispatchable(2).await.unwrap();
        catalog.mark_dispatched(&waiting).await.unwrap();
        for item in &waiting {
            let claimed = catalog.claim(item.chunk, ME, LEASE).await.unwrap();
            let ClaimOutcome::Claimed(claim) = claimed else { panic!("{claimed:?}") };
            assert!(catalog.mark_written(claim.chunk, claim.attempt, group, &written()).await.unwrap());
        }
        catalog.renew(ME, LEASE).await.unwrap();
        catalog.staged_keys_to_delete(200).await.unwrap();
        catalog.has_running_jobs().await.unwrap();
        catalog.written_jobs(None, 200).await.unwrap();
        catalog.fail_over_reject_limit().await.unwrap();
        catalog.backlog(job).await.unwrap();
        catalog.progress(job).await.unwrap();
        catalog.queue_depth().await.unwrap();
        catalog.tenant_usage("local").await.unwrap();
        catalog.job_complete(job).await.unwrap();
        catalog.expire_groups().await.unwrap();
    }
    catalog.abandon_group(group).await.unwrap();
    catalog.forget_group(group).await.unwrap();
}
