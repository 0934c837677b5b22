use forebay_api::{ErrorKind, ServiceError};
use forebay_catalog::CatalogError;
use forebay_objects::StoreError;
use forebay_steps::StepError;

/// Why an attempt did not come through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Something that another try may get past.
    #[error("{0}")]
    Transient(String),
    /// A model for which there is room when those of other jobs are done.
    #[error("{0}")]
    NoRoom(String),
    /// Something that no other try gets past: the job fails, and says so.
    #[error("{0}")]
    Fatal(String),
    /// The attempt is not the newest any more, or the job has ended. Nothing is to be done.
    #[error("the attempt was given up")]
    Stale,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Store { transient: true, .. } => Self::Transient(error.to_string()),
            _ => Self::Fatal(error.to_string()),
        }
    }
}

impl From<CatalogError> for Failure {
    fn from(error: CatalogError) -> Self {
        let message = error.to_string();
        if message.contains("disk is full") {
            return Self::Fatal(message);
        }
        Self::Transient(message)
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        match error.kind {
            _ if error.reason == "ATTEMPT_STALE" => Self::Stale,
            ErrorKind::Overloaded
            | ErrorKind::Unreachable
            | ErrorKind::DeadlineExceeded
            | ErrorKind::QuotaExceeded
            | ErrorKind::Internal => Self::Transient(error.message),
            ErrorKind::Cancelled => Self::Stale,
            ErrorKind::InvalidArgument
            | ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::FailedPrecondition => Self::Fatal(error.message),
        }
    }
}

impl From<StepError> for Failure {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Service(error) => error.into(),
            StepError::Sql(_) | StepError::Enrich { .. } => Self::Fatal(error.to_string()),
        }
    }
}

impl From<arrow_schema::ArrowError> for Failure {
    fn from(error: arrow_schema::ArrowError) -> Self {
        Self::Fatal(format!("building columns failed: {error}"))
    }
}
