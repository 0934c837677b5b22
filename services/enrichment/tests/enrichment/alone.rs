//! One service, with a cache that survives it.

use std::time::{Duration, Instant};

use forebay_enrichment::{CACHE_FILE, CacheLocation};
use forebay_standin::{Era, RegistryConfig};

use crate::support::{Upstream, ask, limited, npis, service, settings};

#[tokio::test]
async fn every_key_is_asked_for_once_and_known_from_then_on() {
    let upstream = Upstream::start(RegistryConfig { rate: Some(200), ..RegistryConfig::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    let cache = CacheLocation::File(folder.path().join(CACHE_FILE));
    let first = service(cache.clone()).await;
    let mut keys = npis(100_000_000, 100);
    let valid = keys.len();
    keys.push("1234567890".to_owned());
    let cold = ask(&first, "nppes", settings(&upstream.url(), &[]), &keys).await;
    assert_eq!((cold.source("upstream"), cold.source("invalid"), cold.calls()), (valid, 1, valid as i64));
    assert_eq!((cold.reason(None), cold.reason(Some("invalid_npi"))), (valid, 1));
    assert_eq!((cold.count("status", Some("A")), upstream.registry.requests()), (valid, valid as u64));
    let warm = ask(&first, "nppes", settings(&upstream.url(), &[]), &keys).await;
    assert_eq!((warm.source("memory"), warm.calls()), (valid, 0));
    let snapshot = first.stats();
    assert_eq!((snapshot.keys, snapshot.memory, snapshot.upstream, snapshot.calls), (202, 100, 100, 100));
    drop(first);
    let second = service(cache).await;
    let warm = ask(&second, "nppes", settings(&upstream.url(), &[]), &keys).await;
    assert_eq!((warm.source("store"), warm.column("org_name")), (valid, cold.column("org_name")));
    assert_eq!(second.cache_stats().await.unwrap().entries, valid as u64);
    assert_eq!(second.purge(false).await.unwrap(), valid as u64);
    assert_eq!((upstream.registry.requests(), upstream.repeated()), (valid as u64, 0));
}

#[tokio::test]
async fn both_eras_give_the_same_columns() {
    let mut seen = Vec::new();
    for era in [Era::Early, Era::Modern] {
        let upstream = Upstream::start(RegistryConfig { era, ..RegistryConfig::default() }).await;
        let service = service(CacheLocation::Memory).await;
        let answers = ask(&service, "nppes", settings(&upstream.url(), &[]), &npis(100_000_000, 20)).await;
        seen.push(["org_name", "city", "primary_taxonomy_code"].map(|column| answers.column(column)));
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn what_is_not_there_is_remembered_for_less_long() {
    let upstream = Upstream::start(RegistryConfig { seed: 5, ..RegistryConfig::default() }).await;
    let service = service(CacheLocation::Memory).await;
    let keys = npis(100_000_000, 200);
    let times = [("not_found_ttl", "600ms"), ("rate", "2000")];
    let first = ask(&service, "nppes", settings(&upstream.url(), &times), &keys).await;
    let missing = first.reason(Some("not_found")) + first.reason(Some("deactivated"));
    let nameless = first.count("org_name", None);
    assert!(missing > 0 && nameless == missing, "{missing} {nameless} {:?}", first.column("_reason"));
    let again = ask(&service, "nppes", settings(&upstream.url(), &times), &keys).await;
    assert_eq!((again.calls(), again.source("memory")), (0, keys.len()));
    tokio::time::sleep(Duration::from_millis(650)).await;
    let late = ask(&service, "nppes", settings(&upstream.url(), &times), &keys).await;
    assert_eq!((late.calls(), late.source("upstream")), (missing as i64, missing));
}

#[tokio::test]
async fn callers_who_want_the_same_keys_share_one_call() {
    let config = RegistryConfig { latency: Duration::from_millis(50), ..RegistryConfig::default() };
    let upstream = Upstream::start(config).await;
    let service = service(CacheLocation::Memory).await;
    let keys = npis(100_000_000, 40);
    let one = || ask(&service, "nppes", settings(&upstream.url(), &[]), &keys);
    let (a, b, c) = tokio::join!(one(), one(), one());
    assert_eq!(upstream.registry.requests(), 40);
    assert_eq!(a.calls() + b.calls() + c.calls(), 40);
    assert_eq!([&a, &b, &c].map(|answers| answers.reason(None)), [40; 3]);
}

#[tokio::test]
async fn the_limit_holds_and_is_used() {
    let upstream = Upstream::start(RegistryConfig { rate: Some(20), ..RegistryConfig::default() }).await;
    let service = service(CacheLocation::Memory).await;
    let started = Instant::now();
    let answers = ask(&service, "nppes", settings(&upstream.url(), &[("rate", "20")]), &npis(100_000_000, 60)).await;
    assert_eq!((answers.reason(None), upstream.repeated()), (60, 0));
    assert!(upstream.most_in_a_second() <= 20, "{}", upstream.most_in_a_second());
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_limit_below_ours_is_learnt() {
    let upstream = Upstream::start(RegistryConfig { rate: Some(10), ..RegistryConfig::default() }).await;
    let service = service(CacheLocation::Memory).await;
    let answers = ask(&service, "nppes", settings(&upstream.url(), &[("rate", "40")]), &npis(100_000_000, 40)).await;
    let refused = upstream.requests().iter().filter(|(.., status)| *status == 429).count();
    assert_eq!(answers.reason(None), 40);
    assert!(refused < 20, "{refused} requests too many");
}

#[tokio::test]
async fn who_asks_slowly_slows_nobody_else() {
    let upstream = Upstream::start(RegistryConfig { rate: Some(40), ..RegistryConfig::default() }).await;
    let service = limited(&upstream, 40).await;
    let (slow, fast) = (npis(100_000_000, 8), npis(200_000_000, 60));
    let slowly = ask(&service, "nppes", settings(&upstream.url(), &[("rate", "2"), ("concurrency", "1")]), &slow);
    let started = Instant::now();
    let quickly = async {
        let answers = ask(&service, "nppes", settings(&upstream.url(), &[("rate", "40")]), &fast).await;
        (answers, started.elapsed())
    };
    let (slowly, (quickly, time)) = tokio::join!(slowly, quickly);
    assert_eq!((slowly.reason(None), quickly.reason(None)), (8, 60));
    // At the other's rate it would take half a minute.
    assert!(time < Duration::from_secs(15), "{time:?}");
    // It had what it asked for, and no more.
    assert!(started.elapsed() > Duration::from_secs(3), "{:?}", started.elapsed());
    assert!(upstream.most_in_a_second() <= 40, "{}", upstream.most_in_a_second());
}

#[tokio::test]
async fn nobody_asks_faster_than_the_service_lets_them() {
    let upstream = Upstream::start(RegistryConfig { rate: Some(20), ..RegistryConfig::default() }).await;
    let service = limited(&upstream, 20).await;
    let greedy = settings(&upstream.url(), &[("rate", "10000"), ("concurrency", "50")]);
    let (one, other) = (npis(100_000_000, 30), npis(200_000_000, 30));
    let modest = settings(&upstream.url(), &[("rate", "20")]);
    let (one, other) = tokio::join!(ask(&service, "nppes", greedy, &one), ask(&service, "nppes", modest, &other));
    assert_eq!((one.reason(None), other.reason(None)), (30, 30));
    assert_eq!(upstream.requests().iter().filter(|(.., status)| *status == 429).count(), 0);
    assert!(upstream.most_in_a_second() <= 20, "{}", upstream.most_in_a_second());
}

#[tokio::test]
async fn who_demands_too_much_opens_the_circuit_for_himself_only() {
    let config = RegistryConfig { latency: Duration::from_millis(60), ..RegistryConfig::default() };
    let upstream = Upstream::start(config).await;
    let service = service(CacheLocation::Memory).await;
    let (mine, others) = (npis(100_000_000, 40), npis(200_000_000, 40));
    let hasty = settings(&upstream.url(), &[("timeout", "5ms"), ("on_open", "null"), ("tries", "1")]);
    let hasty = ask(&service, "nppes", hasty, &mine).await;
    assert!(hasty.reason(Some("circuit_open")) > 0 && hasty.reason(None) == 0);
    let patient = settings(&upstream.url(), &[("on_open", "null")]);
    assert_eq!(ask(&service, "nppes", patient, &others).await.reason(None), 40);
}

#[tokio::test]
async fn who_gives_up_early_has_not_asked_for_the_others() {
    let config = RegistryConfig { latency: Duration::from_millis(60), ..RegistryConfig::default() };
    let upstream = Upstream::start(config).await;
    let service = service(CacheLocation::Memory).await;
    let keys = npis(100_000_000, 6);
    let hasty = settings(&upstream.url(), &[("timeout", "5ms"), ("tries", "1")]);
    let first = ask(&service, "nppes", hasty.clone(), &keys[..3]).await;
    // He comes first here too, and others wait for what he is told.
    let at_once = ask(&service, "nppes", hasty.clone(), &keys[3..]);
    let patient = ask(&service, "nppes", settings(&upstream.url(), &[]), &keys);
    let (at_once, patient) = tokio::join!(at_once, patient);
    assert_eq!([&first, &at_once].map(|answers| answers.reason(Some("upstream_timeout"))), [3, 3]);
    assert_eq!(patient.reason(None), 6, "{:?}", patient.column("_reason"));
    // What was answered since then is an answer for him too.
    assert_eq!(ask(&service, "nppes", hasty, &keys).await.source("memory"), 6);
}

#[tokio::test]
async fn an_answer_that_is_out_of_date_is_asked_for_again_once() {
    let upstream = Upstream::start(RegistryConfig::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let service = service(CacheLocation::File(folder.path().join(CACHE_FILE))).await;
    let (keys, long) = (npis(100_000_000, 50), settings(&upstream.url(), &[]));
    ask(&service, "nppes", settings(&upstream.url(), &[("ttl", "1ms")]), &keys).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let late = ask(&service, "nppes", long.clone(), &keys).await;
    assert_eq!((late.source("upstream"), late.calls(), upstream.registry.requests()), (50, 50, 100));
    let again = ask(&service, "nppes", long, &keys).await;
    assert_eq!((again.calls(), upstream.registry.requests()), (0, 100));
}
