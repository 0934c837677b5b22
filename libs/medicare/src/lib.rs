//! What Medicare allows for a service under the Physician Fee Schedule, worked out from CMS's own files
//! ([`MedicareTables`]). It has no rates of its own: codes of the American Medical Association's CPT are under its
//! copyright, and whoever uses the files agrees to their licence.

mod decimal;
mod file;
mod period;
mod reason;
mod room;
mod tables;

pub use decimal::{Cents, Fixed};
pub use reason::{LoadError, Reason};
pub use room::Room;
pub use tables::{Locality, MedicareTables, Query, Setting, Sources};
