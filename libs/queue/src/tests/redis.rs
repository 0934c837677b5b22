//! What the queue in Redis promises while Redis is well. A "trap" is a defect of apalis-redis 1.0.0 that was found by
//! running it; `upstream` shows those that can be seen in apalis alone, so that an upgrade tells what has changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_testing::redis::Redis;
use redis::aio::MultiplexedConnection;

use super::{Running, figures, item, items, print, redis_queue, until};
use crate::redis::WINDOW;
use crate::{JobQueue, QueueError, RedisQueue};

/// A connection beside the queue's.
pub(super) async fn connect(server: &Redis) -> MultiplexedConnection {
    redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// What a command answers, its words separated by spaces.
pub(super) async fn ask<T: redis::FromRedisValue>(connection: &mut MultiplexedConnection, command: &str) -> T {
    let mut words = command.split(' ');
    let mut asked = redis::cmd(words.next().unwrap());
    for word in words {
        asked.arg(word);
    }
    asked.query_async(connection).await.unwrap()
}

async fn used_memory(connection: &mut MultiplexedConnection) -> i64 {
    let info: String = ask(connection, "INFO memory").await;
    info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap()
}

/// A queue whose workers count as dead after some seconds only.
pub(super) fn impatient(server: &Redis, missed_heartbeats: usize) -> Arc<dyn JobQueue> {
    let mut queue = RedisQueue::open(&server.url()).unwrap();
    queue.config = queue.config.heartbeat_interval(Duration::from_secs(1)).missed_heartbeats(missed_heartbeats);
    Arc::new(queue)
}

/// Trap 1: at 8,000 messages that are due apalis can fetch no more. There are never so many, and none of them is ever
/// only due.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_beyond_the_window_is_refused() {
    let (queue, server) = redis_queue();
    for page in items(0..WINDOW as i64).chunks(700) {
        queue.push(page).await.unwrap();
    }
    assert_eq!(queue.outstanding().await.unwrap(), WINDOW as u64);
    let full = |error| matches!(error, QueueError::Full { limit: WINDOW });
    assert!(full(queue.push(&[item(9_000, 0)]).await.unwrap_err()));
    assert!(full(queue.push(&items(0..8_000)).await.unwrap_err()));
    // What is in it already may be pushed again.
    queue.push(&items(0..500)).await.unwrap();
    assert_eq!(queue.outstanding().await.unwrap(), WINDOW as u64);
    let mut connection = connect(&server).await;
    assert_eq!(ask::<usize>(&mut connection, "LLEN forebay:chunks:active").await, WINDOW);
    assert_eq!(ask::<usize>(&mut connection, "EXISTS forebay:chunks:scheduled").await, 0);

    let running = Running::start(&queue, 4, Duration::ZERO);
    running.seen(1).await;
    until("room", async || queue.push(&[item(9_000, 0)]).await.is_ok()).await;
    running.idle().await;
    assert_eq!(running.recorder.chunks().len(), WINDOW + 1);
    running.stop().await;
}

/// Trap 2: with prefetched messages a live worker shows no life, counts as dead, and its messages run twice. Here two
/// workers keep their messages three times as long as a dead one would.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_handler_keeps_its_message() {
    let server = Redis::start();
    let queues = [impatient(&server, 2), impatient(&server, 2)];
    queues[0].push(&items(0..6)).await.unwrap();
    let [one, two] = queues.map(|queue| Running::start(&queue, 1, Duration::from_millis(2_500)));
    one.idle().await;
    let chunks = [one.recorder.chunks(), two.recorder.chunks()];
    // Nobody had taken more than was being handled.
    assert_eq!(chunks[0].len(), 3);
    assert_eq!(chunks.concat().into_iter().collect::<BTreeSet<_>>().len(), 6);
    assert_eq!(chunks.concat().len(), 6);
    one.stop().await;
    two.stop().await;
}

/// Trap 3: apalis looks at an idle queue only when it shows life, every 30 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_another_process_is_heard() {
    let (queue, server) = redis_queue();
    let other: Arc<dyn JobQueue> = Arc::new(RedisQueue::open(&server.url()).unwrap());
    let running = Running::start(&queue, 1, Duration::ZERO);
    other.push(&[item(99, 0)]).await.unwrap();
    running.seen(1).await;
    let mut waits = Vec::new();
    for chunk in 0..20 {
        running.idle().await;
        tokio::time::sleep(Duration::from_millis(11)).await;
        let pushed = Instant::now();
        other.push(&[item(chunk, 0)]).await.unwrap();
        running.seen(waits.len() + 2).await;
        waits.push(running.recorder.seen.lock().unwrap().last().unwrap().1 - pushed);
    }
    waits.sort();
    // A look every 100 ms would take 50, and now and then 100.
    assert!(waits[10] < Duration::from_millis(30), "{waits:?}");
    running.stop().await;
}

