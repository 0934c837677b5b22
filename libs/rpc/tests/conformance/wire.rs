//! What only exists with a network between.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use forebay_api::{
    BoxStream, Caller, ErrorKind, Gateway, InputFrame, JobProgress, JobSummary, RecipeSource, RejectRow, ServiceError,
    Storage, SubmitEvent, SubmitRequest,
};
use forebay_proto::gateway::v1 as wire;
use forebay_proto::gateway::v1::gateway_service_client::GatewayServiceClient;
use forebay_proto::gateway::v1::submit_request::Part;
use forebay_rpc::client::{self, Channel, ClientSecurity, GatewayClient, StorageClient};
use forebay_rpc::limits::{FRAME_LIMIT, MESSAGE_LIMIT, STREAM_LIMIT};
use forebay_rpc::server::Services;
use forebay_types::JobId;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic_types::StatusExt;

use crate::gateway::{TestGateway, accepted, endless_frames, request};
use crate::support::{Meter, Running, error_of, within_a_minute};

fn connect(address: &str) -> Result<Channel, ServiceError> {
    client::connect(address, &ClientSecurity::default())
}

async fn start() -> (TestGateway, Running) {
    let service = TestGateway::default();
    let running = Running::start(Services::new().gateway(Arc::new(service.clone()))).await;
    (service, running)
}

fn header() -> Part {
    let recipe = Some(wire::submit_header::Recipe::Shipped("claims".to_owned()));
    Part::Header(wire::SubmitHeader { recipe, ..Default::default() })
}

/// Submits parts as another program might, and gives how it ended.
async fn submit_raw(running: &Running, parts: Vec<Option<Part>>) -> Result<usize, tonic::Status> {
    let mut client = GatewayServiceClient::new(running.channel());
    let parts = stream::iter(parts.into_iter().map(|part| wire::SubmitRequest { part }));
    let events = client.submit(parts).await?.into_inner();
    Ok(events.try_collect::<Vec<_>>().await?.len())
}

#[tokio::test]
async fn what_breaks_the_protocol_is_refused_with_a_reason() {
    let (_, running) = start().await;
    let frame = |size: usize| {
        let data = Bytes::from(vec![0; size]);
        Some(Part::Frame(wire::Frame { input: 1, offset: 0, data }))
    };
    let end = || Some(Part::End(wire::SubmitEnd {}));
    let bare = Some(Part::Header(wire::SubmitHeader::default()));
    for (parts, code, reason) in [
        (vec![], Code::Cancelled, "CALLER_GONE"),
        (vec![None], Code::InvalidArgument, "MISSING_FIELD"),
        (vec![frame(1)], Code::InvalidArgument, "INVALID_FIELD"),
        (vec![end()], Code::InvalidArgument, "INVALID_FIELD"),
        (vec![bare], Code::InvalidArgument, "MISSING_FIELD"),
        (vec![Some(header())], Code::Cancelled, "CALLER_GONE"),
        (vec![Some(header()), frame(5)], Code::Cancelled, "CALLER_GONE"),
        (vec![Some(header()), None, end()], Code::InvalidArgument, "MISSING_FIELD"),
        (vec![Some(header()), Some(header()), end()], Code::InvalidArgument, "INVALID_FIELD"),
        (vec![Some(header()), frame(FRAME_LIMIT + 1), end()], Code::InvalidArgument, "FRAME_TOO_LARGE"),
        (vec![Some(header()), frame(MESSAGE_LIMIT + 1), end()], Code::InvalidArgument, "MESSAGE_TOO_LARGE"),
    ] {
        let status = submit_raw(&running, parts).await.unwrap_err();
        let info = status.get_details_error_info().unwrap();
        assert_eq!((status.code(), info.reason.as_str(), info.domain.as_str()), (code, reason, "forebay"), "{status}");
    }
    let events = submit_raw(&running, vec![Some(header()), frame(FRAME_LIMIT), end(), frame(9)]).await.unwrap();
    assert_eq!(events, 12);
}

