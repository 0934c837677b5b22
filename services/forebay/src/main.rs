//! The `forebay` binary.

use std::process::ExitCode;

/// Gives freed pages back to the system, so that resident memory follows the budget; see `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    forebay::main()
}
