//! Looks at the catalog while the world goes on, for what must hold at every moment: much of it mends itself, or is
//! caught by the next check, so that nothing of it is left in the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use forebay_catalog::{AuditedChunk, AuditedGroup};
use forebay_types::{ChunkId, ChunkState, GroupId, GroupState, JobId};

/// Attempts that writers said they have taken into a group.
pub(crate) type Taken = Arc<Mutex<BTreeMap<(GroupId, ChunkId), u32>>>;

/// What was seen so far.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) taken: Taken,
    /// The epoch that each attempt was begun in.
    attempts: BTreeMap<ChunkId, BTreeMap<u32, u32>>,
    /// Chunks that are committed, and their groups.
    committed: BTreeMap<ChunkId, Option<GroupId>>,
    /// Groups that are committed, and their places.
    places: BTreeMap<GroupId, Option<i64>>,
    /// Chunks of jobs that are cancelled, with attempt and whether they are committed.
    cancelled: BTreeMap<JobId, BTreeMap<ChunkId, (u32, bool)>>,
    pub(crate) problems: Vec<String>,
}

impl Watch {
    /// Looks at all chunks and groups of one moment. `latest` is until when an owner can have anything, by its last
    /// sign of life.
    pub(crate) fn look(&mut self, chunks: &[AuditedChunk], groups: &[AuditedGroup], latest: impl Fn(&str) -> i64) {
        let states: BTreeMap<GroupId, GroupState> = groups.iter().map(|group| (group.group, group.state)).collect();
        for chunk in chunks {
            self.chunk(chunk, chunk.group.and_then(|group| states.get(&group).copied()), &latest);
        }
        for group in groups {
            if group.state == GroupState::Open && group.lease_until > latest(&group.owner) {
                self.problems.push(format!("group {} is held for longer than {} lived", group.group, group.owner));
            }
            if matches!(group.state, GroupState::Committed | GroupState::Published) {
                self.places.entry(group.group).or_insert(group.commit_seq);
            }
        }
        for (group, place) in &self.places {
            let now = groups.iter().find(|now| now.group == *group);
            let stays = |now: &AuditedGroup| {
                matches!(now.state, GroupState::Committed | GroupState::Published) && now.commit_seq == *place
            };
            if !now.is_some_and(stays) {
                self.problems.push(format!("group {group} was committed at {place:?}, and is {now:?}"));
            }
        }
    }

    /// Looks at a job that is cancelled: none of its chunks is begun or committed any more.
    pub(crate) fn look_at_cancelled(&mut self, job: JobId, chunks: &[AuditedChunk]) {
        let of_job = chunks.iter().filter(|chunk| chunk.job == job);
        let now: BTreeMap<ChunkId, (u32, bool)> =
            of_job.map(|chunk| (chunk.chunk, (chunk.attempt, chunk.state == ChunkState::Committed))).collect();
        let then = self.cancelled.entry(job).or_insert_with(|| now.clone());
        for (chunk, is) in &now {
            // Halves of a chunk that is settled late are new.
            let was = then.get(chunk).copied().unwrap_or_default();
            if was != *is {
                self.problems
                    .push(format!("chunk {chunk} of a cancelled job: attempt and commit were {was:?}, are {is:?}"));
            }
        }
    }

    fn chunk(&mut self, chunk: &AuditedChunk, group: Option<GroupState>, latest: impl Fn(&str) -> i64) {
        let AuditedChunk { chunk: id, state, epoch, attempt, .. } = *chunk;
        let mut wrong = |what: String| self.problems.push(format!("chunk {id}: {what}"));
        let held = (chunk.owner.as_deref(), chunk.lease_until);
        match (state, held) {
            (ChunkState::Claimed, (Some(owner), Some(until))) if until <= latest(owner) => {}
            (ChunkState::Claimed, (Some(owner), Some(_))) => wrong(format!("it is held for longer than {owner} lived")),
            (ChunkState::Claimed, _) => wrong("it is claimed by nobody".to_owned()),
            (_, (None, None)) => {}
            (_, held) => wrong(format!("it is {state:?}, and held by {held:?}")),
        }
        let fits = match state {
            ChunkState::Written => group == Some(GroupState::Open),
            ChunkState::Committed => matches!(group, Some(GroupState::Committed | GroupState::Published)),
            ChunkState::Staged | ChunkState::Claimed | ChunkState::Split => chunk.group.is_none(),
        };
        if !fits {
            wrong(format!("it is {state:?} in {:?}, which is {group:?}", chunk.group));
        }
        if let Some(taken) = chunk.group.and_then(|group| self.taken.lock().unwrap().get(&(group, id)).copied())
            && taken != attempt
        {
            wrong(format!("its attempt {taken} was taken into {:?}, and {attempt} is the newest", chunk.group));
        }
        if matches!(state, ChunkState::Claimed | ChunkState::Written | ChunkState::Committed) {
            let known = self.attempts.entry(id).or_default();
            let begun = *known.entry(attempt).or_insert(epoch);
            if begun != epoch || known.last_key_value().is_some_and(|(newest, _)| *newest > attempt) {
                wrong(format!("attempt {attempt} in epoch {epoch}, after {known:?}"));
            }
        }
        match (self.committed.get(&id), state) {
            (None, ChunkState::Committed) => drop(self.committed.insert(id, chunk.group)),
            (Some(group), _) if state != ChunkState::Committed || *group != chunk.group => {
                wrong(format!("it was committed in {group:?}, and is {state:?} in {:?}", chunk.group));
            }
            _ => {}
        }
    }
}