#[tokio::test]
async fn a_header_that_is_too_large_is_refused_before_it_is_sent() {
    let (service, running) = start().await;
    let gateway = GatewayClient::new(running.channel());
    let recipe = RecipeSource::Inline { name: "r.yaml".to_owned(), text: "x".repeat(MESSAGE_LIMIT) };
    let request = SubmitRequest { recipe, ..request() };
    let error = error_of(gateway.submit(&Caller::local(), request, stream::pending().boxed()).await);
    assert_eq!((error.kind, &*error.reason), (ErrorKind::InvalidArgument, "MESSAGE_TOO_LARGE"));
    assert!(error.message.contains("4194304"), "{error}");
    let error = error_of(gateway.get_job(&Caller::local(), &"x".repeat(MESSAGE_LIMIT)).await);
    assert_eq!((error.kind, &*error.reason), (ErrorKind::InvalidArgument, "MESSAGE_TOO_LARGE"));
    assert!(service.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_an_error_of_the_service() {
    let (_, running) = start().await;
    let gateway = GatewayClient::new(running.channel());
    let name = "x".repeat(MESSAGE_LIMIT - 100);
    let error = error_of(gateway.get_job(&Caller::local(), &name).await);
    assert_eq!(error.kind, ErrorKind::Internal);
    assert!(error.message.contains("an answer of"), "{error}");
}

#[tokio::test]
async fn a_service_that_is_not_there_is_unreachable_and_found_when_it_comes() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gateway = GatewayClient::new(connect(&free.to_string()).unwrap());
    let error = error_of(gateway.get_job(&Caller::local(), "a").await);
    assert_eq!((error.kind, &*error.reason), (ErrorKind::Unreachable, "UNREACHABLE"));
    assert!(error.message.contains("refused"), "{error}");
    let listener = TcpListener::bind(free).await.unwrap();
    let services = Services::new().gateway(Arc::new(TestGateway::default()));
    let server = tokio::spawn(services.serve(listener, CancellationToken::new()));
    gateway.get_job(&Caller::local(), "a").await.unwrap();
    server.abort();
    for wrong in ["", "http://", "not an address"] {
        assert_eq!(&*error_of(connect(wrong)).reason, "INVALID_ADDRESS", "{wrong:?}");
    }
}

#[tokio::test]
async fn a_service_that_is_not_served_is_a_failed_precondition() {
    let (_, running) = start().await;
    let error = error_of(StorageClient::new(running.channel()).flush(JobId(1)).await);
    assert_eq!((error.kind, &*error.reason), (ErrorKind::FailedPrecondition, "UNIMPLEMENTED"));
}

/// A server in a runtime of its own, whose connections break when it is shut down.
fn start_apart() -> (TestGateway, String, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let service = TestGateway::default();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let services = Services::new().gateway(Arc::new(service.clone()));
    drop(runtime.spawn(services.serve(listener, CancellationToken::new())));
    (service, address, runtime)
}

#[test]
fn a_server_that_dies_leaves_the_outcome_of_every_call_open() {
    let (service, address, runtime) = start_apart();
    let callers = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    callers.block_on(within_a_minute(async {
        let gateway = GatewayClient::new(connect(&address).unwrap());
        let mut rejects = gateway.rejects(&Caller::local(), "endless").await.unwrap();
        let mut events = gateway.submit(&Caller::local(), request(), stream::pending().boxed()).await.unwrap();
        rejects.next().await.unwrap().unwrap();
        events.next().await.unwrap().unwrap();
        runtime.shutdown_background();
        service.dropped.cancelled().await;
        let error = rejects.try_for_each(|_| async { Ok(()) }).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error:?}");
        assert_eq!(error_of(events.next().await.unwrap()).kind, ErrorKind::Unreachable);
        assert_eq!(error_of(gateway.get_job(&Caller::local(), "a").await).kind, ErrorKind::Unreachable);
    }));
}

/// Reads the frames in a task of its own, as a gateway does, and tells how they ended.
struct Recorder(mpsc::UnboundedSender<Result<(), ServiceError>>);

#[async_trait]
impl Gateway for Recorder {
    async fn submit(
        &self,
        _: &Caller,
        _: SubmitRequest,
        mut frames: BoxStream<Result<InputFrame, ServiceError>>,
    ) -> Result<BoxStream<Result<SubmitEvent, ServiceError>>, ServiceError> {
        let ends = self.0.clone();
        drop(tokio::spawn(async move {
            let mut end = Ok(());
            while let Some(frame) = frames.next().await {
                end = frame.map(drop);
            }
            ends.send(end).unwrap();
        }));
        Ok(stream::iter([Ok(accepted())]).chain(stream::pending()).boxed())
    }

    async fn get_job(&self, _: &Caller, _: &str) -> Result<JobProgress, ServiceError> {
        panic!("a bug in the gateway");
    }

    async fn list_jobs(&self, _: &Caller, _: u32, _: Option<i64>) -> Result<Vec<JobSummary>, ServiceError> {
        Ok(vec![])
    }

