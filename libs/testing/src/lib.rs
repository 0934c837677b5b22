//! Real servers for tests: each on a free port, with a folder of its own, ended when it is dropped.
//!
//! Only for tests: whatever goes wrong is a panic that says what to do.

pub mod redis;
