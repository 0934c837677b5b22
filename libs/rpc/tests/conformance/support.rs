use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use forebay_api::{BoxStream, Enrichment, ErrorKind, Gateway, ServiceError, Storage};
use forebay_rpc::client::{self, Channel, ClientSecurity, EnrichmentClient, GatewayClient, StorageClient};
use forebay_rpc::server::{ServerOptions, Services};
use futures::stream::{Stream, StreamExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How a caller reaches a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Direct,
    Grpc,
}

/// Makes two tests of every function of the suite.
macro_rules! conformance {
    ($($name:ident,)*) => {
        mod direct {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::support::within_a_minute(super::$name($crate::support::Via::Direct)).await;
            })*
        }
        mod grpc {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::support::within_a_minute(super::$name($crate::support::Via::Grpc)).await;
            })*
        }
    };
}
pub(crate) use conformance;

pub(crate) async fn within_a_minute(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs");
}

/// A server on a free port of this machine.
pub(crate) struct Running {
    pub(crate) address: String,
    pub(crate) shutdown: CancellationToken,
    pub(crate) server: JoinHandle<Result<(), ServiceError>>,
}

impl Running {
    pub(crate) async fn start(services: Services) -> Self {
        Self::start_with(services, ServerOptions::default()).await
    }

    pub(crate) async fn start_with(services: Services, options: ServerOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(services.serve_with(listener, options, shutdown.clone()));
        Self { address, shutdown, server }
    }

    pub(crate) fn channel(&self) -> Channel {
        client::connect(&self.address, &ClientSecurity::default()).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Via {
    pub(crate) async fn gateway(self, service: Arc<dyn Gateway>) -> (Arc<dyn Gateway>, Option<Running>) {
        match self {
            Self::Direct => (service, None),
            Self::Grpc => {
                let running = Running::start(Services::new().gateway(service)).await;
                (Arc::new(GatewayClient::new(running.channel())), Some(running))
            }
        }
    }

    pub(crate) async fn storage(self, service: Arc<dyn Storage>) -> (Arc<dyn Storage>, Option<Running>) {
        match self {
            Self::Direct => (service, None),
            Self::Grpc => {
                let running = Running::start(Services::new().storage(service)).await;
                (Arc::new(StorageClient::new(running.channel())), Some(running))
            }
        }
    }

    pub(crate) async fn enrichment(self, service: Arc<dyn Enrichment>) -> (Arc<dyn Enrichment>, Option<Running>) {
        match self {
            Self::Direct => (service, None),
            Self::Grpc => {
                let running = Running::start(Services::new().enrichment(service)).await;
                (Arc::new(EnrichmentClient::new(running.channel())), Some(running))
            }
        }
    }
}

/// One error of every kind, some with a delay.
pub(crate) fn errors() -> Vec<ServiceError> {
    [
        ErrorKind::InvalidArgument,
        ErrorKind::NotFound,
        ErrorKind::AlreadyExists,
        ErrorKind::FailedPrecondition,
        ErrorKind::QuotaExceeded,
        ErrorKind::Overloaded,
        ErrorKind::Unreachable,
        ErrorKind::DeadlineExceeded,
        ErrorKind::Cancelled,
        ErrorKind::Internal,
    ]
    .into_iter()
    .enumerate()
    .map(|(n, kind)| ServiceError {
        retry_after: (n % 2 == 0).then(|| Duration::from_millis(1500 * n as u64)),
        ..ServiceError::new(kind, format!("REASON_{n}"), format!("what went wrong in case {n}: \"ü\""))
    })
    .collect()
}

/// The error that a request asks for by its number.
pub(crate) fn error_number(name: &str) -> Option<ServiceError> {
    let number: usize = name.strip_prefix("error ")?.parse().ok()?;
    errors().into_iter().nth(number)
}

/// How much a producer has made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Arc<AtomicU64>);

impl Meter {
    pub(crate) fn add(&self, amount: usize) {
        self.0.fetch_add(amount as u64, Ordering::SeqCst);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// What it shows once it stands still.
    pub(crate) async fn settled(&self) -> u64 {
        loop {
            let before = self.get();
            tokio::time::sleep(Duration::from_millis(200)).await;
            if self.get() == before {
                return before;
            }
        }
    }
}

/// A stream that tells when it is dropped.
pub(crate) struct Watched<T> {
    inner: BoxStream<T>,
    _dropped: tokio_util::sync::DropGuard,
}

impl<T> Stream for Watched<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.inner.poll_next_unpin(context)
    }
}

/// The stream, and what is cancelled when it is dropped.
pub(crate) fn watched<T: 'static>(inner: BoxStream<T>, dropped: &CancellationToken) -> BoxStream<T> {
    Watched { inner, _dropped: dropped.clone().drop_guard() }.boxed()
}

/// The error of a result whose value cannot be shown.
pub(crate) fn error_of<T>(result: Result<T, ServiceError>) -> ServiceError {
    match result {
        Ok(_) => panic!("it succeeded"),
        Err(error) => error,
    }
}
