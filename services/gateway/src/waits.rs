use std::sync::{Arc, Mutex, PoisonError};

use forebay_api::Constraint;

/// What one job's framing waits for now; shared with those who watch the job.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waits(Arc<Mutex<Option<Constraint>>>);

impl Waits {
    pub(crate) fn set(&self, constraint: Option<Constraint>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = constraint;
    }

    /// True if both are of the same framing.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn get(&self) -> Option<Constraint> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
