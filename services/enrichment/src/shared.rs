//! What replicas share through Redis: answers, who is asking for what just now, and the pace.

mod lease;
mod link;

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;
use redis::{Pipeline, Script, Value};
use tokio::time::Instant;

pub(crate) use lease::keep_share;
pub(crate) use link::Link;

use crate::answer::{Entry, Patience, now_millis};
use crate::keys::CacheKey;
use crate::store::{Claim, Store, StoreError, StoreStats};

/// Before the names of answers and claims.
const ANSWER: &str = "forebay:answer:";
const CLAIM: &str = "forebay:asking:";

/// Keys of one MGET: as many as keep the server from answering others for a fraction of a millisecond.
const PAGE: usize = 500;

/// How long a claim lasts without a sign of life, and how often one is given.
const CLAIM_LIFE: Duration = Duration::from_secs(8);
const RENEWAL: Duration = Duration::from_secs(2);

/// Answers that wait to be kept while Redis is away. Beyond it, the oldest are known to this process only.
const UNSAVED: usize = 10_000;

static SETTLE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("shared/lua/settle.lua")));
static GIVE_UP: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("shared/lua/give_up.lua")));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("shared/lua/renew.lua")));

/// The cache that replicas share.
pub(crate) struct RedisStore {
    link: Arc<Link>,
    /// Says whose a claim is.
    token: String,
    /// Claims of this process, which are renewed.
    held: Mutex<HashSet<CacheKey>>,
    unsaved: Mutex<VecDeque<(CacheKey, Entry, Instant)>>,
}

fn answer(key: &CacheKey) -> String {
    format!("{ANSWER}{}", key.as_str())
}

fn claim(key: &CacheKey) -> String {
    format!("{CLAIM}{}", key.as_str())
}

