//! Defects of apalis-redis 1.0.0, shown by its own interface on a queue of their own. When one of these tests fails after
//! an upgrade, apalis has changed: see what [`crate::RedisQueue`] need not avoid any more.

use std::time::Duration;

use apalis_core::backend::ext::BackendExt;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::task_id::TaskId;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::context::WorkerContext;
use apalis_redis::queries::{fetch_next, push_tasks};
use apalis_redis::{Config, RedisStorage, RedisTask};
use forebay_testing::redis::Redis;
use redis::aio::MultiplexedConnection;
use serde_json::Value;

use super::redis::{ask, connect};
use super::{item, until};

fn config() -> Config {
    Config::default().queue("scratch").batch_size(1).lock_tasks(false).emit_events(false)
}

fn task(chunk: i64, key: &str) -> RedisTask {
    let id = TaskId::from_string(item(chunk, 0).task_id());
    TaskBuilder::new(b"{}".to_vec()).task_id(id).idempotency_key(key).build()
}

async fn push(connection: &mut MultiplexedConnection, chunks: std::ops::Range<i64>) {
    for page in chunks.collect::<Vec<_>>().chunks(500) {
        let tasks: Vec<_> = page.iter().map(|&chunk| task(chunk, "")).collect();
        push_tasks(connection, &config(), &tasks).await.unwrap();
    }
}

async fn register(connection: &mut MultiplexedConnection, worker: &WorkerContext) {
    ask::<()>(connection, &format!("ZADD scratch:workers 9999999999 {}", worker.name())).await;
}

/// Traps 1 and 3: each message is scheduled first, and 8,000 that are due can't be fetched any more.
#[tokio::test]
async fn the_queue_wedges_at_8_000_that_are_due() {
    let server = Redis::start();
    let mut connection = connect(&server).await;
    let worker = WorkerContext::new("one");
    register(&mut connection, &worker).await;
    push(&mut connection, 0..7_999).await;
    assert_eq!(ask::<i64>(&mut connection, "ZCARD scratch:scheduled").await, 7_999);
    assert_eq!(fetch_next(&mut connection, &worker, &config()).await.unwrap().len(), 1);

    push(&mut connection, 10_000..18_000).await;
    for _ in 0..3 {
        let error = fetch_next(&mut connection, &worker, &config()).await.unwrap_err().to_string();
        assert!(error.contains("too many results to unpack"), "{error}");
    }
}

/// Trap 8: an idempotency key does nothing without a time to live.
#[tokio::test]
async fn idempotency_keys_need_a_time_to_live() {
    let server = Redis::start();
    let mut connection = connect(&server).await;
    for (first, config, taken) in
        [(0, config(), (0, 1)), (10, config().idempotency_ttl(Some(Duration::from_secs(60))), (0, 0))]
    {
        let key = first.to_string();
        assert_eq!(push_tasks(&mut connection, &config, &[task(first, &key)]).await.unwrap(), (0, 1));
        assert_eq!(push_tasks(&mut connection, &config, &[task(first + 1, &key)]).await.unwrap(), taken);
    }
}

/// Trap 6: a name is refused while it counts as alive.
#[tokio::test]
async fn a_name_is_refused_while_it_counts_as_alive() {
    let server = Redis::start();
    for attempt in 0..2 {
        let storage = RedisStorage::<Value, _>::new(connect(&server).await).with_config(config());
        let context = WorkerContext::new("one");
        let worker = WorkerBuilder::new(context.clone())
            .backend(storage.poll_with_interval(Duration::from_millis(20)))
            .build(|_: Value| async {});
        let ran = tokio::time::timeout(Duration::from_secs(1), worker.run()).await;
        match attempt {
            0 => assert!(ran.is_err(), "it runs until it is dropped"),
            _ => assert!(ran.unwrap().unwrap_err().to_string().contains("still active within threshold")),
        }
    }
}

/// Traps 9 and 13: without results nothing is acknowledged; with them what is done stays.
#[tokio::test]
async fn what_is_done_is_not_acknowledged_or_stays() {
    for (persist, at_work, done) in [(false, 1, 0), (true, 0, 1)] {
        let server = Redis::start();
        let mut connection = connect(&server).await;
        push(&mut connection, 0..1).await;
        let (told, mut handled) = tokio::sync::mpsc::unbounded_channel();
        let storage = RedisStorage::<Value, _>::new(connect(&server).await);
        let storage = storage.with_config(config().persist_results(persist));
        let worker = WorkerBuilder::new(WorkerContext::new("one"))
            .backend(storage.poll_with_interval(Duration::from_millis(20)))
            .build(move |_: Value| {
                told.send(()).unwrap();
                async {}
            });
        let worker = tokio::spawn(worker.run());
        handled.recv().await.unwrap();
        let mut counts = connection.clone();
        let mut count = async |command: &str| ask::<i64>(&mut counts, command).await;
        if persist {
            until("an acknowledgement", async || count("SCARD scratch:done").await == done).await;
        } else {
            // Several looks at the queue later.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        assert_eq!(count("SCARD scratch:inflight:one").await, at_work);
        assert_eq!(count("SCARD scratch:done").await, done);
        assert_eq!(count("HLEN scratch:data").await, 1);
        worker.abort();
    }
}

/// Trap 17: a payload that can't be decoded ends its worker, and stays.
#[tokio::test]
async fn an_undecodable_payload_ends_its_worker() {
    let server = Redis::start();
    let mut connection = connect(&server).await;
    push(&mut connection, 0..1).await;
    ask::<()>(&mut connection, &format!("HSET scratch:data {} no-JSON", item(0, 0).task_id())).await;
    let storage = RedisStorage::<Value, _>::new(connect(&server).await).with_config(config());
    let worker = WorkerBuilder::new(WorkerContext::new("one"))
        .backend(storage.poll_with_interval(Duration::from_millis(20)))
        .build(|_: Value| async {});
    let ended = tokio::time::timeout(Duration::from_secs(5), worker.run()).await.unwrap();
    assert!(ended.unwrap_err().to_string().contains("decoding"));
    assert_eq!(ask::<i64>(&mut connection, "SCARD scratch:inflight:one").await, 1);
}
