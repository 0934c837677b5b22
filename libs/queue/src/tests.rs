use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use forebay_types::{ChunkId, JobId};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{JobQueue, QueueError, SqliteQueue, WorkHandler, WorkItem};

fn item(chunk: i64, epoch: u32) -> WorkItem {
    WorkItem::new(JobId(1), ChunkId(chunk), epoch)
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
            panic!("a handler may panic");
        }
        tokio::time::sleep(self.hold).await;
        self.at_work.fetch_sub(1, Ordering::SeqCst);
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Recorder {
    fn chunks(&self) -> Vec<i64> {
        self.seen.lock().unwrap().iter().map(|(item, _)| item.chunk.0).collect()
    }
}

struct Running {
    queue: Arc<SqliteQueue>,
    recorder: Arc<Recorder>,
    shutdown: CancellationToken,
    worker: JoinHandle<Result<(), QueueError>>,
}

impl Running {
    fn start(queue: &Arc<SqliteQueue>, concurrency: usize, hold: Duration) -> Self {
        let recorder = Arc::new(Recorder { hold, ..Recorder::default() });
        let shutdown = CancellationToken::new();
        let worker = tokio::spawn({
            let (queue, recorder, shutdown) = (Arc::clone(queue), Arc::clone(&recorder), shutdown.clone());
            async move { queue.run("test", concurrency, recorder, shutdown).await }
        });
        Self { queue: Arc::clone(queue), recorder, shutdown, worker }
    }

    async fn idle(&self) {
        for _ in 0..1_000 {
            if self.queue.outstanding().await.unwrap() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("still {} outstanding", self.queue.outstanding().await.unwrap());
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.worker).await.unwrap().unwrap().unwrap();
    }
}

