use std::time::Duration;

use forebay_types::{ChunkId, ChunkSource, GroupId, JobId, JobState};

use super::{Db, LEASE, ME, claim, commit, count, cursor, file, frame, new_job, on_both, open, write, written};
use crate::{Catalog, CatalogError, CommitResult, Conflict, NewChunk, NewJob, StagedKey, UnpublishedGroup};

async fn a_chunk_goes_from_input_to_table(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[4, 6]).await;
    let group = catalog.open_group(job, ME, LEASE).await.unwrap();
    let mut work = Vec::new();
    for added in &chunks {
        work.push(write(&catalog, added.chunk, group).await);
    }
    assert_eq!((catalog.backlog(job).await.unwrap(), count(&catalog, job, "written").await), (0, 2));
    assert_eq!(catalog.progress(job).await.unwrap().records_in, 0);
    assert!(catalog.unpublished_groups(job, 10).await.unwrap().is_empty());

    commit(&catalog, group, &work).await;
    let progress = catalog.progress(job).await.unwrap();
    assert_eq!((progress.records_in, progress.bytes_out, progress.bytes_framed), (10, 200, 100));
    assert_eq!(progress.rows, [("patients".to_owned(), 8), ("visits".to_owned(), 20)].into());
    assert_eq!(progress.rejects, [("syntax".to_owned(), 2)].into());
    assert_eq!(progress.stages, [("decode".to_owned(), 10)].into());
    assert_eq!(progress.counts, [("enrichment.keys".to_owned(), 6)].into());
    assert_eq!((progress.chunks["committed"], progress.retries, progress.framed), (2, 0, true));
    assert!(!catalog.job_complete(job).await.unwrap());

    let unpublished = catalog.unpublished_groups(job, 10).await.unwrap();
    assert_eq!((unpublished[0].group, unpublished[0].job), (group, job));
    assert_eq!(unpublished[0].files, [file("patients"), file("visits")]);
    assert!(catalog.mark_published(group).await.unwrap());
    assert!(!catalog.mark_published(group).await.unwrap());
    assert!(catalog.unpublished_groups(job, 10).await.unwrap().is_empty());
    assert!(catalog.job_complete(job).await.unwrap());
    // A reply that was lost.
    commit(&catalog, group, &work).await;
    assert_eq!(catalog.progress(job).await.unwrap(), progress);
}

async fn a_job_with_a_sink_is_complete_when_its_groups_are_loaded_in_order(db: Db) {
    let catalog = db.empty().await;
    let new = NewJob { sink: Some("postgres://h/d".to_owned()), ..new_job("a") };
    let job = catalog.open_job(new).await.unwrap().job;
    assert_eq!(job.sink.as_deref(), Some("postgres://h/d"));
    let job = job.id;
    let mut groups = Vec::new();
    for added in frame(&catalog, job, &[4, 6]).await {
        let group = catalog.open_group(job, ME, LEASE).await.unwrap();
        let work = write(&catalog, added.chunk, group).await;
        commit(&catalog, group, &[work]).await;
        groups.push(group);
    }
    // A group that overtook the one before it in the logs would have that one taken for loaded.
    catalog.mark_published(groups[1]).await.unwrap();
    assert_eq!(catalog.jobs_to_load(10).await.unwrap(), [job]);
    assert!(catalog.groups_to_load(job, 10).await.unwrap().is_empty());
    catalog.mark_published(groups[0]).await.unwrap();
    let waiting = catalog.groups_to_load(job, 10).await.unwrap();
    assert_eq!(
        waiting.iter().map(|group| (group.group, group.commit_seq)).collect::<Vec<_>>(),
        [(groups[0], 1), (groups[1], 2)]
    );
    assert_eq!(waiting[0].files, [file("patients"), file("visits")]);
    assert!(!catalog.job_complete(job).await.unwrap());
    for group in groups {
        catalog.mark_loaded(group).await.unwrap();
        catalog.mark_loaded(group).await.unwrap();
    }
    assert!(catalog.jobs_to_load(10).await.unwrap().is_empty());
    assert!(catalog.job_complete(job).await.unwrap());
    // What a job has committed that has failed since waits for it to go on.
    let other = open(&catalog, "b").await;
    assert!(catalog.groups_to_load(other, 10).await.unwrap().is_empty());
}

