//! The one table between [`ErrorKind`] and gRPC codes, with the reason and the delay in the standard error details.
//!
//! | kind | code | details |
//! |---|---|---|
//! | `InvalidArgument`, `NotFound`, `AlreadyExists`, `FailedPrecondition`, `DeadlineExceeded`, `Cancelled`, `Internal` | the code of that name | `ErrorInfo` |
//! | `QuotaExceeded` | `RESOURCE_EXHAUSTED` | `ErrorInfo`, `RetryInfo` |
//! | `Overloaded` | `UNAVAILABLE` | `ErrorInfo`, `RetryInfo` |
//! | `Unreachable` | `UNAVAILABLE` | none, or `ErrorInfo` with `outcome: unknown` |
//!
//! Only a service that did not process a request answers `UNAVAILABLE` with an `ErrorInfo`; a transport that broke has
//! none, and nobody knows how far the request came.

use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;

use forebay_api::{ErrorKind, ServiceError};
use forebay_proto::common::v1::Failure;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::convert::cut;
use crate::limits::ERROR_LIMIT;

const DOMAIN: &str = "forebay";
const OUTCOME: &str = "outcome";
const UNKNOWN: &str = "unknown";

const fn code_of(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::FailedPrecondition => Code::FailedPrecondition,
        ErrorKind::QuotaExceeded => Code::ResourceExhausted,
        ErrorKind::Overloaded | ErrorKind::Unreachable => Code::Unavailable,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::Internal => Code::Internal,
    }
}

/// What a code means, and the reason of a status that brings none. `refused` is true if a service said itself that
/// it did not process the request.
const fn kind_of(code: Code, refused: bool) -> (ErrorKind, &'static str) {
    match code {
        Code::InvalidArgument => (ErrorKind::InvalidArgument, "INVALID_ARGUMENT"),
        // How tonic refuses a message that is over the limit.
        Code::OutOfRange => (ErrorKind::InvalidArgument, "MESSAGE_TOO_LARGE"),
        Code::NotFound => (ErrorKind::NotFound, "NOT_FOUND"),
        Code::AlreadyExists => (ErrorKind::AlreadyExists, "ALREADY_EXISTS"),
        Code::FailedPrecondition => (ErrorKind::FailedPrecondition, "FAILED_PRECONDITION"),
        Code::Unauthenticated => (ErrorKind::FailedPrecondition, "UNAUTHENTICATED"),
        Code::PermissionDenied => (ErrorKind::FailedPrecondition, "PERMISSION_DENIED"),
        Code::Unimplemented => (ErrorKind::FailedPrecondition, "UNIMPLEMENTED"),
        Code::ResourceExhausted => (ErrorKind::QuotaExceeded, "RESOURCE_EXHAUSTED"),
        Code::Unavailable if refused => (ErrorKind::Overloaded, "UNAVAILABLE"),
        Code::Unavailable | Code::Unknown | Code::Aborted => (ErrorKind::Unreachable, "UNREACHABLE"),
        Code::DeadlineExceeded => (ErrorKind::DeadlineExceeded, "DEADLINE_EXCEEDED"),
        Code::Cancelled => (ErrorKind::Cancelled, "CANCELLED"),
        Code::Internal | Code::DataLoss | Code::Ok => (ErrorKind::Internal, "INTERNAL"),
    }
}

/// An error as it is sent.
pub(crate) fn to_status(error: &ServiceError) -> Status {
    let mut metadata = HashMap::new();
    if error.kind == ErrorKind::Unreachable {
        metadata.insert(OUTCOME.to_owned(), UNKNOWN.to_owned());
    }
    let mut details = ErrorDetails::with_error_info(cut(&error.reason, ERROR_LIMIT), DOMAIN, metadata);
    if error.retry_after.is_some() {
        details.set_retry_info(error.retry_after);
    }
    Status::with_error_details(code_of(error.kind), cut(&error.message, ERROR_LIMIT), details)
}

/// A call that the server itself refuses or ends, with a code that no service uses.
pub(crate) fn refused(code: Code, reason: &str, message: &str) -> Status {
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new()))
}

/// An error as a caller receives it from a service, or from the way to it.
pub(crate) fn from_status(status: &Status) -> ServiceError {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == DOMAIN);
    if info.is_none() && status.source().is_some() && is_transport(status.code()) {
        return ServiceError::new(ErrorKind::Unreachable, "UNREACHABLE", chain(status));
    }
    let unknown = info.is_some_and(|info| info.metadata.get(OUTCOME).is_some_and(|outcome| outcome == UNKNOWN));
    let (kind, default_reason) = kind_of(status.code(), info.is_some() && !unknown);
    ServiceError {
        kind,
        reason: info.map_or(Cow::Borrowed(default_reason), |info| Cow::Owned(info.reason.clone())),
        message: status.message().to_owned(),
        retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
    }
}

/// An error as a service finds it in a caller's stream: whatever broke, the caller is not there to hear of it.
pub(crate) fn from_caller(status: &Status) -> ServiceError {
    if status.source().is_some() && is_transport(status.code()) {
        return ServiceError::new(ErrorKind::Cancelled, "CALLER_GONE", chain(status));
    }
    from_status(status)
}

/// True for the codes that tonic gives to a broken connection or stream; they then have a source.
const fn is_transport(code: Code) -> bool {
    match code {
        Code::Unknown | Code::Internal | Code::Unavailable | Code::Cancelled => true,
        Code::Ok
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

/// The message with its causes: "tcp connect error" alone does not say that the connection was refused.
fn chain(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// A caller's error on its way through a request stream, in the form of a status.
pub(crate) fn to_failure(error: &ServiceError) -> Failure {
    let status = to_status(error);
    Failure {
        code: status.code() as i32,
        message: status.message().to_owned(),
        details: status.details().to_vec().into(),
    }
}

/// A caller's error as a service finds it in the request stream.
pub(crate) fn from_failure(failure: Failure) -> ServiceError {
    from_status(&Status::with_details(Code::from_i32(failure.code), failure.message, failure.details))
}

#[cfg(test)]
mod tests;
