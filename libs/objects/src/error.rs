use std::io;

use forebay_seal::SealError;

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
    /// What is encrypted can't be read, or what must be encrypted can't be.
    #[error(transparent)]
    Sealed(#[from] SealError),
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
        let text = error.to_string();
        // The library hands the store's answer on as text only.
        if let Some((status, body)) = answer_in(&text)
            && let Some(known) = explain(status, body)
        {
            return known.at(place);
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
        Self::Store { place: place.to_owned(), message: text, transient: !lasting }
    }

    /// Sorts an answer of a bucket store that is not a success.
    pub(crate) fn from_answer(place: &str, status: u16, body: &str) -> Self {
        match explain(status, body) {
            Some(known) => known.at(place),
            None => {
                let message = format!("the store answers {status} {}", code_in(body).unwrap_or_default());
                Self::Store { place: place.to_owned(), message, transient: status >= 500 || status == 429 }
            }
        }
    }

    /// True if another try may get past it.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store { transient, .. } => *transient,
            Self::Interrupted { .. } => true,
            Self::BadUri { .. }
            | Self::Unreadable { .. }
            | Self::Changed { .. }
            | Self::Full { .. }
            | Self::Sealed(_)
            | Self::Corrupt { .. } => false,
        }
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

/// What an answer that another try does not get past means, and what to do about it.
struct Known {
    remedy: &'static str,
    status: u16,
    code: String,
}

impl Known {
    fn at(self, place: &str) -> StoreError {
        let message = format!("{} (the store answers {} {})", self.remedy, self.status, self.code);
        StoreError::Store { place: place.to_owned(), message: message.replace(" )", ")"), transient: false }
    }
}

/// Knows the answers that a user can do something about.
fn explain(status: u16, body: &str) -> Option<Known> {
    let code = code_in(body).unwrap_or_default();
    let remedy = match (code, status) {
        ("NoSuchBucket", _) => "there is no such bucket: make it, or name another",
        ("ExpiredToken" | "TokenRefreshRequired", _) => {
            "the session token has expired: get new credentials and run the same again, it resumes"
        }
        ("InvalidAccessKeyId" | "InvalidToken", _) => {
            "the store does not know the key: see AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN"
        }
        ("SignatureDoesNotMatch", _) => "the key and its secret do not belong together: see AWS_SECRET_ACCESS_KEY",
        ("RequestTimeTooSkewed", _) => "the clocks of this machine and of the store differ: set this one",
        ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _) => {
            "the bucket is in another region: set AWS_REGION"
        }
        ("QuotaExceeded" | "XMinioStorageFull" | "XAmzStorageFull", _) => "no space left in the store: free some",
        (_, 401 | 403) => {
            "access is denied: the key needs to list the bucket and its uploads, and to get, put and delete objects \
             and abort uploads below this place"
        }
        (_, 405) => "the store does not allow this: is it read-only?",
        (_, 501) => "the store can't do this: use one with conditional puts (If-None-Match) and multipart uploads",
        (_, 400) => "the store refuses the request",
        (_, 301 | 307) => "the bucket is elsewhere: set AWS_REGION, or AWS_ENDPOINT_URL",
        _ => return None,
    };
    Some(Known { remedy, status, code: code.to_owned() })
}

/// The status and the body of an answer, from an error's text.
fn answer_in(text: &str) -> Option<(u16, &str)> {
    let (_, rest) = text.split_once("non-2xx status code: ")?;
    let (status, body) = rest.split_at_checked(3)?;
    Some((status.parse().ok()?, body))
}

/// The code in an answer's body.
fn code_in(body: &str) -> Option<&str> {
    let (_, rest) = body.split_once("<Code>")?;
    Some(rest.split_once("</Code>")?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: &str, code: &str) -> object_store::Error {
        let text = format!(
            "Error performing PUT http://h/b/k in 2ms - Server returned non-2xx status code: {status}: \
             <?xml version=\"1.0\"?><Error><Code>{code}</Code><StringToSign>AWS4 secret</StringToSign></Error>"
        );
        object_store::Error::Generic { store: "S3", source: text.into() }
    }

    #[test]
    fn what_a_user_can_mend_is_said_and_not_tried_again() {
        for (status, code, says) in [
            ("404 Not Found", "NoSuchBucket", "no such bucket"),
            ("400 Bad Request", "ExpiredToken", "new credentials"),
            ("403 Forbidden", "RequestTimeTooSkewed", "clocks"),
            ("403 Forbidden", "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
            ("403 Forbidden", "AccessDenied", "put and delete"),
            ("405 Method Not Allowed", "MethodNotAllowed", "read-only"),
            ("501 Not Implemented", "NotImplemented", "If-None-Match"),
            ("301 Moved Permanently", "PermanentRedirect", "AWS_REGION"),
        ] {
            let error = StoreError::from_store("s3://b/out", &answer(status, code));
            let said = error.to_string();
            assert!(said.contains(says) && said.contains(code) && said.contains("s3://b/out"), "{said}");
            assert!(!error.is_transient() && !said.contains("StringToSign"), "{said}");
        }
        for (status, code) in [("500 Internal Server Error", "InternalError"), ("503 Slow Down", "SlowDown")] {
            assert!(StoreError::from_store("s3://b/out", &answer(status, code)).is_transient());
        }
    }

    #[test]
    fn an_answer_and_an_error_of_the_library_mean_the_same() {
        let body = "<Error><Code>AccessDenied</Code></Error>";
        let error = StoreError::from_store("p", &answer("403 Forbidden", "AccessDenied"));
        assert_eq!(StoreError::from_answer("p", 403, body).to_string(), error.to_string());
        assert!(StoreError::from_answer("p", 503, "").is_transient());
        assert!(!StoreError::from_answer("p", 404, "").is_transient());
    }
}
