//! Real servers for tests, and faults between them and what is tested. Only ever a dev-dependency.
//!
//! A server runs in a folder and on a port of its own, and ends with the test's process, however that ends. What
//! cannot be started is a test that fails, with the remedy in its message: nothing is skipped.

pub mod certificates;
pub mod faults;
pub mod otlp;
pub mod postgres;
pub mod redis;
pub mod s3;
pub mod wire;
