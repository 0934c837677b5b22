use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use forebay_budget::Pool;
use forebay_redact::EntityModel;
use tokio::sync::Mutex;

use crate::NerError;
use crate::config::Options;
use crate::encoder::Encoder;
use crate::finder::{Finder, Model};
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

    /// Opens a model, or takes the one that is open already: all of it, even if other files are in the folder by now.
    ///
    /// # Errors
    /// If the folder does not hold one that can be used, or the pool has no room.
    pub async fn open(&self, options: &Options) -> Result<Arc<dyn EntityModel>, NerError> {
        let mut open = self.open.lock().await;
        let known = open.get(&options.folder).and_then(Weak::upgrade);
        let model = match known {
            Some(model) => model,
            None => {
                let (pool, folder) = (self.pool.clone(), options.folder.clone());
                let loaded = tokio::task::spawn_blocking(move || load(&pool, &folder))
                    .await
                    .map_err(|_| NerError::Interrupted(options.folder.clone()))?;
                Arc::new(loaded?)
            }
        };
        open.retain(|_, model| model.strong_count() > 0);
        open.insert(options.folder.clone(), Arc::downgrade(&model));
        Ok(Arc::new(Finder::new(model, options)?))
    }
}

fn load(pool: &Pool, path: &Path) -> Result<Model, NerError> {
    let Folder { config, pieces, mut tensors, bytes } = Folder::read(path)?;
    let held = pool.try_reserve(bytes).map_err(|error| NerError::TooLarge { path: path.to_owned(), error })?;
    let encoder = Encoder::load(&mut tensors, &config)?;
    Ok(Model { encoder, pieces, config, _held: held })
}
