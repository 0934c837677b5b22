use std::sync::Arc;

use super::{Db, LEASE, ME, Store, frame, on_both, open, written};
use crate::{Catalog, ClaimOutcome, CommitResult};

async fn on_disk(db: Db) -> (Store, Arc<Catalog>) {
    let store = db.store();
    let catalog = store.open().await;
    (store, Arc::new(catalog))
}

async fn of_many_claims_exactly_one_wins(db: Db) {
    let (_store, catalog) = on_disk(db).await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[1; 8]).await;
    for added in chunks {
        let claims = (0..16).map(|n| {
            let catalog = Arc::clone(&catalog);
            tokio::spawn(async move { catalog.claim(added.chunk, &format!("worker-{n}"), LEASE).await.unwrap() })
        });
        let mut won = 0;
        for claim in claims.collect::<Vec<_>>() {
            match claim.await.unwrap() {
                ClaimOutcome::Claimed(claim) => won += claim.attempt,
                ClaimOutcome::Gone => {}
                ClaimOutcome::Busy => panic!("nobody died"),
            }
        }
        assert_eq!(won, 1);
    }
}

async fn of_two_groups_with_one_chunk_the_newest_attempt_commits(db: Db) {
    let (_store, catalog) = on_disk(db).await;
    let job = open(&catalog, "a").await;
    let id = frame(&catalog, job, &[4]).await[0].chunk;
    let slow = catalog.open_group(job, ME, LEASE).await.unwrap();
    let fast = catalog.open_group(job, ME, LEASE).await.unwrap();
    let ClaimOutcome::Claimed(first) = catalog.claim(id, "slow", LEASE).await.unwrap() else { panic!() };
    // The slow worker is taken for dead, and goes on all the same.
    catalog.release(id, first.attempt, None).await.unwrap();
    let ClaimOutcome::Claimed(second) = catalog.claim(id, "fast", LEASE).await.unwrap() else { panic!() };
    assert!(!catalog.mark_written(id, first.attempt, slow, &written(4)).await.unwrap());
    assert!(catalog.mark_written(id, second.attempt, fast, &written(4)).await.unwrap());
    let (old, new) = ([(id, first.attempt)], [(id, second.attempt)]);
    let (of_slow, of_fast) = tokio::join!(catalog.commit_group(slow, &[], &old), catalog.commit_group(fast, &[], &new));
    assert_eq!(of_slow.unwrap(), CommitResult::Lost(vec![id]));
    assert_eq!(of_fast.unwrap(), CommitResult::Committed);
    assert_eq!(catalog.progress(job).await.unwrap().records_in, 4);
}

async fn writers_and_readers_at_once_never_meet_a_lock(db: Db) {
    let (_store, catalog) = on_disk(db).await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[1; 64]).await;
    let workers = chunks.into_iter().map(|added| {
        let catalog = Arc::clone(&catalog);
        tokio::spawn(async move {
            let group = catalog.open_group(job, ME, LEASE).await.unwrap();
            let ClaimOutcome::Claimed(claim) = catalog.claim(added.chunk, "w", LEASE).await.unwrap() else { panic!() };
            catalog.progress(job).await.unwrap();
            assert!(catalog.mark_written(claim.chunk, claim.attempt, group, &written(1)).await.unwrap());
            catalog.dispatchable(10).await.unwrap();
            let result = catalog.commit_group(group, &[], &[(claim.chunk, claim.attempt)]).await.unwrap();
            assert_eq!(result, CommitResult::Committed);
            assert!(catalog.mark_published(group).await.unwrap());
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    assert!(catalog.job_complete(job).await.unwrap());
    assert_eq!(catalog.progress(job).await.unwrap().records_in, 64);
}

/// A call that is given up half-way, as a caller's time limit does it, leaves nothing locked and nothing half done.
async fn a_call_that_is_dropped_happened_or_did_not(db: Db) {
    let (_store, catalog) = on_disk(db).await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[1; 40]).await;
    let step = match db {
        Db::Sqlite => 25,
        Db::Postgres => 150,
    };
    for (added, patience) in chunks.iter().zip((0..).step_by(step)) {
        let claim = catalog.claim(added.chunk, "w", LEASE);
        let _given_up = tokio::time::timeout(std::time::Duration::from_micros(patience), claim).await;
    }
    // Who writes to the job waits for a commit that is still on its way to the disk.
    catalog.finish_input(job).await.unwrap();
    let claimed = catalog.renew("w", LEASE).await.unwrap();
    let progress = catalog.progress(job).await.unwrap();
    assert_eq!((progress.chunks["claimed"], progress.chunks["staged"]), (claimed, 40 - claimed));
}

on_both!(
    of_many_claims_exactly_one_wins,
    of_two_groups_with_one_chunk_the_newest_attempt_commits,
    writers_and_readers_at_once_never_meet_a_lock,
    a_call_that_is_dropped_happened_or_did_not,
);
