use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use forebay_types::{ChunkId, ChunkState, GroupId, GroupState, JobId, JobState};
use sea_orm::sea_query::{Expr, ExprTrait, Query, SelectStatement};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait, UpdateMany,
};

use crate::catalog::{Catalog, PAGE, Result, Write, micros, small, unsigned};
use crate::entity::{chunk, commit_group, job};
use crate::{CatalogError, Claim, ClaimOutcome, WrittenChunk};

/// Most leases of a job that one call expires: more than any fleet has chunks at work.
const EXPIRY_LIMIT: u64 = 10_000;

impl Catalog {
    /// Claims a chunk for `owner`, a process, for the length of the lease. The attempt is counted before it starts,
    /// so that a chunk that kills its worker is counted too.
    ///
    /// If the outcome is unknown, the chunk may be claimed without anybody at work on it. Repeating the call then
    /// says that it is gone; the next [`Self::renew`] through this catalog hands it back.
    pub async fn claim(&self, chunk: ChunkId, owner: &str, lease: Duration) -> Result<ClaimOutcome> {
        let tx = self.write().await?;
        // A suspect is alone in its process, whatever jobs the process works for.
        let job = tx.lock_name_and_job_of_chunk(&format!("owner {owner}"), chunk).await?;
        let outcome = if job.is_some_and(|job| job.state == JobState::Running.as_str()) {
            match self.start(&tx, chunk, owner, lease).await? {
                Some(claim) => ClaimOutcome::Claimed(Box::new(claim)),
                None if self.is_to_be_had(&tx, chunk).await? => ClaimOutcome::Busy,
                None => ClaimOutcome::Gone,
            }
        } else {
            ClaimOutcome::Gone
        };
        let committed = tx.commit().await;
        if let (Err(_), ClaimOutcome::Claimed(claim)) = (&committed, &outcome) {
            self.release_later(chunk, claim.attempt);
        }
        committed.map(|()| outcome)
    }

    /// Claims a chunk, if it waits for a worker and need not wait for others of its owner: one statement, because most
    /// claims succeed.
    async fn start(&self, tx: &Write<'_>, chunk: ChunkId, owner: &str, lease: Duration) -> Result<Option<Claim>> {
        let mut start = chunk::Entity::update_many()
            .col_expr(chunk::Column::State, Expr::value(ChunkState::Claimed.as_str()))
            .col_expr(chunk::Column::Attempt, Expr::col(chunk::Column::Attempt).add(1))
            .col_expr(chunk::Column::Owner, Expr::value(owner))
            .col_expr(chunk::Column::LeaseUntil, self.now().add(micros(lease)))
            .col_expr(chunk::Column::StartedAt, self.now())
            .filter(self.waits(chunk))
            .filter(Expr::exists(in_the_way(owner)).not())
            .into_query();
        let Some(row) = tx.query_one(start.returning_all()).await? else { return Ok(None) };
        let row = chunk::Model::from_query_result(&row, "")?;
        if row.attempt > 1 {
            job::Entity::update_many()
                .col_expr(job::Column::Retries, Expr::col(job::Column::Retries).add(1))
                .filter(job::Column::Id.eq(row.job))
                .exec(&**tx)
                .await?;
        }
        row.try_into().map(Some)
    }

    /// A chunk, if it waits for a worker.
    fn waits(&self, chunk: ChunkId) -> Condition {
        Condition::all()
            .add(chunk::Column::Id.eq(chunk.0))
            .add(chunk::Column::State.eq(ChunkState::Staged.as_str()))
            .add(Expr::col(chunk::Column::NotBefore).lte(self.now()))
    }

    async fn is_to_be_had(&self, tx: &Write<'_>, chunk: ChunkId) -> Result<bool> {
        Ok(chunk::Entity::find().filter(self.waits(chunk)).one(&**tx).await?.is_some())
    }

    /// Extends the leases of all chunks that `owner` has claimed, and of all groups that it has open. Gives their
    /// number. Attempts of [`Self::release_later`] are released first.
    pub async fn renew(&self, owner: &str, lease: Duration) -> Result<u64> {
        self.release_unclaimed().await?;
        let mut renewed = 0;
        for job in self.jobs_of(owner).await? {
            let tx = self.write().await?;
            tx.lock_job(JobId(job)).await?;
            let chunks = chunk::Entity::update_many()
                .col_expr(chunk::Column::LeaseUntil, self.now().add(micros(lease)))
                .filter(claimed_of(job))
                .filter(chunk::Column::Owner.eq(owner))
                .exec(&*tx)
                .await?;
            let groups = commit_group::Entity::update_many()
                .col_expr(commit_group::Column::LeaseUntil, self.now().add(micros(lease)))
                .filter(commit_group::Column::State.eq(GroupState::Open.as_str()))
                .filter(commit_group::Column::Owner.eq(owner))
                .filter(commit_group::Column::Job.eq(job))
                .exec(&*tx)
                .await?;
            tx.commit().await?;
            renewed += chunks.rows_affected + groups.rows_affected;
        }
        Ok(renewed)
    }

