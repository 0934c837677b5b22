use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forebay_api::{Caller, ErrorKind, ServiceError};
use forebay_telemetry::{ByReason, trace};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower_service::Service as _;
use tracing::{Instrument as _, Span, field, info_span};

use super::activity::{Activity, End};
use super::body::{Answered, Held, Holder, Received};
use super::methods::{Audience, Method};
use super::options::ServerOptions;
use super::record::{Open, Opened, Record};
use crate::security::{Access, Identity, Reloading};
use crate::status::{refused, to_status};

/// When to try again after a refusal for want of room.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What all connections of a listener share.
pub(super) struct Shared {
    routes: Routes,
    access: Option<Reloading<Access>>,
    pub(super) options: ServerOptions,
    calls: Arc<Semaphore>,
    tenants: Mutex<HashMap<Arc<str>, u32>>,
}

impl Shared {
    pub(super) fn new(routes: Routes, options: ServerOptions) -> Result<Self, ServiceError> {
        let security = options.security.clone();
        let access = security.authenticates().then(|| {
            let (files, interval) = (Access::files(&security), security.reload_interval);
            Reloading::new(files, interval, move || Access::read(&security))
        });
        let calls = Arc::new(Semaphore::new(options.limits.calls));
        Ok(Self { routes: routes.prepare(), access: access.transpose()?, options, calls, tenants: Mutex::default() })
    }
}

/// What a call occupies until its answer ends.
struct Place {
    _all: OwnedSemaphorePermit,
    shared: Arc<Shared>,
    tenant: Arc<str>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut tenants = self.shared.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = tenants.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                tenants.remove(&self.tenant);
            }
        }
    }
}

/// Where the calls of one connection come in: nothing of a body is read before its caller is known and has a place.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) shared: Arc<Shared>,
    /// The names of the client's certificate, if it has shown one.
    pub(super) names: Arc<[String]>,
    pub(super) open: watch::Sender<Open>,
    /// Cancelled when the calls of this connection must end.
    pub(super) end: CancellationToken,
}

impl hyper::service::Service<Request<Incoming>> for Door {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let door = self.clone();
        Box::pin(async move { Ok(door.answer(request).await) })
    }
}

impl Door {
    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let method = Method::of(request.uri().path());
        let opened = Opened::new(self.open.clone());
        let mut record = Record::begin(self.shared.options.metrics.clone(), method);
        let (caller, place) = match self.admit(method, request.headers()) {
            Ok(admitted) => admitted,
            Err(status) => {
                record.ends_with(status.code());
                return status.into_http();
            }
        };
        let span = span(method, &caller, request.headers());
        let call = Call { door: self, method, record, place: (place, opened), span: span.clone() };
        call.run(request, caller).instrument(span).await
    }

    /// Who calls, and their place among the calls.
    fn admit(&self, method: Method, headers: &HeaderMap) -> Result<(Caller, Place), Status> {
        let admitted = self.identify(method, headers).and_then(|caller| Ok((self.place(&caller)?, caller)));
        admitted.map(|(place, caller)| (caller, place)).map_err(|(reason, status)| {
            self.shared.options.metrics.calls_refused.get_or_create(&ByReason { reason }).inc();
            status
        })
    }

    fn identify(&self, method: Method, headers: &HeaderMap) -> Result<Caller, (&'static str, Status)> {
        let limits = &self.shared.options.limits;
        let Some(access) = &self.shared.access else {
            return Ok(Caller::new(Caller::LOCAL, limits.of(Caller::LOCAL)));
        };
        let access = access.current();
        let tenant = match (bearer(headers), method.audience) {
            // A probe shows nothing.
            (None, Audience::Everybody) => Some(Caller::LOCAL.into()),
            (None, Audience::Tenants | Audience::Internal) => access.tenant(Identity::Certificate(&self.names)),
            (Some(token), _) => access.tenant(Identity::Token(token)),
        };
        let Some(tenant) = tenant else {
            let why = "say who you are: send 'authorization: Bearer TOKEN' with a token that this server knows, or a \
                       certificate that it trusts";
            return Err(("UNAUTHENTICATED", refused(Code::Unauthenticated, "UNAUTHENTICATED", why)));
        };
        if method.audience == Audience::Internal && &*tenant != Caller::INTERNAL {
            let why = "only our own services may call this one";
            return Err(("PERMISSION_DENIED", refused(Code::PermissionDenied, "PERMISSION_DENIED", why)));
        }
        let limits = limits.of(&tenant);
        Ok(Caller::new(tenant, limits))
    }

    fn place(&self, caller: &Caller) -> Result<Place, (&'static str, Status)> {
        let full = |reason: &'static str, message: String| {
            let error = ServiceError::new(ErrorKind::QuotaExceeded, reason, message);
            (reason, to_status(&ServiceError { retry_after: Some(RETRY_AFTER), ..error }))
        };
        let Ok(all) = Arc::clone(&self.shared.calls).try_acquire_owned() else {
            let limit = self.shared.options.limits.calls;
            return Err(full("TOO_MANY_CALLS", format!("the server has {limit} calls in work already")));
        };
        let tenant: Arc<str> = caller.tenant().into();
        let mut tenants = self.shared.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let count = tenants.entry(Arc::clone(&tenant)).or_default();
        if let Some(limit) = caller.limits().streams.filter(|limit| *count >= *limit) {
            return Err(full("TOO_MANY_STREAMS", format!("the tenant has {limit} calls in work already")));
        }
        *count += 1;
        drop(tenants);
        Ok(Place { _all: all, shared: Arc::clone(&self.shared), tenant })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    // What has another scheme is a credential too, and one that nobody has.
    let (scheme, token) = value.split_at_checked("Bearer ".len()).unwrap_or((&[], &[]));
    Some(if scheme.eq_ignore_ascii_case(b"Bearer ") { token } else { &[] })
}

