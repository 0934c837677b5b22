//! The services as a caller has them when they are somewhere else.

mod call;
mod channel;
mod connector;
mod enrichment;
mod gateway;
mod storage;

use forebay_api::ServiceError;
use http::Uri;
use http::uri::Scheme;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::transport::Endpoint;

pub use self::channel::Channel;
use self::connector::{Connector, Tls};
pub use self::enrichment::EnrichmentClient;
pub use self::gateway::GatewayClient;
pub use self::storage::StorageClient;
use crate::limits::{
    CONNECT_TIMEOUT, CONNECTION_WINDOW, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, STREAM_WINDOW, WIRE_FRAME,
};
pub use crate::security::{ClientSecurity, Secret, TokenSource};
use crate::security::{RELOAD_INTERVAL, Reloading, client_config, wrong};

/// A channel to `address`, such as `https://storage:7420`; without a scheme it is `http`. It connects when it is first
/// used, and again after the connection broke, so that services can start in any order. Needs a tokio runtime.
///
/// # Errors
/// If the address is none, a file cannot be read, or a token would go to another machine in plain text.
pub fn connect(address: &str, security: &ClientSecurity) -> Result<Channel, ServiceError> {
    let wrong_address = |why: &str| {
        ServiceError::invalid(
            "INVALID_ADDRESS",
            format!("'{address}' is not an address: write http://host:port or https://host:port ({why})"),
        )
    };
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| wrong_address(&error.to_string()))?;
    let (Some(scheme), Some(host)) = (uri.scheme(), uri.host()) else {
        return Err(wrong_address("the host is missing"));
    };
    let tls = if *scheme == Scheme::HTTPS {
        Some(tls(security, host)?)
    } else if *scheme == Scheme::HTTP {
        check_plain(security, host)?;
        None
    } else {
        return Err(wrong_address("another scheme than http or https"));
    };
    // The connector encrypts, so that certificates are read again: to tonic it is a plain connection to that origin.
    let mut plain = uri.clone().into_parts();
    plain.scheme = Some(Scheme::HTTP);
    if tls.is_some() && uri.port().is_none() {
        plain.authority = Some(format!("{host}:443").parse().map_err(|_| wrong_address("the host is none"))?);
    }
    let plain = Uri::from_parts(plain).map_err(|error| wrong_address(&error.to_string()))?;
    let endpoint = Endpoint::from(plain)
        .origin(uri)
        .connect_timeout(CONNECT_TIMEOUT)
        .max_frame_size(WIRE_FRAME)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    Channel::new(endpoint.connect_with_connector_lazy(Connector::new(tls)), security.token.clone())
}

fn tls(security: &ClientSecurity, host: &str) -> Result<Tls, ServiceError> {
    let name = security.server_name.as_deref().unwrap_or(host);
    let name = ServerName::try_from(name.trim_start_matches('[').trim_end_matches(']').to_owned())
        .map_err(|_| wrong("server name", &format!("'{name}' is neither a host's name nor an IP address")))?;
    let files = [&security.ca, &security.certificate, &security.key].into_iter().flatten().cloned().collect();
    let security = security.clone();
    Ok(Tls::new(Reloading::new(files, RELOAD_INTERVAL, move || client_config(&security))?, name))
}

fn check_plain(security: &ClientSecurity, host: &str) -> Result<(), ServiceError> {
    if security.ca.is_some() || security.certificate.is_some() {
        return Err(wrong("address", "is http://, and certificates are only used with https://"));
    }
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = address == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if security.token.is_some() && !is_here && !security.insecure {
        let why = format!(
            "is http://, and the token would be readable on the way to '{host}': use https://, or insecure: true"
        );
        return Err(wrong("address", &why));
    }
    Ok(())
}
