use std::collections::BTreeMap;
use std::time::Duration;

use forebay_types::{ChunkId, ChunkState, GroupId, GroupState, JobId, JobState};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use sea_orm::{
    ActiveModelTrait, ActiveValue::NotSet, ActiveValue::Set, ColumnTrait, Condition, EntityTrait, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect,
};

use crate::attempts::back_to_staged;
use crate::catalog::{Catalog, PAGE, Result, Write, micros, signed, unsigned};
use crate::entity::{chunk, commit_group, file, job, job_total};
use crate::progress::Total;
use crate::staging::{Pending, jobs_in, release_staged};
use crate::{CatalogError, CommitResult, Conflict, File, UnpublishedGroup, WrittenChunk};

impl Catalog {
    /// Opens a commit group for `owner`, a process, which renews its lease by [`Self::renew`]. Opened before any of
    /// its files exists: what names a file after its group can be found and deleted after a crash. If the outcome is
    /// unknown, a group without chunks may be left; an empty commit or the end of its owner ends it.
    pub async fn open_group(&self, job: JobId, owner: &str, lease: Duration) -> Result<GroupId> {
        let tx = self.write().await?;
        tx.lock_job(job).await?;
        let now = self.now_micros(&*tx).await?;
        let group = commit_group::ActiveModel {
            id: NotSet,
            job: Set(job.0),
            state: Set(GroupState::Open.as_str().to_owned()),
            owner: Set(owner.to_owned()),
            lease_until: Set(now + micros(lease)),
            commit_seq: Set(None),
            opened_at: Set(now),
            ended_at: Set(None),
            to_load: Set(false),
        };
        let group = group.insert(&*tx).await?;
        tx.commit().await?;
        Ok(GroupId(group.id))
    }

    /// Commits a group with its files and all its chunks, or nothing. Every chunk must still be at the attempt that
    /// wrote it into this group, and the job must be running. Repeating a commit that succeeded is no error, also
    /// after its lease ran out: what counts is that nobody has abandoned the group.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] if another writer has abandoned and forgotten the group.
    /// [`Conflict::Group`] if the group holds chunks that the call does not name: their rows may be in the files.
    pub async fn commit_group(
        &self,
        group: GroupId,
        files: &[File],
        chunks: &[(ChunkId, u32)],
    ) -> Result<CommitResult> {
        let tx = self.write().await?;
        let (job, row) = locked_group(&tx, group).await?;
        let work = match group_state(&row)? {
            GroupState::Committed | GroupState::Published => {
                tx.rollback().await?;
                return Ok(CommitResult::Committed);
            }
            GroupState::Open if job.state == JobState::Running.as_str() => take_stock(&tx, group, chunks).await?,
            GroupState::Open | GroupState::Abandoned => Err(chunks.iter().map(|(chunk, _)| *chunk).collect()),
        };
        let work = match work {
            Ok(work) => work,
            Err(lost) => {
                tx.rollback().await?;
                return Ok(CommitResult::Lost(lost));
            }
        };
        chunk::Entity::update_many()
            .col_expr(chunk::Column::State, Expr::value(ChunkState::Committed.as_str()))
            .col_expr(chunk::Column::Written, Expr::value(None::<String>))
            .filter(chunk::Column::GroupId.eq(group.0))
            .exec(&*tx)
            .await?;
        insert_files(&tx, group, files).await?;
        add_totals(&tx, row.job, &work, files).await?;
        release_staged(&tx, JobId(row.job), work.staged).await?;
        self.end_group(&tx, group, GroupState::Committed, Some(job.commits + 1)).await?;
        if job.sink.is_some() {
            set_to_load(&tx, group, true).await?;
        }
        tx.commit().await?;
        Ok(CommitResult::Committed)
    }

    /// Gives a group up: its written chunks go back to waiting, without a death. Gives their number, which is none
    /// when the call is repeated. Delete the group's files, then forget it.
    ///
    /// # Errors
    /// [`Conflict::Group`] if it is committed; [`CatalogError::NotFound`] if it is forgotten.
    pub async fn abandon_group(&self, group: GroupId) -> Result<u64> {
        let tx = self.write().await?;
        let state = group_state(&locked_group(&tx, group).await?.1)?;
        if matches!(state, GroupState::Committed | GroupState::Published) {
            return Err(Conflict::Group(format!("{group} is {} and cannot be abandoned", state.as_str())).into());
        }
        let unwritten = self.abandon(&tx, group).await?;
        tx.commit().await?;
        Ok(unwritten)
    }

