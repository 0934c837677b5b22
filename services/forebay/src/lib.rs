//! Forebay in one process: the services wired together ([`Embedded`]), the plan of their memory ([`Plan`]), and the
//! command line over both.

mod cli;
mod commands;
mod embedded;
mod keys;
mod leases;
mod plan;
mod report;
mod serve;
mod supervisor;
mod trim;
mod wiring;

pub use cli::main;
pub use embedded::{Embedded, EmbeddedConfig};
pub use leases::keep_leases;
pub use plan::{Holder, Plan, PlanRequest, Roles};
pub use report::Report;
pub use serve::RemoteWriters;
