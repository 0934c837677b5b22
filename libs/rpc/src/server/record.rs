use std::time::Instant;

use forebay_telemetry::{ByCode, ByMethod, ByService, Metrics};
use tokio::sync::watch;
use tonic::Code;

use super::methods::Method;

/// One call in the metrics, from its headers to the end of its answer.
#[derive(Debug)]
pub(super) struct Record {
    metrics: Metrics,
    method: Method,
    began: Instant,
    code: Code,
}

impl Record {
    pub(super) fn begin(metrics: Metrics, method: Method) -> Self {
        metrics.calls_in_flight.get_or_create(&ByService { service: method.service }).inc();
        // What is dropped before it ended was given up by the client.
        Self { metrics, method, began: Instant::now(), code: Code::Cancelled }
    }

    pub(super) const fn ends_with(&mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Method { service, name: method, .. } = self.method;
        self.metrics.calls_in_flight.get_or_create(&ByService { service }).dec();
        self.metrics.calls.get_or_create(&ByCode { service, method, code: name_of(self.code) }).inc();
        let seconds = self.began.elapsed().as_secs_f64();
        self.metrics.call_seconds.get_or_create(&ByMethod { service, method }).observe(seconds);
    }
}

const fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The calls of one connection, counted so that it can be closed when there are none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Open {
    pub(super) now: usize,
    pub(super) ever: bool,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Opened(watch::Sender<Open>);

impl Opened {
    pub(super) fn new(open: watch::Sender<Open>) -> Self {
        open.send_modify(|open| *open = Open { now: open.now + 1, ever: true });
        Self(open)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.send_modify(|open| open.now -= 1);
    }
}
