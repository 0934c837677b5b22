//! The service against a stand-in that counts every call.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed, and says why")]

mod alone;
mod faults;
mod references;
mod replicas;
mod speed;
mod support;

/// As the binary.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
