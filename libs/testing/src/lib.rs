//! Real servers for tests. Only ever a dev-dependency.
//!
//! A server runs in a folder and on a port of its own, and ends with the test's process, however that ends. What
//! cannot be started is a test that fails, with the remedy in its message: nothing is skipped.

pub mod postgres;
