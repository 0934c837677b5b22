//! The service against a stand-in that counts every call.

mod alone;
mod faults;
mod replicas;
mod support;
