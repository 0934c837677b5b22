//! The National Plan and Provider Enumeration System (NPPES), the US registry of health-care providers: its
//! identifiers ([`Npi`]) and the answers of its API ([`Answer`]). It asks nobody anything: requests, pace and caching
//! belong to the enrichment service.

mod answer;
mod npi;
mod provider;

pub use answer::{Answer, AnswerError};
pub use npi::{Npi, NpiError};
pub use provider::{EnumerationType, Provider};
