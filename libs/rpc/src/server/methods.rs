use std::collections::HashMap;
use std::sync::LazyLock;

use forebay_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::FileDescriptorSet;

use super::ServiceName;

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// Probes, which have nothing to show.
    Everybody,
    /// Tenants, and our own services.
    Tenants,
    /// Our own services.
    Internal,
}

/// What a server must know of a method before it reads a call's body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    pub(super) service: &'static str,
    pub(super) name: &'static str,
    pub(super) audience: Audience,
    /// One message each way, and an answer that does not wait for other work.
    pub(super) is_unary: bool,
    /// The client is somebody else's program: it is not waited for without end.
    pub(super) is_bounded: bool,
}

/// All methods that are not in the list, so that a caller's inventions are not labels of metrics.
const UNKNOWN: Method =
    Method { service: "unknown", name: "unknown", audience: Audience::Tenants, is_unary: false, is_bounded: true };

/// Every method of our files and of the standard health service, by its path. It lives as long as the process.
static METHODS: LazyLock<HashMap<String, Method>> = LazyLock::new(|| {
    let mut methods = HashMap::new();
    for set in [
        FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ] {
        // Made at build time: the tests would find one that cannot be read.
        let files = FileDescriptorSet::decode(set).unwrap_or_default().file;
        for (package, service) in
            files.iter().flat_map(|file| file.service.iter().map(|service| (file.package(), service)))
        {
            let full: &'static str = format!("{package}.{}", service.name()).leak();
            for method in &service.method {
                let is_unary = !method.client_streaming() && !method.server_streaming();
                let name: &'static str = method.name().to_owned().leak();
                methods.insert(format!("/{full}/{name}"), known(full, name, is_unary));
            }
        }
    }
    methods
});

fn known(service: &'static str, name: &'static str, is_unary: bool) -> Method {
    let is_internal = service == ServiceName::Storage.full() || service == ServiceName::Enrichment.full();
    let audience = match (service, name) {
        _ if is_internal => Audience::Internal,
        // Watching holds a stream, so a watcher says who it is.
        ("grpc.health.v1.Health", "Check") => Audience::Everybody,
        _ => Audience::Tenants,
    };
    // A flush returns when readers see its commit, and an attempt or keys may pause while a chunk is computed: our own
    // services decide for themselves how long they wait, and the connection's keep-alive finds a dead one.
    Method { service, name, audience, is_unary: is_unary && !is_internal, is_bounded: !is_internal }
}

impl Method {
    pub(super) fn of(path: &str) -> Self {
        METHODS.get(path).copied().unwrap_or(UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_has_its_audience_and_its_bounds() {
        for (path, audience, is_unary, is_bounded) in [
            ("/forebay.gateway.v1.GatewayService/GetJob", Audience::Tenants, true, true),
            ("/forebay.gateway.v1.GatewayService/Submit", Audience::Tenants, false, true),
            ("/forebay.storage.v1.StorageService/Flush", Audience::Internal, false, false),
            ("/forebay.storage.v1.StorageService/WriteAttempt", Audience::Internal, false, false),
            ("/forebay.enrichment.v1.EnrichmentService/Enrich", Audience::Internal, false, false),
            ("/grpc.health.v1.Health/Check", Audience::Everybody, true, true),
            ("/grpc.health.v1.Health/Watch", Audience::Tenants, false, true),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Audience::Tenants, false, true),
            ("/no/such", Audience::Tenants, false, true),
        ] {
            let method = Method::of(path);
            assert_eq!(
                (method.audience, method.is_unary, method.is_bounded),
                (audience, is_unary, is_bounded),
                "{path}"
            );
        }
        assert_eq!(Method::of("/grpc.health.v1.Health/Check").name, "Check");
        assert_eq!(Method::of("/no/such").service, "unknown");
    }
}
