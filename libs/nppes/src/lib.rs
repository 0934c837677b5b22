//! The National Plan and Provider Enumeration System (NPPES), the US registry of health-care providers: its
//! identifiers ([`Npi`]), the answers of its API ([`Answer`]), and its dissemination files as a local [`Store`]. It asks
//! nobody anything: requests, pace and caching belong to the enrichment service.

mod answer;
mod error;
mod load;
mod npi;
mod provider;
mod store;

pub use answer::{Answer, AnswerError};
pub use error::StoreError;
pub use load::{LEAST_MEMORY, LoadReport, Sources, load, open_if_loaded, open_or_load};
pub use npi::{Npi, NpiError};
pub use provider::{EnumerationType, Provider};
pub use store::{Entry, Store, StoreInfo};
