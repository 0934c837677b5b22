use forebay_types::{InputIdentity, JobState};
use sea_orm::ConnectionTrait;

use super::{Db, LEASE, ME, commit, cursor, frame, new_job, on_both, open, write};
use crate::{Catalog, CatalogError, Conflict, JobSummary, NewJob};

async fn conflict(catalog: &Catalog, new: NewJob) -> Conflict {
    match catalog.open_job(new).await {
        Err(CatalogError::Conflict(conflict)) => conflict,
        other => panic!("{other:?}"),
    }
}

async fn the_same_key_and_content_is_the_same_job(db: Db) {
    let catalog = db.empty().await;
    let first = catalog.open_job(new_job("a")).await.unwrap();
    let again = catalog.open_job(new_job("a")).await.unwrap();
    assert!(!first.resumed && again.resumed);
    assert_eq!(first.job, again.job);
    assert_eq!(catalog.job(first.job.id).await.unwrap(), first.job);
    assert_eq!(catalog.job_by_key("", "a").await.unwrap(), first.job);
    assert!(matches!(catalog.job_by_key("", "b").await, Err(CatalogError::NotFound(_))));
}

async fn another_content_under_the_same_key_is_refused_with_what_differs(db: Db) {
    let catalog = db.empty().await;
    open(&catalog, "a").await;
    let with = |change: fn(&mut NewJob)| {
        let mut job = new_job("a");
        change(&mut job);
        job
    };
    let other = conflict(&catalog, with(|job| job.digest = "d2".to_owned())).await;
    assert_eq!(other, Conflict::OtherRecipe("a".to_owned()));
    let other = conflict(&catalog, with(|job| job.output = "/elsewhere".to_owned())).await;
    assert!(other.to_string().contains("'/out'"), "{other}");
    let other = conflict(&catalog, with(|job| job.format = "csv".to_owned())).await;
    assert!(other.to_string().contains("'ndjson'"), "{other}");
    for (change, message) in [
        ((|job| job.inputs.clear()) as fn(&mut NewJob), "it has 1 inputs, not 0"),
        (|job| job.inputs[0].uri = "file:///x".to_owned(), "it has file:///in, not file:///x"),
        (|job| job.inputs[0].size = None, "file:///in was 1000 bytes long and is unknown now"),
        (|job| job.inputs[0].version = Some("2".to_owned()), "file:///in was changed since"),
    ] {
        let other = conflict(&catalog, with(change)).await;
        assert!(other.to_string().contains(message), "{other}");
    }
}

async fn a_failed_job_runs_again_and_others_stay_ended(db: Db) {
    let catalog = db.empty().await;
    for (key, end, reopened) in [
        ("done", JobState::Done, JobState::Done),
        ("cancelled", JobState::Cancelled, JobState::Cancelled),
        ("failed", JobState::Failed, JobState::Running),
    ] {
        let job = open(&catalog, key).await;
        assert!(catalog.end_job(job, end, Some("why".to_owned())).await.unwrap());
        assert!(!catalog.end_job(job, end, None).await.unwrap());
        let ended = catalog.job(job).await.unwrap();
        assert_eq!((ended.state, ended.error.as_deref()), (end, Some("why")));
        assert!(ended.ended_at.unwrap() >= ended.created_at);
        let other = if end == JobState::Done { JobState::Failed } else { JobState::Done };
        assert!(matches!(
            catalog.end_job(job, other, None).await,
            Err(CatalogError::Conflict(Conflict::JobState { .. }))
        ));
        let again = catalog.open_job(NewJob { max_rejects: Some(3), ..new_job(key) }).await.unwrap().job;
        assert_eq!(again.state, reopened);
        assert_eq!(again.error.is_none(), reopened == JobState::Running);
        assert_eq!(again.max_rejects, (reopened == JobState::Running).then_some(3));
    }
}

