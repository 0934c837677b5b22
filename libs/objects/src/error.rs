use std::io;

/// Reading or writing an object failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URI can't be understood, or its kind of store is not supported.
    #[error("'{uri}' can't be used: {message}")]
    BadUri {
        /// As it was given.
        uri: String,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// There is nothing at the URI, or it can't be read.
    #[error("can't read {uri}: {message}")]
    Unreadable {
        /// The input.
        uri: String,
        /// What the system says.
        message: String,
    },
    /// A client stopped sending an input before its end. What was acknowledged stays.
    #[error("{uri} stopped before its end: {message}; submit it again under the same job key, it resumes")]
    Interrupted {
        /// The input.
        uri: String,
        /// What happened.
        message: String,
    },
    /// The input is not what it was when its chunks were cut.
    #[error("{uri} has changed since this job began (size or modification time differ): run it under another job key")]
    Changed {
        /// The input.
        uri: String,
    },
    /// The disk or the quota is full.
    #[error("no space left at {place}: free some and run the same command again, it resumes")]
    Full {
        /// The place.
        place: String,
    },
    /// Data is not what was written.
    #[error("{object} is corrupt: {message}")]
    Corrupt {
        /// The object.
        object: String,
        /// What does not fit.
        message: String,
    },
    /// The store failed.
    #[error("{place}: {message}")]
    Store {
        /// The place.
        place: String,
        /// What the store says.
        message: String,
        /// True if another try may get past it.
        transient: bool,
    },
}

impl StoreError {
    /// Sorts an error of the object store.
    pub fn from_store(place: &str, error: &object_store::Error) -> Self {
        if is_full(error) {
            return Self::Full { place: place.to_owned() };
        }
        use object_store::Error;
        let lasting = matches!(
            error,
            Error::NotFound { .. }
                | Error::InvalidPath { .. }
                | Error::NotSupported { .. }
                | Error::NotImplemented { .. }
                | Error::PermissionDenied { .. }
                | Error::Unauthenticated { .. }
                | Error::UnknownConfigurationKey { .. }
        );
        Self::Store { place: place.to_owned(), message: error.to_string(), transient: !lasting }
    }

    /// Sorts an error of the file system.
    pub fn from_io(place: &str, error: &io::Error) -> Self {
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Self::Full { place: place.to_owned() };
        }
        Self::Store { place: place.to_owned(), message: error.to_string(), transient: false }
    }
}

/// Looks through an error's sources for a full disk.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        {
            return true;
        }
        next = error.source();
    }
    false
}
