use std::borrow::Cow;
use std::time::Duration;

/// What happened to a caller's request, and so whether to repeat it. Mapped to gRPC codes in one place,
/// `forebay-rpc`'s `status` module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request can never succeed as it is. Do not repeat it.
    InvalidArgument,
    /// What it names does not exist.
    NotFound,
    /// Something with that name exists already and is different.
    AlreadyExists,
    /// The state of things forbids it: change that first, then repeat it.
    FailedPrecondition,
    /// The caller's own limit is used up. Repeat it after the delay.
    QuotaExceeded,
    /// We are full, and the request was not processed. Repeat it after the delay.
    Overloaded,
    /// The other side could not be reached; the outcome is unknown. Repeat it if it is idempotent.
    Unreachable,
    /// It took too long; the outcome is unknown.
    DeadlineExceeded,
    /// The caller gave it up.
    Cancelled,
    /// A bug, or a dependency that stayed broken through all retries.
    Internal,
}

/// A failed call: the kind says what to do, the reason is a stable code for scripts, the message is for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ServiceError {
    /// What happened to the request.
    pub kind: ErrorKind,
    /// Stable code, such as `JOB_NOT_FOUND`. A newer server's code, unknown here, comes through as it is.
    pub reason: Cow<'static, str>,
    /// What went wrong and what to do about it; never holds record data.
    pub message: String,
    /// When to try again, if that helps.
    pub retry_after: Option<Duration>,
}

impl ServiceError {
    /// An error without a retry delay.
    pub fn new(kind: ErrorKind, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), message: message.into(), retry_after: None }
    }

    /// A bug or a broken dependency.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, "INTERNAL", message)
    }

    /// A request that can never succeed.
    pub fn invalid(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, reason, message)
    }
}
