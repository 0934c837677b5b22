//! The service against a stand-in that counts every call.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed, and says why")]

mod alone;
mod faults;
mod replicas;
mod support;
