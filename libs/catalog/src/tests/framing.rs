use forebay_types::{ChunkId, JobState};

use super::{Db, chunk, cursor, frame, new_job, on_both, open};
use crate::{Catalog, CatalogError, Conflict, NewChunk, NewJob};

async fn refused(catalog: &Catalog, chunks: &[NewChunk], at: crate::Cursor) {
    let job = catalog.job_by_key("", "a").await.unwrap().id;
    match catalog.add_chunks(job, chunks, at).await {
        Err(CatalogError::Conflict(Conflict::Coverage(_))) => {}
        other => panic!("{other:?}"),
    }
}

async fn a_repeated_call_changes_nothing_and_answers_the_same(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let first = catalog.add_chunks(job, &[chunk(0, 2), chunk(2, 2)], cursor(4, false)).await.unwrap();
    assert_eq!(first.iter().map(|added| added.seq).collect::<Vec<_>>(), [0, 1]);
    let second = catalog.add_chunks(job, &[chunk(4, 1)], cursor(5, false)).await.unwrap();
    assert_eq!(catalog.add_chunks(job, &[chunk(4, 1)], cursor(5, false)).await.unwrap(), second);
    assert_eq!(catalog.progress(job).await.unwrap().chunks["staged"], 3);
    assert_eq!(catalog.progress(job).await.unwrap().bytes_framed, 50);
    assert_eq!(catalog.inputs(job).await.unwrap()[0].records, 5);
}

async fn large_calls_are_numbered_in_order_and_can_be_repeated(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let chunks: Vec<_> = (0..1_300).map(|n| chunk(n, 1)).collect();
    let added = catalog.add_chunks(job, &chunks, cursor(1_300, false)).await.unwrap();
    assert!(added.iter().zip(0..).all(|(added, seq)| added.seq == seq));
    assert_eq!(catalog.add_chunks(job, &chunks, cursor(1_300, false)).await.unwrap(), added);
}

async fn gaps_overlaps_and_strangers_are_refused(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    catalog.add_chunks(job, &[chunk(0, 4)], cursor(4, false)).await.unwrap();
    refused(&catalog, &[chunk(5, 1)], cursor(6, false)).await;
    refused(&catalog, &[chunk(3, 2)], cursor(5, false)).await;
    refused(&catalog, &[chunk(0, 5)], cursor(5, false)).await;
    refused(&catalog, &[chunk(4, 1), chunk(6, 1)], cursor(7, false)).await;
    refused(&catalog, &[chunk(4, 1)], cursor(9, false)).await;
    refused(&catalog, &[chunk(4, 0)], cursor(4, false)).await;
    refused(&catalog, &[NewChunk { input: 1, ..chunk(4, 1) }], cursor(5, false)).await;
    // The same place as the last call, but not the same chunks.
    refused(&catalog, &[chunk(0, 2), chunk(2, 2)], cursor(4, false)).await;
    assert_eq!(catalog.progress(job).await.unwrap().chunks["staged"], 1);
    let mut elsewhere = cursor(5, false);
    elsewhere.input = 1;
    let stranger = [NewChunk { input: 1, ..chunk(4, 1) }];
    assert!(matches!(catalog.add_chunks(job, &stranger, elsewhere).await, Err(CatalogError::NotFound(_))));
}

async fn a_job_is_framed_when_its_last_input_is_complete(db: Db) {
    let catalog = db.empty().await;
    let mut new = new_job("a");
    new.inputs.push(new.inputs[0].clone());
    let job = catalog.open_job(NewJob { ..new }).await.unwrap().job.id;
    assert!(!catalog.finish_input(job).await.unwrap());
    catalog.add_chunks(job, &[chunk(0, 4)], cursor(4, true)).await.unwrap();
    assert!(!catalog.finish_input(job).await.unwrap());
    // An input that ends without another record.
    let mut end = cursor(0, true);
    end.input = 1;
    assert!(catalog.add_chunks(job, &[], end).await.unwrap().is_empty());
    assert!(catalog.finish_input(job).await.unwrap());
    assert!(catalog.job(job).await.unwrap().framed);
    assert_eq!(catalog.progress(job).await.unwrap().bytes_total, Some(2_000));
}

async fn an_ended_job_takes_no_chunks(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    catalog.end_job(job, JobState::Cancelled, None).await.unwrap();
    let added = catalog.add_chunks(job, &[chunk(0, 4)], cursor(4, false)).await;
    assert!(matches!(added, Err(CatalogError::Conflict(Conflict::JobState { .. }))));
}

async fn a_claim_gives_back_what_was_added(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let added = frame(&catalog, job, &[4, 3]).await;
    let claim = super::claim(&catalog, added[1].chunk).await;
    let new = chunk(4, 3);
    assert_eq!((claim.job, claim.chunk, claim.attempt, claim.deaths), (job, added[1].chunk, 1, 0));
    assert_eq!((claim.input, claim.first_record, claim.records), (0, 4, 3));
    assert_eq!((claim.source, claim.checksum, claim.bytes), (new.source, new.checksum, new.bytes));
    assert!(!claim.quarantined);
    assert_ne!(added[0].chunk, ChunkId(0));
}

on_both!(
    a_repeated_call_changes_nothing_and_answers_the_same,
    large_calls_are_numbered_in_order_and_can_be_repeated,
    gaps_overlaps_and_strangers_are_refused,
    a_job_is_framed_when_its_last_input_is_complete,
    an_ended_job_takes_no_chunks,
    a_claim_gives_back_what_was_added,
);
