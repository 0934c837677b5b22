//! A server's beginning and end: health, reflection, drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use forebay_api::{Caller, ErrorKind, Gateway as _};
use forebay_rpc::client::{ClientSecurity, GatewayClient, connect};
use forebay_rpc::server::{ServerLimits, ServerOptions, ServiceName, Services};
use forebay_telemetry::ByCode;
use futures::stream::{self, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use crate::gateway::{TestGateway, accepted, request};
use crate::support::{Running, error_of};

fn services() -> Services {
    Services::new().gateway(Arc::new(TestGateway::default()))
}

#[tokio::test]
async fn health_turns_with_its_service() {
    let services = services();
    let health = services.health();
    let running = Running::start(services).await;
    let mut client = HealthClient::new(running.channel());
    let mut check = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        client.check(request).await.map(|response| response.into_inner().status())
    };
    let gateway = ServiceName::Gateway.full();
    assert_eq!(check("").await.unwrap(), ServingStatus::Serving);
    assert_eq!(check(gateway).await.unwrap(), ServingStatus::Serving);
    assert_eq!(check(ServiceName::Storage.full()).await.unwrap_err().code(), tonic::Code::NotFound);
    let request = HealthCheckRequest { service: gateway.to_owned() };
    let mut watch = HealthClient::new(running.channel()).watch(request).await.unwrap().into_inner();
    for (serving, status) in [(true, ServingStatus::Serving), (false, ServingStatus::NotServing)] {
        health.set(ServiceName::Gateway, serving);
        assert_eq!(watch.message().await.unwrap().unwrap().status(), status);
        assert_eq!(check(gateway).await.unwrap(), status);
        assert_eq!(check("").await.unwrap(), status);
        assert_eq!(health.is_serving(), serving);
    }
    health.set(ServiceName::Gateway, true);
    running.shutdown.cancel();
    while watch.message().await.unwrap().unwrap().status() != ServingStatus::NotServing {}
    assert!(!health.is_serving());
}

async fn reflect(running: &Running, question: MessageRequest) -> Result<ServerReflectionResponse, tonic::Status> {
    let mut client = ServerReflectionClient::new(running.channel());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut answers = client.server_reflection_info(stream::iter([request])).await?.into_inner();
    Ok(answers.message().await?.unwrap())
}

#[tokio::test]
async fn reflection_lists_what_is_served_and_can_be_off() {
    let running = Running::start(services()).await;
    let answer = reflect(&running, MessageRequest::ListServices(String::new())).await.unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.iter().any(|name| name == ServiceName::Gateway.full()), "{names:?}");
    assert!(names.iter().any(|name| name == "grpc.health.v1.Health"), "{names:?}");
    assert!(!names.iter().any(|name| name == ServiceName::Storage.full()), "{names:?}");
    let symbol = MessageRequest::FileContainingSymbol("forebay.gateway.v1.SubmitRequest".to_owned());
    let answer = reflect(&running, symbol).await.unwrap();
    assert!(matches!(answer.message_response, Some(MessageResponse::FileDescriptorResponse(_))), "{answer:?}");
    let options = ServerOptions { reflection: Some(false), ..ServerOptions::default() };
    let running = Running::start_with(services(), options).await;
    let status = reflect(&running, MessageRequest::ListServices(String::new())).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
}

#[tokio::test]
async fn calls_are_counted_by_how_they_end() {
    let options = ServerOptions::default();
    let metrics = options.metrics.clone();
    let running = Running::start_with(services(), options).await;
    let gateway = GatewayClient::new(running.channel());
    gateway.get_job(&Caller::local(), "a").await.unwrap();
    gateway.get_job(&Caller::local(), "error 1").await.unwrap_err();
    let rejects = gateway.rejects(&Caller::local(), "3").await.unwrap();
    assert_eq!(rejects.count().await, 3);
    drop(gateway.rejects(&Caller::local(), "endless").await.unwrap());
    let service = ServiceName::Gateway.full();
    for (method, code) in [("GetJob", "OK"), ("GetJob", "NOT_FOUND"), ("Rejects", "OK"), ("Rejects", "CANCELLED")] {
        let counted = metrics.calls.get_or_create_owned(&ByCode { service, method, code });
        tokio::time::timeout(Duration::from_secs(30), async {
            while counted.get() != 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{method} {code}: {}", counted.get()));
    }
    let line = format!("forebay_grpc_call_seconds_count{{service=\"{service}\",method=\"GetJob\"}} 2");
    assert!(metrics.encode().lines().any(|found| found == line), "{}", metrics.encode());
}

#[tokio::test]
async fn calls_that_outlast_the_drain_end_and_can_be_repeated() {
    let limits = ServerLimits { drain: Duration::from_millis(300), ..ServerLimits::default() };
    let options = ServerOptions { limits, ..ServerOptions::default() };
    let mut running = Running::start_with(services(), options).await;
    let gateway = GatewayClient::new(running.channel());
    let mut events = gateway.submit(&Caller::local(), request(), stream::pending().boxed()).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap(), accepted());
    // One that never says anything is not waited for.
    let _silent = TcpStream::connect(&running.address).await.unwrap();
    running.shutdown.cancel();
    let error = error_of(events.next().await.unwrap());
    assert_eq!((error.kind, &*error.reason), (ErrorKind::Unreachable, "SHUTTING_DOWN"));
    let ended = tokio::time::timeout(Duration::from_secs(10), &mut running.server).await;
    ended.expect("it did not end").unwrap().unwrap();
}

/// Starts the services on the port again and again, each time after the last has drained.
async fn restart(address: &str, times: usize, is_over: &AtomicBool) {
    let services = services();
    for _ in 0..times {
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(services.clone().serve(listener, shutdown.clone()));
        tokio::time::sleep(Duration::from_millis(150)).await;
        shutdown.cancel();
        server.await.unwrap().unwrap();
    }
    is_over.store(true, Ordering::SeqCst);
    let listener = TcpListener::bind(address).await.unwrap();
    drop(tokio::spawn(services.serve(listener, CancellationToken::new())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_under_load_fail_no_call_that_is_repeated() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let (is_over, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let gateway = GatewayClient::new(connect(&address, &ClientSecurity::default()).unwrap());
            let (is_over, calls) = (Arc::clone(&is_over), Arc::clone(&calls));
            tokio::spawn(async move {
                while !is_over.load(Ordering::SeqCst) {
                    let mut tries = 0;
                    while let Err(error) = gateway.get_job(&Caller::local(), "a").await {
                        assert_eq!(error.kind, ErrorKind::Unreachable, "{error:?}");
                        tries += 1;
                        assert!(tries < 400, "{error:?}");
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    restart(&address, 5, &is_over).await;
    for client in clients {
        client.await.unwrap();
    }
    assert!(calls.load(Ordering::SeqCst) > 100, "{}", calls.load(Ordering::SeqCst));
}
