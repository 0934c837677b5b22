//! Who may call, and how both sides know.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay_api::{Caller, ErrorKind, Gateway as _, ServiceError, Storage as _, TenantLimits};
use forebay_rpc::client::{self, ClientSecurity, GatewayClient, Secret, StorageClient, TokenSource};
use forebay_rpc::security::{ServerSecurity, ServerTls};
use forebay_rpc::server::{ServerOptions, Services};
use forebay_testing::certificates::{Authority, Signed};
use forebay_types::JobId;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::gateway::{TestGateway, endless_frames, request};
use crate::storage::TestStorage;
use crate::support::{Meter, Running, error_of};

const ACME: &str = "acme-token-0123456789";
const INTERNAL: &str = "internal-token-0123456789";

fn tokens() -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("acme: {ACME}\ninternal: {INTERNAL}\n")).unwrap();
    file
}

fn with_tokens(path: &Path) -> ServerSecurity {
    let reload_interval = Duration::ZERO;
    ServerSecurity { tokens: Some(path.to_owned()), reload_interval, ..ServerSecurity::default() }
}

fn tls(signed: &Signed) -> ServerTls {
    ServerTls {
        certificate: signed.certificate.clone(),
        key: signed.key.clone(),
        client_ca: None,
        require_client_certificate: false,
    }
}

fn token(text: &str) -> ClientSecurity {
    ClientSecurity { token: Some(TokenSource::Value(Secret::new(text))), ..ClientSecurity::default() }
}

async fn start(security: ServerSecurity) -> (TestGateway, Running) {
    let service = TestGateway::default();
    let services = Services::new().gateway(Arc::new(service.clone())).storage(Arc::new(TestStorage::default()));
    let options = ServerOptions { security, ..ServerOptions::default() };
    (service, Running::start_with(services, options).await)
}

/// One call; and the tenant that the service saw.
async fn call(service: &TestGateway, address: &str, security: &ClientSecurity) -> Result<String, ServiceError> {
    let gateway = GatewayClient::new(client::connect(address, security)?);
    gateway.get_job(&Caller::local(), "a").await?;
    Ok(service.callers.lock().unwrap().last().unwrap().tenant().to_owned())
}

fn is_unauthenticated(error: &ServiceError) -> bool {
    (error.kind, &*error.reason) == (ErrorKind::FailedPrecondition, "UNAUTHENTICATED")
}

#[tokio::test]
async fn a_token_says_which_tenant_calls() {
    let file = tokens();
    let (service, running) = start(with_tokens(file.path())).await;
    assert_eq!(call(&service, &running.address, &token(ACME)).await.unwrap(), "acme");
    assert_eq!(call(&service, &running.address, &token(INTERNAL)).await.unwrap(), Caller::INTERNAL);
    for wrong in [ClientSecurity::default(), token("acme-token-012345678"), token("acme"), token("internal")] {
        let error = call(&service, &running.address, &wrong).await.unwrap_err();
        assert!(is_unauthenticated(&error), "{error:?}");
        assert!(!error.message.contains("token-0"), "{error}");
    }
    let renewed = "acme-token-of-tomorrow";
    std::fs::write(file.path(), format!("acme: {renewed}")).unwrap();
    assert_eq!(call(&service, &running.address, &token(renewed)).await.unwrap(), "acme");
    assert!(is_unauthenticated(&call(&service, &running.address, &token(ACME)).await.unwrap_err()));
}

#[tokio::test]
async fn tenants_do_not_reach_internal_services() {
    let file = tokens();
    let (_, running) = start(with_tokens(file.path())).await;
    let flush = async |security: ClientSecurity| {
        StorageClient::new(client::connect(&running.address, &security).unwrap()).flush(JobId(1000)).await
    };
    flush(token(INTERNAL)).await.unwrap();
    let error = flush(token(ACME)).await.unwrap_err();
    assert_eq!((error.kind, &*error.reason), (ErrorKind::FailedPrecondition, "PERMISSION_DENIED"));
    assert!(is_unauthenticated(&flush(ClientSecurity::default()).await.unwrap_err()));
}

#[tokio::test]
async fn the_body_of_a_caller_without_a_token_is_not_read() {
    let file = tokens();
    let (service, running) = start(with_tokens(file.path())).await;
    let produced = Meter::default();
    let gateway = GatewayClient::new(client::connect(&running.address, &ClientSecurity::default()).unwrap());
    let error = error_of(gateway.submit(&Caller::local(), request(), endless_frames(&produced)).await);
    assert!(is_unauthenticated(&error), "{error:?}");
    let produced = produced.settled().await;
    // What fills the window and the client's own buffer before the answer comes.
    assert!(produced <= 4 << 20, "the server took {produced} bytes");
    assert!(service.requests.lock().unwrap().is_empty() && service.received.lock().unwrap().is_empty());
}

#[tokio::test]
async fn limits_of_a_tenant_reach_the_gateway() {
    let file = tokens();
    let service = TestGateway::default();
    let limits = TenantLimits { streams: Some(3), jobs: Some(2), staged_bytes: Some(1 << 30) };
    let mut options = ServerOptions { security: with_tokens(file.path()), ..ServerOptions::default() };
    options.limits.tenants.insert("acme".to_owned(), limits);
    let running = Running::start_with(Services::new().gateway(Arc::new(service.clone())), options).await;
    call(&service, &running.address, &token(ACME)).await.unwrap();
    assert_eq!(*service.callers.lock().unwrap(), [Caller::new("acme", limits)]);
}

