use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use forebay_api::ServiceError;
use forebay_telemetry::trace;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use tonic::body::Body;
use tonic::transport::{self, Error};
use tracing::{Instrument as _, field, info_span};

use crate::security::{RELOAD_INTERVAL, Reloading, TokenSource, wrong};

/// A connection to one server, which is made when it is needed. Every call carries the token, if there is one, and the
/// trace that it is made in, if there is one.
#[derive(Clone)]
pub struct Channel {
    inner: transport::Channel,
    token: Option<Arc<Reloading<HeaderValue>>>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("has_token", &self.token.is_some()).finish_non_exhaustive()
    }
}

impl Channel {
    pub(super) fn new(inner: transport::Channel, token: Option<TokenSource>) -> Result<Self, ServiceError> {
        let token = token.map(|source| {
            let files = source.file().into_iter().collect();
            Reloading::new(files, RELOAD_INTERVAL, move || {
                let value = format!("Bearer {}", source.read()?.expose());
                let mut value = HeaderValue::try_from(value)
                    .map_err(|_| wrong("token", "holds characters that a header cannot carry"))?;
                value.set_sensitive(true);
                Ok(value)
            })
        });
        Ok(Self { inner, token: token.transpose()?.map(Arc::new) })
    }
}

impl tower_service::Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let span = info_span!("call", otel.kind = "client", otel.name = field::Empty, rpc.system = "grpc");
        if !span.is_disabled() {
            span.record("otel.name", request.uri().path().trim_start_matches('/'));
        }
        let headers = request.headers_mut();
        if let Some(context) = trace::traceparent_of(&span).and_then(|context| HeaderValue::try_from(context).ok()) {
            headers.insert(trace::TRACEPARENT, context);
        }
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, HeaderValue::clone(&token.current()));
        }
        Box::pin(self.inner.call(request).instrument(span))
    }
}
