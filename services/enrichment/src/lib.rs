//! The enrichment service: turns keys into columns at the speed of the cache and at the pace of the upstream, never one
//! call too many. A key goes through levels, and stops at the first that knows it: the cache of this process, the one
//! that processes share or that survives a run, whoever else is asking for it just now, and at last the upstream, within
//! its rate. What is asked of whom is in `upstreams`; how often, and how faults are met, in `gate`.
//!
//! It deliberately lacks any knowledge of recipes' tables: a caller brings unique keys and joins the answers.

mod answer;
mod call;
mod enricher;
mod flights;
mod gate;
mod http;
mod keys;
mod lookup;
mod memory;
mod pace;
mod paces;
mod references;
mod rows;
mod service;
mod settings;
mod shared;
mod sqlite;
mod stats;
mod store;
mod upstreams;

pub use paces::{UpstreamRates, UpstreamRatesError};
pub use service::{CACHE_FILE, CacheLocation, CacheLocationError, Enrichment, EnrichmentConfig};
pub use stats::Snapshot;
pub use store::StoreStats;
