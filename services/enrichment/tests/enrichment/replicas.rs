//! Several services behind one Redis server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_enrichment::{CacheLocation, Enrichment};
use forebay_standin::RegistryConfig;
use forebay_testing::redis::Redis;
use tokio::runtime::Runtime;

use crate::support::{Upstream, ask, npis, service, settings};

async fn replica(redis: &Redis) -> Arc<Enrichment> {
    service(CacheLocation::Redis(redis.url())).await
}

/// A replica that asks in a runtime of its own, which is shut down with everything that it does, as a process that is
/// killed.
fn doomed(redis: &Redis, upstream: &Upstream, rate: &'static str, keys: &[String]) -> Runtime {
    let (url, redis, keys) = (upstream.url(), redis.url(), keys.to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.spawn(async move {
        let replica = service(CacheLocation::Redis(redis)).await;
        ask(&replica, "nppes", settings(&url, &[("rate", rate)]), &keys).await
    });
    runtime
}

/// Waits for so many requests.
async fn until(upstream: &Upstream, requests: u64) {
    while upstream.registry.requests() < requests {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn four_replicas_ask_once_and_keep_to_one_limit() {
    let (redis, rate) = (Redis::start(), 40);
    let upstream = Upstream::start(RegistryConfig { rate: Some(rate), ..RegistryConfig::default() }).await;
    let keys = npis(100_000_000, 160);
    let asked = (0..4).map(|n| {
        let (redis, url, mut keys) = (&redis, upstream.url(), keys.clone());
        async move {
            // Each begins somewhere else.
            keys.rotate_left(n * 40);
            let replica = replica(redis).await;
            ask(&replica, "nppes", settings(&url, &[("rate", "40")]), &keys).await
        }
    });
    let answers = futures::future::join_all(asked).await;
    assert_eq!((upstream.registry.requests(), upstream.repeated()), (160, 0));
    assert!(upstream.most_in_a_second() <= rate as usize, "{}", upstream.most_in_a_second());
    assert_eq!(answers.iter().map(|answers| answers.reason(None)).sum::<usize>(), 640);
    assert_eq!(answers.iter().map(|answers| answers.calls()).sum::<i64>(), 160);
    let late = replica(&redis).await;
    let warm = ask(&late, "nppes", settings(&upstream.url(), &[]), &keys).await;
    assert_eq!((warm.source("store"), late.cache_stats().await.unwrap().entries), (160, 160));
    assert_eq!(late.purge(false).await.unwrap(), 160);
}

#[tokio::test]
async fn what_a_dead_replica_held_comes_back() {
    let redis = Redis::start();
    let upstream = Upstream::start(RegistryConfig { rate: Some(20), ..RegistryConfig::default() }).await;
    let keys = npis(100_000_000, 60);
    let dead = doomed(&redis, &upstream, "20", &keys);
    until(&upstream, 5).await;
    dead.shutdown_background();
    let replica = replica(&redis).await;
    let started = Instant::now();
    let answers = ask(&replica, "nppes", settings(&upstream.url(), &[("rate", "20")]), &keys).await;
    assert_eq!(answers.reason(None), 60);
    // One request may have been under way.
    assert!(upstream.repeated() <= 5, "{}", upstream.repeated());
    assert!(upstream.most_in_a_second() <= 20, "{}", upstream.most_in_a_second());
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
}

/// One of so many replicas dies while all ask, and another is started in its place.
async fn one_dies(replicas: usize) {
    let redis = Redis::start();
    let upstream = Upstream::start(RegistryConfig { rate: Some(40), ..RegistryConfig::default() }).await;
    let keys = npis(100_000_000, 200);
    let dead = doomed(&redis, &upstream, "40", &keys);
    let asked = (1..=replicas).map(|n| {
        let (redis, upstream, mut keys) = (&redis, &upstream, keys.clone());
        async move {
            if n == replicas {
                until(upstream, 100).await;
            }
            keys.rotate_left(n * 40);
            let replica = replica(redis).await;
            ask(&replica, "nppes", settings(&upstream.url(), &[("rate", "40")]), &keys).await
        }
    });
    let killed = async {
        until(&upstream, 80).await;
        dead.shutdown_background();
    };
    let (answers, ()) = tokio::join!(futures::future::join_all(asked), killed);
    assert!(answers.iter().all(|answers| answers.reason(None) == 200));
    assert!(upstream.most_in_a_second() <= 40, "{replicas}: {}", upstream.most_in_a_second());
    // What the dead one had asked for and not been told.
    assert!(upstream.repeated() <= 5, "{replicas}: {}", upstream.repeated());
}

#[tokio::test]
async fn one_of_two_replicas_dies_and_is_replaced() {
    one_dies(2).await;
}

#[tokio::test]
async fn one_of_four_replicas_dies_and_is_replaced() {
    one_dies(4).await;
}

#[tokio::test]
async fn without_redis_it_goes_on_slowly() {
    let mut redis = Redis::start();
    redis.kill();
    let upstream = Upstream::start(RegistryConfig { rate: Some(80), ..RegistryConfig::default() }).await;
    let first = replica(&redis).await;
    let started = Instant::now();
    let answers = ask(&first, "nppes", settings(&upstream.url(), &[("rate", "80")]), &npis(100_000_000, 20)).await;
    assert_eq!((answers.reason(None), upstream.repeated()), (20, 0));
    assert!(upstream.most_in_a_second() <= 10, "{}", upstream.most_in_a_second());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    // What was answered meanwhile is shared when it is back.
    redis.start_again();
    while first.cache_stats().await.is_ok_and(|stats| stats.entries < 20) || first.cache_stats().await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(30), "the answers were never kept");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let second = replica(&redis).await;
    let answers = ask(&second, "nppes", settings(&upstream.url(), &[("rate", "80")]), &npis(100_000_000, 20)).await;
    assert_eq!((answers.source("store"), upstream.registry.requests()), (20, 20));
}

#[tokio::test]
async fn redis_may_be_restarted_in_the_middle() {
    let mut redis = Redis::start_durable();
    let upstream = Upstream::start(RegistryConfig { rate: Some(20), ..RegistryConfig::default() }).await;
    let keys = npis(100_000_000, 120);
    let replicas = [replica(&redis).await, replica(&redis).await];
    let asked = futures::future::join_all(
        replicas.iter().map(|replica| ask(replica, "nppes", settings(&upstream.url(), &[("rate", "20")]), &keys)),
    );
    let disturbed = async {
        while upstream.registry.requests() < 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        redis.kill();
        tokio::time::sleep(Duration::from_secs(1)).await;
        redis.start_again();
    };
    let (answers, ()) = tokio::join!(asked, disturbed);
    assert!(answers.iter().all(|answers| answers.reason(None) == 120));
    assert!(upstream.most_in_a_second() <= 20, "{}", upstream.most_in_a_second());
    // What one was asking for when it went away, and could not tell.
    assert!(upstream.repeated() <= 5, "{}", upstream.repeated());
}
