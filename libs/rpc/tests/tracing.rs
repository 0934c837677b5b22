//! One trace goes from a client's call to the service, and on from there, and reaches a collector. A process has one
//! logger, so that this test has a process of its own.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use forebay_api::{AttemptHeader, AttemptItem, AttemptReceipt, BoxStream, ServiceError, Storage};
use forebay_rpc::client::{ClientSecurity, StorageClient, connect};
use forebay_rpc::server::Services;
use forebay_telemetry::{LogFormat, Logs, trace};
use forebay_testing::otlp::{Collector, Span, SpanKind};
use forebay_types::JobId;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Works in a span of its own, and hands its context on as a queue would.
#[derive(Clone, Default)]
struct Writer {
    message: Arc<Mutex<Option<String>>>,
}

#[async_trait]
impl Storage for Writer {
    async fn write_attempt(
        &self,
        _: AttemptHeader,
        _: BoxStream<Result<AttemptItem, ServiceError>>,
    ) -> Result<AttemptReceipt, ServiceError> {
        Err(ServiceError::internal("not here"))
    }

    async fn flush(&self, _: JobId) -> Result<(), ServiceError> {
        *self.message.lock().unwrap() = trace::traceparent();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_goes_from_the_client_through_the_server_and_the_queue() {
    let collector = Collector::start();
    let logs = Logs { format: LogFormat::Text, filter: "warn".to_owned(), otlp_endpoint: Some(collector.endpoint()) };
    let telemetry = logs.init("forebay-test").unwrap();

    let (writer, shutdown) = (Writer::default(), CancellationToken::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(Services::new().storage(Arc::new(writer.clone())).serve(listener, shutdown.clone()));
    let storage = StorageClient::new(connect(&address, &ClientSecurity::default()).unwrap());
    let submit = tracing::info_span!(target: "forebay_test", "submit");
    storage.flush(JobId(1)).instrument(submit).await.unwrap();
    let message = writer.message.lock().unwrap().clone().expect("the service ran without a trace");
    let later = tracing::info_span!(target: "forebay_test", "later");
    trace::follow(&later, &message);
    later.in_scope(|| ());
    drop(later);
    shutdown.cancel();
    drop(storage);
    tokio::time::timeout(Duration::from_secs(30), server).await.unwrap().unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(30), telemetry.shutdown()).await.unwrap();

    let spans = collector.spans();
    let names: HashMap<(&str, SpanKind), &Span> =
        spans.iter().map(|span| ((span.name.as_str(), span.kind), span)).collect();
    let call = "forebay.storage.v1.StorageService/Flush";
    let of = |name, kind: SpanKind| *names.get(&(name, kind)).unwrap_or_else(|| panic!("{name}: {names:#?}"));
    let chain = [
        of("submit", SpanKind::Internal),
        of(call, SpanKind::Client),
        of(call, SpanKind::Server),
        of("later", SpanKind::Internal),
    ];
    for pair in chain.windows(2) {
        assert_eq!(pair[1].trace, pair[0].trace, "{pair:#?}");
        assert_eq!(pair[1].parent, pair[0].id, "{pair:#?}");
    }
    assert!(spans.iter().all(|span| span.service == "forebay-test"), "{spans:#?}");
}
