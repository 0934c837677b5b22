//! HTTP/1.1 by hand: a server that is made of a library can't cut an answer in the middle.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::answers::answer;
use crate::fault::Fault;
use crate::{Registry, Verdict};

/// Longest request that is read.
const REQUEST_LIMIT: usize = 16 << 10;

/// Into how many pieces a slow answer is cut, and how long each waits.
const SLOW: (usize, Duration) = (6, Duration::from_secs(1));

/// What the registry says while it is under maintenance.
const PAGE: &str = "<html><body>The registry is under maintenance.</body></html>";

pub(crate) async fn serve(registry: Arc<Registry>, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                let registry = Arc::clone(&registry);
                connections.spawn(async move {
                    // A caller that is gone is no concern of ours.
                    drop(converse(&registry, stream).await);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers one connection's requests, one after the other.
async fn converse(registry: &Registry, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let Some(end) = read_head(&mut stream, &mut buffer).await? else { return Ok(()) };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end + 4);
        let number = number_asked(&head);
        let verdict = registry.take(number.as_deref().unwrap_or_default());
        if !registry.latency.is_zero() {
            sleep(registry.latency).await;
        }
        let fault = match verdict {
            Verdict::Limited => Some(Fault::TooMany),
            Verdict::Taken(fault) => fault,
        };
        let body = || answer(number.as_deref(), registry.seed, registry.era).to_string();
        match fault {
            None => send(&mut stream, "200 OK", "application/json", &body()).await?,
            Some(Fault::TooMany) => {
                send(&mut stream, "429 Too Many Requests\r\nRetry-After: 1", "text/plain", "slow down").await?;
            }
            Some(Fault::ServerError) => {
                send(&mut stream, "503 Service Unavailable", "text/plain", "no backend").await?;
            }
            Some(Fault::Malformed) => send(&mut stream, "200 OK", "text/html", PAGE).await?,
            Some(Fault::Slow) => drip(&mut stream, &body()).await?,
            Some(Fault::Cut) => {
                let whole = response("200 OK", "application/json", &body());
                stream.write_all(&whole.as_bytes()[..whole.len() / 2]).await?;
                return Ok(());
            }
        }
    }
}

/// Reads until the blank line after a request's head, and gives where it is; none if the caller is done.
async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(Some(end));
        }
        if buffer.len() > REQUEST_LIMIT || stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// The value of `number` in the request's query.
fn number_asked(head: &str) -> Option<String> {
    let target = head.split(' ').nth(1)?;
    let (_, query) = target.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix("number=")).map(str::to_owned)
}

fn response(status: &str, kind: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

async fn send(stream: &mut TcpStream, status: &str, kind: &str, body: &str) -> io::Result<()> {
    stream.write_all(response(status, kind, body).as_bytes()).await
}

async fn drip(stream: &mut TcpStream, body: &str) -> io::Result<()> {
    let whole = response("200 OK", "application/json", body);
    let (pieces, wait) = SLOW;
    for piece in whole.as_bytes().chunks(whole.len().div_ceil(pieces)) {
        stream.write_all(piece).await?;
        sleep(wait).await;
    }
    Ok(())
}
