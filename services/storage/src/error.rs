use forebay_api::{ErrorKind, ServiceError};
use forebay_catalog::CatalogError;
use forebay_lake::LakeError;
use forebay_objects::StoreError;

/// Why an attempt could not be written or a group not be committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Lake(#[from] LakeError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The stream that the attempt came by.
    #[error(transparent)]
    Caller(#[from] ServiceError),
    #[error("{0}")]
    Internal(String),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Lake(error.into())
    }
}

impl From<tokio::task::JoinError> for Failure {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Internal(format!("a task of the storage writer failed: {error}"))
    }
}

impl From<Failure> for ServiceError {
    fn from(failure: Failure) -> Self {
        let message = failure.to_string();
        match failure {
            Failure::Caller(error) => error,
            Failure::Lake(LakeError::Store(StoreError::Full { .. })) => {
                Self::new(ErrorKind::FailedPrecondition, "DISK_FULL", message)
            }
            Failure::Lake(LakeError::Store(StoreError::Store { transient: true, .. })) => {
                Self::new(ErrorKind::Overloaded, "STORE_UNAVAILABLE", message)
            }
            Failure::Lake(LakeError::SchemaMismatch { .. }) => {
                Self::new(ErrorKind::FailedPrecondition, "SCHEMA_MISMATCH", message)
            }
            Failure::Lake(_) => Self::new(ErrorKind::FailedPrecondition, "TABLE_UNWRITABLE", message),
            Failure::Catalog(error) if error.to_string().contains("full") => {
                Self::new(ErrorKind::FailedPrecondition, "DISK_FULL", message)
            }
            Failure::Catalog(error) if error.is_transient() => {
                Self::new(ErrorKind::Overloaded, "CATALOG_UNAVAILABLE", message)
            }
            Failure::Catalog(_) | Failure::Internal(_) => Self::internal(message),
        }
    }
}
