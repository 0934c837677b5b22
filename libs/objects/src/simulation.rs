//! Stores that a simulation brings: what is below `memory://NAME/` on the thread that brought them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use tokio::sync::mpsc;
use url::Url;

use crate::decompress::{FrameReader, pump};
use crate::place::Medium;
use crate::{Compression, Place, StoreError};

/// Most frames of what is decompressed at once. Chunks of a simulation have one or two.
const FRAMES: usize = 64;

thread_local! {
    static STORES: RefCell<BTreeMap<String, Arc<dyn ObjectStore>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Brings a store, instead of one that had the name before.
pub fn bring(name: &str, store: Arc<dyn ObjectStore>) {
    STORES.with(|stores| stores.borrow_mut().insert(name.to_owned(), store));
}

pub(crate) fn open(mut url: Url) -> Result<Place, StoreError> {
    let bad = |message: String| StoreError::BadUri { uri: url.as_str().to_owned(), message };
    let root = STORES.with(|stores| stores.borrow().get(url.host_str().unwrap_or_default()).cloned());
    let root = root.ok_or_else(|| bad("no simulation has brought this store".to_owned()))?;
    let prefix = Path::from_url_path(url.path()).map_err(|error| bad(error.to_string()))?;
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(Place::of(Arc::new(PrefixStore::new(Arc::clone(&root), prefix)), root, url, Medium::Simulated))
}

/// As [`crate::decompress`], without a thread that works beside others.
pub(crate) fn decompress_at_once(
    name: String,
    compression: Compression,
    frames: BoxStream<'static, Result<Bytes, StoreError>>,
) -> BoxStream<'static, Result<Bytes, StoreError>> {
    let plain = async move {
        let frames: Vec<_> = frames.take(FRAMES).collect().await;
        let (raw, compressed) = mpsc::channel(FRAMES);
        let (plain, mut out) = mpsc::channel(FRAMES);
        for frame in frames {
            // The channel has room for all.
            drop(raw.try_send(frame));
        }
        drop(raw);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let result = pump(&name, compression, FrameReader::new(compressed), &plain);
                if let Err(error) = result {
                    drop(plain.blocking_send(Err(error)));
                }
                drop(plain);
            });
        });
        let mut decompressed = Vec::new();
        while let Some(frame) = out.recv().await {
            decompressed.push(frame);
        }
        Ok::<_, StoreError>(futures::stream::iter(decompressed))
    };
    futures::stream::once(plain).try_flatten().boxed()
}
