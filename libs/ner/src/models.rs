use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use forebay_budget::Pool;
use forebay_redact::EntityModel;
use tokio::sync::Mutex;

use crate::NerError;
use crate::encoder::Encoder;
use crate::finder::{Finder, Model, Options, window};
use crate::folder::Folder;

/// The models of a process: each is in memory once, as long as somebody uses it.
#[derive(Debug)]
pub struct Models {
    pool: Pool,
    open: Mutex<HashMap<PathBuf, Weak<Model>>>,
}

impl Models {
    /// Models whose weights are held in a pool. Passes are for their callers to reserve: [`EntityModel::working_bytes`].
    pub fn new(pool: Pool) -> Self {
        Self { pool, open: Mutex::default() }
    }

    /// Opens a model, or takes the one that is open already.
    ///
    /// # Errors
    /// If the folder does not hold one that can be used, or the pool has no room.
    pub async fn open(&self, options: &Options) -> Result<Arc<dyn EntityModel>, NerError> {
        let mut open = self.open.lock().await;
        let known = open.get(&options.folder).and_then(Weak::upgrade);
        let (pool, wanted) = (self.pool.clone(), options.clone());
        let finder = tokio::task::spawn_blocking(move || load(&pool, &wanted, known))
            .await
            .map_err(|_| NerError::Interrupted(options.folder.clone()))??;
        open.retain(|_, model| model.strong_count() > 0);
        open.insert(options.folder.clone(), Arc::downgrade(&finder.model));
        Ok(Arc::new(finder))
    }
}

fn load(pool: &Pool, options: &Options, known: Option<Arc<Model>>) -> Result<Finder, NerError> {
    let mut folder = Folder::read(&options.folder)?;
    let labels = folder.labels(options)?;
    let working = folder.working(options);
    let model = match known {
        Some(model) => model,
        None => {
            let too_large = |error| NerError::TooLarge { path: options.folder.clone(), error };
            let held = pool.try_reserve(folder.bytes).map_err(too_large)?;
            let encoder = Encoder::load(&mut folder.tensors, &folder.config, labels.len())?;
            let window = window(&folder.config);
            Arc::new(Model { encoder, pieces: folder.pieces, window, _held: held })
        }
    };
    let batch = options.batch.max(model.window);
    Ok(Finder { model, labels, threshold: options.threshold, batch, working })
}
