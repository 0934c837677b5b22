//! Where bytes are: places that tables and staging live in, inputs that records are read from, and how both are
//! reached through one object-store interface, on a local disk or in an S3-compatible bucket.

mod bucket;
mod decompress;
mod error;
mod input;
mod place;
mod probe;
mod retry;
#[cfg(feature = "simulation")]
pub mod simulation;
mod sniff;
mod staging;
mod unfinished;

#[cfg(test)]
mod tests;

pub use decompress::decompress;
pub use error::StoreError;
pub use input::{FRAME_BYTES, Input, absolute};
pub use object_store::PutPayload;
pub use place::Place;
pub use probe::{Abilities, PROBE_PREFIX, Writers};
pub use retry::backoff;
pub use sniff::{Compression, Content, InputInfo};
pub use staging::{Staging, checksum};
pub use unfinished::{Stored, Unfinished};
