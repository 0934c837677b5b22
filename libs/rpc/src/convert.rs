//! Domain types to and from wire types. What is received is validated here and nowhere else; what is sent is not.

mod batches;
mod enrichment;
mod gateway;
mod storage;
mod streams;

use forebay_api::ServiceError;

pub(crate) use batches::{BatchDecoder, BatchEncoder, slices};
pub(crate) use enrichment::{key_batch, key_record_batch};
pub(crate) use streams::{decode_batches, encode_batches};

/// A message that breaks the protocol: the other side has another version, or is no Forebay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    /// A field that must be there is not.
    #[error("'{0}' is missing")]
    Missing(&'static str),
    /// A field that cannot be what it is.
    #[error("'{field}' {why}")]
    Invalid {
        /// Its name.
        field: &'static str,
        /// What is wrong with it, as the rest of a sentence.
        why: String,
    },
}

impl ProtocolError {
    pub(crate) fn invalid(field: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid { field, why: why.into() }
    }

    const fn reason(&self) -> &'static str {
        match self {
            Self::Missing(_) => "MISSING_FIELD",
            Self::Invalid { .. } => "INVALID_FIELD",
        }
    }

    /// As the answer to a request: its sender must change it.
    pub(crate) fn in_request(self) -> ServiceError {
        ServiceError::invalid(self.reason(), format!("the request cannot be read: {self}"))
    }

    /// Found in an answer: the request may have been fine.
    pub(crate) fn in_answer(self) -> ServiceError {
        ServiceError::internal(format!("the answer cannot be read: {self}"))
    }
}

/// A domain type that is sent.
pub(crate) trait ToWire {
    /// The message that carries it.
    type Wire;

    fn to_wire(self) -> Self::Wire;
}

/// A domain type that is received. (`TryFrom` cannot be written here: both types are of other crates.)
pub(crate) trait FromWire: Sized {
    /// The message that carries it.
    type Wire;

    fn from_wire(wire: Self::Wire) -> Result<Self, ProtocolError>;
}

/// A field that proto3 makes optional and the protocol does not.
pub(crate) fn required<T>(value: Option<T>, field: &'static str) -> Result<T, ProtocolError> {
    value.ok_or(ProtocolError::Missing(field))
}

/// The text, or as much of it as `limit` bytes hold and a sign that there was more.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    const MARK: char = '…';
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut short = text[..text.floor_char_boundary(limit - MARK.len_utf8())].to_owned();
    short.push(MARK);
    short
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_text_is_cut_between_characters_and_marked() {
        assert_eq!(cut("grün", 5), "grün");
        assert_eq!(cut("grünes", 6), "gr…");
        assert_eq!(cut("abcdef", 5), "ab…");
    }
}
