use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::security::Reloading;

/// Bytes both ways, encrypted or not.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// How connections are encrypted.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    config: Arc<Reloading<ClientConfig>>,
    server: ServerName<'static>,
}

impl Tls {
    pub(super) fn new(config: Reloading<ClientConfig>, server: ServerName<'static>) -> Self {
        Self { config: Arc::new(config), server }
    }
}

/// Makes the connections of a channel, each with the certificates of its time.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    tls: Option<Tls>,
}

impl Connector {
    pub(super) const fn new(tls: Option<Tls>) -> Self {
        Self { tls }
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Io>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(connect(uri, self.tls.clone()))
    }
}

async fn connect(uri: Uri, tls: Option<Tls>) -> io::Result<TokioIo<Box<dyn Io>>> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        return Ok(TokioIo::new(Box::new(stream)));
    };
    let stream = TlsConnector::from(tls.config.current()).connect(tls.server, stream).await?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(io::Error::other("the server speaks TLS but not HTTP/2: is it behind another proxy?"));
    }
    Ok(TokioIo::new(Box::new(stream)))
}
