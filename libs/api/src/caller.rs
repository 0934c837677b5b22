use std::sync::Arc;

/// What one tenant may use at a time. None means that there is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantLimits {
    /// Calls in work; counted by the server, before the gateway sees them.
    pub streams: Option<u32>,
    /// Jobs that have not ended; counted by the gateway.
    pub jobs: Option<u32>,
    /// Bytes in staging; counted by the gateway.
    pub staged_bytes: Option<u64>,
}

impl TenantLimits {
    /// No limit at all.
    pub const NONE: Self = Self { streams: None, jobs: None, staged_bytes: None };
}

/// Who makes a call, as the server found out before it read anything else. Jobs belong to tenants: what one submits,
/// no other can see, end or resume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    tenant: Arc<str>,
    limits: TenantLimits,
}

impl Caller {
    /// The tenant of whoever calls in the same process, and of a server that asks nobody who they are.
    pub const LOCAL: &'static str = "local";

    /// The tenant of our own services. Only it may call storage and enrichment.
    pub const INTERNAL: &'static str = "internal";

    /// A tenant with its limits.
    pub fn new(tenant: impl Into<Arc<str>>, limits: TenantLimits) -> Self {
        Self { tenant: tenant.into(), limits }
    }

    /// The caller in the same process, without limits.
    pub fn local() -> Self {
        Self::new(Self::LOCAL, TenantLimits::NONE)
    }

    /// Whom the job belongs to.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// What this tenant may use.
    pub const fn limits(&self) -> &TenantLimits {
        &self.limits
    }
}