#[tokio::test]
async fn tls_shows_each_side_whom_it_talks_to() {
    let (ours, others, file) = (Authority::new(), Authority::new(), tokens());
    let security = ServerSecurity { tls: Some(tls(&ours.server())), ..with_tokens(file.path()) };
    let (service, running) = start(security).await;
    let address = format!("https://{}", running.address);
    let believing = |authority: &Authority| ClientSecurity { ca: Some(authority.path()), ..token(ACME) };
    assert_eq!(call(&service, &address, &believing(&ours)).await.unwrap(), "acme");
    let named = address.replace("127.0.0.1", "localhost");
    assert_eq!(call(&service, &named, &believing(&ours)).await.unwrap(), "acme");
    let elsewhere = ClientSecurity { server_name: Some("storage.internal".to_owned()), ..believing(&ours) };
    for wrong in [believing(&others), elsewhere, ClientSecurity { token: None, ..token(ACME) }] {
        let error = call(&service, &address, &wrong).await.unwrap_err();
        let named = error.message.contains("certificate") || error.message.contains("CA file");
        assert!(named, "{error:?}");
    }
    let error = call(&service, &running.address, &token(ACME)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "plain text was served: {error:?}");
    let error = call(&service, &address, &ClientSecurity { token: None, ..believing(&ours) }).await.unwrap_err();
    assert!(is_unauthenticated(&error), "{error:?}");
}

#[tokio::test]
async fn a_certificate_says_which_tenant_calls_and_may_be_required() {
    let (ours, others) = (Authority::new(), Authority::new());
    let names = NamedTempFile::new().unwrap();
    std::fs::write(names.path(), "acme: spiffe://acme/loader\ninternal: spiffe://forebay/transform\n").unwrap();
    let tls = ServerTls { client_ca: Some(ours.path()), require_client_certificate: true, ..tls(&ours.server()) };
    let certificates = Some(names.path().to_owned());
    let (service, running) = start(ServerSecurity { tls: Some(tls), certificates, ..ServerSecurity::default() }).await;
    let address = format!("https://{}", running.address);
    let showing = |signed: Signed| ClientSecurity {
        ca: Some(ours.path()),
        certificate: Some(signed.certificate),
        key: Some(signed.key),
        ..ClientSecurity::default()
    };
    let acme = showing(ours.client("spiffe://acme/loader"));
    assert_eq!(call(&service, &address, &acme).await.unwrap(), "acme");
    let internal = showing(ours.client("spiffe://forebay/transform"));
    StorageClient::new(client::connect(&address, &internal).unwrap()).flush(JobId(1000)).await.unwrap();
    let error = call(&service, &address, &showing(ours.client("spiffe://unknown"))).await.unwrap_err();
    assert!(is_unauthenticated(&error), "{error:?}");
    let none = ClientSecurity { ca: Some(ours.path()), ..ClientSecurity::default() };
    let forged = showing(others.client("spiffe://acme/loader"));
    let expired = showing(ours.expired_client("spiffe://acme/loader"));
    for wrong in [none, forged, expired] {
        let error = call(&service, &address, &wrong).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error:?}");
    }
}

#[tokio::test]
async fn a_certificate_is_replaced_without_a_restart() {
    let (old, new, file) = (Authority::new(), Authority::new(), tokens());
    let serving = old.server();
    let security = ServerSecurity { tls: Some(tls(&serving)), ..with_tokens(file.path()) };
    let (service, running) = start(security).await;
    let address = format!("https://{}", running.address);
    let believing = |authority: &Authority| ClientSecurity { ca: Some(authority.path()), ..token(ACME) };
    call(&service, &address, &believing(&old)).await.unwrap();
    let renewed = new.server();
    std::fs::copy(&renewed.certificate, &serving.certificate).unwrap();
    // The key does not fit yet: the old pair goes on.
    call(&service, &address, &believing(&old)).await.unwrap();
    std::fs::copy(&renewed.key, &serving.key).unwrap();
    call(&service, &address, &believing(&new)).await.unwrap();
    call(&service, &address, &believing(&old)).await.unwrap_err();
}

#[tokio::test]
async fn a_server_that_others_reach_starts_only_with_tls_and_tokens() {
    let (authority, file) = (Authority::new(), tokens());
    let serve = async |security: ServerSecurity| {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let services = Services::new().gateway(Arc::new(TestGateway::default()));
        services.serve_with(listener, ServerOptions { security, ..ServerOptions::default() }, shutdown).await
    };
    let error = serve(with_tokens(file.path())).await.unwrap_err();
    assert!(error.message.contains("without TLS"), "{error}");
    let security = ServerSecurity { tls: Some(tls(&authority.server())), ..with_tokens(file.path()) };
    serve(security.clone()).await.unwrap();
    serve(ServerSecurity { insecure: true, ..ServerSecurity::default() }).await.unwrap();
    let missing = ServerTls { key: "/nowhere/key.pem".into(), ..tls(&authority.server()) };
    let error = serve(ServerSecurity { tls: Some(missing), ..security.clone() }).await.unwrap_err();
    assert!(error.message.contains("tls_key '/nowhere/key.pem'"), "{error}");
    let foreign = ServerTls { key: authority.client("spiffe://other").key, ..tls(&authority.server()) };
    let error = serve(ServerSecurity { tls: Some(foreign), ..security }).await.unwrap_err();
    assert!(error.message.contains("do not fit"), "{error}");
}

#[tokio::test]
async fn a_token_does_not_leave_the_machine_in_plain_text() {
    let error = client::connect("http://storage:7420", &token(ACME)).unwrap_err();
    assert!(error.message.contains("http://") && !error.message.contains(ACME), "{error}");
    client::connect("http://storage:7420", &ClientSecurity { insecure: true, ..token(ACME) }).unwrap();
    client::connect("http://localhost:7420", &token(ACME)).unwrap();
    let channel = client::connect("https://storage", &token(ACME)).unwrap();
    assert!(!format!("{channel:?}").contains(ACME));
}
