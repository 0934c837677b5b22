//! An upstream that is limited, ill, or hostile.

use std::time::{Duration, Instant};

use forebay_enrichment::{CACHE_FILE, CacheLocation};
use forebay_standin::RegistryConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Upstream, ask, npis, service, settings};

#[tokio::test]
async fn faults_now_and_then_cost_no_row() {
    let faults = ["5xx=0.1", "malformed=0.05", "cut=0.05", "429=0.02"].map(|fault| fault.parse().unwrap());
    let upstream =
        Upstream::start(RegistryConfig { faults: faults.to_vec(), seed: 0, ..RegistryConfig::default() }).await;
    let service = service(CacheLocation::Memory).await;
    let answers = ask(&service, "nppes", settings(&upstream.url(), &[("tries", "8")]), &npis(100_000_000, 200)).await;
    assert_eq!(answers.reason(None), 200);
    assert_eq!(answers.calls() as u64, upstream.registry.requests());
}

#[tokio::test]
async fn an_upstream_that_is_down_for_a_while_is_waited_for() {
    let upstream = Upstream::start(RegistryConfig::default()).await;
    upstream.registry.set_faults(vec!["5xx=1".parse().unwrap()]);
    let service = service(CacheLocation::Memory).await;
    let registry = &upstream.registry;
    let recover = async {
        while registry.requests() < 12 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        registry.set_faults(Vec::new());
    };
    let keys = npis(100_000_000, 60);
    let (answers, ()) = tokio::join!(ask(&service, "nppes", settings(&upstream.url(), &[]), &keys), recover);
    assert_eq!(answers.reason(None), 60, "{:?}", answers.column("_reason"));
    assert!(upstream.registry.requests() < 100, "{}", upstream.registry.requests());
}

#[tokio::test]
async fn with_nulls_an_open_circuit_costs_columns_and_few_calls() {
    let upstream = Upstream::start(RegistryConfig::default()).await;
    upstream.registry.set_faults(vec!["5xx=1".parse().unwrap()]);
    let service = service(CacheLocation::Memory).await;
    let keys = npis(100_000_000, 300);
    let started = Instant::now();
    let answers = ask(&service, "nppes", settings(&upstream.url(), &[("on_open", "null")]), &keys).await;
    let (open, failed) = (answers.reason(Some("circuit_open")), answers.reason(Some("upstream_status_503")));
    assert_eq!((open + failed, answers.source("none")), (300, 300));
    assert!(open > 200 && upstream.registry.requests() < 60, "{open} {}", upstream.registry.requests());
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn what_was_known_once_is_better_than_nothing() {
    let upstream = Upstream::start(RegistryConfig::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let service = service(CacheLocation::File(folder.path().join(CACHE_FILE))).await;
    let keys = npis(100_000_000, 20);
    let known = ask(&service, "nppes", settings(&upstream.url(), &[("ttl", "1ms")]), &keys).await;
    upstream.registry.set_faults(vec!["5xx=1".parse().unwrap()]);
    let answers = ask(&service, "nppes", settings(&upstream.url(), &[("on_open", "null")]), &keys).await;
    assert_eq!((answers.source("stale"), answers.column("org_name")), (20, known.column("org_name")));
    upstream.registry.set_faults(Vec::new());
    let mut fresh = 0;
    for _ in 0..50 {
        let answers = ask(&service, "nppes", settings(&upstream.url(), &[("on_open", "null")]), &keys).await;
        fresh = answers.source("upstream") + answers.source("memory");
        if fresh == 20 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(fresh, 20);
}

#[tokio::test]
async fn what_is_too_old_for_somebody_is_not_given_to_him() {
    let upstream = Upstream::start(RegistryConfig::default()).await;
    let service = service(CacheLocation::Memory).await;
    let keys = npis(100_000_000, 4);
    ask(&service, "nppes", settings(&upstream.url(), &[("ttl", "1ms")]), &keys).await;
    upstream.registry.set_faults(vec!["5xx=1".parse().unwrap()]);
    let in_need = async |more: &[(&str, &str)]| {
        let more = [&[("on_open", "null"), ("tries", "1")], more].concat();
        ask(&service, "nppes", settings(&upstream.url(), &more), &keys).await
    };
    assert_eq!(in_need(&[]).await.source("stale"), 4);
    assert_eq!(in_need(&[("stale", "0s")]).await.reason(Some("upstream_status_503")), 4);
}

#[tokio::test]
async fn a_failure_is_remembered_as_often_as_it_comes() {
    let upstream = Upstream::start(RegistryConfig::default()).await;
    upstream.registry.set_faults(vec!["5xx=1".parse().unwrap()]);
    let service = service(CacheLocation::Memory).await;
    let mut calls = Vec::new();
    for failed_ttl in ["1ms", "60s", "60s"] {
        let more = [("tries", "1"), ("failed_ttl", failed_ttl)];
        calls.push(ask(&service, "nppes", settings(&upstream.url(), &more), &npis(100_000_000, 1)).await.calls());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(calls, [1, 1, 0]);
}

#[tokio::test]
async fn retry_after_is_kept_to() {
    let upstream = Upstream::start(RegistryConfig::default()).await;
    upstream.registry.set_faults(vec!["429=1".parse().unwrap()]);
    let service = service(CacheLocation::Memory).await;
    let registry = &upstream.registry;
    let recover = async {
        while registry.requests() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        registry.set_faults(Vec::new());
    };
    let keys = npis(100_000_000, 10);
    let (answers, ()) = tokio::join!(ask(&service, "nppes", settings(&upstream.url(), &[]), &keys), recover);
    assert_eq!(answers.reason(None), 10);
    let requests = upstream.requests();
    let first = requests[0].0;
    // Those that were under way when the first was turned away, and then nobody for a second.
    let early = requests.iter().filter(|(t, ..)| *t < first + 950_000).count();
    assert!(early <= 5, "{early}");
}

/// Answers every request with what `respond` sends.
async fn raw<F: Future<Output = ()> + Send>(
    respond: impl Fn(TcpStream) -> F + Clone + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let respond = respond.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                if stream.read(&mut request).await.is_ok() {
                    respond(stream).await;
                }
            });
        }
    });
    url
}

