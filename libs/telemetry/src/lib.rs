//! What a service tells about itself: logs, metrics and traces.
//!
//! Nothing here is global but the logger: a service is handed [`Metrics`] and hands them on. No value of a record, no
//! key of a job and no name of a worker is a label, so that the number of series does not grow with the work done.

mod http;
mod logs;
mod metrics;
pub mod trace;

pub use self::http::serve_metrics;
pub use self::logs::{LogFormat, Logs, Telemetry, TelemetryError};
pub use self::metrics::{
    ByCode, ByFlow, ByMethod, ByOutcome, ByPool, ByQueue, ByReason, ByResult, ByService, ByStage, Description, Metrics,
};