async fn jobs_are_listed_newest_first_in_pages_that_miss_none(db: Db) {
    let catalog = db.empty().await;
    for n in 0..7 {
        open(&catalog, &n.to_string()).await;
    }
    let mut keys = Vec::new();
    let mut before = None;
    loop {
        let page = catalog.list_jobs(None, 3, before).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.created_at);
        keys.extend(page.into_iter().map(|job| job.key));
    }
    assert_eq!(keys, ["6", "5", "4", "3", "2", "1", "0"]);
}

async fn inputs_keep_their_order_identity_and_cursor(db: Db) {
    let catalog = db.empty().await;
    let inputs: Vec<_> =
        (0..1_200).map(|n| InputIdentity { uri: format!("s3://b/{n}"), size: None, version: None }).collect();
    let job = catalog.open_job(NewJob { inputs: inputs.clone(), ..new_job("a") }).await.unwrap().job.id;
    let mut at = cursor(4, false);
    at.input = 1_100;
    at.header = Some(b"id,name\n".to_vec());
    at.info = Some("{\"gzip\":true}".to_owned());
    let mut chunk = super::chunk(0, 4);
    chunk.input = 1_100;
    catalog.add_chunks(job, &[chunk], at).await.unwrap();
    let stored = catalog.inputs(job).await.unwrap();
    assert!(stored.iter().map(|input| &input.identity).eq(&inputs));
    let moved = &stored[1_100];
    assert_eq!((moved.index, moved.offset, moved.records, moved.complete), (1_100, 40, 4, false));
    assert_eq!(moved.header.as_deref(), Some(&b"id,name\n"[..]));
    assert_eq!(moved.info.as_deref(), Some("{\"gzip\":true}"));
    assert_eq!(catalog.progress(job).await.unwrap().bytes_total, None);
}

async fn a_reopened_file_goes_on_where_it_was(db: Db) {
    let store = db.store();
    let catalog = store.open().await;
    let id = catalog.id();
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[3, 3]).await;
    let group = catalog.open_group(job, ME, LEASE).await.unwrap();
    let work = write(&catalog, chunks[0].chunk, group).await;
    drop(catalog);

    let catalog = store.open().await;
    assert_eq!(catalog.id(), id);
    assert!(catalog.open_job(new_job("a")).await.unwrap().resumed);
    commit(&catalog, group, &[work]).await;
    assert_eq!(catalog.backlog(job).await.unwrap(), 1);
}

