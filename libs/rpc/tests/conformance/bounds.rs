//! What a client can cost that does too much, or nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_api::{
    Caller, ErrorKind, Gateway as _, InputFrame, RecipeSource, ServiceError, SubmitEvent, SubmitRequest, TenantLimits,
};
use forebay_proto::gateway::v1 as wire;
use forebay_proto::gateway::v1::gateway_service_client::GatewayServiceClient;
use forebay_rpc::client::GatewayClient;
use forebay_rpc::server::{ServerLimits, ServerOptions, Services};
use forebay_telemetry::ByReason;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::gateway::{BRIEFLY, CHUNK, TestGateway, request};
use crate::support::{Running, error_of, within_a_minute};

const SHORT: Duration = Duration::from_millis(400);

async fn start(limits: ServerLimits) -> (TestGateway, Running, ServerOptions) {
    let service = TestGateway::default();
    let options = ServerOptions { limits, ..ServerOptions::default() };
    let running = Running::start_with(Services::new().gateway(Arc::new(service.clone())), options.clone()).await;
    (service, running, options)
}

fn limits() -> ServerLimits {
    ServerLimits { handshake: SHORT, first_call: SHORT, ..ServerLimits::default() }
}

/// Calls until there is room.
async fn admitted(gateway: &GatewayClient) {
    while let Err(error) = gateway.get_job(&Caller::local(), "a").await {
        assert_eq!(error.kind, ErrorKind::QuotaExceeded, "{error:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn is_full(error: &ServiceError, reason: &str) -> bool {
    error.kind == ErrorKind::QuotaExceeded && error.reason == reason && error.retry_after.is_some()
}

#[tokio::test]
async fn a_call_too_many_is_refused_with_a_delay_and_there_is_room_again() {
    let per_tenant = TenantLimits { streams: Some(2), ..TenantLimits::NONE };
    let of_tenant = ServerLimits { tenants: [(Caller::LOCAL.to_owned(), per_tenant)].into(), ..limits() };
    for (limits, reason) in [(of_tenant, "TOO_MANY_STREAMS"), (ServerLimits { calls: 2, ..limits() }, "TOO_MANY_CALLS")]
    {
        let (_, running, options) = start(limits).await;
        let gateway = GatewayClient::new(running.channel());
        let first = gateway.rejects(&Caller::local(), "endless").await.unwrap();
        let _second = gateway.rejects(&Caller::local(), "endless").await.unwrap();
        let error = error_of(gateway.rejects(&Caller::local(), "1").await);
        assert!(is_full(&error, reason), "{error:?}");
        assert_eq!(options.metrics.calls_refused.get_or_create(&ByReason { reason: leaked(reason) }).get(), 1);
        drop(first);
        within_a_minute(admitted(&gateway)).await;
    }
}

fn leaked(reason: &str) -> &'static str {
    reason.to_owned().leak()
}

#[tokio::test]
async fn a_connection_too_many_is_closed_and_there_is_room_again() {
    let (_, running, _) = start(ServerLimits { connections: 2, first_call: Duration::from_secs(60), ..limits() }).await;
    let first = TcpStream::connect(&running.address).await.unwrap();
    let _second = TcpStream::connect(&running.address).await.unwrap();
    let mut third = TcpStream::connect(&running.address).await.unwrap();
    assert_eq!(third.read(&mut [0]).await.unwrap_or(0), 0, "it was kept");
    drop(first);
    within_a_minute(async {
        let gateway = GatewayClient::new(running.channel());
        while let Err(error) = gateway.get_job(&Caller::local(), "a").await {
            assert_eq!(error.kind, ErrorKind::Unreachable, "{error:?}");
        }
    })
    .await;
}

/// Reads until the server closes the connection.
async fn closed(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await.unwrap_or(0) > 0 {}
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

#[tokio::test]
async fn clients_that_stop_halfway_are_closed() {
    let (_, running, _) = start(limits()).await;
    let (_, guarded, _) = start(ServerLimits {
        first_call: Duration::from_secs(60),
        keepalive_interval: SHORT,
        keepalive_timeout: SHORT,
        ..limits()
    })
    .await;
    for (server, said) in [
        // Nothing, a part of the greeting, and a greeting without a call.
        (&running, &b""[..]),
        (&running, &PREFACE[..10]),
        (&running, PREFACE),
        // Gone after the greeting: it does not answer when it is asked for a sign of life.
        (&guarded, PREFACE),
    ] {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        stream.write_all(said).await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), closed(stream)).await.expect("the connection was kept");
    }
}

