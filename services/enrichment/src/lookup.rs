//! How a batch of keys is answered, level by level.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use forebay_api::{KeyBatch, ServiceError};
use futures::stream::{self, FuturesUnordered, StreamExt};
use tokio::time::sleep;

use crate::answer::{Entry, Outcome, Patience, now_millis};
use crate::call::CallError;
use crate::enricher::{Asking, Enricher, Sources};
use crate::flights::{Boarding, Flights, Lead};
use crate::gate::jittered;
use crate::keys::{CacheKey, Key, Keys};
use crate::memory::MemoryCache;
use crate::pace::Pace;
use crate::paces::Keeping;
use crate::references::Registry;
use crate::rows::{Resolved, Rows, Source};
use crate::stats::Stats;
use crate::store::{Claim, Store};

/// Most keys of a batch that is looked up where it comes in. More of them, and a disk, are no work for the async threads.
const FEW: usize = 256;

/// Keys that are claimed together, and pages of them that are in work at a time: the next is claimed while the last
/// keys of one are still waiting for their turn.
const PAGE: usize = 50;
const PAGES: usize = 2;

/// Longest time between two looks at a key that somebody else asks for, in another process.
const LOOK: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));

/// How long a store that fails is waited for before keys are asked for without it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Times that a key may be turned away by a limit before it is given up.
const TURNED_AWAY: u32 = 100;

/// What all look-ups of a service share.
pub(crate) struct Levels {
    pub(crate) memory: MemoryCache,
    pub(crate) store: Option<Arc<dyn Store>>,
    pub(crate) flights: Flights,
    pub(crate) stats: Stats,
    pub(crate) away: Away,
}

/// Since when the store has failed, if it does.
#[derive(Default)]
pub(crate) struct Away(Mutex<Option<Instant>>);

impl Away {
    /// Notes how a call went, and says whether to wait for the store yet: a store that fails is no store that knows
    /// nothing, and most come back at once.
    fn is_waited_for(&self, failed: bool) -> bool {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failed {
            return since.get_or_insert_with(Instant::now).elapsed() < PATIENCE;
        }
        *since = None;
        false
    }
}

/// One call's look-ups.
pub(crate) struct Lookup {
    pub(crate) levels: Arc<Levels>,
    pub(crate) enricher: Arc<Enricher>,
    /// The columns that the caller wants; without any, all of them.
    pub(crate) columns: Vec<String>,
    /// The paces that its calls keep to, and what keeps those at their rates.
    pub(crate) paces: Vec<Arc<Pace>>,
    pub(crate) _keeping: Vec<Keeping>,
}

/// A claim that is to be settled or given up. Dropped before, it is forgotten, so that it ends by itself.
struct Claimed {
    store: Option<Arc<dyn Store>>,
    key: CacheKey,
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if let Some(store) = &self.store {
            store.forget(&self.key);
        }
    }
}

/// A key that no cache has an answer for.
struct Question {
    row: usize,
    key: Key,
    cache_key: CacheKey,
    /// What a cache knew of it once, if that will do in need.
    stale: Option<Entry>,
}

impl Question {
    fn remember(&mut self, known: Entry, now: u64, asking: &Asking) {
        if known.serves(now, asking.settings.stale) {
            self.stale = Some(known);
        }
    }
}

/// An entry for one row, which no cache gets.
fn of_row(outcome: &Outcome) -> Entry {
    Entry::new(outcome, Duration::ZERO, Patience::default())
}

