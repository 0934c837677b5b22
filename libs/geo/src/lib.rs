//! Coordinates of US addresses: requests to and answers of the Census Bureau's batch geocoder ([`Batch`],
//! [`parse_answers`]), and the centroids of its ZIP code tabulation areas ([`Centroids`]) for what it does not find. It
//! sends nothing: requests, pace and caching belong to the enrichment service.

mod answer;
mod batch;
mod centroids;
mod point;
mod street;

pub use answer::{AnswerError, Outcome, parse_answers};
pub use batch::{Address, Batch, BatchFull};
pub use centroids::{Centroids, CentroidsError};
pub use point::{Point, Precision};
pub use street::without_unit;