    pub(crate) async fn abandon(&self, tx: &Write<'_>, group: GroupId) -> Result<u64> {
        let result = back_to_staged(0).filter(chunk::Column::GroupId.eq(group.0)).exec(&**tx).await?;
        self.end_group(tx, group, GroupState::Abandoned, None).await?;
        Ok(result.rows_affected)
    }

    /// Abandons open groups whose owners did not renew their leases. Gives them, and the groups that such owners had
    /// abandoned without forgetting them: delete their files, then forget them. Whoever asks gets them, until they
    /// are forgotten.
    pub async fn expire_groups(&self) -> Result<Vec<(GroupId, JobId)>> {
        let lapsed = |state: GroupState| {
            Condition::all()
                .add(commit_group::Column::State.eq(state.as_str()))
                .add(Expr::col(commit_group::Column::LeaseUntil).lt(self.now()))
        };
        let open = commit_group::Entity::find().filter(lapsed(GroupState::Open)).all(&self.db).await?;
        for group in open {
            let tx = self.write().await?;
            tx.lock_job(JobId(group.job)).await?;
            // Its owner may have renewed or committed it meanwhile.
            let still = commit_group::Entity::find_by_id(group.id).filter(lapsed(GroupState::Open)).one(&*tx).await?;
            if still.is_some() {
                self.abandon(&tx, GroupId(group.id)).await?;
            }
            tx.commit().await?;
        }
        let abandoned = commit_group::Entity::find()
            .filter(lapsed(GroupState::Abandoned))
            .order_by_asc(commit_group::Column::Id)
            .limit(PAGE as u64)
            .all(&self.db)
            .await?;
        Ok(abandoned.into_iter().map(|group| (GroupId(group.id), JobId(group.job))).collect())
    }

    /// Forgets an abandoned group, when its files are deleted.
    pub async fn forget_group(&self, group: GroupId) -> Result<()> {
        let tx = self.write().await?;
        tx.lock_job_of_group(group).await?;
        commit_group::Entity::delete_many()
            .filter(commit_group::Column::Id.eq(group.0))
            .filter(commit_group::Column::State.eq(GroupState::Abandoned.as_str()))
            .exec(&*tx)
            .await?;
        tx.commit().await
    }

    /// Groups of a job that are committed and not in the Delta logs, in the order of their commits: at most `limit`. A
    /// group may be published when those before it are.
    pub async fn unpublished_groups(&self, job: JobId, limit: u32) -> Result<Vec<UnpublishedGroup>> {
        let groups = commit_group::Entity::find()
            .filter(commit_group::Column::Job.eq(job.0))
            .filter(commit_group::Column::State.eq(GroupState::Committed.as_str()))
            .order_by_asc(commit_group::Column::CommitSeq)
            .limit(u64::from(limit))
            .all(&self.db)
            .await?;
        self.with_files(groups).await
    }

    /// Jobs that have ended, cancelled or failed, with groups that are committed and not in the Delta logs: at most
    /// `limit` after `after`. Nobody flushes those any more.
    pub async fn ended_jobs_to_publish(&self, after: Option<JobId>, limit: u32) -> Result<Vec<JobId>> {
        let jobs: Vec<i64> = commit_group::Entity::find()
            .select_only()
            .column(commit_group::Column::Job)
            .distinct()
            .filter(commit_group::Column::State.eq(GroupState::Committed.as_str()))
            .filter(commit_group::Column::Job.gt(after.map_or(0, |job| job.0)))
            .filter(commit_group::Column::Job.not_in_subquery(jobs_in(JobState::Running)))
            .order_by_asc(commit_group::Column::Job)
            .limit(u64::from(limit))
            .into_tuple()
            .all(&self.db)
            .await?;
        Ok(jobs.into_iter().map(JobId).collect())
    }

    async fn with_files(&self, groups: Vec<commit_group::Model>) -> Result<Vec<UnpublishedGroup>> {
        let mut unpublished = Vec::with_capacity(groups.len());
        for group in groups {
            let files = file::Entity::find()
                .filter(file::Column::GroupId.eq(group.id))
                .order_by_asc(file::Column::Id)
                .all(&self.db)
                .await?;
            let files = files.into_iter().map(File::from).collect();
            let unplaced = || CatalogError::Corrupt(format!("committed group {} has no place", group.id));
            let commit_seq = group.commit_seq.ok_or_else(unplaced)?;
            unpublished.push(UnpublishedGroup { group: GroupId(group.id), job: JobId(group.job), commit_seq, files });
        }
        Ok(unpublished)
    }

