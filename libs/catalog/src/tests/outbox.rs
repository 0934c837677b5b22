use std::time::Duration;

use forebay_types::JobState;

use super::{Db, LEASE, ME, claim, frame, on_both, open};
use crate::{Catalog, ChunkRef, ClaimOutcome};

async fn waiting(catalog: &Catalog) -> Vec<ChunkRef> {
    catalog.dispatchable(100).await.unwrap()
}

async fn a_chunk_leaves_the_outbox_once_in_an_epoch(db: Db) {
    let catalog = db.empty().await;
    let a = open(&catalog, "a").await;
    let b = open(&catalog, "b").await;
    let of_b = frame(&catalog, b, &[1]).await;
    let of_a = frame(&catalog, a, &[1, 1]).await;
    let expected = [of_a[0], of_a[1], of_b[0]].map(|added| added.chunk);
    let all = waiting(&catalog).await;
    assert!(all.iter().map(|waiting| waiting.chunk).eq(expected));
    assert_eq!(catalog.dispatchable(2).await.unwrap(), all[..2]);

    catalog.mark_dispatched(&all[..2]).await.unwrap();
    assert_eq!(waiting(&catalog).await, all[2..]);
    catalog.mark_dispatched(&all).await.unwrap();
    assert!(waiting(&catalog).await.is_empty());

    assert_eq!(catalog.undispatch_stale(LEASE).await.unwrap(), 0);
    assert_eq!(catalog.undispatch_stale(Duration::ZERO).await.unwrap(), 3);
    let again = waiting(&catalog).await;
    assert!(again.iter().all(|waiting| waiting.epoch == 1));
    // What was dispatched in an old epoch says nothing about the new one.
    catalog.mark_dispatched(&all).await.unwrap();
    assert_eq!(waiting(&catalog).await, again);
}

async fn chunks_of_ended_jobs_wait_for_nothing(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[1]).await;
    catalog.end_job(job, JobState::Failed, None).await.unwrap();
    assert!(waiting(&catalog).await.is_empty());
    assert_eq!(catalog.claim(chunks[0].chunk, ME, LEASE).await.unwrap(), ClaimOutcome::Gone);
    open(&catalog, "a").await;
    assert_eq!(waiting(&catalog).await.len(), 1);
}

async fn a_released_chunk_waits_as_long_as_it_was_told(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[1]).await;
    catalog.mark_dispatched(&waiting(&catalog).await).await.unwrap();
    let first = claim(&catalog, chunks[0].chunk).await;
    assert!(!catalog.release(first.chunk, first.attempt + 1, None).await.unwrap());
    assert!(catalog.release(first.chunk, first.attempt, Some(Duration::from_secs(1))).await.unwrap());
    assert!(!catalog.release(first.chunk, first.attempt, None).await.unwrap());
    assert!(waiting(&catalog).await.is_empty());
    assert_eq!(catalog.claim(first.chunk, ME, LEASE).await.unwrap(), ClaimOutcome::Gone);

    while waiting(&catalog).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(waiting(&catalog).await, [ChunkRef { job, chunk: first.chunk, epoch: 1 }]);
    let second = claim(&catalog, first.chunk).await;
    assert_eq!((second.attempt, second.deaths, second.failures), (2, 0, 1));
    assert_eq!(catalog.progress(job).await.unwrap().retries, 1);
}

async fn a_lease_that_is_not_renewed_lapses_without_a_death(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[1, 1]).await;
    for chunk in &chunks {
        let claimed = catalog.claim(chunk.chunk, ME, Duration::ZERO).await.unwrap();
        assert!(matches!(claimed, ClaimOutcome::Claimed(_)));
    }
    assert_eq!(catalog.renew("somebody else", LEASE).await.unwrap(), 0);
    assert_eq!(catalog.renew(ME, LEASE).await.unwrap(), 2);
    assert!(catalog.expire_leases().await.unwrap().is_empty());
    assert_eq!(catalog.renew(ME, Duration::ZERO).await.unwrap(), 2);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let expired = catalog.expire_leases().await.unwrap();
    assert!(expired.iter().eq(chunks.iter().map(|added| &added.chunk)));
    assert_eq!(catalog.renew(ME, LEASE).await.unwrap(), 0);
    let again = claim(&catalog, chunks[0].chunk).await;
    assert_eq!((again.deaths, again.lapses, again.is_presumed_deadly()), (0, 1, false));
}

async fn an_attempt_that_nobody_has_is_released_with_the_next_renewal(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[1, 1]).await;
    let lost = claim(&catalog, chunks[0].chunk).await;
    claim(&catalog, chunks[1].chunk).await;
    catalog.release_later(lost.chunk, lost.attempt);
    assert_eq!(catalog.renew(ME, LEASE).await.unwrap(), 1);
    assert_eq!(waiting(&catalog).await, [ChunkRef { job, chunk: lost.chunk, epoch: 1 }]);
    // It is released once: the next attempt at it is somebody's.
    let again = claim(&catalog, lost.chunk).await;
    assert_eq!((again.attempt, again.lapses), (2, 0));
    assert_eq!(catalog.renew(ME, LEASE).await.unwrap(), 2);
}

on_both!(
    a_chunk_leaves_the_outbox_once_in_an_epoch,
    chunks_of_ended_jobs_wait_for_nothing,
    a_released_chunk_waits_as_long_as_it_was_told,
    a_lease_that_is_not_renewed_lapses_without_a_death,
    an_attempt_that_nobody_has_is_released_with_the_next_renewal,
);
