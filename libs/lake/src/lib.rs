//! Tables at rest: Parquet files encoded by what their columns hold, streamed to an object store, and made visible
//! through a Delta log.
//!
//! Row groups are encoded apart from the file they end up in ([`encode`]), so that many cores can work on one
//! file and an attempt that fails leaves nothing in it. [`ParquetFile`] splices them and uploads parts as they fill.
//! [`DeltaLog`] makes files visible, once each: it never reads a table's data or its list of files to append.

mod delta;
mod encoding;
mod error;
mod file;
mod memory;
mod read;
mod row_group;
mod stats;
mod tables;
mod upload;

#[cfg(test)]
mod tests;

pub use delta::{DeltaLog, Publication};
pub use encoding::Encoding;
pub use error::LakeError;
pub use file::{FinishedFile, ParquetFile};
pub use memory::allocated_bytes;
pub use read::{TableReader, read_file};
pub use row_group::{EncodedRowGroup, Pages, encode};
pub use tables::{STATE_FOLDER, rejects_place, rejects_schema, staging_place, table_place};
