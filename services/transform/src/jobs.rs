use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use forebay_catalog::Catalog;
use forebay_seal::Keys;
use forebay_types::JobId;
use tokio::sync::OnceCell;

use crate::context::JobContext;
use crate::failure::Failure;
use crate::model::Models;

/// Jobs whose recipe is kept ready.
const KNOWN: usize = 16;

/// Time between two looks whether there is room for a job's model by now.
const ROOM_POLL: Duration = Duration::from_millis(500);

type Cell = Arc<OnceCell<Arc<JobContext>>>;

/// The jobs that a worker has chunks of, each made ready once, and without keeping those of others waiting: a model
/// takes seconds to load.
#[derive(Default)]
pub(crate) struct Jobs(Mutex<HashMap<JobId, Cell>>);

impl Jobs {
    /// A job, ready. Where its model has no room now, this waits until other jobs' chunks are done with theirs.
    pub(crate) async fn get(
        &self,
        id: JobId,
        catalog: &Catalog,
        keys: &Keys,
        models: &Models,
    ) -> Result<Arc<JobContext>, Failure> {
        loop {
            let cell = self.cell(id);
            let load = async || {
                let job = catalog.job(id).await?;
                Ok(Arc::new(JobContext::load(job, catalog.id(), keys, models).await?))
            };
            match cell.get_or_try_init(load).await {
                Ok(job) => return Ok(Arc::clone(job)),
                Err(Failure::NoRoom(_)) => {
                    drop(cell);
                    self.forget_idle();
                    forebay_runtime::sleep(ROOM_POLL).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    fn cell(&self, id: JobId) -> Cell {
        let mut known = self.known();
        if known.len() >= KNOWN && !known.contains_key(&id) {
            known.clear();
        }
        Arc::clone(known.entry(id).or_default())
    }

    /// Lets go of jobs that no chunk in work is of.
    fn forget_idle(&self) {
        self.known()
            .retain(|_, cell| Arc::strong_count(cell) > 1 || cell.get().is_some_and(|job| Arc::strong_count(job) > 1));
    }

    fn known(&self) -> MutexGuard<'_, HashMap<JobId, Cell>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