    /// Jobs that an owner has chunks or open groups of: a handful.
    async fn jobs_of(&self, owner: &str) -> Result<BTreeSet<i64>> {
        let chunks: Vec<i64> = chunk::Entity::find()
            .select_only()
            .column(chunk::Column::Job)
            .distinct()
            .filter(chunk::Column::Owner.eq(owner))
            .into_tuple()
            .all(&self.db)
            .await?;
        let groups: Vec<i64> = commit_group::Entity::find()
            .select_only()
            .column(commit_group::Column::Job)
            .distinct()
            .filter(commit_group::Column::State.eq(GroupState::Open.as_str()))
            .filter(commit_group::Column::Owner.eq(owner))
            .into_tuple()
            .all(&self.db)
            .await?;
        Ok(chunks.into_iter().chain(groups).collect())
    }

    /// Remembers that nobody is at work on an attempt that the database could not be told to release. As long as its
    /// owner renews its leases, the chunk would otherwise wait for ever.
    pub fn release_later(&self, chunk: ChunkId, attempt: u32) {
        self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).push((chunk, attempt));
    }

    async fn release_unclaimed(&self) -> Result<()> {
        loop {
            let next = self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).first().copied();
            let Some((chunk, attempt)) = next else { return Ok(()) };
            self.release(chunk, attempt, None).await?;
            self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| *known != (chunk, attempt));
        }
    }

    /// Takes chunks away from owners that did not renew their leases. No death, because a slow worker is no dead one,
    /// but a lapse: see [`Claim::is_presumed_deadly`].
    pub async fn expire_leases(&self) -> Result<Vec<ChunkId>> {
        let lapsed = || Expr::col(chunk::Column::LeaseUntil).lt(self.now());
        // Not DISTINCT: SQLite would walk the jobs instead of the leases.
        let jobs: Vec<i64> = chunk::Entity::find()
            .select_only()
            .column(chunk::Column::Job)
            .filter(lapsed())
            .limit(EXPIRY_LIMIT)
            .into_tuple()
            .all(&self.db)
            .await?;
        let jobs: BTreeSet<i64> = jobs.into_iter().collect();
        let mut expired = Vec::new();
        for job in jobs {
            let tx = self.write().await?;
            tx.lock_job(JobId(job)).await?;
            let ids: Vec<i64> = chunk::Entity::find()
                .select_only()
                .column(chunk::Column::Id)
                .filter(claimed_of(job))
                .filter(lapsed())
                .order_by_asc(chunk::Column::Id)
                .limit(EXPIRY_LIMIT)
                .into_tuple()
                .all(&*tx)
                .await?;
            for page in ids.chunks(PAGE) {
                back_to_staged(0)
                    .col_expr(chunk::Column::Lapses, Expr::col(chunk::Column::Lapses).add(1))
                    .filter(chunk::Column::Id.is_in(page.iter().copied()))
                    .exec(&*tx)
                    .await?;
            }
            tx.commit().await?;
            expired.extend(ids.into_iter().map(ChunkId));
        }
        Ok(expired)
    }

    /// Gives a claimed chunk back: at shutdown, or, with `failed`, after a failure that will pass, to be tried again
    /// after that time. False if the attempt is not at work any more, and so if the call is repeated.
    pub async fn release(&self, chunk: ChunkId, attempt: u32, failed: Option<Duration>) -> Result<bool> {
        let tx = self.write().await?;
        tx.lock_job_of_chunk(chunk).await?;
        let not_before = match failed {
            Some(delay) => self.now().add(micros(delay)),
            None => Expr::value(0_i64),
        };
        let result = back_to_staged(not_before)
            .col_expr(chunk::Column::Failures, Expr::col(chunk::Column::Failures).add(i64::from(failed.is_some())))
            .filter(chunk::Column::Id.eq(chunk.0))
            .filter(chunk::Column::State.eq(ChunkState::Claimed.as_str()))
            .filter(chunk::Column::Attempt.eq(i64::from(attempt)))
            .exec(&*tx)
            .await?;
        tx.commit().await?;
        Ok(result.rows_affected == 1)
    }

    /// Notes that an attempt is complete in an open group. False if the attempt is not the newest or not at work
    /// any more, if the group is not open, or if the job has ended: then the attempt must not be committed.
    ///
    /// Repeating a call that came through says false too, so that no attempt is taken into a group twice. If the
    /// outcome is unknown, the group may hold a chunk that its writer does not have: its commit is then refused, and
    /// whoever abandons it loses nothing but time.
    pub async fn mark_written(
        &self,
        chunk: ChunkId,
        attempt: u32,
        group: GroupId,
        written: &WrittenChunk,
    ) -> Result<bool> {
        let written = serde_json::to_string(written).map_err(|error| CatalogError::Corrupt(error.to_string()))?;
        let tx = self.write().await?;
        let running = tx.lock_job_of_chunk(chunk).await?.filter(|job| job.state == JobState::Running.as_str());
        let Some(job) = running else {
            tx.rollback().await?;
            return Ok(false);
        };
        let mut open_group_of_job = Query::select();
        open_group_of_job
            .column(commit_group::Column::Job)
            .from(commit_group::Entity)
            .and_where(Expr::col(commit_group::Column::Id).eq(group.0))
            .and_where(Expr::col(commit_group::Column::State).eq(GroupState::Open.as_str()))
            .and_where(Expr::col(commit_group::Column::Job).eq(job.id));
        let result = chunk::Entity::update_many()
            .col_expr(chunk::Column::State, Expr::value(ChunkState::Written.as_str()))
            .col_expr(chunk::Column::Owner, Expr::value(None::<String>))
            .col_expr(chunk::Column::LeaseUntil, Expr::value(None::<i64>))
            .col_expr(chunk::Column::GroupId, Expr::value(group.0))
            .col_expr(chunk::Column::Written, Expr::value(written))
            .filter(chunk::Column::Id.eq(chunk.0))
            .filter(chunk::Column::State.eq(ChunkState::Claimed.as_str()))
            .filter(chunk::Column::Attempt.eq(i64::from(attempt)))
            .filter(chunk::Column::Job.in_subquery(open_group_of_job))
            .exec(&*tx)
            .await?;
        tx.commit().await?;
        Ok(result.rows_affected == 1)
    }
}