async fn reasons_of(url: &str) -> Vec<Option<String>> {
    let service = service(CacheLocation::Memory).await;
    let more = [("on_open", "null"), ("tries", "2"), ("timeout", "500ms")];
    ask(&service, "nppes", settings(url, &more), &npis(100_000_000, 2)).await.column("_reason")
}

#[tokio::test]
async fn a_body_without_end_is_cut() {
    let url = raw(async |mut stream: TcpStream| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut sent = stream.write_all(head.as_bytes()).await;
        let chunk = [b"10000\r\n".as_slice(), &[b'['; 65_536], b"\r\n"].concat();
        while sent.is_ok() {
            sent = stream.write_all(&chunk).await;
        }
    })
    .await;
    assert_eq!(reasons_of(&url).await, [Some("upstream_too_large".to_owned()), Some("upstream_too_large".to_owned())]);
}

#[tokio::test]
async fn a_body_of_a_gibibyte_is_not_even_begun() {
    let url = raw(async |mut stream: TcpStream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n[[[", 1 << 30);
        drop(stream.write_all(head.as_bytes()).await);
        drop(stream.read(&mut [0; 1]).await);
    })
    .await;
    assert_eq!(reasons_of(&url).await[0].as_deref(), Some("upstream_too_large"));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let url = raw(async |mut stream: TcpStream| {
        let answer = "HTTP/1.1 302 Found\r\nLocation: /api/?again\r\nContent-Length: 0\r\n\r\n";
        drop(stream.write_all(answer.as_bytes()).await);
    })
    .await;
    assert_eq!(reasons_of(&url).await[0].as_deref(), Some("upstream_redirect"));
}

#[tokio::test]
async fn a_slow_drip_ends_in_time() {
    let url = raw(async |mut stream: TcpStream| {
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await;
        while sent.is_ok() {
            sent = stream.write_all(b" ").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let started = Instant::now();
    assert_eq!(reasons_of(&url).await[0].as_deref(), Some("upstream_timeout"));
    assert!(started.elapsed() < Duration::from_secs(6));
}

#[tokio::test]
async fn garbage_and_error_objects_have_their_reasons() {
    for (body, reason) in [
        ("<html>maintenance</html>", "upstream_not_json"),
        ("{\"result_count\":1}", "upstream_unknown_shape"),
        ("{\"Errors\":[{\"number\":\"04\",\"field\":\"generic\",\"description\":\"x\"}]}", "upstream_refused"),
        ("{\"Errors\":[{\"number\":\"15\",\"field\":\"number\",\"description\":\"CMS deactivated\"}]}", "deactivated"),
        ("{\"result_count\":0,\"results\":[]}", "not_found"),
        ("\u{0}\u{1}", "upstream_not_json"),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let url = raw(move |mut stream: TcpStream| {
            let answer = answer.clone();
            async move { drop(stream.write_all(answer.as_bytes()).await) }
        })
        .await;
        assert_eq!(reasons_of(&url).await[0].as_deref(), Some(reason), "{body}");
    }
}

#[tokio::test]
async fn a_users_own_api_needs_no_code() {
    let url = raw(async |mut stream: TcpStream| {
        let body = "{\"data\":{\"name\":\"N\",\"price\":1.5}}";
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        drop(stream.write_all(answer.as_bytes()).await);
    })
    .await;
    let service = service(CacheLocation::Memory).await;
    let url = format!("{url}/item/{{key}}");
    let more = [("column.name", "string:/data/name"), ("column.price", "float:/data/price"), ("found", "/data")];
    let answers = ask(&service, "http", settings(&url, &more), &["a".to_owned(), "..".to_owned()]).await;
    assert_eq!(answers.column("name"), [Some("N".to_owned()), None]);
    assert_eq!(answers.column("_reason"), [None, Some("invalid_key".to_owned())]);
}
