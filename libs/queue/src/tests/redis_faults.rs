//! What the queue in Redis promises while Redis or a worker is not well. See `redis` for the traps.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_testing::redis::Redis;

use super::redis::{ask, connect, impatient};
use super::{Running, item, items, redis_queue, until};
use crate::{JobQueue, RedisQueue};

/// Trap 4: any error of Redis ends apalis' worker. After a restart with its content, work goes on within 5 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_redis_is_survived() {
    let mut server = Redis::start_durable();
    let queue: Arc<dyn JobQueue> = Arc::new(RedisQueue::open(&server.url()).unwrap());
    queue.push(&items(0..400)).await.unwrap();
    let running = Running::start(&queue, 4, Duration::from_millis(20));
    running.seen(50).await;
    server.kill();
    // Long enough for the longest pause between two tries.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let failing = Instant::now();
    queue.push(&[item(1_000, 0)]).await.unwrap_err();
    assert!(failing.elapsed() < Duration::from_secs(1), "{:?}", failing.elapsed());
    server.start_again();
    let (back, seen) = (Instant::now(), running.recorder.chunks().len());
    queue.push(&[item(1_000, 0)]).await.unwrap();
    running.seen(seen + 20).await;
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    running.idle().await;
    let chunks = running.recorder.chunks();
    assert_eq!(chunks.iter().collect::<BTreeSet<_>>().len(), 401);
    // Those at work, and those whose acknowledgement was under way.
    assert!(chunks.len() <= 401 + 8, "{}", chunks.len());
    running.stop().await;
}

/// Traps 4 and 20: an emptied Redis takes pushes at once, and workers come back by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_everything_is_survived() {
    let (queue, server) = redis_queue();
    queue.push(&items(0..400)).await.unwrap();
    let running = Running::start(&queue, 4, Duration::from_millis(20));
    running.seen(50).await;
    ask::<()>(&mut connect(&server).await, "FLUSHALL").await;
    assert_eq!(queue.outstanding().await.unwrap(), 0);
    let (lost, before) = (Instant::now(), running.recorder.chunks().len());
    let again: Vec<_> = (0..400).map(|chunk| item(chunk, 1)).collect();
    queue.push(&again).await.unwrap();
    running.seen(before + 20).await;
    assert!(lost.elapsed() < Duration::from_secs(5), "{:?}", lost.elapsed());
    running.idle().await;
    let seen: Vec<_> = running.recorder.seen.lock().unwrap().iter().map(|(item, _)| *item).collect();
    assert_eq!(seen.iter().filter(|item| item.epoch == 1).count(), 400);
    running.stop().await;
}

/// Trap 5: the client's own limit of half a second ends workers.
#[tokio::test(flavor = "multi_thread")]
async fn a_stall_of_redis_changes_nothing() {
    let (queue, server) = redis_queue();
    let mut connection = connect(&server).await;
    queue.push(&items(0..200)).await.unwrap();
    let running = Running::start(&queue, 4, Duration::from_millis(10));
    running.seen(20).await;
    let workers: Vec<String> = ask(&mut connection, "ZRANGE forebay:chunks:workers 0 -1").await;
    ask::<()>(&mut connection, "CLIENT PAUSE 2000 ALL").await;
    queue.push(&items(200..210)).await.unwrap();
    running.idle().await;
    assert_eq!(running.recorder.chunks().len(), 210);
    assert_eq!(ask::<Vec<String>>(&mut connection, "ZRANGE forebay:chunks:workers 0 -1").await, workers);
    running.stop().await;
}

/// Traps 4, 11 and 20: whatever a worker had taken when its connection was cut waits again at once.
#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_are_survived() {
    let (queue, server) = redis_queue();
    let mut connection = connect(&server).await;
    queue.push(&items(0..300)).await.unwrap();
    let running = Running::start(&queue, 4, Duration::from_millis(10));
    for cut in 1..=4 {
        running.seen(cut * 40).await;
        ask::<()>(&mut connection, "CLIENT KILL TYPE normal SKIPME yes").await;
        ask::<()>(&mut connection, "CLIENT KILL TYPE pubsub").await;
        // It is sent again over a new connection.
        assert!(queue.outstanding().await.unwrap() > 0);
    }
    let cut = Instant::now();
    running.idle().await;
    // apalis alone would leave what was taken for 12 s.
    assert!(cut.elapsed() < Duration::from_secs(6), "{:?}", cut.elapsed());
    let chunks = running.recorder.chunks();
    assert_eq!(chunks.iter().collect::<BTreeSet<_>>().len(), 300);
    // At most those that each cut worker was handling or acknowledging.
    assert!(chunks.len() <= 300 + 4 * 8, "{}", chunks.len());
    running.stop().await;
}

/// Trap 14, and what apalis is good for: messages of a process that was killed come again.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_killed_process_come_again() {
    let server = Redis::start();
    let dead = impatient(&server, 2);
    let killed = Running::start(&dead, 2, Duration::from_secs(60));
    dead.push(&items(0..3)).await.unwrap();
    killed.seen(2).await;
    // Nothing is acknowledged or given back.
    killed.worker.abort();
    drop((killed, dead));

    let queue = impatient(&server, 2);
    assert_eq!(queue.outstanding().await.unwrap(), 3);
    let running = Running::start(&queue, 2, Duration::ZERO);
    running.idle().await;
    assert_eq!(running.recorder.chunks().into_iter().collect::<BTreeSet<_>>().len(), 3);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_may_come_later() {
    let mut server = Redis::start();
    server.stop();
    let queue: Arc<dyn JobQueue> = Arc::new(RedisQueue::open(&server.url()).unwrap());
    let running = Running::start(&queue, 2, Duration::ZERO);
    let since = Instant::now();
    queue.outstanding().await.unwrap_err();
    queue.generation().await.unwrap_err();
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    server.start_again();
    let there = Instant::now();
    until("a push", async || queue.push(&[item(1, 0)]).await.is_ok()).await;
    running.seen(1).await;
    assert!(there.elapsed() < Duration::from_secs(5), "{:?}", there.elapsed());
    // A worker also stops while it is away.
    server.kill();
    running.stop().await;
}
