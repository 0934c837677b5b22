use std::collections::BTreeMap;

use forebay_api::BoxStream;
use forebay_proto::enrichment::v1::enrichment_service_server::SERVICE_NAME as ENRICHMENT;
use forebay_proto::gateway::v1::gateway_service_server::SERVICE_NAME as GATEWAY;
use forebay_proto::storage::v1::storage_service_server::SERVICE_NAME as STORAGE;
use futures::stream::{self, StreamExt};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health as HealthService;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// A service that can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceName {
    /// The door for clients.
    Gateway,
    /// Keys to columns.
    Enrichment,
    /// The writer.
    Storage,
}

impl ServiceName {
    /// Its full name on the wire.
    pub const fn full(self) -> &'static str {
        match self {
            Self::Gateway => GATEWAY,
            Self::Enrichment => ENRICHMENT,
            Self::Storage => STORAGE,
        }
    }
}

/// Which services take work, for `grpc.health.v1` and for `/readyz`. Clones are the same. Its owner changes it when
/// something that a service cannot do without goes away; a server that drains serves nothing.
#[derive(Clone, Debug)]
pub struct Health(watch::Sender<BTreeMap<ServiceName, bool>>);

impl Default for Health {
    fn default() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }
}

impl Health {
    /// Says whether a service takes work.
    pub fn set(&self, service: ServiceName, serving: bool) {
        self.0.send_if_modified(|services| services.insert(service, serving) != Some(serving));
    }

    /// True while there are services, and all of them take work.
    pub fn is_serving(&self) -> bool {
        let services = self.0.borrow();
        !services.is_empty() && services.values().all(|serving| *serving)
    }

    /// The services, whether they take work or not.
    pub(super) fn services(&self) -> Vec<ServiceName> {
        self.0.borrow().keys().copied().collect()
    }

    pub(super) fn stop(&self) {
        self.0.send_modify(|services| services.values_mut().for_each(|serving| *serving = false));
    }

    /// The status of a service by its full name, or of all by the empty name; none if there is no such service.
    fn status(&self, name: &str) -> Option<ServingStatus> {
        let is_serving = if name.is_empty() {
            self.is_serving()
        } else {
            *self.0.borrow().iter().find(|(service, _)| service.full() == name)?.1
        };
        Some(if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing })
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl HealthService for Health {
    type WatchStream = BoxStream<Result<HealthCheckResponse, Status>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let name = &request.get_ref().service;
        match self.status(name) {
            Some(status) => Ok(Response::new(answer(status))),
            None => Err(Status::not_found("this server does not have the service")),
        }
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let name = request.into_inner().service;
        let changes = (self.clone(), self.0.subscribe(), None::<ServingStatus>);
        let statuses = stream::unfold(changes, move |(health, mut changes, last)| {
            let name = name.clone();
            async move {
                loop {
                    changes.mark_unchanged();
                    let status = health.status(&name).unwrap_or(ServingStatus::ServiceUnknown);
                    if last != Some(status) {
                        return Some((Ok(answer(status)), (health, changes, Some(status))));
                    }
                    changes.changed().await.ok()?;
                }
            }
        });
        Ok(Response::new(statuses.boxed()))
    }
}
