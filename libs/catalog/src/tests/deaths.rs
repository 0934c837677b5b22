use std::time::Duration;

use forebay_types::{ChunkId, ChunkSource};

use super::{Db, LEASE, ME, chunk, claim, commit, count, cursor, frame, on_both, open, write};
use crate::{Catalog, CatalogError, ClaimOutcome, Conflict, DeathVerdict, NewChunk, StagedKey};

/// Claims a chunk and lets its worker die.
async fn die(catalog: &Catalog, id: ChunkId, split_at: Option<u64>) -> DeathVerdict {
    let claim = claim(catalog, id).await;
    let halves = split_at.map(|at| {
        let left = chunk(claim.first_record, at);
        [left, chunk(claim.first_record + at, claim.records - at)]
    });
    catalog.record_death(id, claim.attempt, halves).await.unwrap()
}

async fn a_chunk_is_split_then_quarantined_and_the_job_goes_on(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[8, 2]).await;
    let DeathVerdict::Split([left, right]) = die(&catalog, chunks[0].chunk, Some(4)).await else { panic!() };
    let DeathVerdict::Split([one, rest]) = die(&catalog, right, Some(1)).await else { panic!() };
    assert_eq!(die(&catalog, one, None).await, DeathVerdict::Quarantined);

    // Healthy chunks first; then the suspects, in the order of their records and after fewer deaths first.
    let order: Vec<_> = catalog.dispatchable(100).await.unwrap().into_iter().map(|waiting| waiting.chunk).collect();
    assert_eq!(order, [chunks[1].chunk, left, rest, one]);

    let group = catalog.open_group(job, ME, LEASE).await.unwrap();
    let mut work = Vec::new();
    for id in order {
        let claim = claim(&catalog, id).await;
        assert_eq!(claim.quarantined, id == one);
        let done = catalog.mark_written(id, claim.attempt, group, &super::written(claim.records)).await.unwrap();
        assert!(done);
        work.push((id, claim.attempt));
    }
    commit(&catalog, group, &work).await;
    let progress = catalog.progress(job).await.unwrap();
    assert_eq!(progress.records_in, 10);
    assert_eq!((progress.chunks["split"], progress.chunks["committed"], progress.chunks["staged"]), (2, 4, 0));
}

async fn a_record_that_cannot_be_split_is_tried_three_times(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let id = frame(&catalog, job, &[1]).await[0].chunk;
    assert_eq!(die(&catalog, id, None).await, DeathVerdict::Retry);
    assert_eq!(die(&catalog, id, None).await, DeathVerdict::Retry);
    assert_eq!(die(&catalog, id, None).await, DeathVerdict::Quarantined);
    let last = claim(&catalog, id).await;
    assert_eq!((last.attempt, last.deaths, last.quarantined), (4, 3, true));
    assert_eq!(catalog.progress(job).await.unwrap().retries, 3);
}

async fn halves_must_cover_their_chunk(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let id = frame(&catalog, job, &[8]).await[0].chunk;
    let attempt = claim(&catalog, id).await.attempt;
    for halves in [
        [chunk(0, 4), chunk(4, 3)],
        [chunk(0, 4), chunk(5, 4)],
        [chunk(1, 4), chunk(5, 4)],
        [chunk(0, 8), chunk(8, 0)],
        [chunk(0, 4), NewChunk { input: 1, ..chunk(4, 4) }],
    ] {
        let verdict = catalog.record_death(id, attempt, Some(halves)).await;
        assert!(matches!(verdict, Err(CatalogError::Conflict(Conflict::Coverage(_)))));
    }
    assert_eq!(count(&catalog, job, "claimed").await, 1);
}

async fn the_death_of_an_old_attempt_is_not_recorded(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let id = frame(&catalog, job, &[8]).await[0].chunk;
    let first = claim(&catalog, id).await;
    catalog.release(id, first.attempt, None).await.unwrap();
    assert_eq!(catalog.record_death(id, first.attempt, None).await.unwrap(), DeathVerdict::Stale);
    let second = claim(&catalog, id).await;
    assert_eq!(catalog.record_death(id, first.attempt, None).await.unwrap(), DeathVerdict::Stale);
    assert_eq!(second.deaths, 0);
}