    /// Running jobs that have groups in the Delta logs which their sinks do not have: at most `limit`.
    pub async fn jobs_to_load(&self, limit: u32) -> Result<Vec<JobId>> {
        let mut running = Query::select();
        running
            .column(job::Column::Id)
            .from(job::Entity)
            .and_where(Expr::col(job::Column::State).eq(JobState::Running.as_str()));
        let jobs: Vec<i64> = commit_group::Entity::find()
            .select_only()
            .column(commit_group::Column::Job)
            .distinct()
            .filter(commit_group::Column::ToLoad.eq(true))
            .filter(commit_group::Column::State.eq(GroupState::Published.as_str()))
            .filter(commit_group::Column::Job.in_subquery(running))
            .limit(u64::from(limit))
            .into_tuple()
            .all(&self.db)
            .await?;
        Ok(jobs.into_iter().map(JobId).collect())
    }

    /// Groups of a job that are in the Delta logs and not in its sink, in the order of their commits: at most `limit`.
    /// None that comes after one which is not in the logs yet.
    pub async fn groups_to_load(&self, job: JobId, limit: u32) -> Result<Vec<UnpublishedGroup>> {
        let groups = commit_group::Entity::find()
            .filter(commit_group::Column::Job.eq(job.0))
            .filter(commit_group::Column::ToLoad.eq(true))
            .order_by_asc(commit_group::Column::CommitSeq)
            .limit(u64::from(limit))
            .all(&self.db)
            .await?;
        let published = |group: &commit_group::Model| group.state == GroupState::Published.as_str();
        self.with_files(groups.into_iter().take_while(published).collect()).await
    }

    /// Notes that its job's sink has a group. May be repeated.
    pub async fn mark_loaded(&self, group: GroupId) -> Result<()> {
        let tx = self.write().await?;
        tx.lock_job_of_group(group).await?;
        set_to_load(&tx, group, false).await?;
        tx.commit().await
    }

    /// Notes that the Delta logs have a committed group. False if they had it before.
    ///
    /// # Errors
    /// [`Conflict::Group`] if it is not committed.
    pub async fn mark_published(&self, group: GroupId) -> Result<bool> {
        let tx = self.write().await?;
        let (_, row) = locked_group(&tx, group).await?;
        let state = group_state(&row)?;
        match state {
            GroupState::Committed => self.end_group(&tx, group, GroupState::Published, row.commit_seq).await?,
            GroupState::Published => {}
            GroupState::Open | GroupState::Abandoned => {
                let problem = format!("{group} is {} and cannot be published", state.as_str());
                return Err(Conflict::Group(problem).into());
            }
        }
        tx.commit().await?;
        Ok(state == GroupState::Committed)
    }

    async fn end_group(
        &self,
        tx: &Write<'_>,
        group: GroupId,
        state: GroupState,
        commit_seq: Option<i64>,
    ) -> Result<()> {
        commit_group::Entity::update_many()
            .col_expr(commit_group::Column::State, Expr::value(state.as_str()))
            .col_expr(commit_group::Column::CommitSeq, Expr::value(commit_seq))
            .col_expr(commit_group::Column::EndedAt, self.now())
            .filter(commit_group::Column::Id.eq(group.0))
            .exec(&**tx)
            .await?;
        Ok(())
    }
}

/// A group and its job, which is locked from now on.
async fn locked_group(tx: &Write<'_>, group: GroupId) -> Result<(job::Model, commit_group::Model)> {
    let unknown = || CatalogError::NotFound(format!("commit group {group}"));
    let job = tx.lock_job_of_group(group).await?.ok_or_else(unknown)?;
    let group = commit_group::Entity::find_by_id(group.0).one(&**tx).await?.ok_or_else(unknown)?;
    Ok((job, group))
}

async fn set_to_load(tx: &Write<'_>, group: GroupId, to_load: bool) -> Result<()> {
    commit_group::Entity::update_many()
        .col_expr(commit_group::Column::ToLoad, Expr::value(to_load))
        .filter(commit_group::Column::Id.eq(group.0))
        .exec(&**tx)
        .await?;
    Ok(())
}

fn group_state(row: &commit_group::Model) -> Result<GroupState> {
    let (id, state) = (row.id, &row.state);
    GroupState::parse(state)
        .ok_or_else(|| CatalogError::Corrupt(format!("commit group {id} is in the state '{state}'")))
}

/// What a group's chunks add up to.
#[derive(Default)]
struct Work {
    chunks: i64,
    records_in: u64,
    totals: BTreeMap<(Total, String), u64>,
    staged: Pending,
}

