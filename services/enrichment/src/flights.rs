use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::answer::Entry;
use crate::keys::CacheKey;

type Waiting = HashMap<CacheKey, Vec<oneshot::Sender<Entry>>>;

/// Which keys are being asked for in this process: whoever comes second waits for the first one's answer.
#[derive(Clone, Default)]
pub(crate) struct Flights(Arc<Mutex<Waiting>>);

/// What somebody who wants a key is to do.
pub(crate) enum Boarding {
    /// Ask for it, and land.
    Lead(Lead),
    /// Wait. An error means that the leader went away without an answer.
    Follow(oneshot::Receiver<Entry>),
}

/// The duty to ask for a key. Dropped without an answer, it passes to whoever waits.
pub(crate) struct Lead {
    flights: Flights,
    key: CacheKey,
}

impl Flights {
    pub(crate) fn board(&self, key: &CacheKey) -> Boarding {
        let mut waiting = self.waiting();
        if let Some(followers) = waiting.get_mut(key) {
            let (sender, receiver) = oneshot::channel();
            followers.push(sender);
            return Boarding::Follow(receiver);
        }
        waiting.insert(key.clone(), Vec::new());
        Boarding::Lead(Lead { flights: self.clone(), key: key.clone() })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    /// Tells whoever waits. The caches must know the answer by now, or the next one would ask again.
    pub(crate) fn land(self, entry: &Entry) {
        let followers = self.flights.waiting().remove(&self.key).unwrap_or_default();
        for follower in followers {
            // One that went away needs no answer.
            drop(follower.send(entry.clone()));
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.flights.waiting().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::answer::{Outcome, Patience};
    use crate::keys::{Key, Namespace};

    #[tokio::test]
    async fn followers_get_the_leaders_answer_or_its_place() {
        let flights = Flights::default();
        let key = Key::one("a").cache_key(&Namespace::new("n".to_owned()));
        let Boarding::Lead(lead) = flights.board(&key) else { panic!("nobody else asks") };
        let Boarding::Follow(follower) = flights.board(&key) else { panic!("one asks already") };
        let entry = Entry::new(&Outcome::Missing("not_found".into()), Duration::from_secs(1), Patience::default());
        lead.land(&entry);
        assert_eq!(follower.await.unwrap(), entry);
        let Boarding::Lead(lead) = flights.board(&key) else { panic!("it has landed") };
        let Boarding::Follow(follower) = flights.board(&key) else { panic!("one asks already") };
        drop(lead);
        assert!(follower.await.is_err() && matches!(flights.board(&key), Boarding::Lead(_)));
    }
}
