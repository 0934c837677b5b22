use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Instant;

use async_trait::async_trait;
use forebay_api::{AttemptHeader, AttemptItem, AttemptReceipt, BoxStream, ServiceError};
use forebay_catalog::{ClaimOutcome, Cursor, NewChunk, NewJob};
use forebay_queue::{RedisQueue, WorkHandler};
use forebay_testing::redis::Redis;
use forebay_types::{ChunkId, ChunkSource, InputIdentity};

use super::*;

/// Claims chunks, as a worker does, and goes no further.
struct Claims {
    catalog: Arc<Catalog>,
    claimed: Mutex<Vec<ChunkId>>,
}

#[async_trait]
impl WorkHandler for Claims {
    async fn handle(&self, item: WorkItem) {
        if let ClaimOutcome::Claimed(claim) = self.catalog.claim(item.chunk, "test", LOST).await.unwrap() {
            self.claimed.lock().unwrap().push(claim.chunk);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The job of these tests is never framed to its end, so that nothing is written.
struct NothingWritten;

#[async_trait]
impl Storage for NothingWritten {
    async fn write_attempt(
        &self,
        _: AttemptHeader,
        _: BoxStream<Result<AttemptItem, ServiceError>>,
    ) -> Result<AttemptReceipt, ServiceError> {
        unreachable!("chunks are only claimed")
    }

    async fn flush(&self, _: JobId) -> Result<(), ServiceError> {
        unreachable!("the job goes on")
    }
}

/// A catalog with a job of so many chunks, none of them dispatched.
async fn catalog_with(chunks: u64) -> Arc<Catalog> {
    let catalog = Box::pin(Catalog::open("sqlite::memory:")).await.unwrap();
    let job = NewJob {
        tenant: "local".to_owned(),
        key: "job".to_owned(),
        recipe_name: "clinical".to_owned(),
        recipe: "tables: {}".to_owned(),
        digest: "d".to_owned(),
        output: "/nowhere".to_owned(),
        format: "ndjson".to_owned(),
        settings: "{}".to_owned(),
        inputs: vec![InputIdentity { uri: "file:///in".to_owned(), size: None, version: None }],
        max_rejects: None,
        traceparent: None,
        sink: None,
    };
    let job = catalog.open_job(job).await.unwrap().job.id;
    let new = |at: u64| NewChunk {
        input: 0,
        source: ChunkSource::Range { start: at, end: at + 1 },
        first_record: at,
        records: 1,
        checksum: Some(0),
        bytes: 1,
    };
    let cursor = Cursor { input: 0, offset: chunks, records: chunks, complete: false, header: None, info: None };
    catalog.add_chunks(job, &(0..chunks).map(new).collect::<Vec<_>>(), cursor).await.unwrap();
    Arc::new(catalog)
}

/// Lets a dispatcher and a worker go through 400 chunks while something happens to Redis after the first 40. Gives the
/// time from then until the next 40 are claimed.
async fn survives(server: &mut Redis, mishap: impl AsyncFnOnce(&mut Redis)) -> Duration {
    let catalog = catalog_with(400).await;
    let queue: Arc<dyn JobQueue> = Arc::new(RedisQueue::open(&server.url()).unwrap());
    let stop = CancellationToken::new();
    let dispatcher = Dispatcher::new(Dispatch {
        catalog: Arc::clone(&catalog),
        queue: Arc::clone(&queue),
        storage: Arc::new(NothingWritten),
        changed: Arc::new(Notify::new()),
    });
    let dispatching = tokio::spawn({
        let stop = stop.clone();
        async move { dispatcher.run(stop).await }
    });
    let claims = Arc::new(Claims { catalog, claimed: Mutex::new(Vec::new()) });
    let working = tokio::spawn({
        let (handler, stop) = (Arc::clone(&claims), stop.clone());
        async move { queue.run("test", 4, handler, stop).await }
    });
    let claimed = async |count: usize| {
        let since = Instant::now();
        while claims.claimed.lock().unwrap().len() < count {
            assert!(since.elapsed() < Duration::from_secs(30), "waited for {count} claimed chunks in vain");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    claimed(40).await;
    mishap(server).await;
    let (since, before) = (Instant::now(), claims.claimed.lock().unwrap().len());
    claimed(before + 40).await;
    let back = since.elapsed();
    claimed(400).await;
    stop.cancel();
    dispatching.await.unwrap();
    working.await.unwrap().unwrap();
    let claimed = claims.claimed.lock().unwrap();
    assert_eq!((claimed.len(), claimed.iter().collect::<BTreeSet<_>>().len()), (400, 400), "each is claimed once");
    back
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_after_redis_lost_everything() {
    let back = survives(&mut Redis::start(), async |server| {
        server.command("FLUSHALL");
    })
    .await;
    assert!(back < Duration::from_secs(5), "{back:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_after_redis_was_started_again_empty() {
    let back = survives(&mut Redis::start(), async |server| {
        server.kill();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        server.start_again();
    })
    .await;
    assert!(back < Duration::from_secs(5), "{back:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_after_redis_was_started_again_with_its_content() {
    let back = survives(&mut Redis::start_durable(), async |server| {
        server.kill();
        server.start_again();
    })
    .await;
    assert!(back < Duration::from_secs(5), "{back:?}");
}