/// Trap 6: apalis refuses a name that was used within the last minute, and two workers of one name take each other's
/// messages. These have one prefix.
#[tokio::test(flavor = "multi_thread")]
async fn workers_of_one_prefix_share_the_work() {
    let (queue, server) = redis_queue();
    let other: Arc<dyn JobQueue> = Arc::new(RedisQueue::open(&server.url()).unwrap());
    queue.push(&items(100..500)).await.unwrap();
    let one = Running::start(&queue, 2, Duration::from_millis(20));
    let two = Running::start(&other, 2, Duration::from_millis(20));
    // Ended, and at once there again.
    Running::start(&queue, 1, Duration::ZERO).stop().await;
    let three = Running::start(&queue, 1, Duration::from_millis(20));
    one.idle().await;
    let mut all = Vec::new();
    for running in [one, two, three] {
        assert!(running.recorder.chunks().len() > 5);
        all.extend(running.recorder.chunks());
        running.stop().await;
    }
    let distinct = all.iter().collect::<BTreeSet<_>>().len();
    // The one that was stopped may have handled some.
    assert!((380..=400).contains(&distinct), "{distinct}");
    assert!(all.len() <= distinct + distinct / 100, "{} of {distinct}", all.len());
}

/// Traps 6 and 7: apalis' worker never takes itself off the list, and its description stays for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ends_leaves_nothing() {
    let (queue, server) = redis_queue();
    let mut connection = connect(&server).await;
    let running = Running::start(&queue, 1, Duration::ZERO);
    queue.push(&items(0..3)).await.unwrap();
    running.idle().await;
    let described: Vec<String> = ask(&mut connection, "KEYS forebay:chunks:workers:*").await;
    assert_eq!(described.len(), 1);
    // Should it not come to clear up.
    assert!((1..=3_600).contains(&ask::<i64>(&mut connection, &format!("TTL {}", described[0])).await));
    running.stop().await;
    queue.collect_finished(100).await.unwrap();
    assert_eq!(ask::<Vec<String>>(&mut connection, "KEYS *").await, ["core:apalis:queues:list"]);
}

/// Traps 12, 13 and 16: what is done stays for ever in apalis, its vacuum also deletes what waits, and its events and
/// locks leave keys.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_leave_no_memory_taken() {
    let (queue, server) = redis_queue();
    let mut connection = connect(&server).await;
    let running = Running::start(&queue, 8, Duration::ZERO);
    queue.push(&items(0..500)).await.unwrap();
    running.idle().await;
    assert_eq!(queue.collect_finished(1_000).await.unwrap(), 500);
    let (keys, before) = (ask::<i64>(&mut connection, "DBSIZE").await, used_memory(&mut connection).await);
    for page in items(1_000..11_000).chunks(500) {
        until("room", async || queue.outstanding().await.unwrap() <= 1_000).await;
        queue.push(page).await.unwrap();
        // What waits is not collected.
        queue.collect_finished(200).await.unwrap();
    }
    running.idle().await;
    while queue.collect_finished(700).await.unwrap() == 700 {}
    assert_eq!(running.recorder.chunks().len(), 10_500);
    assert_eq!(ask::<i64>(&mut connection, "DBSIZE").await, keys);
    let grown = used_memory(&mut connection).await - before;
    print(&format!("Redis memory after 10,000 messages: {grown} bytes more"));
    assert!(grown < 1 << 20, "{grown} bytes");
    running.stop().await;
}

/// Trap 15: apalis' lock searches all that waits, for each message.
#[tokio::test(flavor = "multi_thread")]
async fn many_that_wait_cost_no_more_than_few() {
    let (queue, server) = redis_queue();
    let mut connection = connect(&server).await;
    let mut costs = Vec::new();
    for (first, waiting) in [(0, 50), (10_000, WINDOW as i64)] {
        queue.push(&items(first..first + waiting)).await.unwrap();
        ask::<()>(&mut connection, "CONFIG RESETSTAT").await;
        let running = Running::start(&queue, 4, Duration::ZERO);
        running.idle().await;
        running.stop().await;
        let stats: String = ask(&mut connection, "INFO commandstats").await;
        let scripts = stats.lines().find(|line| line.starts_with("cmdstat_evalsha")).unwrap();
        let value = |name: &str| -> f64 {
            scripts.split([':', ',']).find_map(|part| part.strip_prefix(name)).unwrap().parse().unwrap()
        };
        costs.push(value("usec_per_call="));
        queue.collect_finished(10_000).await.unwrap();
    }
    print(&format!("a script takes {} us with 50 waiting, {} us with {WINDOW}", costs[0], costs[1]));
    assert!(costs[1] < costs[0] * 3.0 + 20.0, "{costs:?}");
}