impl Work {
    fn add(&mut self, row: chunk::Model) -> Result<()> {
        let written: Option<WrittenChunk> = row.written.as_deref().and_then(|json| serde_json::from_str(json).ok());
        let unreadable = || CatalogError::Corrupt(format!("what was written of chunk {} is unreadable", row.id));
        let written = written.ok_or_else(unreadable)?;
        self.chunks += 1;
        self.records_in += written.records_in;
        for (kind, counts) in [
            (Total::Rows, written.rows),
            (Total::Rejects, written.rejects),
            (Total::Stages, written.stages),
            (Total::Counts, written.counts),
        ] {
            for (name, n) in counts {
                *self.totals.entry((kind, name)).or_default() += n;
            }
        }
        if let Some(key) = row.staged_key {
            *self.staged.entry(key).or_default() += 1;
        }
        Ok(())
    }
}

/// Adds up the named chunks, if the group has exactly them. Otherwise gives those that it does not have.
async fn take_stock(
    tx: &Write<'_>,
    group: GroupId,
    chunks: &[(ChunkId, u32)],
) -> Result<std::result::Result<Work, Vec<ChunkId>>> {
    let mut work = Work::default();
    let mut lost = Vec::new();
    for page in chunks.chunks(PAGE) {
        let rows = chunk::Entity::find()
            .filter(chunk::Column::Id.is_in(page.iter().map(|(chunk, _)| chunk.0)))
            .filter(chunk::Column::GroupId.eq(group.0))
            .filter(chunk::Column::State.eq(ChunkState::Written.as_str()))
            .all(&**tx)
            .await?;
        let mut rows: BTreeMap<i64, chunk::Model> = rows.into_iter().map(|row| (row.id, row)).collect();
        for (chunk, attempt) in page {
            match rows.remove(&chunk.0) {
                Some(row) if row.attempt == i64::from(*attempt) => work.add(row)?,
                _ => lost.push(*chunk),
            }
        }
    }
    if !lost.is_empty() {
        return Ok(Err(lost));
    }
    let held = chunk::Entity::find().filter(chunk::Column::GroupId.eq(group.0)).count(&**tx).await?;
    if signed(held) != work.chunks {
        let problem = format!("{group} holds {held} chunks, but the commit names {}", work.chunks);
        return Err(Conflict::Group(problem).into());
    }
    Ok(Ok(work))
}

async fn insert_files(tx: &Write<'_>, group: GroupId, files: &[File]) -> Result<()> {
    for page in files.chunks(PAGE) {
        let rows = page.iter().map(|new| file::ActiveModel {
            id: NotSet,
            group_id: Set(group.0),
            table_name: Set(new.table.clone()),
            path: Set(new.path.clone()),
            bytes: Set(signed(new.bytes)),
            rows: Set(signed(new.rows)),
            add_action: Set(new.add.clone()),
        });
        file::Entity::insert_many(rows).exec_without_returning(&**tx).await?;
    }
    Ok(())
}

impl From<file::Model> for File {
    fn from(row: file::Model) -> Self {
        Self {
            table: row.table_name,
            path: row.path,
            bytes: unsigned(row.bytes),
            rows: unsigned(row.rows),
            add: row.add_action,
        }
    }
}

async fn add_totals(tx: &Write<'_>, job: i64, work: &Work, files: &[File]) -> Result<()> {
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let plus = |column: job::Column, n: i64| Expr::col(column).add(n);
    job::Entity::update_many()
        .col_expr(job::Column::RecordsIn, plus(job::Column::RecordsIn, signed(work.records_in)))
        .col_expr(job::Column::BytesOut, plus(job::Column::BytesOut, signed(bytes)))
        .col_expr(job::Column::ChunksCommitted, plus(job::Column::ChunksCommitted, work.chunks))
        .col_expr(job::Column::Commits, plus(job::Column::Commits, 1))
        .filter(job::Column::Id.eq(job))
        .exec(&**tx)
        .await?;
    let rows: Vec<_> = work
        .totals
        .iter()
        .map(|((kind, name), n)| job_total::ActiveModel {
            job: Set(job),
            kind: Set(kind.as_str().to_owned()),
            name: Set(name.clone()),
            total: Set(signed(*n)),
        })
        .collect();
    let sum =
        Expr::col((job_total::Entity, job_total::Column::Total)).add(Expr::col(("excluded", job_total::Column::Total)));
    let add = OnConflict::columns([job_total::Column::Job, job_total::Column::Kind, job_total::Column::Name])
        .value(job_total::Column::Total, sum)
        .to_owned();
    for page in rows.chunks(PAGE) {
        job_total::Entity::insert_many(page.to_vec()).on_conflict(add.clone()).exec_without_returning(&**tx).await?;
    }
    Ok(())
}
