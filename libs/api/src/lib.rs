//! One trait a service, in domain types. A caller holds `Arc<dyn Gateway>` or `Arc<dyn Storage>` and does not
//! know whether the other side is in this process or across gRPC (`forebay-rpc`).

mod caller;
mod enrichment;
mod error;
mod gateway;
mod observer;
mod storage;

pub use caller::{Caller, TenantLimits};
pub use enrichment::{CALLS_COLUMN, EnrichRequest, Enrichment, KeyBatch, REASON_COLUMN, SOURCE_COLUMN};
pub use error::{ErrorKind, ServiceError};
pub use gateway::{
    Accepted, Constraint, Gateway, InputFrame, JobProgress, JobSummary, RecipeSource, RejectRow, ResumePoint,
    StreamedInput, SubmitEvent, SubmitRequest, TableRows,
};
pub use observer::{AttemptResult, Event, LogResult, Observer};
pub use storage::{AttemptHeader, AttemptItem, AttemptOutcome, AttemptReceipt, Storage};

/// A stream that can be handed from one task to another.
pub type BoxStream<T> = futures::stream::BoxStream<'static, T>;
