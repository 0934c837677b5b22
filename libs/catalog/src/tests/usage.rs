use std::time::{Duration, Instant};

use forebay_types::{ChunkSource, JobState};

use super::{Db, LEASE, ME, chunk, claim, commit, cursor, frame, new_job, on_both, open, write};
use crate::{NewChunk, NewJob, QueueDepth, TenantUsage};

async fn the_depth_of_the_queue_counts_running_jobs(db: Db) {
    let catalog = db.empty().await;
    assert_eq!(catalog.queue_depth().await.unwrap(), QueueDepth::default());
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[1; 6]).await;
    let ended = open(&catalog, "b").await;
    frame(&catalog, ended, &[1]).await;
    catalog.end_job(ended, JobState::Cancelled, None).await.unwrap();
    let group = catalog.open_group(job, ME, LEASE).await.unwrap();
    let work = write(&catalog, chunks[0].chunk, group).await;
    commit(&catalog, group, &[work]).await;
    let group = catalog.open_group(job, ME, LEASE).await.unwrap();
    write(&catalog, chunks[1].chunk, group).await;
    claim(&catalog, chunks[2].chunk).await;
    claim(&catalog, chunks[3].chunk).await;
    assert_eq!(
        catalog.queue_depth().await.unwrap(),
        QueueDepth { waiting: 2, at_work: 2, written: 1, staged_bytes: 0 }
    );
}

async fn a_tenants_staged_bytes_are_counted_until_they_are_deleted(db: Db) {
    let catalog = db.empty().await;
    let job = catalog.open_job(NewJob { tenant: "t".to_owned(), ..new_job("a") }).await.unwrap().job.id;
    catalog.open_job(NewJob { tenant: "u".to_owned(), ..new_job("a") }).await.unwrap();
    let part = |key: &str, first_record: u64, n: u64, skip: u64| {
        let source = ChunkSource::Staged { key: key.to_owned(), start: 0, end: 80, skip };
        NewChunk { source, ..chunk(first_record, n) }
    };
    let chunks = [part("k", 0, 8, 0), part("l", 8, 2, 0), chunk(10, 5)];
    let added = catalog.add_chunks(job, &chunks, cursor(15, true)).await.unwrap();
    // Also when the answer was lost.
    catalog.add_chunks(job, &chunks, cursor(15, true)).await.unwrap();
    assert_eq!(catalog.tenant_usage("t").await.unwrap(), TenantUsage { running_jobs: 1, staged_bytes: 100 });
    assert_eq!(catalog.tenant_usage("u").await.unwrap(), TenantUsage { running_jobs: 1, staged_bytes: 0 });
    assert_eq!(catalog.tenant_usage("v").await.unwrap(), TenantUsage::default());

    // Halves read the same copy.
    let attempt = claim(&catalog, added[0].chunk).await.attempt;
    catalog.record_death(added[0].chunk, attempt, Some([part("k", 0, 4, 0), part("k", 4, 4, 4)])).await.unwrap();
    let group = catalog.open_group(job, ME, LEASE).await.unwrap();
    let work = write(&catalog, added[1].chunk, group).await;
    commit(&catalog, group, &[work]).await;
    assert_eq!(catalog.tenant_usage("t").await.unwrap().staged_bytes, 100);
    let unneeded = catalog.staged_keys_to_delete(10).await.unwrap();
    for _ in 0..2 {
        catalog.forget_staged(&unneeded).await.unwrap();
        assert_eq!(catalog.tenant_usage("t").await.unwrap().staged_bytes, 80);
    }
    catalog.end_job(job, JobState::Cancelled, None).await.unwrap();
    catalog.forget_staged(&catalog.staged_keys_to_delete(10).await.unwrap()).await.unwrap();
    assert_eq!(catalog.tenant_usage("t").await.unwrap(), TenantUsage::default());
}

/// What is asked many times a second costs no more with a long backlog.
async fn fifty_thousand_waiting_chunks_slow_nobody(db: Db) {
    let store = db.store();
    let catalog = store.open().await;
    let job = open(&catalog, "a").await;
    let mut last = Vec::new();
    for first in (0..50_000).step_by(500) {
        let chunks: Vec<_> = (first..first + 500).map(|n| chunk(n, 1)).collect();
        last = catalog.add_chunks(job, &chunks, cursor(first + 500, first == 49_500)).await.unwrap();
    }
    claim(&catalog, last[0].chunk).await;
    let mut times = [const { Vec::new() }; 6];
    for _ in 0..21 {
        let mut clock = Instant::now();
        let mut question = times.iter_mut();
        let mut answered = || {
            question.next().unwrap().push(clock.elapsed());
            clock = Instant::now();
        };
        assert_eq!(
            catalog.queue_depth().await.unwrap(),
            QueueDepth { waiting: 49_999, at_work: 1, written: 0, staged_bytes: 0 }
        );
        answered();
        assert_eq!(catalog.backlog(job).await.unwrap(), 50_000);
        answered();
        assert_eq!(catalog.dispatchable(100).await.unwrap().len(), 100);
        answered();
        assert!(catalog.expire_leases().await.unwrap().is_empty());
        answered();
        assert_eq!(catalog.undispatch_stale(LEASE).await.unwrap(), 0);
        answered();
        assert_eq!(catalog.renew(ME, LEASE).await.unwrap(), 1);
        answered();
    }
    // The median, because the machine has other things to do.
    let medians = times.map(|mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    });
    eprintln!("{db:?}: with 50,000 chunks waiting: depth, backlog, outbox, expire, stale, renew take {medians:?}");
    assert!(medians.iter().max() < Some(&Duration::from_millis(20)), "{medians:?}");
}

on_both!(
    the_depth_of_the_queue_counts_running_jobs,
    a_tenants_staged_bytes_are_counted_until_they_are_deleted,
    fifty_thousand_waiting_chunks_slow_nobody,
);