/// Chunks of an owner that one which it wants to claim has to wait for: a suspect, a chunk that a worker died of, must
/// be alone in its process. Who dies next is then known.
fn in_the_way(owner: &str) -> SelectStatement {
    const MINE: &str = "mine";
    let deaths = |column: Expr| column.gt(0);
    let mut mine = Query::select();
    mine.expr(Expr::value(1)).from_as(chunk::Entity, MINE).and_where(Expr::col((MINE, chunk::Column::Owner)).eq(owner));
    mine.cond_where(
        Condition::any()
            .add(deaths(Expr::col((MINE, chunk::Column::Deaths))))
            .add(deaths(Expr::col((chunk::Entity, chunk::Column::Deaths)))),
    );
    mine
}

/// Chunks of a job that are claimed. The state is in the index; without it the database may walk all of the job.
fn claimed_of(job: i64) -> Condition {
    Condition::all().add(chunk::Column::Job.eq(job)).add(chunk::Column::State.eq(ChunkState::Claimed.as_str()))
}

/// Chunks that are claimed. A range, because SQLite does not look into the index for what is not null.
pub(crate) fn at_work() -> Expr {
    chunk::Column::Owner.gt("")
}

/// An update that puts chunks (which, is for a filter to say) back to waiting, in a new epoch.
pub(crate) fn back_to_staged(not_before: impl Into<Expr>) -> UpdateMany<chunk::Entity> {
    chunk::Entity::update_many()
        .col_expr(chunk::Column::State, Expr::value(ChunkState::Staged.as_str()))
        .col_expr(chunk::Column::Epoch, Expr::col(chunk::Column::Epoch).add(1))
        .col_expr(chunk::Column::DispatchedAt, Expr::value(None::<i64>))
        .col_expr(chunk::Column::NotBefore, not_before.into())
        .col_expr(chunk::Column::Owner, Expr::value(None::<String>))
        .col_expr(chunk::Column::LeaseUntil, Expr::value(None::<i64>))
        .col_expr(chunk::Column::GroupId, Expr::value(None::<i64>))
        .col_expr(chunk::Column::Written, Expr::value(None::<String>))
}

impl TryFrom<chunk::Model> for Claim {
    type Error = CatalogError;

    fn try_from(row: chunk::Model) -> Result<Self> {
        let corrupt = |what: &str| CatalogError::Corrupt(format!("the {what} of chunk {} is unreadable", row.id));
        let checksum = match &row.checksum {
            Some(hex) => Some(u128::from_str_radix(hex, 16).map_err(|_| corrupt("checksum"))?),
            None => None,
        };
        Ok(Self {
            job: JobId(row.job),
            chunk: ChunkId(row.id),
            attempt: small(row.attempt)?,
            deaths: small(row.deaths)?,
            lapses: small(row.lapses)?,
            failures: small(row.failures)?,
            quarantined: row.quarantined,
            input: small(row.input)?,
            source: serde_json::from_str(&row.source).map_err(|_| corrupt("source"))?,
            first_record: unsigned(row.first_record),
            records: unsigned(row.records),
            checksum,
            bytes: unsigned(row.bytes),
        })
    }
}
