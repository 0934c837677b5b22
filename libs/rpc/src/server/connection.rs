use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use forebay_api::ServiceError;
use forebay_telemetry::ByReason;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use super::door::{Door, Shared};
use super::options::ServerLimits;
use super::record::Open;
use crate::limits::{CONNECTION_WINDOW, STREAM_WINDOW, WIRE_FRAME};
use crate::security::{Reloading, names_of};

/// After an accept that failed, as when there are no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the last statuses of a connection may take to be sent.
const FAREWELL: Duration = Duration::from_secs(2);

/// Bytes both ways, encrypted or not.
trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub(super) type Tls = Arc<Reloading<ServerConfig>>;

/// Accepts connections until `shutdown`, then waits for their calls, each for its bound.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, tls: Option<Tls>, shutdown: CancellationToken) {
    let mut connections = JoinSet::new();
    let limit = shared.options.limits.connections;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < limit => {
                    let connection = Connection { shared: Arc::clone(&shared), shutdown: shutdown.clone() };
                    connections.spawn(Box::pin(connection.run(stream, tls.clone())));
                }
                // Dropped, which closes it: a client that waits in vain does not know that it should go elsewhere.
                Ok(_) => refuse(&shared, "too_many"),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // Before the calls are waited for: a new client must not be held in the backlog.
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection ended by a bug");
    }
}

fn refuse(shared: &Shared, reason: &'static str) {
    shared.options.metrics.connections_refused.get_or_create(&ByReason { reason }).inc();
}

struct Connection {
    shared: Arc<Shared>,
    shutdown: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<Tls>) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection broke at once");
            return;
        }
        let (io, names): (Box<dyn Io>, Vec<String>) = match tls {
            None => (Box::new(stream), Vec::new()),
            Some(tls) => {
                let handshake = TlsAcceptor::from(tls.current()).accept(stream);
                let handshake = tokio::time::timeout(self.shared.options.limits.handshake, handshake);
                let shaken = tokio::select! {
                    () = self.shutdown.cancelled() => return,
                    shaken = handshake => shaken,
                };
                let Ok(Ok(stream)) = shaken else {
                    tracing::debug!("a TLS handshake failed or took too long");
                    return refuse(&self.shared, "handshake");
                };
                let names = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).map(names_of);
                (Box::new(stream), names.unwrap_or_default())
            }
        };
        self.shared.options.metrics.connections.inc();
        let metrics = self.shared.options.metrics.clone();
        self.speak(io, names.into()).await;
        metrics.connections.dec();
    }

    async fn speak(self, io: Box<dyn Io>, names: Arc<[String]>) {
        let (open, end) = (watch::Sender::new(Open::default()), CancellationToken::new());
        let opened = open.subscribe();
        let door = Door { shared: Arc::clone(&self.shared), names, open, end: end.clone() };
        let limits = &self.shared.options.limits;
        let mut connection = pin!(
            http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(limits.streams)
                .max_frame_size(WIRE_FRAME)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .keep_alive_interval(limits.keepalive_interval)
                .keep_alive_timeout(limits.keepalive_timeout)
                .serve_connection(TokioIo::new(io), door)
        );
        let grace = tokio::select! {
            ended = &mut connection => return ended_by_client(ended),
            grace = leave(limits, opened, &self.shutdown) => grace,
        };
        connection.as_mut().graceful_shutdown();
        if let Ok(ended) = tokio::time::timeout(grace, &mut connection).await {
            return ended_by_client(ended);
        }
        end.cancel();
        match tokio::time::timeout(FAREWELL, connection).await {
            Ok(ended) => ended_by_client(ended),
            Err(_) => tracing::debug!("a client did not take the last statuses of its calls"),
        }
    }
}

fn ended_by_client(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Waits for a reason to end a connection. Answers how long its calls may go on.
async fn leave(limits: &ServerLimits, opened: watch::Receiver<Open>, shutdown: &CancellationToken) -> Duration {
    let (mut first, mut open) = (opened.clone(), opened);
    let never_used = async {
        // The sender lives as long as the connection.
        if tokio::time::timeout(limits.first_call, first.wait_for(|open| open.ever)).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    let idle = async {
        loop {
            if open.wait_for(|open| open.now == 0).await.is_err() {
                std::future::pending::<()>().await;
            }
            let used = tokio::time::timeout(limits.idle_connection, open.wait_for(|open| open.now > 0)).await;
            if used.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => limits.drain,
        () = tokio::time::sleep(limits.connection_age) => limits.connection_grace,
        () = never_used => limits.handshake,
        () = idle => limits.handshake,
    }
}

/// The listener's address, as errors at start name it.
pub(super) fn address(listener: &TcpListener) -> Result<std::net::SocketAddr, ServiceError> {
    listener.local_addr().map_err(|error| ServiceError::internal(format!("the listener has no address: {error}")))
}
