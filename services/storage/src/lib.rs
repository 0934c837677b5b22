//! The storage writer. It takes attempts at chunks as streams of batches, merges the rows of many chunks into Parquet
//! files of a good size, and commits them: the files of all tables of a job, and the chunks that are in them, become
//! visible together or not at all.
//!
//! An attempt's rows are held apart until it is complete (`attempt`). Then they enter the open commit group of
//! their job (`group`), which closes when its largest file is full, when it is old, or when the job ends.

mod attempt;
mod error;
mod group;
mod janitor;
mod leases;
mod loader;
mod service;

pub use janitor::{Janitor, Swept};
pub use loader::Loader;
pub use service::{Storage, StorageConfig};
