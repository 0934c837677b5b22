//! The services as they answer callers that are somewhere else.

mod enrichment;
mod gateway;
mod inbound;
mod storage;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use forebay_api::{BoxStream, Enrichment, Gateway, ServiceError, Storage};
use forebay_proto::enrichment::v1::enrichment_service_server::EnrichmentServiceServer;
use forebay_proto::gateway::v1::gateway_service_server::GatewayServiceServer;
use forebay_proto::storage::v1::storage_service_server::StorageServiceServer;
use futures::{FutureExt, StreamExt};
use prost::Message;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use self::enrichment::EnrichmentAdapter;
use self::gateway::GatewayAdapter;
use self::storage::StorageAdapter;
use crate::limits::{
    CONNECTION_WINDOW, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MESSAGE_LIMIT, STREAM_LIMIT, STREAM_WINDOW,
};
use crate::status::to_status;

/// The services behind one listener.
#[derive(Clone, Default)]
pub struct Services {
    routes: Routes,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

impl Services {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a gateway.
    pub fn gateway(self, gateway: Arc<dyn Gateway>) -> Self {
        let service = GatewayServiceServer::new(GatewayAdapter(gateway));
        let service = service.max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT);
        Self { routes: self.routes.add_service(service) }
    }

    /// Adds an enrichment service.
    pub fn enrichment(self, enrichment: Arc<dyn Enrichment>) -> Self {
        let service = EnrichmentServiceServer::new(EnrichmentAdapter(enrichment));
        let service = service.max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT);
        Self { routes: self.routes.add_service(service) }
    }

    /// Adds a storage writer.
    pub fn storage(self, storage: Arc<dyn Storage>) -> Self {
        let service = StorageServiceServer::new(StorageAdapter(storage));
        let service = service.max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT);
        Self { routes: self.routes.add_service(service) }
    }

    /// Answers callers until `shutdown`; then takes no more calls, and returns when the last one has ended. Services
    /// end their long streams themselves; whoever waits decides how long.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), ServiceError> {
        Server::builder()
            .max_concurrent_streams(STREAM_LIMIT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_routes(self.routes)
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                shutdown.cancelled_owned(),
            )
            .await
            .map_err(|error| ServiceError::internal(format!("the gRPC server stopped: {error}")))
    }
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