impl Lookup {
    /// Answers a batch of keys, a row a key.
    pub(crate) async fn answer(self: Arc<Self>, batch: KeyBatch) -> Result<RecordBatch, ServiceError> {
        let reads_disk = matches!(&self.enricher.sources, Sources::Upstream { before: Some(_), .. });
        let (mut rows, questions) = if batch.keys.len() <= FEW && !reads_disk {
            self.recall(&batch)?
        } else {
            let lookup = Arc::clone(&self);
            let recalled = tokio::task::spawn_blocking(move || lookup.recall(&batch)).await;
            recalled.map_err(|error| ServiceError::internal(format!("keys could not be looked up: {error}")))??
        };
        if let Sources::Upstream { asking, .. } = &self.enricher.sources {
            self.ask(questions, asking, &mut rows).await;
        }
        self.levels.stats.count(&rows);
        rows.finish()
    }

    /// Answers what the process knows without asking anybody, and gives the rest.
    fn recall(&self, batch: &KeyBatch) -> Result<(Rows, Vec<Question>), ServiceError> {
        let keys = Keys::read(&batch.keys, &self.enricher.parts)?;
        let mut rows = Rows::new(&self.enricher.columns, &self.columns, keys.len())?;
        let mut questions = Vec::new();
        match &self.enricher.sources {
            Sources::Nobody(reason) => (0..keys.len()).for_each(|_| rows.without(reason, Source::None)),
            Sources::Reference(reference) => (0..keys.len()).for_each(|row| reference.look_up(&keys, row, &mut rows)),
            Sources::Upstream { before, asking } => {
                let asked = match before {
                    Some(before) => refer_first(before, &keys, &mut rows),
                    None => (0..keys.len()).collect(),
                };
                questions = self.ask_memory(&keys, &asked, asking, &mut rows);
            }
        }
        Ok((rows, questions))
    }

    /// Answers what the cache of the process knows, and gives the rest, without keys that can't be right. Most keys end
    /// here, so that none is copied before.
    fn ask_memory(&self, keys: &Keys, asked: &[usize], asking: &Asking, rows: &mut Rows) -> Vec<Question> {
        let (now, patience, namespace) = (now_millis(), asking.settings.patience(), &self.enricher.namespace);
        let mut questions = Vec::new();
        let mut buffer = String::new();
        let fingerprint = |row: &usize| namespace.fingerprint(keys.text(*row, &mut buffer));
        let fingerprints: Vec<u128> = asked.iter().map(fingerprint).collect();
        let holds = |entry: &Entry| entry.holds(now, patience);
        self.levels.memory.get_all(&fingerprints, holds, |place, found| {
            let row = asked[place];
            match found {
                Ok(entry) => rows.entry(row, entry, hit(entry, Source::Memory), 0),
                Err(known) => {
                    let key = keys.key(row);
                    let cache_key = key.cache_key(namespace);
                    let stale = known.filter(|known| known.serves(now, asking.settings.stale)).cloned();
                    questions.push(Question { row, key, cache_key, stale });
                }
            }
        });
        questions.retain(|question| match asking.upstream.check(&question.key) {
            Ok(()) => true,
            Err(reason) => {
                rows.entry(question.row, &of_row(&Outcome::Missing(reason.into())), Source::Invalid, 0);
                false
            }
        });
        questions
    }

    /// Answers what the process does not know.
    async fn ask(&self, questions: Vec<Question>, asking: &Asking, rows: &mut Rows) {
        let unknown = self.ask_store(questions, asking, rows).await;
        if unknown.is_empty() {
            return;
        }
        let mut waiting = self.levels.stats.wait(unknown.len());
        let mut pages = stream::iter(paged(unknown, PAGE.max(asking.upstream.batch())))
            .map(|page| self.ask_page(page, asking))
            .buffer_unordered(PAGES);
        while let Some(page) = pages.next().await {
            waiting.answered(page.len());
            for (row, resolved) in page {
                rows.entry(row, &resolved.entry, resolved.source, resolved.calls);
            }
        }
    }

