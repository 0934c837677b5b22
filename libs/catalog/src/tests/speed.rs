use std::time::{Duration, Instant};

use super::{Db, LEASE, ME, chunk, cursor, file, on_both, open, written};
use crate::{ClaimOutcome, CommitResult};

const GROUP: usize = 250;

/// The whole path of thousands of chunks on disk, one after the other. Prints the cost of a chunk by step; most of it is the disk's, which
/// each step waits for once.
async fn thousands_of_chunks_stay_fast(db: Db) {
    let n = match db {
        Db::Sqlite => 10_000,
        // Each call waits for the server, and for its disk.
        Db::Postgres => 2_000,
    };
    let store = db.store();
    let catalog = store.open().await;
    let job = open(&catalog, "a").await;
    let mut times = [Duration::ZERO; 5];
    let mut slowest_look = Duration::ZERO;

    for first in (0..n).step_by(10) {
        let start = Instant::now();
        let chunks: Vec<_> = (first..first + 10).map(|at| chunk(at, 1)).collect();
        catalog.add_chunks(job, &chunks, cursor(first + 10, first + 10 == n)).await.unwrap();
        times[0] += start.elapsed();
    }
    catalog.finish_input(job).await.unwrap();
    loop {
        let start = Instant::now();
        let waiting = catalog.dispatchable(GROUP as u32).await.unwrap();
        catalog.mark_dispatched(&waiting).await.unwrap();
        times[1] += start.elapsed();
        if waiting.is_empty() {
            break;
        }
        let group = catalog.open_group(job, ME, LEASE).await.unwrap();
        let mut work = Vec::new();
        for item in &waiting {
            let start = Instant::now();
            let ClaimOutcome::Claimed(claim) = catalog.claim(item.chunk, ME, LEASE).await.unwrap() else { panic!() };
            times[2] += start.elapsed();
            let start = Instant::now();
            assert!(catalog.mark_written(claim.chunk, claim.attempt, group, &written(1)).await.unwrap());
            times[3] += start.elapsed();
            work.push((claim.chunk, claim.attempt));
        }
        let start = Instant::now();
        let result = catalog.commit_group(group, &[file("patients"), file("visits")], &work).await.unwrap();
        times[4] += start.elapsed();
        assert_eq!(result, CommitResult::Committed);
        catalog.mark_published(group).await.unwrap();
        let start = Instant::now();
        catalog.progress(job).await.unwrap();
        catalog.job_complete(job).await.unwrap();
        slowest_look = slowest_look.max(start.elapsed());
    }
    assert!(catalog.job_complete(job).await.unwrap());
    assert_eq!(catalog.progress(job).await.unwrap().records_in, n);
    report(db, times.map(|time| time / n as u32));
    assert!(slowest_look < Duration::from_millis(500), "{slowest_look:?}");
}

fn report(db: Db, times: [Duration; 5]) {
    let [add, dispatch, claim, write, commit] = times;
    eprintln!(
        "{db:?}: a chunk: add {add:?}, dispatch {dispatch:?}, claim {claim:?}, write {write:?}, commit {commit:?}"
    );
    assert!(add + dispatch + claim + write + commit < Duration::from_millis(20), "{times:?}");
}

on_both!(thousands_of_chunks_stay_fast);
