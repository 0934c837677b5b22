use forebay_testing::redis::Redis;

use super::*;
use crate::answer::Outcome;
use crate::keys::{Key, Namespace};

const MINUTE: Duration = Duration::from_secs(60);

fn key(name: &str) -> CacheKey {
    Key::one(name).cache_key(&Namespace::new("n".to_owned()))
}

fn store(redis: &Redis) -> Arc<RedisStore> {
    RedisStore::new(Arc::new(Link::new(&redis.url()).unwrap()))
}

fn failed(patience: Patience) -> Entry {
    Entry::new(&Outcome::Failed("timeout".into()), MINUTE, patience)
}

#[tokio::test]
async fn a_failure_takes_the_place_of_no_answer_and_who_claims_a_key_sees_what_was_known() {
    let redis = Redis::start();
    let (store, patience, keys) = (store(&redis), Patience(1), [key("known"), key("unknown")]);
    let stale = Entry::new(&Outcome::Found(Vec::new()), Duration::ZERO, patience);
    store.settle(&keys[0], &stale, MINUTE).await.unwrap();
    let claims = store.claim(&keys, patience).await.unwrap();
    let [Claim::Mine(Some(known)), Claim::Mine(None)] = claims.as_slice() else { panic!("{claims:?}") };
    assert_eq!(*known, stale);
    for key in &keys {
        store.settle(key, &failed(patience), MINUTE).await.unwrap();
    }
    let found = store.get(&keys).await.unwrap();
    assert_eq!(found.iter().flatten().map(Entry::is_answer).collect::<Vec<_>>(), [true, false]);
}

#[tokio::test]
async fn a_failure_is_nothing_to_who_asks_with_another_patience() {
    let redis = Redis::start();
    let (store, keys) = (store(&redis), [key("a")]);
    store.settle(&keys[0], &failed(Patience(1)), MINUTE).await.unwrap();
    let same = store.claim(&keys, Patience(1)).await.unwrap();
    assert!(matches!(same.as_slice(), [Claim::Known(_)]), "{same:?}");
    let other = store.claim(&keys, Patience(2)).await.unwrap();
    assert!(matches!(other.as_slice(), [Claim::Mine(Some(_))]), "{other:?}");
}