    /// Answers what the store knows, and gives the rest.
    async fn ask_store(&self, mut questions: Vec<Question>, asking: &Asking, rows: &mut Rows) -> Vec<Question> {
        let Some(store) = self.levels.store.as_ref().filter(|_| !questions.is_empty()) else { return questions };
        let keys: Vec<CacheKey> = questions.iter().map(|question| question.cache_key.clone()).collect();
        let entries = match store.get(&keys).await {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, "asking without it");
                return questions;
            }
        };
        let (now, patience) = (now_millis(), asking.settings.patience());
        let mut entries = entries.into_iter();
        let mut known = Vec::new();
        questions.retain_mut(|question| match entries.next().flatten() {
            Some(entry) if entry.holds(now, patience) => {
                rows.entry(question.row, &entry, hit(&entry, Source::Store), 0);
                known.push((question.cache_key.fingerprint(), entry));
                false
            }
            Some(entry) => {
                question.remember(entry, now, asking);
                true
            }
            None => true,
        });
        self.levels.memory.put_all(known);
        questions
    }

    /// Answers keys that only the upstream, or somebody who is asking it, can know.
    async fn ask_page(&self, page: Vec<Question>, asking: &Asking) -> Vec<(usize, Resolved)> {
        let mut answered = Vec::with_capacity(page.len());
        let patience = asking.settings.patience();
        let mut pending = page;
        while !pending.is_empty() {
            let (mut leading, mut following) = (Vec::new(), Vec::new());
            for question in std::mem::take(&mut pending) {
                match self.levels.flights.board(&question.cache_key) {
                    Boarding::Lead(lead) => leading.push((question, lead)),
                    Boarding::Follow(answer) => following.push((question, answer)),
                }
            }
            let follow = async {
                let mut rows = Vec::new();
                for (question, answer) in following {
                    match answer.await {
                        Ok(entry) if entry.is_for(patience) => rows.push(Ok(shared(question, entry))),
                        // The leader went away, or had another patience: it is somebody else's turn.
                        Ok(_) | Err(_) => rows.push(Err(question)),
                    }
                }
                rows
            };
            let (led, followed) = futures::join!(self.lead(leading, asking), follow);
            answered.extend(led);
            for row in followed {
                match row {
                    Ok(row) => answered.push(row),
                    Err(question) => pending.push(question),
                }
            }
        }
        answered
    }

    /// Asks for keys that nobody else in this process asks for.
    async fn lead(&self, leading: Vec<(Question, Lead)>, asking: &Asking) -> Vec<(usize, Resolved)> {
        let mut answered = Vec::with_capacity(leading.len());
        let mut waiting = leading;
        let mut look = LOOK.0;
        while !waiting.is_empty() {
            let keys: Vec<CacheKey> = waiting.iter().map(|(question, _)| question.cache_key.clone()).collect();
            let claims = self.claim(&keys, asking.settings.patience()).await;
            let (mut mine, mut theirs) = (Vec::new(), Vec::new());
            for ((mut question, lead), claim) in waiting.into_iter().zip(claims) {
                match claim {
                    Claim::Mine(known) => {
                        if let Some(known) = known {
                            question.remember(known, now_millis(), asking);
                        }
                        mine.push((question, lead));
                    }
                    Claim::Theirs => theirs.push((question, lead)),
                    Claim::Known(entry) => {
                        self.levels.memory.put(question.cache_key.fingerprint(), entry.clone());
                        lead.land(&entry);
                        answered.push(shared(question, entry));
                    }
                }
            }
            if mine.is_empty() && !theirs.is_empty() {
                sleep(jittered(look)).await;
                look = (look * 2).min(LOOK.1);
            } else {
                look = LOOK.0;
            }
            answered.extend(self.fetch_all(mine, asking).await);
            waiting = theirs;
        }
        answered
    }

    /// Finds out which keys are ours to ask for. Without a store, or if it stays away, all are: the pace bounds what
    /// that can cost.
    async fn claim(&self, keys: &[CacheKey], patience: Patience) -> Vec<Claim> {
        let now = now_millis();
        let known = |key: &CacheKey| self.levels.memory.get(key.fingerprint());
        let mut claims: Vec<Option<Claim>> =
            keys.iter().map(|key| known(key).filter(|entry| entry.holds(now, patience)).map(Claim::Known)).collect();
        if let Some(store) = &self.levels.store {
            let unknown: Vec<CacheKey> =
                keys.iter().zip(&claims).filter(|(_, claim)| claim.is_none()).map(|(key, _)| key.clone()).collect();
            loop {
                let found = store.claim(&unknown, patience).await;
                let waits = self.levels.away.is_waited_for(found.is_err());
                match found {
                    Ok(found) => {
                        for (claim, found) in claims.iter_mut().filter(|claim| claim.is_none()).zip(found) {
                            *claim = Some(found);
                        }
                        break;
                    }
                    Err(_) if waits => sleep(jittered(LOOK.1)).await,
                    Err(error) => {
                        tracing::warn!(%error, "asking without knowing who else does");
                        break;
                    }
                }
            }
        }
        claims.into_iter().map(|claim| claim.unwrap_or(Claim::Mine(None))).collect()
    }

    async fn fetch_all(&self, mine: Vec<(Question, Lead)>, asking: &Asking) -> Vec<(usize, Resolved)> {
        let groups = paged(mine, asking.upstream.batch());
        let calls: FuturesUnordered<_> = groups.into_iter().map(|group| self.fetch(group, asking)).collect();
        calls.collect::<Vec<_>>().await.into_iter().flatten().collect()
    }

    /// Asks for what fits in one request, again and again if need be, and tells everybody the answers.
    async fn fetch(&self, group: Vec<(Question, Lead)>, asking: &Asking) -> Vec<(usize, Resolved)> {
        let keys: Vec<Key> = group.iter().map(|(question, _)| question.key.clone()).collect();
        let store = &self.levels.store;
        let claimed = |question: &Question| Claimed { store: store.clone(), key: question.cache_key.clone() };
        let _claimed: Vec<Claimed> = group.iter().map(|(question, _)| claimed(question)).collect();
        let (outcomes, calls) = self.call(&keys, asking).await;
        let mut rows = Vec::with_capacity(group.len());
        let mut given_up = Vec::new();
        let mut calls = Some(calls);
        for ((question, lead), outcome) in group.into_iter().zip(outcomes) {
            let settings = &asking.settings;
            let (fresh, kept) = match &outcome {
                Outcome::Found(_) => (settings.ttl, settings.ttl + settings.stale),
                Outcome::Missing(_) => (settings.not_found_ttl, settings.not_found_ttl),
                // It would take the place of what is kept for such times.
                Outcome::Failed(_) if question.stale.is_some() => (settings.failed_ttl, Duration::ZERO),
                Outcome::Failed(_) => (settings.failed_ttl, settings.failed_ttl),
            };
            let entry = Entry::new(&outcome, fresh, settings.patience());
            // Before it is told to others: whoever comes later must find it.
            if kept.is_zero() || outcome == Outcome::Failed("circuit_open".into()) {
                given_up.push(question.cache_key.clone());
            } else {
                self.levels.memory.put(question.cache_key.fingerprint(), entry.clone());
                if let Some(store) = &self.levels.store
                    && let Err(error) = store.settle(&question.cache_key, &entry, kept).await
                {
                    tracing::warn!(%error, "an answer is known to this process only");
                }
            }
            lead.land(&entry);
            // A request for many keys is counted with the first of them.
            let calls = calls.take().unwrap_or(0);
            let resolved = if entry.is_answer() {
                Resolved { entry, source: Source::Upstream, calls }
            } else {
                unanswered(entry, question.stale, calls)
            };
            rows.push((question.row, resolved));
        }
        if let Some(store) = self.levels.store.as_ref().filter(|_| !given_up.is_empty())
            && let Err(error) = store.give_up(&given_up).await
        {
            tracing::debug!(%error, "claims end by themselves");
        }
        rows
    }

    /// Sends a request until it is answered or given up. Gives an outcome a key, and how many requests were sent.
    async fn call(&self, keys: &[Key], asking: &Asking) -> (Vec<Outcome>, u32) {
        let all = |outcome: Outcome| vec![outcome; keys.len()];
        let gate = &asking.gate;
        let (mut calls, mut failures, mut turned_away) = (0, 0, 0);
        let mut last: Option<std::borrow::Cow<'static, str>> = None;
        loop {
            let Ok(pass) = gate.enter(&self.paces, asking.settings.open_wait).await else {
                let reason = "circuit_open".into();
                return (all(Outcome::Failed(reason)), calls);
            };
            calls += 1;
            self.levels.stats.called();
            let result = asking.upstream.fetch(keys).await;
            let counts = pass.judge(result.as_ref().err());
            match result {
                Ok(outcomes) if outcomes.len() == keys.len() => return (outcomes, calls),
                Ok(_) => return (all(Outcome::Failed("upstream_incomplete".into())), calls),
                Err(CallError::NotFound) => return (all(Outcome::Missing("not_found".into())), calls),
                Err(CallError::Refused(reason)) => return (all(Outcome::Failed(reason)), calls),
                Err(CallError::Limited { .. }) => {
                    turned_away += 1;
                    if turned_away >= TURNED_AWAY {
                        return (all(Outcome::Failed("upstream_status_429".into())), calls);
                    }
                }
                Err(CallError::Unavailable(reason)) => {
                    failures += u32::from(counts);
                    if failures >= asking.settings.tries {
                        return (all(Outcome::Failed(reason)), calls);
                    }
                    last = Some(reason);
                }
            }
            if let Some(reason) = last.take() {
                match gate.repeat(failures) {
                    Some(wait) => sleep(wait).await,
                    // Whoever waits for the upstream anyway can wait for the budget too.
                    None if !asking.settings.open_wait.is_zero() => sleep(jittered(LOOK.1 * 4)).await,
                    None => return (all(Outcome::Failed(reason)), calls),
                }
            }
        }
    }
}

