use forebay_types::{ChunkId, ChunkSource, GroupId, JobState};

use super::{claim, commit, count, cursor, empty, file, frame, open, write, written};
use crate::{Catalog, CatalogError, CommitResult, Conflict, NewChunk, StagedKey};

#[tokio::test]
async fn a_chunk_goes_from_input_to_table() {
    let catalog = empty().await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[4, 6]).await;
    let group = catalog.open_group(job).await.unwrap();
    let mut work = Vec::new();
    for added in &chunks {
        work.push(write(&catalog, added.chunk, group).await);
    }
    assert_eq!((catalog.backlog(job).await.unwrap(), count(&catalog, job, "written").await), (0, 2));
    assert_eq!(catalog.progress(job).await.unwrap().records_in, 0);
    assert!(catalog.unpublished_groups("/out", None, 10).await.unwrap().is_empty());

    commit(&catalog, group, &work).await;
    let progress = catalog.progress(job).await.unwrap();
    assert_eq!((progress.records_in, progress.bytes_out, progress.bytes_framed), (10, 200, 100));
    assert_eq!(progress.rows, [("patients".to_owned(), 8), ("visits".to_owned(), 20)].into());
    assert_eq!(progress.rejects, [("syntax".to_owned(), 2)].into());
    assert_eq!(progress.stages, [("decode".to_owned(), 10)].into());
    assert_eq!((progress.chunks["committed"], progress.retries, progress.framed), (2, 0, true));
    assert!(!catalog.job_complete(job).await.unwrap());

    let unpublished = catalog.unpublished_groups("/out", None, 10).await.unwrap();
    assert_eq!((unpublished[0].group, unpublished[0].job), (group, job));
    assert_eq!(unpublished[0].files, [file("patients"), file("visits")]);
    assert!(catalog.mark_published(group).await.unwrap());
    assert!(!catalog.mark_published(group).await.unwrap());
    assert!(catalog.unpublished_groups("/out", None, 10).await.unwrap().is_empty());
    assert!(catalog.job_complete(job).await.unwrap());
    // A reply that was lost.
    commit(&catalog, group, &work).await;
    assert_eq!(catalog.progress(job).await.unwrap(), progress);
}

#[tokio::test]
async fn only_the_newest_attempt_in_an_open_group_is_written() {
    let catalog = empty().await;
    let job = open(&catalog, "a").await;
    let other_job = open(&catalog, "b").await;
    let id = frame(&catalog, job, &[4]).await[0].chunk;
    let group = catalog.open_group(job).await.unwrap();
    let foreign = catalog.open_group(other_job).await.unwrap();
    let gone = catalog.open_group(job).await.unwrap();
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

async fn nothing_committed(catalog: &Catalog, group: GroupId, work: &[(ChunkId, u32)], lost: &[ChunkId]) {
    let result = catalog.commit_group(group, &[file("patients")], work).await.unwrap();
    assert_eq!(result, CommitResult::Lost(lost.to_vec()));
    assert!(catalog.unpublished_groups("/out", None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_group_is_committed_with_all_its_chunks_or_not_at_all() {
    let catalog = empty().await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[4, 4, 4]).await;
    let [kept, lost, unwritten] = [0, 1, 2].map(|n| chunks[n].chunk);
    let group = catalog.open_group(job).await.unwrap();
    let kept = write(&catalog, kept, group).await;
    let attempt = claim(&catalog, lost).await.attempt;
    nothing_committed(&catalog, group, &[kept, (lost, attempt), (unwritten, 1)], &[lost, unwritten]).await;
    nothing_committed(&catalog, group, &[(kept.0, 2)], &[kept.0]).await;
    assert_eq!(count(&catalog, job, "committed").await, 0);
    assert_eq!(catalog.progress(job).await.unwrap().records_in, 0);

    // The winner is somewhere else; the other chunk goes back to the queue and on from there.
    assert_eq!(catalog.abandon_group(group).await.unwrap(), 1);
    assert_eq!(catalog.abandon_group(group).await.unwrap(), 0);
    nothing_committed(&catalog, group, &[kept], &[kept.0]).await;
    let next = catalog.open_group(job).await.unwrap();
    let again = write(&catalog, kept.0, next).await;
    assert_eq!(again.1, 2);
    commit(&catalog, next, &[again]).await;
    catalog.forget_group(group).await.unwrap();
    catalog.forget_group(next).await.unwrap();
    assert!(matches!(catalog.abandon_group(group).await, Err(CatalogError::NotFound(_))));
    assert!(matches!(catalog.abandon_group(next).await, Err(CatalogError::Conflict(Conflict::Group(_)))));
}

#[tokio::test]
async fn a_commit_that_does_not_name_all_chunks_of_its_group_is_refused() {
    let catalog = empty().await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[4, 4]).await;
    let group = catalog.open_group(job).await.unwrap();
    let one = write(&catalog, chunks[0].chunk, group).await;
    write(&catalog, chunks[1].chunk, group).await;
    let result = catalog.commit_group(group, &[], &[one]).await;
    assert!(matches!(result, Err(CatalogError::Conflict(Conflict::Group(_)))));
    assert!(matches!(catalog.mark_published(group).await, Err(CatalogError::Conflict(Conflict::Group(_)))));
    assert_eq!(count(&catalog, job, "written").await, 2);
}

#[tokio::test]
async fn nothing_is_written_or_committed_after_the_jobs_end() {
    let catalog = empty().await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[4, 4]).await;
    let group = catalog.open_group(job).await.unwrap();
    let work = write(&catalog, chunks[0].chunk, group).await;
    let late = claim(&catalog, chunks[1].chunk).await;
    catalog.end_job(job, JobState::Cancelled, None).await.unwrap();
    assert!(!catalog.mark_written(late.chunk, late.attempt, group, &written(4)).await.unwrap());
    nothing_committed(&catalog, group, &[work], &[work.0]).await;
}

#[tokio::test]
async fn staging_of_a_cancelled_job_is_given_up() {
    let catalog = empty().await;
    let job = open(&catalog, "a").await;
    let source = ChunkSource::Staged { key: "k".to_owned(), start: 0, end: 40, skip: 0 };
    let chunk = NewChunk { source, ..super::chunk(0, 4) };
    catalog.add_chunks(job, &[chunk], cursor(4, true)).await.unwrap();
    assert!(catalog.staged_keys_to_delete(10).await.unwrap().is_empty());
    catalog.end_job(job, JobState::Cancelled, None).await.unwrap();
    assert_eq!(catalog.staged_keys_to_delete(10).await.unwrap(), [StagedKey { job, key: "k".to_owned() }]);
}

#[tokio::test]
async fn unpublished_groups_come_in_pages_and_by_output() {
    let catalog = empty().await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[1; 5]).await;
    let mut groups = Vec::new();
    for added in &chunks {
        let group = catalog.open_group(job).await.unwrap();
        let work = write(&catalog, added.chunk, group).await;
        commit(&catalog, group, &[work]).await;
        groups.push(group);
    }
    let mut seen = Vec::new();
    loop {
        let page = catalog.unpublished_groups("/out", seen.last().copied(), 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 2);
        seen.extend(page.iter().map(|unpublished| unpublished.group));
    }
    assert_eq!(seen, groups);
    assert!(catalog.unpublished_groups("/elsewhere", None, 10).await.unwrap().is_empty());
}