/// Trap 17: apalis' worker ends at a payload it can't decode or a message that is not whole, and so does the next.
#[tokio::test(flavor = "multi_thread")]
async fn unreadable_messages_are_dropped() {
    let (queue, server) = redis_queue();
    let mut connection = connect(&server).await;
    queue.push(&items(1..8)).await.unwrap();
    let (data, meta) = ("forebay:chunks:data", "forebay:chunks:meta");
    let id = |chunk| item(chunk, 0).task_id();
    ask::<()>(&mut connection, &format!("HSET {data} {} no-JSON", id(1))).await;
    ask::<()>(&mut connection, &format!("HSET {data} {} {{\"version\":2,\"all\":\"new\"}}", id(2))).await;
    ask::<()>(&mut connection, &format!("HSET {data} {} \u{1}\u{0}\u{7f}", id(3))).await;
    ask::<()>(&mut connection, &format!("HDEL {data} {}", id(4))).await;
    ask::<()>(&mut connection, &format!("DEL {meta}:{}", id(5))).await;
    ask::<()>(&mut connection, &format!("HSET {meta}:{} attempts many", id(6))).await;
    let running = Running::start(&queue, 1, Duration::ZERO);
    running.idle().await;
    assert_eq!(running.recorder.chunks(), [7]);
    // Also one that is found only when it is fetched.
    ask::<()>(&mut connection, "RPUSH forebay:chunks:active 00000000000000000000000042").await;
    queue.push(&items(50..60)).await.unwrap();
    running.idle().await;
    assert_eq!(running.recorder.chunks().len(), 11);
    running.stop().await;
    assert_eq!(ask::<i64>(&mut connection, "EXISTS forebay:chunks:active").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_generation_tells_that_messages_may_be_lost() {
    let mut server = Redis::start_durable();
    let queue = RedisQueue::open(&server.url()).unwrap();
    let other = RedisQueue::open(&server.url()).unwrap();
    let first = queue.generation().await.unwrap();
    queue.push(&items(0..10)).await.unwrap();
    assert_eq!(queue.generation().await.unwrap(), first);
    assert_eq!(other.generation().await.unwrap(), first);
    ask::<()>(&mut connect(&server).await, "FLUSHALL").await;
    let second = queue.generation().await.unwrap();
    assert_ne!(second, first);
    assert_eq!(other.generation().await.unwrap(), second);
    // One that was started again has its content, but perhaps not all of it.
    server.kill();
    server.start_again();
    assert_ne!(queue.generation().await.unwrap(), second);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_never_shown() {
    let server = Redis::start_with(&["--requirepass", "correct-horse"]);
    let with = |password: &str| format!("redis://:{password}@127.0.0.1:{}/0", server.port());
    let queue = RedisQueue::open(&with("correct-horse")).unwrap();
    queue.push(&[item(1, 0)]).await.unwrap();
    let wrong = RedisQueue::open(&with("battery-staple")).unwrap();
    let error = wrong.push(&[item(2, 0)]).await.unwrap_err();
    let unreadable = RedisQueue::open("redis://:battery-staple@127.0.0.1:port/0").unwrap_err();
    let shown = format!("{queue:?} {wrong:?} {error:?} {error} {unreadable:?} {unreadable}");
    assert!(!shown.contains("battery") && !shown.contains("horse"), "{shown}");
    assert!(shown.contains(&format!("127.0.0.1:{}", server.port())) && shown.contains("FOREBAY_QUEUE_URL"), "{shown}");
}

/// Prints how long a message waits, how many go through in a second, and what an idle worker costs.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures: run it alone, on a machine that does nothing else"]
async fn latency_throughput_and_idle_cost() {
    let (queue, server) = redis_queue();
    let (waits, rate) = figures(&queue, 4).await;
    print(&format!("Redis: latency median {:?}, worst {:?}; {rate:.0} messages/s", waits[50], waits[99]));
    let running = Running::start(&queue, 4, Duration::ZERO);
    queue.push(&[item(1, 0)]).await.unwrap();
    running.seen(1).await;
    let cost = |pid: &str| -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // Ticks of 10 ms in user and kernel mode.
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    };
    let mut connection = connect(&server).await;
    let info: String = ask(&mut connection, "INFO server").await;
    let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap().trim().to_owned();
    let before = [cost("self"), cost(&pid)];
    tokio::time::sleep(Duration::from_secs(10)).await;
    let after = [cost("self"), cost(&pid)];
    print(&format!(
        "an idle worker: {:.2}% of a core, and {:.2}% in Redis",
        (after[0] - before[0]) * 10.0,
        (after[1] - before[1]) * 10.0
    ));
    running.stop().await;
}
