use std::collections::BTreeMap;
use std::time::Duration;

use forebay_api::{Caller, TenantLimits};
use forebay_telemetry::Metrics;

use crate::limits::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, STREAM_LIMIT};
use crate::security::ServerSecurity;

/// How a server is set up. The default serves this machine, in plain text, without asking who calls.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// Who may call.
    pub security: ServerSecurity,
    /// What callers may use.
    pub limits: ServerLimits,
    /// Where calls are counted.
    pub metrics: Metrics,
    /// Whether services can be listed by callers; by default on a loopback address only.
    pub reflection: Option<bool>,
}

/// What callers of one listener may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Open connections; more are closed at once. Default 1,024.
    pub connections: usize,
    /// Calls in work on one connection; a client waits with more. Default 128.
    pub streams: u32,
    /// Calls in work on all connections; more are refused with `RESOURCE_EXHAUSTED` and a delay. Default 1,024.
    pub calls: usize,
    /// What a tenant may use who is not in `tenants`. By default 64 calls at a time.
    pub tenant: TenantLimits,
    /// What single tenants may use.
    pub tenants: BTreeMap<String, TenantLimits>,
    /// How long a TLS handshake may take. Default 5 s.
    pub handshake: Duration,
    /// How long a new connection may wait with its first call. Default 10 s.
    pub first_call: Duration,
    /// How long a connection may be without a call. Default 5 min.
    pub idle_connection: Duration,
    /// How long a connection is used; clients then make another one. Default 1 h.
    pub connection_age: Duration,
    /// How long calls of an old connection may go on. Default 30 s.
    pub connection_grace: Duration,
    /// How long a call of one message each way may take. Default 30 s.
    pub unary: Duration,
    /// How long a client may neither send what is waited for nor read what is sent. Default 60 s.
    pub idle_stream: Duration,
    /// How long calls may go on once the server shuts down. Default 25 s.
    pub drain: Duration,
    /// How long a connection is silent before it is asked for a sign of life. Default 20 s.
    pub keepalive_interval: Duration,
    /// How long it has for its answer. Default 10 s.
    pub keepalive_timeout: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            streams: STREAM_LIMIT,
            calls: 1024,
            tenant: TenantLimits { streams: Some(64), ..TenantLimits::NONE },
            tenants: BTreeMap::new(),
            handshake: Duration::from_secs(5),
            first_call: Duration::from_secs(10),
            idle_connection: Duration::from_secs(300),
            connection_age: Duration::from_secs(3600),
            connection_grace: Duration::from_secs(30),
            unary: Duration::from_secs(30),
            idle_stream: Duration::from_secs(60),
            drain: Duration::from_secs(25),
            keepalive_interval: KEEPALIVE_INTERVAL,
            keepalive_timeout: KEEPALIVE_TIMEOUT,
        }
    }
}

impl ServerLimits {
    /// What a tenant may use. Who calls from this machine or from our own services is limited only by name.
    pub(super) fn of(&self, tenant: &str) -> TenantLimits {
        let is_ours = tenant == Caller::INTERNAL || tenant == Caller::LOCAL;
        let default = if is_ours { TenantLimits::NONE } else { self.tenant };
        self.tenants.get(tenant).copied().unwrap_or(default)
    }
}
