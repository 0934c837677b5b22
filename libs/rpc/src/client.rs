//! The services as a caller has them when they are somewhere else.

mod call;
mod enrichment;
mod gateway;
mod storage;

use forebay_api::ServiceError;
pub use tonic::transport::Channel;
use tonic::transport::Endpoint;

pub use self::enrichment::EnrichmentClient;
pub use self::gateway::GatewayClient;
pub use self::storage::StorageClient;
use crate::limits::{CONNECT_TIMEOUT, CONNECTION_WINDOW, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, STREAM_WINDOW};

/// A channel to `address`, such as `http://storage:7420`; without a scheme it is `http`. It connects when it is first
/// used, and again after the connection broke, so that services can start in any order. Needs a tokio runtime.
pub fn connect(address: &str) -> Result<Channel, ServiceError> {
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(url).map_err(|error| {
        ServiceError::invalid(
            "INVALID_ADDRESS",
            format!("'{address}' is not an address: write http://host:port ({error})"),
        )
    })?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_lazy())
}
