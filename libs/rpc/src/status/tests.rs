#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;

/// Every kind; the compiler finds one that is missing.
fn next(kind: Option<ErrorKind>) -> Option<ErrorKind> {
    match kind {
        None => Some(ErrorKind::InvalidArgument),
        Some(ErrorKind::InvalidArgument) => Some(ErrorKind::NotFound),
        Some(ErrorKind::NotFound) => Some(ErrorKind::AlreadyExists),
        Some(ErrorKind::AlreadyExists) => Some(ErrorKind::FailedPrecondition),
        Some(ErrorKind::FailedPrecondition) => Some(ErrorKind::QuotaExceeded),
        Some(ErrorKind::QuotaExceeded) => Some(ErrorKind::Overloaded),
        Some(ErrorKind::Overloaded) => Some(ErrorKind::Unreachable),
        Some(ErrorKind::Unreachable) => Some(ErrorKind::DeadlineExceeded),
        Some(ErrorKind::DeadlineExceeded) => Some(ErrorKind::Cancelled),
        Some(ErrorKind::Cancelled) => Some(ErrorKind::Internal),
        Some(ErrorKind::Internal) => None,
    }
}

fn kinds() -> impl Iterator<Item = ErrorKind> {
    std::iter::successors(next(None), |kind| next(Some(*kind)))
}

fn header_trip(status: &Status) -> Status {
    let mut headers = Default::default();
    status.add_header(&mut headers).unwrap();
    Status::from_header_map(&headers).unwrap()
}

#[test]
fn every_kind_survives_the_trip_with_and_without_a_delay() {
    for kind in kinds() {
        for retry_after in [None, Some(Duration::ZERO), Some(Duration::from_millis(1_234_567))] {
            let error =
                ServiceError { retry_after, ..ServiceError::new(kind, "SOME_REASON", "why: é \"%\"\nand how") };
            assert_eq!(from_status(&header_trip(&to_status(&error))), error);
            assert_eq!(from_failure(to_failure(&error)), error);
        }
    }
}

#[test]
fn an_unknown_reason_of_a_newer_server_keeps_its_kind_and_its_text() {
    let status = Status::with_error_details(
        Code::FailedPrecondition,
        "no",
        ErrorDetails::with_error_info("INVENTED_LATER", DOMAIN, HashMap::from([("new".to_owned(), "key".to_owned())])),
    );
    let error = from_status(&status);
    assert_eq!((error.kind, &*error.reason), (ErrorKind::FailedPrecondition, "INVENTED_LATER"));
}

#[test]
fn statuses_of_others_have_a_kind_and_a_reason() {
    for (code, kind, reason) in [
        (Code::Ok, ErrorKind::Internal, "INTERNAL"),
        (Code::Unknown, ErrorKind::Unreachable, "UNREACHABLE"),
        (Code::Unavailable, ErrorKind::Unreachable, "UNREACHABLE"),
        (Code::OutOfRange, ErrorKind::InvalidArgument, "MESSAGE_TOO_LARGE"),
        (Code::Unimplemented, ErrorKind::FailedPrecondition, "UNIMPLEMENTED"),
        (Code::Unauthenticated, ErrorKind::FailedPrecondition, "UNAUTHENTICATED"),
        (Code::ResourceExhausted, ErrorKind::QuotaExceeded, "RESOURCE_EXHAUSTED"),
        (Code::DataLoss, ErrorKind::Internal, "INTERNAL"),
    ] {
        let error = from_status(&Status::new(code, "said the proxy"));
        assert_eq!((error.kind, &*error.reason, error.retry_after), (kind, reason, None), "{code:?}");
        let foreign = ErrorDetails::with_error_info("THEIRS", "example.com", HashMap::new());
        let error = from_status(&Status::with_error_details(code, "said the proxy", foreign));
        assert_eq!((error.kind, &*error.reason), (kind, reason), "{code:?}");
    }
}

#[test]
fn a_broken_transport_leaves_the_outcome_open_for_a_caller_and_means_a_caller_gone_for_a_service() {
    let broken = || -> Status { Status::from_error(Box::new(std::io::Error::other("connection reset by peer"))) };
    let error = from_status(&broken());
    assert_eq!((error.kind, &*error.reason), (ErrorKind::Unreachable, "UNREACHABLE"));
    assert!(error.message.contains("connection reset by peer"), "{error}");
    let error = from_caller(&broken());
    assert_eq!((error.kind, &*error.reason), (ErrorKind::Cancelled, "CALLER_GONE"));
}

#[test]
fn a_long_message_is_cut_so_that_it_fits_into_a_header() {
    let error = ServiceError::invalid("LONG", "é".repeat(100_000));
    let mut headers = Default::default();
    to_status(&error).add_header(&mut headers).unwrap();
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    assert!(size < 16 << 10, "{size}");
    let back = from_status(&Status::from_header_map(&headers).unwrap());
    assert_eq!((back.kind, back.reason), (error.kind, error.reason));
    assert!(error.message.starts_with(back.message.trim_end_matches('…')));
}