/// Answers what the registry's file knows, and gives the rows of the rest.
fn refer_first(registry: &Registry, keys: &Keys, rows: &mut Rows) -> Vec<usize> {
    let is_unknown = |row: &usize| match registry.look_up(&keys.key(*row)) {
        // What can't be right, and what the file does not know, is for others to say.
        Outcome::Failed(_) => true,
        outcome @ (Outcome::Found(_) | Outcome::Missing(_)) => {
            rows.entry(*row, &of_row(&outcome), Source::Reference, 0);
            false
        }
    };
    (0..keys.len()).filter(is_unknown).collect()
}

/// A failure that a cache remembers is no answer.
fn hit(entry: &Entry, level: Source) -> Source {
    if entry.is_answer() { level } else { Source::None }
}

/// What somebody else found out just now.
fn shared(question: Question, entry: Entry) -> (usize, Resolved) {
    if entry.is_answer() {
        return (question.row, Resolved { entry, source: Source::Shared, calls: 0 });
    }
    (question.row, unanswered(entry, question.stale, 0))
}

/// What is said of a key whose upstream gave no answer: what was known before, if anything was.
fn unanswered(entry: Entry, stale: Option<Entry>, calls: u32) -> Resolved {
    match stale {
        Some(stale) => Resolved { entry: stale, source: Source::Stale, calls },
        None => Resolved { entry, source: Source::None, calls },
    }
}

fn paged<T>(items: Vec<T>, size: usize) -> Vec<Vec<T>> {
    let mut items = items.into_iter();
    let mut pages = Vec::new();
    loop {
        let page: Vec<T> = items.by_ref().take(size).collect();
        if page.is_empty() {
            return pages;
        }
        pages.push(page);
    }
}
