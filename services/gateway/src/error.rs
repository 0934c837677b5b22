use forebay_api::{ErrorKind, ServiceError};
use forebay_catalog::CatalogError;
use forebay_lake::LakeError;
use forebay_objects::StoreError;
use forebay_recipe::RecipeError;

/// Why a submission, or a question about a job, failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Lake(#[from] LakeError),
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The gateway is about to stop.
    #[error("the gateway is stopping; submit again under the same job key, it resumes")]
    Stopping,
    /// Input or recipe that can't be used together, or at all.
    #[error("{0}")]
    Unusable(String),
}

impl Failure {
    /// True if nothing is wrong with the job: what is durable stays, and the job goes on when it is submitted again.
    pub(crate) fn is_interruption(&self) -> bool {
        match self {
            Self::Stopping | Self::Store(StoreError::Interrupted { .. }) => true,
            Self::Store(StoreError::Store { transient, .. }) => *transient,
            // Somebody else frames this job, or has ended it.
            Self::Catalog(CatalogError::Conflict(_)) => true,
            Self::Catalog(error) => error.is_transient(),
            Self::Service(error) => matches!(
                error.kind,
                ErrorKind::Cancelled
                    | ErrorKind::DeadlineExceeded
                    | ErrorKind::Overloaded
                    | ErrorKind::QuotaExceeded
                    | ErrorKind::Unreachable
            ),
            Self::Store(_) | Self::Lake(_) | Self::Recipe(_) | Self::Unusable(_) => false,
        }
    }

    /// What a client is told whose submission was interrupted: that it may submit again.
    pub(crate) fn interrupted(self) -> ServiceError {
        match self {
            Self::Catalog(CatalogError::Conflict(conflict)) => ServiceError::new(
                ErrorKind::Unreachable,
                "SUPERSEDED",
                format!("another submission goes on with this job's input ({conflict})"),
            ),
            failure => failure.into(),
        }
    }

    pub(crate) fn unusable(message: impl Into<String>) -> Self {
        Self::Unusable(message.into())
    }
}

impl From<Failure> for ServiceError {
    fn from(failure: Failure) -> Self {
        let message = failure.to_string();
        let (kind, reason) = match failure {
            Failure::Service(error) => return error,
            Failure::Stopping => (ErrorKind::Unreachable, "GATEWAY_STOPPING"),
            Failure::Recipe(_) => (ErrorKind::InvalidArgument, "RECIPE_INVALID"),
            Failure::Unusable(_) => (ErrorKind::InvalidArgument, "INPUT_UNUSABLE"),
            Failure::Store(StoreError::BadUri { .. }) => (ErrorKind::InvalidArgument, "URI_INVALID"),
            Failure::Store(StoreError::Unreadable { .. }) => (ErrorKind::NotFound, "INPUT_UNREADABLE"),
            Failure::Store(StoreError::Interrupted { .. }) => (ErrorKind::Cancelled, "INPUT_INTERRUPTED"),
            Failure::Store(StoreError::Changed { .. }) => (ErrorKind::FailedPrecondition, "INPUT_CHANGED"),
            Failure::Store(StoreError::Full { .. }) => (ErrorKind::FailedPrecondition, "DISK_FULL"),
            Failure::Store(StoreError::Corrupt { .. }) => (ErrorKind::FailedPrecondition, "INPUT_CORRUPT"),
            Failure::Store(StoreError::Sealed(_)) => (ErrorKind::FailedPrecondition, "KEY_MISSING"),
            Failure::Store(StoreError::Store { .. }) => (ErrorKind::FailedPrecondition, "STORE_FAILED"),
            Failure::Lake(LakeError::SchemaMismatch { .. }) => (ErrorKind::FailedPrecondition, "SCHEMA_MISMATCH"),
            Failure::Lake(_) => (ErrorKind::FailedPrecondition, "TABLE_FAILED"),
            Failure::Catalog(CatalogError::NotFound { .. }) => (ErrorKind::NotFound, "JOB_NOT_FOUND"),
            Failure::Catalog(CatalogError::Conflict(_)) => (ErrorKind::AlreadyExists, "JOB_CONFLICT"),
            Failure::Catalog(error) if error.is_transient() => (ErrorKind::Unreachable, "CATALOG_UNAVAILABLE"),
            Failure::Catalog(_) => (ErrorKind::Internal, "CATALOG_FAILED"),
        };
        Self::new(kind, reason, message)
    }
}
