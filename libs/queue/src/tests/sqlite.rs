use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Running, item};
use crate::{JobQueue, SqliteQueue};

async fn queue_in(folder: &Path) -> (Arc<SqliteQueue>, Arc<dyn JobQueue>) {
    let queue = Arc::new(SqliteQueue::open(folder.join("queue.db")).await.unwrap());
    (Arc::clone(&queue), queue)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_store_fails_is_replaced_and_its_handlers_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (sqlite, queue) = queue_in(folder.path()).await;
    let running = Running::start(&queue, 1, Duration::from_millis(500));
    queue.push(&[item(1, 0), item(2, 0)]).await.unwrap();
    while running.recorder.chunks().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Without its table the worker ends at its next step.
    sqlx::query("ALTER TABLE Jobs RENAME TO Away").execute(&sqlite.pool).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    assert_eq!(running.recorder.ended.load(Ordering::SeqCst), 1);
    sqlx::query("ALTER TABLE Away RENAME TO Jobs").execute(&sqlite.pool).await.unwrap();
    while running.recorder.ended.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(running.recorder.most_at_work.load(Ordering::SeqCst), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_process_had_taken_is_dispatched_again() {
    let folder = tempfile::tempdir().unwrap();
    let (sqlite, queue) = queue_in(folder.path()).await;
    let running = Running::start(&queue, 2, Duration::from_secs(60));
    queue.push(&[item(1, 0), item(2, 0), item(3, 0)]).await.unwrap();
    while running.recorder.chunks().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Killed: nothing is acknowledged or given back.
    running.worker.abort();
    drop((running, queue, sqlite));

    let (sqlite, queue) = queue_in(folder.path()).await;
    assert_eq!(queue.outstanding().await.unwrap(), 3);
    sqlite.clear().await.unwrap();
    assert_eq!(queue.outstanding().await.unwrap(), 0);
    queue.push(&[item(1, 0), item(2, 1), item(3, 0)]).await.unwrap();
    let running = Running::start(&queue, 2, Duration::ZERO);
    running.idle().await;
    assert_eq!(running.recorder.chunks().len(), 3);
    running.stop().await;
}

/// Trap 17: bytes that are not even JSON.
#[tokio::test(flavor = "multi_thread")]
async fn an_undecodable_payload_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (sqlite, queue) = queue_in(folder.path()).await;
    queue.push(&[item(1, 0), item(2, 0), item(3, 0)]).await.unwrap();
    for (chunk, payload) in [(1, &b"{\"version\":9,\"what\":[1]}"[..]), (2, b"\xff\0 no JSON")] {
        sqlx::query("UPDATE Jobs SET job = ? WHERE id = ?")
            .bind(payload)
            .bind(item(chunk, 0).task_id())
            .execute(&sqlite.pool)
            .await
            .unwrap();
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_at_once_and_go_through_quickly() {
    let (queue, _folder) = super::sqlite_queue().await;
    let (waits, rate) = super::figures(&queue, 16).await;
    super::print(&format!("SQLite: latency median {:?}, worst {:?}; {rate:.0} messages/s", waits[50], waits[99]));
    assert!(waits[50] < Duration::from_millis(50), "{:?}", waits[50]);
    assert!(rate > 100.0, "{rate}");
}