async fn a_suspect_is_alone_in_its_process(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[1, 1, 1]).await;
    let [suspect, healthy, other] = [0, 1, 2].map(|n| chunks[n].chunk);
    assert_eq!(die(&catalog, suspect, None).await, DeathVerdict::Retry);

    let attempt = claim(&catalog, healthy).await.attempt;
    assert_eq!(catalog.claim(suspect, ME, LEASE).await.unwrap(), ClaimOutcome::Busy);
    // Another process may have it meanwhile, and then nothing else.
    assert!(matches!(catalog.claim(suspect, "worker-2", LEASE).await.unwrap(), ClaimOutcome::Claimed(_)));
    assert_eq!(catalog.claim(other, "worker-2", LEASE).await.unwrap(), ClaimOutcome::Busy);
    catalog.release(suspect, 2, None).await.unwrap();

    catalog.release(healthy, attempt, None).await.unwrap();
    claim(&catalog, suspect).await;
    assert_eq!(catalog.claim(other, ME, LEASE).await.unwrap(), ClaimOutcome::Busy);
    assert_eq!(catalog.claim(suspect, ME, LEASE).await.unwrap(), ClaimOutcome::Gone);
}

async fn a_staged_object_is_kept_until_both_halves_are_committed(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let part = |first_record: u64, take: u64, skip: u64| {
        let source = ChunkSource::Staged { key: "k".to_owned(), start: 0, end: 80, skip };
        NewChunk { source, ..chunk(first_record, take) }
    };
    let id = catalog.add_chunks(job, &[part(0, 8, 0)], cursor(8, true)).await.unwrap()[0].chunk;
    let attempt = claim(&catalog, id).await.attempt;
    let halves = [part(0, 4, 0), part(4, 4, 4)];
    let DeathVerdict::Split([left, right]) = catalog.record_death(id, attempt, Some(halves)).await.unwrap() else {
        panic!()
    };
    for half in [left, right] {
        assert!(catalog.staged_keys_to_delete(10).await.unwrap().is_empty());
        let group = catalog.open_group(job, ME, LEASE).await.unwrap();
        let work = write(&catalog, half, group).await;
        commit(&catalog, group, &[work]).await;
    }
    let unneeded = catalog.staged_keys_to_delete(10).await.unwrap();
    assert_eq!(unneeded, [StagedKey { job, key: "k".to_owned() }]);
    catalog.forget_staged(&unneeded).await.unwrap();
    assert!(catalog.staged_keys_to_delete(10).await.unwrap().is_empty());
}

async fn a_chunk_whose_leases_run_out_five_times_is_presumed_deadly(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let id = frame(&catalog, job, &[2]).await[0].chunk;
    for lapses in 0..5 {
        let ClaimOutcome::Claimed(claim) = catalog.claim(id, "dies", Duration::ZERO).await.unwrap() else { panic!() };
        assert_eq!((claim.lapses, claim.deaths, claim.is_presumed_deadly()), (lapses, 0, false));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(catalog.expire_leases().await.unwrap(), [id]);
        if lapses == 2 {
            // That an attempt was handed back in between says nothing about those that were not.
            let attempt = super::claim(&catalog, id).await.attempt;
            assert!(catalog.release(id, attempt, None).await.unwrap());
        }
    }
    let last = claim(&catalog, id).await;
    assert!(last.is_presumed_deadly());
    let halves = [chunk(0, 1), chunk(1, 1)];
    let verdict = catalog.record_death(id, last.attempt, Some(halves)).await.unwrap();
    let DeathVerdict::Split([left, _]) = verdict else { panic!("{verdict:?}") };
    let half = claim(&catalog, left).await;
    assert_eq!((half.deaths, half.lapses), (1, 0));
    assert_eq!(catalog.record_death(left, half.attempt, None).await.unwrap(), DeathVerdict::Retry);
    let again = claim(&catalog, left).await;
    assert_eq!((again.deaths, again.lapses), (2, 0));
}

on_both!(
    a_chunk_whose_leases_run_out_five_times_is_presumed_deadly,
    a_chunk_is_split_then_quarantined_and_the_job_goes_on,
    a_record_that_cannot_be_split_is_tried_three_times,
    halves_must_cover_their_chunk,
    the_death_of_an_old_attempt_is_not_recorded,
    a_suspect_is_alone_in_its_process,
    a_staged_object_is_kept_until_both_halves_are_committed,
);
