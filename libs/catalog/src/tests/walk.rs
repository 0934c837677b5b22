//! A random walk over the whole protocol: workers that finish, fail, die, or are taken for dead and go on; groups
//! that are committed, abandoned or lost in a crash. Whatever happens, each record is committed exactly once.

use std::collections::BTreeSet;
use std::time::Duration;

use forebay_types::{ChunkId, GroupId, JobId};

use super::{Db, LEASE, ME, chunk, cursor, on_both, open};
use crate::{Catalog, Claim, ClaimOutcome, CommitResult, DeathVerdict, NewChunk, WrittenChunk};

const RECORDS: u64 = 150;
const FAULTY_STEPS: usize = 400;
const OWNERS: [&str; 2] = ["one", "two"];

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % n
    }
}

struct Walk {
    random: Random,
    catalog: Catalog,
    job: JobId,
    framed: u64,
    /// What workers believe that they have; some are wrong.
    at_work: Vec<Claim>,
    group: Option<GroupId>,
    in_group: Vec<(ChunkId, u32, u64, u64)>,
    committed: BTreeSet<ChunkId>,
    covered: Vec<bool>,
}

impl Walk {
    async fn new(db: Db, seed: u64) -> Self {
        let catalog = db.empty().await;
        let job = open(&catalog, "walk").await;
        let covered = vec![false; RECORDS as usize];
        let random = Random(seed);
        let (at_work, in_group, committed) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { random, catalog, job, framed: 0, at_work, group: None, in_group, committed, covered }
    }

    async fn frame(&mut self) {
        let mut chunks = Vec::new();
        let mut at = self.framed;
        while at < RECORDS && chunks.len() < 3 {
            let n = (1 + self.random.below(12)).min(RECORDS - at);
            chunks.push(chunk(at, n));
            at += n;
        }
        let to = cursor(at, at == RECORDS);
        let added = self.catalog.add_chunks(self.job, &chunks, to.clone()).await.unwrap();
        if self.random.below(2) == 0 {
            let again = self.catalog.add_chunks(self.job, &chunks, to).await.unwrap();
            assert_eq!(again, added);
        }
        self.framed = at;
        self.catalog.finish_input(self.job).await.unwrap();
    }

    async fn claim(&mut self, lease: Duration) {
        let waiting = self.catalog.dispatchable(8).await.unwrap();
        self.catalog.mark_dispatched(&waiting).await.unwrap();
        let owner = OWNERS[self.random.below(2) as usize];
        for item in waiting {
            if let ClaimOutcome::Claimed(claim) = self.catalog.claim(item.chunk, owner, lease).await.unwrap() {
                assert!(!self.committed.contains(&claim.chunk), "{claim:?}");
                self.at_work.push(*claim);
            }
        }
        self.catalog.undispatch_stale(Duration::ZERO).await.unwrap();
    }

    fn take(&mut self) -> Option<Claim> {
        let n = self.at_work.len() as u64;
        (n > 0).then(|| self.random.below(n) as usize).map(|i| self.at_work.swap_remove(i))
    }

    async fn write(&mut self) {
        let Some(claim) = self.take() else { return };
        let group = match self.group {
            Some(group) => group,
            None => *self.group.insert(self.catalog.open_group(self.job, ME, LEASE).await.unwrap()),
        };
        let written = WrittenChunk { records_in: claim.records, ..WrittenChunk::default() };
        if self.catalog.mark_written(claim.chunk, claim.attempt, group, &written).await.unwrap() {
            self.in_group.push((claim.chunk, claim.attempt, claim.first_record, claim.records));
        }
    }

    async fn die(&mut self) {
        let Some(claim) = self.take() else { return };
        let halves = (claim.records > 1 && self.random.below(4) > 0).then(|| {
            let left = 1 + self.random.below(claim.records - 1);
            let half = |first, n| NewChunk { input: claim.input, ..chunk(first, n) };
            [half(claim.first_record, left), half(claim.first_record + left, claim.records - left)]
        });
        let verdict = self.catalog.record_death(claim.chunk, claim.attempt, halves).await.unwrap();
        assert!(verdict != DeathVerdict::Quarantined || claim.deaths >= 2);
    }

