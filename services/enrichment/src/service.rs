use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_api::{BoxStream, EnrichRequest, ErrorKind, KeyBatch, ServiceError};
use forebay_budget::Pool;
use futures::StreamExt;
use tokio::sync::{OnceCell, watch};

use crate::enricher::{Enricher, Sources};
use crate::flights::Flights;
use crate::lookup::{Away, Levels, Lookup};
use crate::memory::MemoryCache;
use crate::pace::{Pace, REST, Share};
use crate::paces::{NewPace, Paces, UpstreamRates};
use crate::references::EXCEEDS_MEMORY;
use crate::shared::{Link, RedisStore, keep_share};
use crate::sqlite::SqliteStore;
use crate::stats::{Snapshot, Stats};
use crate::store::{Store, StoreError, StoreStats};

/// Name of the cache's file in a state folder.
pub const CACHE_FILE: &str = "enrichment.db";

/// Enrichers that are kept ready, with their reference files.
const READY: usize = 16;

/// Where answers are kept besides the memory of the process.
#[derive(Clone, PartialEq, Eq)]
pub enum CacheLocation {
    /// Nowhere.
    Memory,
    /// In a file that survives the process.
    File(PathBuf),
    /// In a Redis server, which replicas share; with it they share who asks for what, and the pace. It may hold a
    /// password, and does not show itself.
    Redis(String),
}

impl fmt::Debug for CacheLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::File(path) => write!(f, "sqlite:{}", path.display()),
            Self::Redis(_) => f.write_str("redis:..."),
        }
    }
}

/// An address of a cache that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no address of an enrichment cache: write memory:, sqlite:PATH or redis://HOST")]
pub struct CacheLocationError;

impl FromStr for CacheLocation {
    type Err = CacheLocationError;

    fn from_str(text: &str) -> Result<Self, CacheLocationError> {
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            Some(("redis" | "rediss", _)) => Ok(Self::Redis(text.to_owned())),
            _ => Err(CacheLocationError),
        }
    }
}

/// What an enrichment service is made of.
#[derive(Clone, Debug)]
pub struct EnrichmentConfig {
    /// Where answers are kept.
    pub cache: CacheLocation,
    /// Most bytes of the cache in memory.
    pub memory: u64,
    /// The service's own limits, which no recipe can go beyond.
    pub rates: UpstreamRates,
    /// Memory of reference files.
    pub references: Pool,
    /// Folder for what is made of reference files: the registry's becomes a store of its own.
    pub folder: PathBuf,
}

/// The enrichment service, in this process.
pub struct Enrichment {
    levels: Arc<Levels>,
    paces: Arc<Paces>,
    /// Through which the pace is shared.
    link: Option<Arc<Link>>,
    ready: Mutex<HashMap<String, Arc<OnceCell<Arc<Enricher>>>>>,
    references: Pool,
    folder: PathBuf,
}

impl fmt::Debug for Enrichment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrichment").finish_non_exhaustive()
    }
}

fn unusable(error: &StoreError) -> ServiceError {
    ServiceError::new(ErrorKind::FailedPrecondition, "CACHE_UNUSABLE", error.to_string())
}

impl Enrichment {
    /// Opens the cache. Nobody is asked anything yet.
    ///
    /// # Errors
    /// The cache's file can't be used.
    pub async fn open(config: EnrichmentConfig) -> Result<Arc<Self>, ServiceError> {
        let mut link = None;
        let store: Option<Arc<dyn Store>> = match &config.cache {
            CacheLocation::Memory => None,
            CacheLocation::File(path) => {
                Some(Arc::new(SqliteStore::open(path).await.map_err(|error| unusable(&error))?))
            }
            CacheLocation::Redis(url) => {
                let opened = Link::new(url).ok_or_else(|| unusable(&StoreError(CacheLocationError.to_string())))?;
                let opened = Arc::new(opened);
                link = Some(Arc::clone(&opened));
                Some(RedisStore::new(opened))
            }
        };
        let levels = Levels {
            memory: MemoryCache::new(config.memory),
            store,
            flights: Flights::default(),
            stats: Stats::default(),
            away: Away::default(),
        };
        let (paces, ready) = (Paces::new(config.rates), Mutex::new(HashMap::new()));
        Ok(Arc::new(Self {
            levels: Arc::new(levels),
            paces,
            link,
            ready,
            references: config.references,
            folder: config.folder,
        }))
    }

    /// What it has done since it was opened.
    pub fn stats(&self) -> Snapshot {
        self.levels.stats.snapshot()
    }

    /// Requests a second that may be sent now.
    pub fn rate(&self) -> f64 {
        self.paces.rate()
    }