async fn only_the_newest_attempt_in_an_open_group_is_written(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let other_job = open(&catalog, "b").await;
    let id = frame(&catalog, job, &[4]).await[0].chunk;
    let group = catalog.open_group(job, ME, LEASE).await.unwrap();
    let foreign = catalog.open_group(other_job, ME, LEASE).await.unwrap();
    let gone = catalog.open_group(job, ME, LEASE).await.unwrap();
    catalog.abandon_group(gone).await.unwrap();

    let first = claim(&catalog, id).await.attempt;
    catalog.release(id, first, None).await.unwrap();
    assert!(!catalog.mark_written(id, first, group, &written(4)).await.unwrap());
    let second = claim(&catalog, id).await.attempt;
    for (attempt, group) in [(first, group), (second, gone), (second, foreign), (second, GroupId(99))] {
        assert!(!catalog.mark_written(id, attempt, group, &written(4)).await.unwrap());
    }
    assert!(catalog.mark_written(id, second, group, &written(4)).await.unwrap());
    assert!(!catalog.mark_written(id, second, group, &written(4)).await.unwrap());
}

async fn nothing_committed(catalog: &Catalog, job: JobId, group: GroupId, work: &[(ChunkId, u32)], lost: &[ChunkId]) {
    let result = catalog.commit_group(group, &[file("patients")], work).await.unwrap();
    assert_eq!(result, CommitResult::Lost(lost.to_vec()));
    assert!(catalog.unpublished_groups(job, 10).await.unwrap().is_empty());
}

async fn a_group_is_committed_with_all_its_chunks_or_not_at_all(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[4, 4, 4]).await;
    let [kept, lost, unwritten] = [0, 1, 2].map(|n| chunks[n].chunk);
    let group = catalog.open_group(job, ME, LEASE).await.unwrap();
    let kept = write(&catalog, kept, group).await;
    let attempt = claim(&catalog, lost).await.attempt;
    nothing_committed(&catalog, job, group, &[kept, (lost, attempt), (unwritten, 1)], &[lost, unwritten]).await;
    nothing_committed(&catalog, job, group, &[(kept.0, 2)], &[kept.0]).await;
    assert_eq!(count(&catalog, job, "committed").await, 0);
    assert_eq!(catalog.progress(job).await.unwrap().records_in, 0);

    // The winner is somewhere else; the other chunk goes back to the queue and on from there.
    assert_eq!(catalog.abandon_group(group).await.unwrap(), 1);
    assert_eq!(catalog.abandon_group(group).await.unwrap(), 0);
    nothing_committed(&catalog, job, group, &[kept], &[kept.0]).await;
    let next = catalog.open_group(job, ME, LEASE).await.unwrap();
    let again = write(&catalog, kept.0, next).await;
    assert_eq!(again.1, 2);
    commit(&catalog, next, &[again]).await;
    catalog.forget_group(group).await.unwrap();
    catalog.forget_group(next).await.unwrap();
    assert!(matches!(catalog.abandon_group(group).await, Err(CatalogError::NotFound(_))));
    assert!(matches!(catalog.abandon_group(next).await, Err(CatalogError::Conflict(Conflict::Group(_)))));
}

async fn a_commit_that_does_not_name_all_chunks_of_its_group_is_refused(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[4, 4]).await;
    let group = catalog.open_group(job, ME, LEASE).await.unwrap();
    let one = write(&catalog, chunks[0].chunk, group).await;
    write(&catalog, chunks[1].chunk, group).await;
    let result = catalog.commit_group(group, &[], &[one]).await;
    assert!(matches!(result, Err(CatalogError::Conflict(Conflict::Group(_)))));
    assert!(matches!(catalog.mark_published(group).await, Err(CatalogError::Conflict(Conflict::Group(_)))));
    assert_eq!(count(&catalog, job, "written").await, 2);
}

async fn nothing_is_written_or_committed_after_the_jobs_end(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[4, 4]).await;
    let group = catalog.open_group(job, ME, LEASE).await.unwrap();
    let work = write(&catalog, chunks[0].chunk, group).await;
    let late = claim(&catalog, chunks[1].chunk).await;
    catalog.end_job(job, JobState::Cancelled, None).await.unwrap();
    assert!(!catalog.mark_written(late.chunk, late.attempt, group, &written(4)).await.unwrap());
    nothing_committed(&catalog, job, group, &[work], &[work.0]).await;
}

async fn staging_of_a_cancelled_job_is_given_up(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let source = ChunkSource::Staged { key: "k".to_owned(), start: 0, end: 40, skip: 0 };
    let chunk = NewChunk { source, ..super::chunk(0, 4) };
    catalog.add_chunks(job, &[chunk], cursor(4, true)).await.unwrap();
    assert!(catalog.staged_keys_to_delete(10).await.unwrap().is_empty());
    catalog.end_job(job, JobState::Cancelled, None).await.unwrap();
    assert_eq!(catalog.staged_keys_to_delete(10).await.unwrap(), [StagedKey { job, key: "k".to_owned() }]);
}