    async fn commit(&mut self) {
        let Some(group) = self.group.take() else { return };
        let named: Vec<_> = self.in_group.iter().map(|(chunk, attempt, ..)| (*chunk, *attempt)).collect();
        match self.catalog.commit_group(group, &[], &named).await.unwrap() {
            CommitResult::Committed => {
                for (chunk, _, first, records) in self.in_group.drain(..) {
                    assert!(self.committed.insert(chunk), "{chunk} was committed twice");
                    for record in &mut self.covered[first as usize..(first + records) as usize] {
                        assert!(!std::mem::replace(record, true), "a record of {chunk} was committed twice");
                    }
                }
                assert_eq!(self.catalog.commit_group(group, &[], &named).await.unwrap(), CommitResult::Committed);
                self.catalog.mark_published(group).await.unwrap();
            }
            lost => panic!("nothing takes a written chunk from its group: {lost:?}"),
        }
    }

    async fn abandon(&mut self) {
        let Some(group) = self.group.take() else { return };
        let unwritten = self.catalog.abandon_group(group).await.unwrap();
        assert_eq!(unwritten as usize, self.in_group.len());
        self.in_group.clear();
        self.catalog.forget_group(group).await.unwrap();
    }

    /// The writer is taken for dead, and another one cleans up after it.
    async fn lapse(&mut self) {
        let Some(group) = self.group.take() else { return };
        self.catalog.renew(ME, Duration::ZERO).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(self.catalog.expire_groups().await.unwrap(), [(group, self.job)]);
        self.in_group.clear();
        self.catalog.forget_group(group).await.unwrap();
    }

    async fn restart(&mut self, crashed: bool) {
        let recovery = self.catalog.recover(crashed).await.unwrap();
        assert_eq!(recovery.unwritten as usize, self.in_group.len());
        for (group, _) in recovery.abandoned {
            self.catalog.forget_group(group).await.unwrap();
        }
        (self.group, self.in_group) = (None, Vec::new());
        self.at_work = recovery.claimed;
        while !self.at_work.is_empty() {
            self.die().await;
        }
    }

    async fn step(&mut self) {
        match self.random.below(21) {
            0..3 => self.frame().await,
            3..7 => self.claim(Duration::from_secs(60)).await,
            7 => {
                // Taken for dead at once, but it goes on.
                self.claim(Duration::ZERO).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
                self.catalog.expire_leases().await.unwrap();
            }
            8..13 => self.write().await,
            13 => {
                let Some(claim) = self.take() else { return };
                self.catalog.release(claim.chunk, claim.attempt, None).await.unwrap();
            }
            14..16 => self.die().await,
            16..18 => self.commit().await,
            18 => self.abandon().await,
            19 => self.lapse().await,
            _ => {
                let crashed = self.random.below(2) == 0;
                self.restart(crashed).await;
            }
        }
    }
}

async fn walk(db: Db, seed: u64) {
    let mut walk = Walk::new(db, seed).await;
    for _ in 0..FAULTY_STEPS {
        walk.step().await;
    }
    // The faults are over. Everything must come to an end.
    walk.restart(false).await;
    while walk.framed < RECORDS {
        walk.frame().await;
    }
    while !walk.catalog.job_complete(walk.job).await.unwrap() {
        walk.claim(Duration::from_secs(60)).await;
        while !walk.at_work.is_empty() {
            walk.write().await;
        }
        walk.commit().await;
    }
    assert!(walk.covered.iter().all(|covered| *covered), "a record was lost");
    let progress = walk.catalog.progress(walk.job).await.unwrap();
    assert_eq!(progress.records_in, RECORDS);
    assert_eq!(progress.chunks["committed"] as usize, walk.committed.len());
    assert_eq!(progress.chunks["staged"] + progress.chunks["claimed"] + progress.chunks["written"], 0);
    assert_eq!(walk.catalog.backlog(walk.job).await.unwrap(), 0);
}

async fn each_record_is_committed_exactly_once_whatever_happens(db: Db) {
    let seeds = match db {
        Db::Sqlite => 12,
        // The same protocol; what differs is when transactions meet, and in a walk they do not.
        Db::Postgres => 3,
    };
    for seed in 1..=seeds {
        // A failure names its seed.
        let run = std::panic::AssertUnwindSafe(Box::pin(walk(db, seed)));
        let result = tokio::task::LocalSet::new().run_until(async { tokio::task::spawn_local(run.0).await }).await;
        assert!(result.is_ok(), "seed {seed}");
    }
}

on_both!(each_record_is_committed_exactly_once_whatever_happens,);
