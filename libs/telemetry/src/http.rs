use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Metrics;

/// Scrapers and probes at a time; more are turned away.
const CONNECTION_LIMIT: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// After an accept that failed, as when there are no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

type Answer = Response<Full<Bytes>>;

/// Answers `GET /metrics`, `/healthz` (the process lives) and `/readyz` (`ready` says that it takes work, otherwise
/// 503) over plain HTTP/1.1 until `shutdown`. The listener is meant for the inside of a network.
pub async fn serve_metrics(
    listener: TcpListener,
    metrics: Metrics,
    ready: impl Fn() -> bool + Send + Sync + 'static,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "metrics are served");
    let ready: Arc<dyn Fn() -> bool + Send + Sync> = Arc::new(ready);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < CONNECTION_LIMIT => {
                    connections.spawn(serve(stream, metrics.clone(), Arc::clone(&ready)));
                }
                // Dropped, which closes it: the next scrape will do.
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection for metrics could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    connections.shutdown().await;
    Ok(())
}

async fn serve(stream: TcpStream, metrics: Metrics, ready: Arc<dyn Fn() -> bool + Send + Sync>) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(&request, &metrics, &*ready);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics broke"),
        Err(_) => tracing::debug!("a connection for metrics took too long"),
    }
}

fn answer(request: &Request<Incoming>, metrics: &Metrics, ready: &dyn Fn() -> bool) -> Answer {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n");
    }
    match request.uri().path() {
        "/metrics" => respond(StatusCode::OK, OPEN_METRICS, metrics.encode()),
        "/healthz" => respond(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" if ready() => respond(StatusCode::OK, TEXT, "ready\n"),
        "/readyz" => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready\n"),
        _ => respond(StatusCode::NOT_FOUND, TEXT, "try /metrics, /healthz or /readyz\n"),
    }
}

fn respond(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    answer
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn get(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_and_probes_are_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (metrics, shutdown, ready) =
            (Metrics::default(), CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let is_ready = Arc::clone(&ready);
        let is_ready = move || is_ready.load(Ordering::SeqCst);
        let server = tokio::spawn(serve_metrics(listener, metrics.clone(), is_ready, shutdown.clone()));
        metrics.leases_lost.inc_by(4);
        let scraped = get(address, "GET /metrics").await;
        assert!(scraped.starts_with("HTTP/1.1 200"), "{scraped}");
        assert!(scraped.contains("forebay_leases_lost_total 4\n") && scraped.ends_with("# EOF\n"), "{scraped}");
        for (request, status) in
            [("GET /healthz", "200"), ("GET /readyz", "503"), ("GET /else", "404"), ("POST /metrics", "405")]
        {
            let answer = get(address, request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        }
        ready.store(true, Ordering::SeqCst);
        assert!(get(address, "GET /readyz").await.starts_with("HTTP/1.1 200"));
        let mut silent = TcpStream::connect(address).await.unwrap();
        shutdown.cancel();
        server.await.unwrap().unwrap();
        assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0, "a client that says nothing was kept");
    }
}