    async fn watch_job(
        &self,
        _: &Caller,
        _: &str,
    ) -> Result<BoxStream<Result<JobProgress, ServiceError>>, ServiceError> {
        Ok(stream::once(async { panic!("a bug in the gateway") }).boxed())
    }

    async fn cancel_job(&self, _: &Caller, _: &str) -> Result<(), ServiceError> {
        Ok(())
    }

    async fn rejects(&self, _: &Caller, _: &str) -> Result<BoxStream<Result<RejectRow, ServiceError>>, ServiceError> {
        Ok(stream::empty().boxed())
    }
}

#[test]
fn a_client_that_goes_away_has_not_completed_its_input() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (server, (sender, mut ends)) = (runtime(), mpsc::unbounded_channel());
    let running = server.block_on(Running::start(Services::new().gateway(Arc::new(Recorder(sender)))));
    for disconnects in [false, true] {
        let client = runtime();
        let events = client.block_on(async {
            let sent = Meter::default();
            let frames = endless_frames(&sent).take(3).chain(stream::pending()).boxed();
            let mut events =
                GatewayClient::new(running.channel()).submit(&Caller::local(), request(), frames).await.unwrap();
            events.next().await.unwrap().unwrap();
            sent.settled().await;
            events
        });
        if disconnects {
            client.shutdown_background();
            drop(events);
        } else {
            drop(events);
        }
        let end = server.block_on(ends.recv()).unwrap();
        let error = end.expect_err("the input was taken as complete");
        assert_eq!((error.kind, &*error.reason), (ErrorKind::Cancelled, "CALLER_GONE"), "{disconnects}");
    }
}

#[tokio::test]
async fn a_bug_in_a_service_ends_one_call_and_no_other() {
    let (sender, _ends) = mpsc::unbounded_channel();
    let running = Running::start(Services::new().gateway(Arc::new(Recorder(sender)))).await;
    let gateway = GatewayClient::new(running.channel());
    let mut other = gateway.submit(&Caller::local(), request(), stream::pending().boxed()).await.unwrap();
    other.next().await.unwrap().unwrap();
    let error = error_of(gateway.get_job(&Caller::local(), "a").await);
    assert_eq!(error.kind, ErrorKind::Internal, "{error:?}");
    let mut watch = gateway.watch_job(&Caller::local(), "a").await.unwrap();
    let error = error_of(watch.next().await.unwrap());
    assert_eq!(error.kind, ErrorKind::Internal, "{error:?}");
    gateway.cancel_job(&Caller::local(), "a").await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(100), other.next()).await.is_err(), "it ended the other call");
}

#[tokio::test]
async fn a_shutdown_lets_calls_end_and_takes_no_more() {
    let (service, mut running) = start().await;
    let gateway = GatewayClient::new(running.channel());
    let frames = endless_frames(&Meter::default()).take(10);
    let slow = SubmitRequest { recipe: RecipeSource::Shipped("slow".to_owned()), ..request() };
    let mut events = gateway.submit(&Caller::local(), slow, frames.boxed()).await.unwrap();
    events.next().await.unwrap().unwrap();
    running.shutdown.cancel();
    let waited = tokio::time::timeout(Duration::from_millis(300), &mut running.server).await;
    assert!(waited.is_err(), "it did not wait for the call");
    for _ in 0..11 {
        service.proceed.notify_one();
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let rest: Vec<SubmitEvent> = events.try_collect().await.unwrap();
    assert!(matches!(rest.last(), Some(SubmitEvent::Complete { .. })));
    (&mut running.server).await.unwrap().unwrap();
    assert_eq!(error_of(gateway.get_job(&Caller::local(), "a").await).kind, ErrorKind::Unreachable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_nobody_reads_do_not_stop_the_others() {
    let (service, running) = start().await;
    let gateway = GatewayClient::new(running.channel());
    let mut stalled = Vec::new();
    for _ in 0..STREAM_LIMIT - 2 {
        stalled.push(gateway.rejects(&Caller::local(), "endless").await.unwrap());
    }
    service.produced.settled().await;
    within_a_minute(async {
        let rejects = gateway.rejects(&Caller::local(), "1000").await.unwrap();
        assert_eq!(rejects.try_collect::<Vec<_>>().await.unwrap().len(), 1000);
        gateway.get_job(&Caller::local(), "a").await.unwrap();
    })
    .await;
    drop(stalled);
}