async fn queue_in(folder: &Path) -> Arc<SqliteQueue> {
    Arc::new(SqliteQueue::open(folder.join("queue.db")).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_handled_once_acknowledged_and_collected() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue_in(folder.path()).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_is_taken_once_in_an_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue_in(folder.path()).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_its_message_only() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue_in(folder.path()).await;
    let running = Running::start(&queue, 1, Duration::ZERO);
    queue.push(&[item(12, 0), item(13, 0), item(14, 0)]).await.unwrap();
    running.idle().await;
    assert_eq!(running.recorder.chunks(), [12, 13, 14]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_waits_for_handlers_and_leaves_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue_in(folder.path()).await;
    let running = Running::start(&queue, 2, Duration::from_millis(300));
    queue.push(&[item(1, 0), item(2, 0), item(3, 0)]).await.unwrap();
    while running.recorder.chunks().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let recorder = Arc::clone(&running.recorder);
    running.stop().await;
    assert_eq!(recorder.ended.load(Ordering::SeqCst), 2);
    assert_eq!(queue.outstanding().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_stopped_at_once_stops() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue_in(folder.path()).await;
    for _ in 0..20 {
        Running::start(&queue, 2, Duration::ZERO).stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_store_fails_is_replaced_and_its_handlers_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue_in(folder.path()).await;
    let running = Running::start(&queue, 1, Duration::from_millis(500));
    queue.push(&[item(1, 0), item(2, 0)]).await.unwrap();
    while running.recorder.chunks().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Without its table the worker ends at its next step.
    sqlx::query("ALTER TABLE Jobs RENAME TO Away").execute(&queue.pool).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    assert_eq!(running.recorder.ended.load(Ordering::SeqCst), 1);
    sqlx::query("ALTER TABLE Away RENAME TO Jobs").execute(&queue.pool).await.unwrap();
    while running.recorder.ended.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(running.recorder.most_at_work.load(Ordering::SeqCst), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_process_had_taken_is_dispatched_again() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue_in(folder.path()).await;
    let running = Running::start(&queue, 2, Duration::from_secs(60));
    queue.push(&[item(1, 0), item(2, 0), item(3, 0)]).await.unwrap();
    while running.recorder.chunks().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Killed: nothing is acknowledged or given back.
    running.worker.abort();
    drop((running, queue));

    let queue = queue_in(folder.path()).await;
    assert_eq!(queue.outstanding().await.unwrap(), 3);
    queue.clear().await.unwrap();
    assert_eq!(queue.outstanding().await.unwrap(), 0);
    queue.push(&[item(1, 0), item(2, 1), item(3, 0)]).await.unwrap();
    let running = Running::start(&queue, 2, Duration::ZERO);
    running.idle().await;
    assert_eq!(running.recorder.chunks().len(), 3);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_another_form_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue_in(folder.path()).await;
    let newer = WorkItem { version: 2, ..item(1, 0) };
    queue.push(&[newer, item(2, 0)]).await.unwrap();
    sqlx::query("UPDATE Jobs SET job = ? WHERE id = ?")
        .bind(&b"{\"version\":9,\"what\":[1]}"[..])
        .bind(item(2, 0).task_id())
        .execute(&queue.pool)
        .await
        .unwrap();
    queue.push(&[item(3, 0)]).await.unwrap();
    let running = Running::start(&queue, 1, Duration::ZERO);
    running.idle().await;
    assert_eq!(running.recorder.chunks(), [3]);
    running.stop().await;
}

#[tokio::test]
async fn a_damaged_file_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    std::fs::write(&path, vec![7; 8_192]).unwrap();
    let queue = SqliteQueue::open(&path).await.unwrap();
    let many: Vec<_> = (0..2_000).map(|chunk| item(chunk, 0)).collect();
    queue.push(&many).await.unwrap();
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&queue.pool).await.unwrap();
    queue.pool.close().await;

    // Still a database, but its pages are not what they should be.
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[20_000..end - 4_096].fill(0xaa);
    std::fs::write(&path, bytes).unwrap();
    let queue = SqliteQueue::open(&path).await.unwrap();
    assert_eq!(queue.outstanding().await.unwrap(), 0);
    queue.push(&many).await.unwrap();
    assert_eq!(queue.outstanding().await.unwrap(), 2_000);
}

#[test]
fn a_task_id_is_a_canonical_ulid_of_chunk_and_epoch() {
    assert_eq!(item(0, 0).task_id(), "0".repeat(26));
    assert_eq!(item(-1, u32::MAX).task_id(), "7ZZZZZZZZZZZZG000003ZZZZZZ");
    let ids: BTreeSet<_> = [item(1, 0), item(0, 1), item(1, 1), item(1 << 32, 0)].map(|item| item.task_id()).into();
    assert_eq!(ids.len(), 4);
}

/// Prints how long a message waits, and how many go through in a second.
#[tokio::test(flavor = "multi_thread")]
async fn messages_come_at_once_and_go_through_quickly() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue_in(folder.path()).await;
    let running = Running::start(&queue, 16, Duration::ZERO);
    let mut waits = Vec::new();
    for chunk in 100..200 {
        tokio::time::sleep(Duration::from_millis(7)).await;
        let pushed = Instant::now();
        queue.push(&[item(chunk, 0)]).await.unwrap();
        running.idle().await;
        let came = running.recorder.seen.lock().unwrap().last().unwrap().1;
        waits.push(came - pushed);
    }
    waits.sort();
    let many: Vec<_> = (1_000..6_000).map(|chunk| item(chunk, 0)).collect();
    let start = Instant::now();
    queue.push(&many).await.unwrap();
    let pushed = start.elapsed();
    running.idle().await;
    let rate = many.len() as f64 / start.elapsed().as_secs_f64();
    assert_eq!(running.recorder.chunks().len(), 5_100);
    print(&format!(
        "latency: median {:?}, worst {:?}; {rate:.0} messages/s, of which pushing {pushed:?}",
        waits[50], waits[99]
    ));
    assert!(waits[50] < Duration::from_millis(50), "{:?}", waits[50]);
    assert!(rate > 100.0, "{rate}");
    running.stop().await;
}

fn print(line: &str) {
    eprintln!("{line}");
}
