use super::{Db, LEASE, ME, claim, commit, count, frame, on_both, open, write};
use crate::Recovery;

async fn after_a_crash_open_groups_are_abandoned_and_chunks_at_work_handed_over(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[1, 1, 1, 1]).await;
    let [committed, written, at_work, waiting] = [0, 1, 2, 3].map(|n| chunks[n].chunk);
    let done = catalog.open_group(job, ME, LEASE).await.unwrap();
    let work = write(&catalog, committed, done).await;
    commit(&catalog, done, &[work]).await;
    let open_group = catalog.open_group(job, ME, LEASE).await.unwrap();
    write(&catalog, written, open_group).await;
    let victim = claim(&catalog, at_work).await;

    let recovery = catalog.recover(true).await.unwrap();
    assert_eq!(recovery.abandoned, [(open_group, job)]);
    assert_eq!(recovery.claimed, std::slice::from_ref(&victim));
    assert_eq!(recovery.unwritten, 1);
    assert_eq!((count(&catalog, job, "staged").await, count(&catalog, job, "claimed").await), (2, 1));
    // The one that recovers may die too: what is not done yet is found again.
    let again = catalog.recover(true).await.unwrap();
    assert_eq!(again, Recovery { unwritten: 0, ..recovery });

    catalog.forget_group(open_group).await.unwrap();
    catalog.record_death(at_work, victim.attempt, None).await.unwrap();
    assert_eq!(catalog.recover(true).await.unwrap(), Recovery::default());
    assert_eq!(claim(&catalog, written).await.deaths, 0);
    catalog.release(written, 2, None).await.unwrap();
    claim(&catalog, waiting).await;
}

async fn after_a_clean_stop_chunks_at_work_wait_again_without_a_death(db: Db) {
    let catalog = db.empty().await;
    let job = open(&catalog, "a").await;
    let chunks = frame(&catalog, job, &[1]).await;
    claim(&catalog, chunks[0].chunk).await;
    assert_eq!(catalog.recover(false).await.unwrap(), Recovery::default());
    let waiting = catalog.dispatchable(10).await.unwrap();
    assert_eq!((waiting.len(), waiting[0].epoch), (1, 1));
    assert_eq!(claim(&catalog, chunks[0].chunk).await.deaths, 0);
}

on_both!(
    after_a_crash_open_groups_are_abandoned_and_chunks_at_work_handed_over,
    after_a_clean_stop_chunks_at_work_wait_again_without_a_death,
);
