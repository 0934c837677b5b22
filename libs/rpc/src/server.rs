//! The services as they answer callers that are somewhere else.
//!
//! Between the network and a service lie, in this order: the connection limit and the TLS handshake (`connection`);
//! who calls, and a place among the calls (`door`), before anything of the body is read; and the watch over a client
//! that neither sends nor reads (`activity`). The connection is ours and not tonic's, because tonic's has one
//! certificate for ever, no limit on connections, and cuts an old connection off without a word.

mod activity;
mod body;
mod connection;
mod door;
mod enrichment;
mod gateway;
mod health;
mod inbound;
mod methods;
mod options;
mod record;
mod storage;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use forebay_api::{BoxStream, Caller, Enrichment, Gateway, ServiceError, Storage};
use forebay_proto::FILE_DESCRIPTOR_SET;
use forebay_proto::enrichment::v1::enrichment_service_server::EnrichmentServiceServer;
use forebay_proto::gateway::v1::gateway_service_server::GatewayServiceServer;
use forebay_proto::storage::v1::storage_service_server::StorageServiceServer;
use futures::{FutureExt, StreamExt};
use prost::Message;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Status};
use tonic_health::pb::health_server::HealthServer;

use self::connection::Tls;
use self::door::Shared;
use self::enrichment::EnrichmentAdapter;
use self::gateway::GatewayAdapter;
pub use self::health::{Health, ServiceName};
pub use self::options::{ServerLimits, ServerOptions};
use self::storage::StorageAdapter;
use crate::limits::MESSAGE_LIMIT;
use crate::security::{Reloading, ServerSecurity, server_config};
use crate::status::to_status;

/// The services behind one listener.
#[derive(Clone, Default)]
pub struct Services {
    routes: Routes,
    health: Health,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("health", &self.health).finish_non_exhaustive()
    }
}

impl Services {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a gateway.
    pub fn gateway(mut self, gateway: Arc<dyn Gateway>) -> Self {
        let service = GatewayServiceServer::new(GatewayAdapter(gateway));
        let service = service.max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT);
        self.routes = self.routes.add_service(service);
        self.health.set(ServiceName::Gateway, true);
        self
    }

    /// Adds an enrichment service.
    pub fn enrichment(mut self, enrichment: Arc<dyn Enrichment>) -> Self {
        let service = EnrichmentServiceServer::new(EnrichmentAdapter(enrichment));
        let service = service.max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT);
        self.routes = self.routes.add_service(service);
        self.health.set(ServiceName::Enrichment, true);
        self
    }

    /// Adds a storage writer.
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        let service = StorageServiceServer::new(StorageAdapter(storage));
        let service = service.max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT);
        self.routes = self.routes.add_service(service);
        self.health.set(ServiceName::Storage, true);
        self
    }

    /// Which of them take work. All do from when they are added until the server shuts down, unless somebody says
    /// otherwise.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Answers callers of this machine until `shutdown`, as [`ServerOptions::default`] has it.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), ServiceError> {
        self.serve_with(listener, ServerOptions::default(), shutdown).await
    }

    /// Answers callers until `shutdown`. Then it takes no more connections or calls, waits for the calls in work for
    /// [`ServerLimits::drain`], ends those that are left with `UNAVAILABLE`, and returns.
    ///
    /// # Errors
    /// At once, and with the setting's name, if files cannot be read, settings do not fit each other, or the listener
    /// is open to others without TLS and authentication.
    pub async fn serve_with(
        self,
        listener: TcpListener,
        options: ServerOptions,
        shutdown: CancellationToken,
    ) -> Result<(), ServiceError> {
        let address = connection::address(&listener)?;
        options.security.check(address)?;
        let health = self.health.clone();
        let tls = tls(&options.security, health.services().contains(&ServiceName::Gateway))?;
        let reflection = options.reflection.unwrap_or(address.ip().is_loopback());
        let shared = Arc::new(Shared::new(self.into_routes(reflection)?, options)?);
        tracing::info!(%address, tls = tls.is_some(), reflection, "services are served");
        let draining = {
            let (health, shutdown) = (health.clone(), shutdown.clone());
            async move {
                shutdown.cancelled().await;
                health.stop();
            }
        };
        futures::join!(connection::serve(listener, shared, tls, shutdown), draining);
        Ok(())
    }

    fn into_routes(self, reflection: bool) -> Result<Routes, ServiceError> {
        let routes = self.routes.add_service(HealthServer::new(self.health.clone()));
        if !reflection {
            return Ok(routes);
        }
        let unreadable = |error| ServiceError::internal(format!("the descriptors cannot be read: {error}"));
        let listed = || {
            let builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .with_service_name("grpc.health.v1.Health");
            self.health.services().iter().fold(builder, |builder, service| builder.with_service_name(service.full()))
        };
        let (newer, older) = (listed().build_v1().map_err(unreadable)?, listed().build_v1alpha().map_err(unreadable)?);
        Ok(routes.add_service(newer).add_service(older))
    }
}

fn tls(security: &ServerSecurity, for_clients: bool) -> Result<Option<Tls>, ServiceError> {
    let Some(tls) = security.tls.clone() else {
        return Ok(None);
    };
    let files = [&tls.certificate, &tls.key].into_iter().chain(&tls.client_ca).cloned().collect();
    let reloading = Reloading::new(files, security.reload_interval, move || server_config(&tls, for_clients))?;
    Ok(Some(Arc::new(reloading)))
}

/// Who makes a call. A request that came through no door was made in this process.
fn caller_of<M>(request: &Request<M>) -> Caller {
    request.extensions().get().cloned().unwrap_or_else(Caller::local)
}

/// Calls a service. A panic in it is an error of this call; the process and its other calls go on.
async fn call<T>(call: impl Future<Output = Result<T, ServiceError>>) -> Result<T, Status> {
    let result = AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|_| Err(panicked()));
    result.map_err(|error| to_status(&error))
}

/// The items of a service's stream as answers, each made when there is room for it.
fn answers<T: Send + 'static, M: Message + 'static>(
    items: BoxStream<Result<T, ServiceError>>,
    wrap: fn(T) -> M,
) -> BoxStream<Result<M, Status>> {
    let items = AssertUnwindSafe(items).catch_unwind().map(|item| item.unwrap_or_else(|_| Err(panicked())));
    items.map(move |item| item.map(wrap).map_err(|error| to_status(&error)).and_then(sendable)).boxed()
}

fn panicked() -> ServiceError {
    ServiceError::internal("the service panicked: its log says where")
}

fn sendable<M: Message>(answer: M) -> Result<M, Status> {
    let size = answer.encoded_len();
    if size <= MESSAGE_LIMIT {
        return Ok(answer);
    }
    let message = format!("an answer of {size} bytes cannot be sent: the limit is {MESSAGE_LIMIT} bytes");
    Err(to_status(&ServiceError::internal(message)))
}
