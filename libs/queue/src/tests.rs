//! What both queues promise. What only one of them does is in the modules below.

mod redis;
mod redis_faults;
mod sqlite;
mod upstream;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use forebay_testing::redis::Redis;
use forebay_types::{ChunkId, JobId};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{JobQueue, QueueError, RedisQueue, SqliteQueue, TraceParent, WorkHandler, WorkItem};

fn item(chunk: i64, epoch: u32) -> WorkItem {
    WorkItem::new(JobId(1), ChunkId(chunk), epoch)
}

fn items(chunks: std::ops::Range<i64>) -> Vec<WorkItem> {
    chunks.map(|chunk| item(chunk, 0)).collect()
}

/// Records when each message came, holds it for a while, and panics at chunk 13.
#[derive(Default)]
struct Recorder {
    hold: Duration,
    seen: Mutex<Vec<(WorkItem, Instant)>>,
    at_work: AtomicUsize,
    most_at_work: AtomicUsize,
    ended: AtomicUsize,
}

#[async_trait]
impl WorkHandler for Recorder {
    async fn handle(&self, item: WorkItem) {
        self.seen.lock().unwrap().push((item, Instant::now()));
        self.most_at_work.fetch_max(self.at_work.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        if item.chunk == ChunkId(13) {
            self.at_work.fetch_sub(1, Ordering::SeqCst);
            self.ended.fetch_add(1, Ordering::SeqCst);
            panic!("a handler may panic");
        }
        tokio::time::sleep(self.hold).await;
        self.at_work.fetch_sub(1, Ordering::SeqCst);
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Recorder {
    fn handled(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    fn chunks(&self) -> Vec<i64> {
        self.seen.lock().unwrap().iter().map(|(item, _)| item.chunk.0).collect()
    }
}

/// A worker on a queue, and what it saw.
struct Running {
    queue: Arc<dyn JobQueue>,
    recorder: Arc<Recorder>,
    shutdown: CancellationToken,
    worker: JoinHandle<Result<(), QueueError>>,
}

impl Running {
    fn start(queue: &Arc<dyn JobQueue>, concurrency: usize, hold: Duration) -> Self {
        let recorder = Arc::new(Recorder { hold, ..Recorder::default() });
        let shutdown = CancellationToken::new();
        let worker = tokio::spawn({
            let (queue, recorder, shutdown) = (Arc::clone(queue), Arc::clone(&recorder), shutdown.clone());
            async move { queue.run("test", concurrency, recorder, shutdown).await }
        });
        Self { queue: Arc::clone(queue), recorder, shutdown, worker }
    }

    /// Waits until this worker has begun on so many messages.
    async fn seen(&self, count: usize) {
        until(&format!("{count} messages"), async || self.recorder.chunks().len() >= count).await;
    }

    /// Waits until no message waits or is handled.
    async fn idle(&self) {
        until("an empty queue", async || matches!(self.queue.outstanding().await, Ok(0))).await;
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.worker).await.unwrap().unwrap().unwrap();
    }
}

/// Waits until something holds, and fails after 20 s.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !holds().await {
        assert!(since.elapsed() < Duration::from_secs(20), "waited for {what} in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Each test runs on each queue, which goes with what it needs.
macro_rules! on_both_queues {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let (queue, _folder) = super::sqlite_queue().await;
                super::$test(queue).await;
            })+
        }
        mod on_redis {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let (queue, _server) = super::redis_queue();
                super::$test(queue).await;
            })+
        }
    };
}

on_both_queues! {
    messages_are_handled_once_acknowledged_and_collected,
    a_chunk_is_taken_once_in_an_epoch,
    a_panic_ends_its_message_only,
    shutdown_waits_for_handlers_and_leaves_the_rest,
    a_worker_that_is_stopped_at_once_stops,
    a_message_of_another_form_is_dropped,
    a_message_carries_its_trace,
}

async fn sqlite_queue() -> (Arc<dyn JobQueue>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Arc::new(SqliteQueue::open(folder.path().join("queue.db")).await.unwrap()), folder)
}

fn redis_queue() -> (Arc<dyn JobQueue>, Redis) {
    let server = Redis::start();
    (Arc::new(RedisQueue::open(&server.url()).unwrap()), server)
}

async fn messages_are_handled_once_acknowledged_and_collected(queue: Arc<dyn JobQueue>) {
    let items: Vec<_> = (1..=30).map(|chunk| item(chunk, 0)).filter(|item| item.chunk != ChunkId(13)).collect();
    queue.push(&items).await.unwrap();
    assert_eq!(queue.outstanding().await.unwrap(), 29);
    let running = Running::start(&queue, 4, Duration::from_millis(5));
    running.idle().await;
    assert_eq!(running.recorder.chunks().into_iter().collect::<BTreeSet<_>>().len(), 29);
    assert_eq!(running.recorder.chunks().len(), 29);
    assert!(running.recorder.most_at_work.load(Ordering::SeqCst) <= 4);
    assert_eq!(queue.collect_finished(20).await.unwrap(), 20);
    assert_eq!(queue.collect_finished(20).await.unwrap(), 9);
    assert_eq!(queue.collect_finished(20).await.unwrap(), 0);
    running.stop().await;
}