    /// What the cache behind the process' own holds; without one, what the process' own does.
    ///
    /// # Errors
    /// The cache can't be read.
    pub async fn cache_stats(&self) -> Result<StoreStats, ServiceError> {
        match &self.levels.store {
            Some(store) => store.stats().await.map_err(|error| unusable(&error)),
            None => {
                let (entries, bytes) = self.levels.memory.size();
                Ok(StoreStats { entries, expired: 0, bytes })
            }
        }
    }

    /// Forgets all answers, or those that are no use any more. Gives how many went.
    ///
    /// # Errors
    /// The cache can't be written.
    pub async fn purge(&self, expired_only: bool) -> Result<u64, ServiceError> {
        if !expired_only {
            self.levels.memory.clear();
        }
        match &self.levels.store {
            Some(store) => store.purge(expired_only).await.map_err(|error| unusable(&error)),
            None => Ok(0),
        }
    }

    /// The enricher of a request.
    async fn enricher(&self, request: &EnrichRequest) -> Result<Arc<Enricher>, ServiceError> {
        match self.make(request).await {
            // Those that nobody uses just now may hold what is missing.
            Err(error) if error.reason == EXCEEDS_MEMORY && self.forget_idle() => self.make(request).await,
            made => made,
        }
    }

    /// An enricher that is ready, or a new one. Making one may read large files, off the asynchronous threads.
    async fn make(&self, request: &EnrichRequest) -> Result<Arc<Enricher>, ServiceError> {
        let name = format!("{} {:?}", request.enricher, request.settings);
        let ready = {
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            if ready.len() >= READY && !ready.contains_key(&name) {
                ready.clear();
            }
            Arc::clone(ready.entry(name).or_default())
        };
        // Those who ask for another one do not wait for this one's files.
        let make = async || {
            let (request, folder, references) = (request.clone(), self.folder.clone(), self.references.clone());
            let made = tokio::task::spawn_blocking(move || Enricher::new(&request, &folder, &references)).await;
            let made =
                made.map_err(|error| ServiceError::internal(format!("an enricher could not be made: {error}")))?;
            Ok::<_, ServiceError>(Arc::new(made?))
        };
        ready.get_or_try_init(make).await.cloned()
    }

    /// Lets go of enrichers that nobody uses. True if there was one.
    fn forget_idle(&self) -> bool {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let before = ready.len();
        ready.retain(|_, enricher| enricher.get().is_none_or(|enricher| Arc::strong_count(enricher) > 1));
        ready.len() < before
    }
}

/// A pace that is shared with other replicas.
fn pace_shared(link: Arc<Link>, name: &str, rate: f64) -> NewPace {
    let pace = Pace::new(Share::NONE, Duration::ZERO);
    let (sender, receiver) = watch::channel(rate);
    tokio::spawn(keep_share(link, name.to_owned(), Arc::downgrade(&pace), receiver));
    // Who keeps the share ends with the pace; a rate that nobody hears any more is none of our concern.
    (
        pace,
        Box::new(move |rate| {
            sender.send_replace(rate);
        }),
    )
}

/// The pace of a process that is alone.
fn pace_alone(rate: f64) -> NewPace {
    // The process before this one may have been killed a moment ago.
    let pace = Pace::new(Share::whole(rate), REST);
    let set = Arc::clone(&pace);
    (pace, Box::new(move |rate| set.set_share(Share::whole(rate))))
}

#[async_trait]
impl forebay_api::Enrichment for Enrichment {
    async fn enrich(
        &self,
        request: EnrichRequest,
        keys: BoxStream<Result<KeyBatch, ServiceError>>,
    ) -> Result<BoxStream<Result<RecordBatch, ServiceError>>, ServiceError> {
        let enricher = self.enricher(&request).await?;
        let kept = match &enricher.sources {
            Sources::Upstream { asking, .. } => {
                self.paces.keep(&asking.address, asking.settings.rate, |name, rate| match &self.link {
                    Some(link) => pace_shared(Arc::clone(link), name, rate),
                    None => pace_alone(rate),
                })
            }
            Sources::Nobody(_) | Sources::Reference(_) => Vec::new(),
        };
        let (paces, keeping): (Vec<_>, Vec<_>) = kept.into_iter().unzip();
        let levels = Arc::clone(&self.levels);
        let lookup = Arc::new(Lookup { levels, enricher, columns: request.columns, paces, _keeping: keeping });
        let rows = keys.then(move |keys| {
            let lookup = Arc::clone(&lookup);
            async move { lookup.answer(keys?).await }
        });
        Ok(rows.boxed())
    }
}