fn span(method: Method, caller: &Caller, headers: &HeaderMap) -> Span {
    let span = info_span!(
        "call",
        otel.kind = "server",
        otel.name = field::Empty,
        rpc.system = "grpc",
        rpc.service = method.service,
        rpc.method = method.name,
        tenant = caller.tenant(),
    );
    if !span.is_disabled() {
        span.record("otel.name", format!("{}/{}", method.service, method.name));
        if let Some(parent) = headers.get(trace::TRACEPARENT).and_then(|value| value.to_str().ok()) {
            trace::follow(&span, parent);
        }
    }
    span
}

/// A call that is let in.
struct Call {
    door: Door,
    method: Method,
    record: Record,
    place: (Place, Opened),
    span: Span,
}

impl Call {
    async fn run(self, request: Request<Incoming>, caller: Caller) -> Response<Body> {
        let Self { door, method, mut record, place, span } = self;
        let limits = &door.shared.options.limits;
        let (activity, holder) = (Arc::new(Activity::new()), Holder::default());
        let idle = method.is_bounded.then_some(limits.idle_stream);
        let watch = watch_call(Arc::clone(&activity), holder.clone(), door.end.clone(), idle);
        let watch = AbortOnDropHandle::new(tokio::spawn(watch));
        let mut request = request.map(|body| Received::new(body, Arc::clone(&activity)));
        request.extensions_mut().insert(caller);
        let mut routes = door.shared.routes.clone();
        let too_long = async {
            if method.is_unary { tokio::time::sleep(limits.unary).await } else { std::future::pending().await }
        };
        let answer = tokio::select! {
            answer = routes.call(request) => answer.unwrap_or_else(|never| match never {}),
            () = activity.ended.cancelled() => ended(&activity, &mut record),
            () = too_long => {
                activity.finish(End::TooLong);
                ended(&activity, &mut record)
            }
        };
        // The service may have noticed first that its client's stream was ended, and say so in its own words.
        let answer = if activity.end().is_some() { ended(&activity, &mut record) } else { answer };
        if let Some(status) = Status::from_header_map(answer.headers()) {
            record.ends_with(status.code());
        }
        answer.map(|body| {
            holder.put(Held { body, record, _place: Box::new(place) });
            if let Some(end) = activity.end() {
                // It came too late: the watch has looked already.
                holder.release(end.status().code());
            }
            Body::new(Answered { holder, activity, span, is_over: false, _watch: watch })
        })
    }
}

fn ended(activity: &Activity, record: &mut Record) -> Response<Body> {
    let status = activity.end().unwrap_or(End::Leaving).status();
    record.ends_with(status.code());
    status.into_http()
}

/// Ends a call whose client does nothing, and every call when the connection must end.
async fn watch_call(activity: Arc<Activity>, holder: Holder, end: CancellationToken, idle: Option<Duration>) {
    let is_idle = async {
        match idle {
            Some(limit) => activity.idle(limit).await,
            None => std::future::pending().await,
        }
    };
    let why = tokio::select! {
        () = end.cancelled() => End::Leaving,
        () = is_idle => End::Idle,
    };
    activity.finish(why);
    holder.release(why.status().code());
    activity.outbound.wake();
}