async fn groups_are_published_in_the_order_of_their_commits(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let other = open(&catalog, "b").await;
    let chunks = frame(&catalog, job, &[1, 1, 1]).await;
    let of_other = frame(&catalog, other, &[1]).await[0].chunk;
    let first = catalog.open_group(job, "one", LEASE).await.unwrap();
    let second = catalog.open_group(job, "two", LEASE).await.unwrap();
    let foreign = catalog.open_group(other, "one", LEASE).await.unwrap();
    let lost = catalog.open_group(job, "two", LEASE).await.unwrap();
    let of_first = write(&catalog, chunks[0].chunk, first).await;
    let of_second = write(&catalog, chunks[1].chunk, second).await;
    let of_foreign = write(&catalog, of_other, foreign).await;
    commit(&catalog, foreign, &[of_foreign]).await;
    commit(&catalog, second, &[of_second]).await;
    // What is not committed takes no place.
    catalog.abandon_group(lost).await.unwrap();
    commit(&catalog, first, &[of_first]).await;
    commit(&catalog, second, &[of_second]).await;
    let places = |groups: Vec<UnpublishedGroup>| {
        groups.into_iter().map(|group| (group.job, group.commit_seq, group.group)).collect::<Vec<_>>()
    };
    let all = [(job, 1, second), (job, 2, first)];
    assert_eq!(places(catalog.unpublished_groups(job, 10).await.unwrap()), all);
    assert_eq!(places(catalog.unpublished_groups(job, 1).await.unwrap()), all[..1]);
    assert_eq!(places(catalog.unpublished_groups(other, 10).await.unwrap()), [(other, 1, foreign)]);
    assert!(catalog.mark_published(second).await.unwrap());
    assert_eq!(places(catalog.unpublished_groups(job, 10).await.unwrap()), all[1..]);
    assert!(catalog.ended_jobs_to_publish(None, 10).await.unwrap().is_empty());
    for ended in [job, other] {
        catalog.end_job(ended, JobState::Cancelled, None).await.unwrap();
    }
    assert_eq!(catalog.ended_jobs_to_publish(None, 1).await.unwrap(), [job]);
    assert_eq!(catalog.ended_jobs_to_publish(Some(job), 10).await.unwrap(), [other]);
}

async fn groups_of_a_dead_writer_are_abandoned_by_whoever_looks(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[1, 1, 1]).await;
    let dead = catalog.open_group(job, "dead", Duration::ZERO).await.unwrap();
    let given_up = catalog.open_group(job, "dead", Duration::ZERO).await.unwrap();
    let committed = catalog.open_group(job, "dead", Duration::ZERO).await.unwrap();
    let alive = catalog.open_group(job, "alive", Duration::ZERO).await.unwrap();
    let in_hand = catalog.open_group(job, "alive", LEASE).await.unwrap();
    let lost = write(&catalog, chunks[0].chunk, dead).await;
    let done = write(&catalog, chunks[1].chunk, committed).await;
    let kept = write(&catalog, chunks[2].chunk, alive).await;
    commit(&catalog, committed, &[done]).await;
    catalog.abandon_group(given_up).await.unwrap();
    // Its owner is about to delete its files.
    catalog.abandon_group(in_hand).await.unwrap();
    assert_eq!(catalog.renew("alive", LEASE).await.unwrap(), 1);
    tokio::time::sleep(Duration::from_millis(1)).await;

    let left = [(dead, job), (given_up, job)];
    assert_eq!(catalog.expire_groups().await.unwrap(), left);
    // Whoever was to delete their files may die too.
    assert_eq!(catalog.expire_groups().await.unwrap(), left);
    for (group, _) in left {
        catalog.forget_group(group).await.unwrap();
    }
    assert!(catalog.expire_groups().await.unwrap().is_empty());
    // The dead one is back, and finds that it is too late.
    let late = catalog.commit_group(dead, &[file("patients")], &[lost]).await;
    assert!(matches!(late, Err(CatalogError::NotFound(_))), "{late:?}");
    commit(&catalog, alive, &[kept]).await;
    let again = claim(&catalog, lost.0).await;
    assert_eq!((again.attempt, again.deaths, again.lapses), (2, 0, 0));
}

on_both!(
    groups_are_published_in_the_order_of_their_commits,
    groups_of_a_dead_writer_are_abandoned_by_whoever_looks,
    a_chunk_goes_from_input_to_table,
    a_job_with_a_sink_is_complete_when_its_groups_are_loaded_in_order,
    only_the_newest_attempt_in_an_open_group_is_written,
    a_group_is_committed_with_all_its_chunks_or_not_at_all,
    a_commit_that_does_not_name_all_chunks_of_its_group_is_refused,
    nothing_is_written_or_committed_after_the_jobs_end,
    staging_of_a_cancelled_job_is_given_up,
);
