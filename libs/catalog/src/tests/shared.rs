//! What several processes do to one PostgreSQL catalog at once, and what becomes of them when it goes away. Each
//! [`Catalog`] here has connections of its own, as a process has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_testing::postgres::{PASSWORD, Postgres};
use forebay_types::{ChunkId, JobId};

use super::{Db, LEASE, chunk, claim, cursor, frame, new_job, open, written};
use crate::{Catalog, CatalogError, ClaimOutcome, CommitResult, DeathVerdict};

/// Catalogs of as many processes that start at the same moment.
async fn processes(url: &str, n: usize) -> Vec<Arc<Catalog>> {
    let opening = (0..n).map(|_| {
        let url = url.to_owned();
        tokio::spawn(async move { Arc::new(Catalog::open(&url).await.unwrap()) })
    });
    let mut catalogs = Vec::new();
    for opened in opening.collect::<Vec<_>>() {
        catalogs.push(opened.await.unwrap());
    }
    catalogs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_processes_start_and_submit_at_once() {
    let store = Db::Postgres.store();
    let catalogs = processes(&store.url, 8).await;
    assert!(catalogs.iter().all(|catalog| catalog.id() == catalogs[0].id()));
    let submitters = catalogs.iter().cloned().zip(0..).map(|(catalog, n)| {
        tokio::spawn(async move {
            let shared = catalog.open_job(new_job("shared")).await.unwrap();
            let own = open(&catalog, &format!("own-{n}")).await;
            for at in 0..20 {
                let added = catalog.add_chunks(own, &[chunk(at, 1)], cursor(at + 1, at == 19)).await.unwrap();
                assert_eq!(added[0].seq, at);
            }
            assert!(catalog.finish_input(own).await.unwrap());
            // All of them frame the same input, as clients do that do not know of each other.
            let added = catalog.add_chunks(shared.job.id, &[chunk(0, 4)], cursor(4, false)).await.unwrap();
            (shared.job.id, shared.resumed, added)
        })
    });
    let mut answers = Vec::new();
    for submitter in submitters.collect::<Vec<_>>() {
        answers.push(submitter.await.unwrap());
    }
    assert!(answers.iter().all(|(job, _, added)| (job, added) == (&answers[0].0, &answers[0].2)));
    assert_eq!(answers.iter().filter(|(_, resumed, _)| !resumed).count(), 1);
    let jobs = catalogs[0].list_jobs(None, 100, None).await.unwrap();
    assert_eq!(jobs.len(), 9);
    assert!(jobs.is_sorted_by(|newer, older| newer.created_at > older.created_at));
    assert_eq!(catalogs[0].queue_depth().await.unwrap().waiting, 8 * 20 + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_processes_that_claim_a_chunk_one_wins() {
    let store = Db::Postgres.store();
    let [a, b]: [_; 2] = processes(&store.url, 2).await.try_into().unwrap();
    let job = open(&a, "a").await;
    for added in frame(&a, job, &[1; 40]).await {
        let (of_a, of_b) = tokio::join!(a.claim(added.chunk, "a", LEASE), b.claim(added.chunk, "b", LEASE));
        let outcomes = [of_a.unwrap(), of_b.unwrap()];
        let won = outcomes.iter().filter(|outcome| matches!(outcome, ClaimOutcome::Claimed(_))).count();
        let gone = outcomes.iter().filter(|outcome| matches!(outcome, ClaimOutcome::Gone)).count();
        assert_eq!((won, gone), (1, 1), "{outcomes:?}");
    }
    let progress = a.progress(job).await.unwrap();
    assert_eq!((progress.chunks["claimed"], progress.retries), (40, 0));
}

/// Also when its claim and another's meet, for another job, where no job's lock is in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_suspect_is_alone_in_its_process_whatever_meets() {
    let store = Db::Postgres.store();
    let [a, b]: [_; 2] = processes(&store.url, 2).await.try_into().unwrap();
    for n in 0..15 {
        let (one, other) = (open(&a, &format!("one-{n}")).await, open(&a, &format!("other-{n}")).await);
        let suspect = frame(&a, one, &[1]).await[0].chunk;
        let healthy = frame(&a, other, &[1]).await[0].chunk;
        let attempt = claim(&a, suspect).await.attempt;
        assert_eq!(a.record_death(suspect, attempt, None).await.unwrap(), DeathVerdict::Retry);
        let owner = format!("process-{n}");
        let (first, second) = tokio::join!(a.claim(suspect, &owner, LEASE), b.claim(healthy, &owner, LEASE));
        let outcomes = [first.unwrap(), second.unwrap()];
        let won = outcomes.iter().filter(|outcome| matches!(outcome, ClaimOutcome::Claimed(_))).count();
        assert_eq!(won, 1, "{outcomes:?}");
        assert!(outcomes.contains(&ClaimOutcome::Busy), "{outcomes:?}");
    }
}

/// A writer of [`two_writers_commit_in_one_gapless_order`] and of the restarts.
async fn write_all(catalog: Arc<Catalog>, job: JobId, owner: String) {
    let mut wait = 0;
    while wait < 100 {
        let result = write_some(&catalog, job, &owner).await;
        match result {
            Ok(true) => wait = 0,
            Ok(false) if catalog.backlog(job).await.is_ok_and(|backlog| backlog == 0) => return,
            Ok(false) => wait += 1,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One group of a writer: claims what there is, writes it, commits it. False if there was nothing.
async fn write_some(catalog: &Catalog, job: JobId, owner: &str) -> Result<bool, CatalogError> {
    let waiting = catalog.dispatchable(4).await?;
    if waiting.is_empty() {
        return Ok(false);
    }
    let group = catalog.open_group(job, owner, LEASE).await?;
    let mut work: Vec<(ChunkId, u32)> = Vec::new();
    let written = async {
        for item in &waiting {
            if let ClaimOutcome::Claimed(claim) = catalog.claim(item.chunk, owner, LEASE).await?
                && catalog.mark_written(claim.chunk, claim.attempt, group, &written(1)).await?
            {
                work.push((claim.chunk, claim.attempt));
            }
        }
        Ok(())
    };
    let mut result: Result<(), CatalogError> = written.await;
    if result.is_ok() {
        // The outcome may be unknown: then the same call says it.
        result = loop {
            match catalog.commit_group(group, &[], &work).await {
                Err(error) if error.is_transient() => tokio::time::sleep(Duration::from_millis(50)).await,
                Ok(CommitResult::Committed) => break Ok(()),
                Ok(CommitResult::Lost(lost)) => panic!("{lost:?} were taken from a living writer"),
                Err(error) => break Err(error),
            }
        };
    }
    if let Err(error) = result {
        while catalog.abandon_group(group).await.is_err_and(|error| error.is_transient()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // What is claimed and not written is nobody's.
        while catalog.renew(owner, Duration::ZERO).await.is_err() || catalog.expire_leases().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        return Err(error);
    }
    Ok(true)
}

async fn gapless(catalog: &Catalog, job: JobId) -> i64 {
    let groups = catalog.unpublished_groups(job, 1000).await.unwrap();
    let places: Vec<i64> = groups.iter().map(|group| group.commit_seq).collect();
    let count = i64::try_from(places.len()).unwrap();
    assert_eq!(places, (1..=count).collect::<Vec<_>>());
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_writers_commit_in_one_gapless_order() {
    let store = Db::Postgres.store();
    let catalogs = processes(&store.url, 2).await;
    let job = open(&catalogs[0], "a").await;
    frame(&catalogs[0], job, &[1; 120]).await;
    let writers = catalogs
        .iter()
        .cloned()
        .zip(["one", "two"])
        .map(|(catalog, owner)| tokio::spawn(write_all(catalog, job, owner.to_owned())));
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let progress = catalogs[0].progress(job).await.unwrap();
    assert_eq!((progress.records_in, progress.chunks["committed"]), (120, 120));
    assert!(gapless(&catalogs[0], job).await >= 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn work_goes_on_after_the_server_stopped_and_after_it_died() {
    let server = Arc::new(Postgres::start());
    let catalogs = processes(&server.database(), 2).await;
    let job = open(&catalogs[0], "a").await;
    frame(&catalogs[0], job, &[1; 600]).await;
    let writers: Vec<_> = catalogs
        .iter()
        .cloned()
        .zip(["one", "two"])
        .map(|(catalog, owner)| tokio::spawn(write_all(catalog, job, owner.to_owned())))
        .collect();
    let mut before = 0;
    for end in [Postgres::stop, Postgres::kill] {
        // In the middle of the work, each time.
        while catalogs[0].progress(job).await.unwrap().chunks["committed"] < before + 50 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let ending = Arc::clone(&server);
        tokio::task::spawn_blocking(move || end(&ending)).await.unwrap();
        let error = catalogs[1].progress(job).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert!(!error.to_string().contains(PASSWORD), "{error}");
        let starting = Arc::clone(&server);
        tokio::task::spawn_blocking(move || starting.start_again()).await.unwrap();
        let since = Instant::now();
        before = loop {
            match catalogs[0].progress(job).await {
                Ok(progress) => break progress.chunks["committed"],
                Err(error) => assert!(error.is_transient() && since.elapsed() < Duration::from_secs(10), "{error}"),
            }
        };
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let progress = catalogs[0].progress(job).await.unwrap();
    assert_eq!((progress.records_in, progress.chunks["committed"]), (600, 600));
    gapless(&catalogs[0], job).await;
}

/// A process that is stopped in the middle of a transaction, as by SIGSTOP, holds its job's lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stopped_process_keeps_the_others_waiting_for_seconds_only() {
    let store = Db::Postgres.store();
    let [stopped, alive]: [_; 2] = processes(&store.url, 2).await.try_into().unwrap();
    let job = open(&stopped, "a").await;
    let chunks = frame(&stopped, job, &[1]).await;
    let held = stopped.write().await.unwrap();
    held.lock_job(job).await.unwrap();
    let start = Instant::now();
    claim(&alive, chunks[0].chunk).await;
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    // It finds out when it goes on.
    let error = held.commit().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    stopped.progress(job).await.unwrap();
}

#[tokio::test]
async fn a_database_that_refuses_is_named_with_a_remedy_and_without_the_password() {
    let server = Postgres::shared();
    let wrong = server.url().replace(PASSWORD, "wrong-secret");
    let nobody = format!("postgres://postgres:{PASSWORD}@127.0.0.1:1/forebay");
    for (url, remedy, transient) in [
        (server.url_of("missing"), "createdb missing", false),
        (wrong, "correct user and password", false),
        (nobody, "see that PostgreSQL runs there", true),
        (format!("postgres://postgres:{PASSWORD}@127.0.0.1:port/forebay"), "postgres://USER:PASSWORD@", false),
        (format!("mysql://postgres:{PASSWORD}@127.0.0.1/forebay"), "sqlite: nor postgres://", false),
    ] {
        let error = Catalog::open(&url).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(remedy), "{text}");
        assert!(!text.contains(PASSWORD) && !text.contains("secret"), "{text}");
        assert_eq!(error.is_transient(), transient, "{text}");
    }
    let open = format!("{:?}", Catalog::open(&server.database()).await.unwrap());
    assert!(!open.contains(PASSWORD), "{open}");
}