async fn a_chunk_is_taken_once_in_an_epoch(queue: Arc<dyn JobQueue>) {
    queue.push(&[item(1, 0), item(1, 0), item(2, 0)]).await.unwrap();
    queue.push(&[item(1, 0), item(1, 1)]).await.unwrap();
    assert_eq!(queue.outstanding().await.unwrap(), 3);
    let running = Running::start(&queue, 2, Duration::ZERO);
    running.idle().await;
    assert_eq!(running.recorder.chunks().len(), 3);
    // Also when it has been handled, until it is collected.
    queue.push(&[item(1, 0)]).await.unwrap();
    assert_eq!(queue.outstanding().await.unwrap(), 0);
    queue.collect_finished(100).await.unwrap();
    queue.push(&[item(1, 0)]).await.unwrap();
    running.idle().await;
    assert_eq!(running.recorder.chunks().len(), 4);
    running.stop().await;
}

/// Trap 10: to apalis a panic is no failure, and the message stays at work for ever.
async fn a_panic_ends_its_message_only(queue: Arc<dyn JobQueue>) {
    let running = Running::start(&queue, 1, Duration::ZERO);
    queue.push(&[item(12, 0), item(13, 0), item(14, 0)]).await.unwrap();
    running.idle().await;
    assert_eq!(running.recorder.chunks(), [12, 13, 14]);
    running.stop().await;
}

async fn shutdown_waits_for_handlers_and_leaves_the_rest(queue: Arc<dyn JobQueue>) {
    let running = Running::start(&queue, 2, Duration::from_millis(300));
    queue.push(&[item(1, 0), item(2, 0), item(3, 0)]).await.unwrap();
    running.seen(2).await;
    let recorder = Arc::clone(&running.recorder);
    running.stop().await;
    assert_eq!(recorder.handled(), 2);
    assert_eq!(queue.outstanding().await.unwrap(), 1);
}

async fn a_worker_that_is_stopped_at_once_stops(queue: Arc<dyn JobQueue>) {
    for _ in 0..20 {
        Running::start(&queue, 2, Duration::ZERO).stop().await;
    }
}

/// Trap 17.
async fn a_message_of_another_form_is_dropped(queue: Arc<dyn JobQueue>) {
    let newer = WorkItem { version: 2, ..item(1, 0) };
    queue.push(&[newer, item(3, 0)]).await.unwrap();
    let running = Running::start(&queue, 1, Duration::ZERO);
    running.idle().await;
    assert_eq!(running.recorder.chunks(), [3]);
    running.stop().await;
}

async fn a_message_carries_its_trace(queue: Arc<dyn JobQueue>) {
    let trace: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    queue.push(&[item(1, 0).with_traceparent(Some(trace)), item(2, 0)]).await.unwrap();
    let running = Running::start(&queue, 1, Duration::ZERO);
    running.idle().await;
    let traces: Vec<_> = running.recorder.seen.lock().unwrap().iter().map(|(item, _)| item.traceparent).collect();
    assert_eq!(traces, [Some(trace), None]);
    running.stop().await;
}

#[test]
fn a_task_id_is_a_canonical_ulid_of_chunk_and_epoch() {
    assert_eq!(item(0, 0).task_id(), "0".repeat(26));
    assert_eq!(item(-1, u32::MAX).task_id(), "7ZZZZZZZZZZZZG000003ZZZZZZ");
    let ids: BTreeSet<_> = [item(1, 0), item(0, 1), item(1, 1), item(1 << 32, 0)].map(|item| item.task_id()).into();
    assert_eq!(ids.len(), 4);
}

#[test]
fn a_trace_is_short_or_left_out() {
    let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let item = item(1, 0).with_traceparent(Some(text.parse().unwrap()));
    let wire = serde_json::to_string(&item).unwrap();
    assert_eq!(wire, format!(r#"{{"version":1,"job":1,"chunk":1,"epoch":0,"traceparent":"{text}"}}"#));
    assert_eq!(serde_json::from_str::<WorkItem>(&wire).unwrap(), item);
    let long = format!("{text}-{}", "0".repeat(1_000));
    let zero = text.replace("00f067aa0ba902b7", "0000000000000000");
    for bad in ["", "x", &long, &zero, &text.to_uppercase(), &text.replace("00-4", "01-4"), &text[1..]] {
        let read: WorkItem = serde_json::from_str(&wire.replace(text, bad)).unwrap();
        assert_eq!(read.traceparent, None, "{bad}");
    }
    let read: WorkItem = serde_json::from_str(&wire.replace(&format!("\"{text}\""), "7")).unwrap();
    assert_eq!(read.traceparent, None);
}

/// How long a message waits on an idle queue, sorted, and how many go through in a second.
async fn figures(queue: &Arc<dyn JobQueue>, concurrency: usize) -> (Vec<Duration>, f64) {
    let running = Running::start(queue, concurrency, Duration::ZERO);
    queue.push(&[item(99, 0)]).await.unwrap();
    running.seen(1).await;
    let mut waits = Vec::new();
    for chunk in 100_i64..200 {
        running.idle().await;
        // At any moment of the time between two looks at the queue.
        tokio::time::sleep(Duration::from_millis(chunk.unsigned_abs() % 23)).await;
        let pushed = Instant::now();
        queue.push(&[item(chunk, 0)]).await.unwrap();
        running.seen(waits.len() + 2).await;
        waits.push(running.recorder.seen.lock().unwrap().last().unwrap().1 - pushed);
    }
    waits.sort();
    let start = Instant::now();
    for page in items(1_000..6_000).chunks(500) {
        until("room", async || queue.outstanding().await.unwrap() <= 1_000).await;
        queue.push(page).await.unwrap();
        queue.collect_finished(1_000).await.unwrap();
    }
    running.idle().await;
    let rate = 5_000.0 / start.elapsed().as_secs_f64();
    assert_eq!(running.recorder.chunks().len(), 5_101);
    running.stop().await;
    (waits, rate)
}

fn print(line: &str) {
    eprintln!("{line}");
}
