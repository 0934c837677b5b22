use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The place in a trace that a message was sent from: W3C's `traceparent`, version 00. Its text is 55 bytes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    flags: u8,
}

/// A text that is no `traceparent` of version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent of the form 00-TRACE-SPAN-FLAGS, in lower-case hexadecimal digits")]
pub struct TraceParentError;

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = TraceParentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = |part: &str, length: usize| {
            let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            (part.len() == length && part.bytes().all(lower)).then(|| u128::from_str_radix(part, 16).ok()).flatten()
        };
        let parts: Vec<&str> = text.splitn(5, '-').collect();
        let &["00", trace, span, flags] = parts.as_slice() else { return Err(TraceParentError) };
        let trace = digits(trace, 32).ok_or(TraceParentError)?;
        let span = digits(span, 16).ok_or(TraceParentError)? as u64;
        let flags = digits(flags, 2).ok_or(TraceParentError)? as u8;
        // Zero means that there is none.
        if trace == 0 || span == 0 { Err(TraceParentError) } else { Ok(Self { trace, span, flags }) }
    }
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads the trace of a message. One that can't be read is left out: the message matters more than its trace.
pub(crate) fn readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TraceParent>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_str().and_then(|text| text.parse().ok()))
}