fn entry(value: &Value) -> Option<Entry> {
    match value {
        Value::BulkString(bytes) => Entry::from_bytes(bytes),
        _ => None,
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unexpected() -> StoreError {
    StoreError("Redis answered something else than it was asked".to_owned())
}

impl RedisStore {
    /// A store behind a link, which keeps its claims alive until it is dropped.
    pub(crate) fn new(link: Arc<Link>) -> Arc<Self> {
        let token = uuid::Uuid::new_v4().simple().to_string();
        let store = Arc::new(Self { link, token, held: Mutex::default(), unsaved: Mutex::default() });
        tokio::spawn(keep_alive(Arc::downgrade(&store)));
        store
    }

    async fn renew(&self) -> Result<(), StoreError> {
        let held: Vec<CacheKey> = guard(&self.held).iter().cloned().collect();
        for page in held.chunks(PAGE) {
            let mut renew = RENEW.prepare_invoke();
            for key in page {
                renew.key(claim(key));
            }
            renew.arg(&self.token).arg(CLAIM_LIFE.as_millis() as u64);
            let _: i64 = self.link.script(&renew).await?;
        }
        Ok(())
    }

    /// Keeps what could not be kept when it was answered.
    async fn save(&self) -> Result<(), StoreError> {
        loop {
            let Some((key, entry, until)) = guard(&self.unsaved).front().cloned() else { return Ok(()) };
            let left = until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                self.keep(&key, &entry, left).await?;
            }
            guard(&self.unsaved).pop_front();
        }
    }

    async fn keep(&self, key: &CacheKey, entry: &Entry, keep: Duration) -> Result<(), StoreError> {
        let mut settle = SETTLE.key(answer(key));
        settle.key(claim(key)).arg(entry.as_bytes()).arg((keep.as_millis() as u64).max(1)).arg(&self.token);
        settle.arg(u8::from(entry.is_answer()));
        let _: i64 = self.link.script(&settle).await?;
        Ok(())
    }

    /// What is known of the keys of one MGET.
    async fn page(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>, StoreError> {
        let mut get = redis::cmd("MGET");
        let mut name = String::new();
        for key in keys {
            name.clear();
            name.push_str(ANSWER);
            name.push_str(key.as_str());
            get.arg(name.as_str());
        }
        let values: Vec<Value> = self.link.command(&get).await?;
        if values.len() == keys.len() { Ok(values.iter().map(entry).collect()) } else { Err(unexpected()) }
    }

    /// All answers, a page at a time: their names, and how their entries begin.
    async fn scan(&self, cursor: u64) -> Result<(u64, Vec<String>), StoreError> {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{ANSWER}*")).arg("COUNT").arg(1000);
        self.link.command(&scan).await
    }
}

/// Renews claims, and keeps what is still to be kept, as long as the store lives.
async fn keep_alive(store: Weak<RedisStore>) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        let Some(store) = store.upgrade() else { return };
        let result = match store.renew().await {
            Ok(()) => store.save().await,
            failed => failed,
        };
        if let Err(error) = result {
            tracing::debug!(%error, "claims were not renewed");
        }
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn get(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>, StoreError> {
        // The pages go out together on one connection, and each is read while the server works on the next.
        let pages = keys.chunks(PAGE).map(|page| self.page(page));
        let pages: Vec<Vec<Option<Entry>>> = try_join_all(pages).await?;
        Ok(pages.into_iter().flatten().collect())
    }

    async fn claim(&self, keys: &[CacheKey], patience: Patience) -> Result<Vec<Claim>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        // Claimed first and looked up then: whoever had a claim kept the answer before letting it go.
        let mut pipeline = Pipeline::new();
        for key in keys {
            let mut set = redis::cmd("SET");
            set.arg(claim(key)).arg(&self.token).arg("NX").arg("PX").arg(CLAIM_LIFE.as_millis() as u64);
            pipeline.add_command(set);
        }
        let mut get = redis::cmd("MGET");
        for key in keys {
            get.arg(answer(key));
        }
        pipeline.add_command(get);
        let mut answers: Vec<Value> = self.link.pipeline(&pipeline).await?;
        let Some(Value::Array(entries)) = answers.pop().filter(|_| answers.len() == keys.len()) else {
            return Err(unexpected());
        };
        let now = now_millis();
        let mut needless = Vec::new();
        let mut claims = Vec::with_capacity(keys.len());
        for ((key, claimed), value) in keys.iter().zip(&answers).zip(&entries) {
            let mine = matches!(claimed, Value::Okay);
            claims.push(match entry(value) {
                Some(entry) if entry.holds(now, patience) => {
                    if mine {
                        needless.push(key.clone());
                    }
                    Claim::Known(entry)
                }
                known if mine => {
                    guard(&self.held).insert(key.clone());
                    Claim::Mine(known)
                }
                Some(_) | None => Claim::Theirs,
            });
        }
        if !needless.is_empty()
            && let Err(error) = self.give_up(&needless).await
        {
            tracing::debug!(%error, "claims end by themselves");
        }
        Ok(claims)
    }

    async fn settle(&self, key: &CacheKey, entry: &Entry, keep: Duration) -> Result<(), StoreError> {
        guard(&self.held).remove(key);
        let kept = self.keep(key, entry, keep).await;
        if kept.is_err() {
            let mut unsaved = guard(&self.unsaved);
            if unsaved.len() >= UNSAVED {
                unsaved.pop_front();
            }
            unsaved.push_back((key.clone(), entry.clone(), Instant::now() + keep));
        }
        kept
    }

    async fn give_up(&self, keys: &[CacheKey]) -> Result<(), StoreError> {
        keys.iter().for_each(|key| self.forget(key));
        let mut give_up = GIVE_UP.prepare_invoke();
        for key in keys {
            give_up.key(claim(key));
        }
        give_up.arg(&self.token);
        let _: i64 = self.link.script(&give_up).await?;
        Ok(())
    }

    fn forget(&self, key: &CacheKey) {
        guard(&self.held).remove(key);
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        let (mut stats, mut cursor) = (StoreStats::default(), 0);
        let now = now_millis();
        loop {
            let (next, names) = self.scan(cursor).await?;
            let mut pipeline = Pipeline::new();
            for name in &names {
                pipeline.cmd("STRLEN").arg(name).cmd("GETRANGE").arg(name).arg(0).arg(8);
            }
            let answers: Vec<Value> = if names.is_empty() { Vec::new() } else { self.link.pipeline(&pipeline).await? };
            for pair in answers.chunks_exact(2) {
                let Value::Int(length @ 1..) = pair[0] else { continue };
                stats.entries += 1;
                stats.bytes += length.unsigned_abs();
                stats.expired += u64::from(entry(&pair[1]).is_none_or(|entry| !entry.is_fresh(now)));
            }
            cursor = next;
            if cursor == 0 {
                return Ok(stats);
            }
        }
    }

    /// Redis itself forgets what is no use any more.
    async fn purge(&self, expired_only: bool) -> Result<u64, StoreError> {
        if expired_only {
            return Ok(0);
        }
        let (mut purged, mut cursor) = (0, 0);
        loop {
            let (next, names) = self.scan(cursor).await?;
            if !names.is_empty() {
                let deleted: u64 = self.link.command(redis::cmd("UNLINK").arg(&names)).await?;
                purged += deleted;
            }
            cursor = next;
            if cursor == 0 {
                return Ok(purged);
            }
        }
    }
}

#[cfg(test)]
mod tests;
