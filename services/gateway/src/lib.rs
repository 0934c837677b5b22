//! The gateway: the only door for clients. It cuts input into chunks at record boundaries without parsing it, makes
//! them durable, hands them to the queue from the catalog's outbox, and tells how jobs go.

mod arrow_input;
mod arrow_messages;
mod chunker;
mod cutter;
mod dispatch;
mod error;
mod framing;
mod held;
mod job;
mod parquet_input;
mod reach;
mod resume;
mod sample;
mod sent;
mod service;
mod waits;

pub use cutter::{CHUNKS_HELD, most_held};
pub use dispatch::{Dispatch, Dispatcher};
pub use parquet_input::arrow_frames;
pub use reach::Reach;
pub use service::{Gateway, GatewayConfig, list_rejects};
