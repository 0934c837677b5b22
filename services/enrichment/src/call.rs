use std::borrow::Cow;
use std::time::Duration;

/// How a request upstream failed, and so what may be done about it. The reasons are codes for reason columns and
/// reports; they never repeat what was asked or answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// We are too fast, and may come back after a while.
    Limited {
        /// How long, where the upstream says so.
        retry_after: Option<Duration>,
    },
    /// The upstream is in no state to answer; another try may help.
    Unavailable(Cow<'static, str>),
    /// It does not answer this question, and would not if asked again.
    Refused(Cow<'static, str>),
    /// It says that there is no such thing.
    NotFound,
}

impl CallError {
    pub(crate) fn unavailable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Unavailable(reason.into())
    }
}
