use forebay_api::{ErrorKind, ServiceError};
use tonic::Streaming;

use crate::convert::ProtocolError;
use crate::convert::required;
use crate::status::from_caller;

/// A message of a request stream; every one holds one part.
pub(super) trait Parted: Send + 'static {
    type Part: Send + 'static;

    fn into_part(self) -> Option<Self::Part>;
}

/// A caller's stream, part by part. It is read as fast as the service asks for it, and no faster.
pub(super) struct Inbound<M>(pub(super) Streaming<M>);

impl<M: Parted> Inbound<M> {
    /// The next part; none if the stream has ended.
    pub(super) async fn next(&mut self) -> Result<Option<M::Part>, ServiceError> {
        match self.0.message().await.map_err(|status| from_caller(&status))? {
            Some(message) => required(message.into_part(), "part").map(Some).map_err(ProtocolError::in_request),
            None => Ok(None),
        }
    }
}

/// A part where another one belongs.
pub(super) fn misplaced(part: &'static str) -> ServiceError {
    ProtocolError::invalid(part, "is not expected here: the header comes first, and once").in_request()
}

/// A stream that stopped before it said that it ends. To us, a call that was cancelled looks like this.
pub(super) fn caller_gone() -> ServiceError {
    ServiceError::new(ErrorKind::Cancelled, "CALLER_GONE", "the caller's stream stopped before its end")
}