#[tokio::test]
async fn a_connection_without_calls_is_closed_and_made_anew_without_an_error() {
    let (_, running, options) = start(ServerLimits { idle_connection: SHORT, ..limits() }).await;
    let gateway = GatewayClient::new(running.channel());
    gateway.get_job(&Caller::local(), "a").await.unwrap();
    assert_eq!(options.metrics.connections.get(), 1);
    within_a_minute(async {
        while options.metrics.connections.get() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    gateway.get_job(&Caller::local(), "a").await.unwrap();
}

#[tokio::test]
async fn a_connection_of_age_is_left_and_calls_go_on_over_another() {
    let (_, running, _) = start(ServerLimits { connection_age: SHORT, connection_grace: SHORT, ..limits() }).await;
    let gateway = GatewayClient::new(running.channel());
    let mut endless = gateway.rejects(&Caller::local(), "endless").await.unwrap();
    let began = std::time::Instant::now();
    while began.elapsed() < SHORT * 4 {
        // A call that meets the end of its connection was not sent: once again, and it is on the next one.
        if let Err(error) = gateway.get_job(&Caller::local(), "a").await {
            assert_eq!(error.kind, ErrorKind::Unreachable, "{error:?}");
            gateway.get_job(&Caller::local(), "a").await.unwrap();
        }
    }
    let error = within(async {
        loop {
            if let Err(error) = endless.next().await.unwrap() {
                return error;
            }
        }
    })
    .await;
    assert_eq!((error.kind, &*error.reason), (ErrorKind::Unreachable, "SHUTTING_DOWN"));
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it hangs")
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_call() {
    let (service, running, _) = start(ServerLimits { idle_stream: SHORT, ..limits() }).await;
    let gateway = GatewayClient::new(running.channel());
    let mut unread = gateway.rejects(&Caller::local(), "endless").await.unwrap();
    within(service.dropped.cancelled()).await;
    let error = within(async {
        loop {
            if let Err(error) = unread.next().await.expect("it ended well") {
                return error;
            }
        }
    })
    .await;
    assert_eq!((error.kind, &*error.reason), (ErrorKind::DeadlineExceeded, "IDLE"));
}

#[tokio::test]
async fn a_client_that_does_not_send_loses_its_call() {
    let (service, running, _) = start(ServerLimits { idle_stream: SHORT, ..limits() }).await;
    let mut client = GatewayServiceClient::new(running.channel());
    let status = within(client.submit(stream::pending())).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{status}");
    let recipe = Some(wire::submit_header::Recipe::Shipped("claims".to_owned()));
    let header = wire::SubmitHeader { recipe, ..Default::default() };
    let header = wire::SubmitRequest { part: Some(wire::submit_request::Part::Header(header)) };
    let parts = stream::iter([header]).chain(stream::pending());
    let events = client.submit(parts).await.unwrap().into_inner();
    let status = within(events.try_collect::<Vec<_>>()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{status}");
    within(service.dropped.cancelled()).await;
    // One that is answered all the time is not idle, though it has not said that it sends no more.
    let gateway = GatewayClient::new(running.channel());
    let mut rejects = gateway.rejects(&Caller::local(), "endless").await.unwrap();
    let began = std::time::Instant::now();
    while began.elapsed() < SHORT * 3 {
        rejects.next().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_client_is_not_idle_while_the_service_does_not_look() {
    let (_, running, _) = start(ServerLimits { idle_stream: SHORT, ..limits() }).await;
    let recipe = RecipeSource::Shipped("busy".to_owned());
    let late = stream::once(async {
        tokio::time::sleep(BRIEFLY * 2).await;
        Ok(InputFrame { input: 1, offset: 0, data: Bytes::from(vec![0; CHUNK]) })
    });
    let gateway = GatewayClient::new(running.channel());
    let events = gateway.submit(&Caller::local(), SubmitRequest { recipe, ..request() }, late.boxed()).await.unwrap();
    let events: Vec<_> = within(events.try_collect()).await.unwrap();
    assert!(matches!(events.last(), Some(SubmitEvent::Complete { chunks: 1 })), "{events:?}");
}

#[tokio::test]
async fn a_unary_call_that_takes_too_long_is_ended() {
    let (_, running, _) = start(ServerLimits { unary: SHORT, ..limits() }).await;
    let gateway = GatewayClient::new(running.channel());
    let error = error_of(within(gateway.get_job(&Caller::local(), "stuck")).await);
    assert_eq!((error.kind, &*error.reason), (ErrorKind::DeadlineExceeded, "TIMEOUT"));
}

/// Begins calls and takes them back at once, over as many connections as it needs.
async fn reset_rapidly(address: &str, count: usize) {
    let mut left = count;
    while left > 0 {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        while left > 0 {
            let request = http::Request::post(format!("http://{address}/forebay.gateway.v1.GatewayService/GetJob"));
            let request = request.header("content-type", "application/grpc").body(()).unwrap();
            let Ok(ready) = sender.ready().await else {
                break;
            };
            sender = ready;
            let Ok((_, mut body)) = sender.send_request(request, false) else {
                break;
            };
            left -= 1;
            body.send_reset(h2::Reason::CANCEL);
            if left.is_multiple_of(50) {
                tokio::task::yield_now().await;
            }
        }
        connection.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_do_not_fail_the_calls_of_others() {
    let (_, running, options) = start(ServerLimits::default()).await;
    let gateway = GatewayClient::new(running.channel());
    gateway.get_job(&Caller::local(), "a").await.unwrap();
    let address = running.address.clone();
    let attack = tokio::spawn(async move { reset_rapidly(&address, 2000).await });
    let mut calls = 0;
    while !attack.is_finished() || calls < 100 {
        within(gateway.get_job(&Caller::local(), "a")).await.unwrap();
        calls += 1;
    }
    attack.await.unwrap();
    within_a_minute(async {
        let service = forebay_telemetry::ByService { service: "forebay.gateway.v1.GatewayService" };
        while options.metrics.calls_in_flight.get_or_create(&service).get() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