async fn a_catalog_of_a_newer_version_is_refused(db: Db) {
    let store = db.store();
    let catalog = store.open().await;
    let newer = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_future', 0)";
    catalog.db.execute_unprepared(newer).await.unwrap();
    drop(catalog);
    let error = Catalog::open(&store.url).await.unwrap_err();
    assert!(matches!(&error, CatalogError::Newer(_)), "{error}");
    assert!(error.to_string().contains("m9999_future"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_catalog_is_called_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    std::fs::write(&path, vec![7; 8_192]).unwrap();
    let error = Catalog::open(&format!("sqlite:{}", path.display())).await.unwrap_err();
    assert!(matches!(error, CatalogError::Corrupt(_)), "{error}");
}

async fn a_tenants_keys_and_jobs_are_its_own(db: Db) {
    let catalog = db.empty().await;
    let of = |tenant: &str, key: &str| NewJob { tenant: tenant.to_owned(), ..new_job(key) };
    let mine = catalog.open_job(of("a", "k")).await.unwrap();
    let yours = catalog.open_job(NewJob { digest: "d2".to_owned(), ..of("b", "k") }).await.unwrap();
    assert!(!mine.resumed && !yours.resumed);
    catalog.open_job(of("b", "l")).await.unwrap();
    assert_eq!(catalog.job_by_key("a", "k").await.unwrap(), mine.job);
    assert_eq!(catalog.job_by_key("b", "k").await.unwrap(), yours.job);
    assert!(matches!(catalog.job_by_key("a", "l").await, Err(CatalogError::NotFound(_))));
    let keys = |jobs: Vec<JobSummary>| jobs.into_iter().map(|job| job.key).collect::<Vec<_>>();
    assert_eq!(keys(catalog.list_jobs(Some("b"), 10, None).await.unwrap()), ["l", "k"]);
    assert_eq!(keys(catalog.list_jobs(Some("a"), 10, None).await.unwrap()), ["k"]);
    assert_eq!(catalog.list_jobs(None, 10, None).await.unwrap().len(), 3);
}

async fn running_jobs_come_in_pages_that_miss_none(db: Db) {
    let catalog = db.empty().await;
    let mut running = Vec::new();
    for n in 0..5 {
        let job = open(&catalog, &n.to_string()).await;
        if n == 2 {
            catalog.end_job(job, JobState::Done, None).await.unwrap();
        } else {
            running.push(job);
        }
    }
    let mut seen = Vec::new();
    loop {
        let page = catalog.running_jobs(seen.last().copied(), 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    assert_eq!(seen, running);
}

async fn jobs_whose_chunks_are_all_written_are_told_from_the_others(db: Db) {
    let catalog = db.empty().await;
    let (waiting, written, unframed) =
        (open(&catalog, "a").await, open(&catalog, "b").await, open(&catalog, "c").await);
    frame(&catalog, waiting, &[1, 1]).await;
    let chunks = frame(&catalog, written, &[1]).await;
    assert!(catalog.has_running_jobs().await.unwrap());
    assert_eq!(catalog.written_jobs(None, 10).await.unwrap(), []);
    let group = catalog.open_group(written, ME, LEASE).await.unwrap();
    let work = write(&catalog, chunks[0].chunk, group).await;
    assert_eq!(catalog.written_jobs(None, 10).await.unwrap(), [written]);
    commit(&catalog, group, &[work]).await;
    assert_eq!(catalog.written_jobs(None, 10).await.unwrap(), [written]);
    assert_eq!(catalog.written_jobs(Some(written), 10).await.unwrap(), []);
    for job in [waiting, written, unframed] {
        catalog.end_job(job, JobState::Done, None).await.unwrap();
    }
    assert_eq!(catalog.written_jobs(None, 10).await.unwrap(), []);
    assert!(!catalog.has_running_jobs().await.unwrap());
}

async fn a_job_with_more_rejects_than_it_may_have_fails(db: Db) {
    let catalog = db.empty().await;
    let mut jobs = Vec::new();
    for (key, max_rejects) in [("none", None), ("enough", Some(2)), ("too few", Some(1))] {
        let job = catalog.open_job(NewJob { max_rejects, ..new_job(key) }).await.unwrap().job.id;
        let chunks = frame(&catalog, job, &[5, 5]).await;
        let group = catalog.open_group(job, ME, LEASE).await.unwrap();
        // One record of each is rejected.
        let work = [write(&catalog, chunks[0].chunk, group).await, write(&catalog, chunks[1].chunk, group).await];
        assert_eq!(catalog.fail_over_reject_limit().await.unwrap(), [], "nothing is committed yet");
        commit(&catalog, group, &work).await;
        jobs.push(job);
    }
    assert_eq!(catalog.fail_over_reject_limit().await.unwrap(), [jobs[2]]);
    assert_eq!(catalog.fail_over_reject_limit().await.unwrap(), []);
    let failed = catalog.job(jobs[2]).await.unwrap();
    assert_eq!(failed.state, JobState::Failed);
    assert_eq!(failed.error.unwrap(), "2 records were rejected, more than --max-rejects 1");
}

on_both!(
    jobs_whose_chunks_are_all_written_are_told_from_the_others,
    a_job_with_more_rejects_than_it_may_have_fails,
    a_tenants_keys_and_jobs_are_its_own,
    running_jobs_come_in_pages_that_miss_none,
    the_same_key_and_content_is_the_same_job,
    another_content_under_the_same_key_is_refused_with_what_differs,
    a_failed_job_runs_again_and_others_stay_ended,
    jobs_are_listed_newest_first_in_pages_that_miss_none,
    inputs_keep_their_order_identity_and_cursor,
    a_reopened_file_goes_on_where_it_was,
    a_catalog_of_a_newer_version_is_refused,
);
