use std::time::Duration;

use forebay_types::{ChunkId, ChunkState, GroupId, GroupState, JobId, JobState};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, UpdateMany};

use crate::catalog::{Catalog, Result, Write, micros, small, unsigned};
use crate::entity::{chunk, commit_group, job};
use crate::staging::jobs_in;
use crate::{CatalogError, Claim, ClaimOutcome, WrittenChunk};

/// Most leases that one call expires: more than any fleet has chunks at work.
const EXPIRY_LIMIT: u64 = 10_000;

impl Catalog {
    /// Claims a chunk for `owner`, a process, for the length of the lease. The attempt is counted before it starts,
    /// so that a chunk that kills its worker is counted too.
    pub async fn claim(&self, chunk: ChunkId, owner: &str, lease: Duration) -> Result<ClaimOutcome> {
        let tx = self.write().await?;
        let now = self.now_micros(&*tx).await?;
        let found = chunk::Entity::find_by_id(chunk.0)
            .filter(chunk::Column::State.eq(ChunkState::Staged.as_str()))
            .filter(chunk::Column::NotBefore.lte(now))
            .filter(chunk::Column::Job.in_subquery(jobs_in(JobState::Running)))
            .one(&*tx)
            .await?;
        let outcome = match found {
            None => ClaimOutcome::Gone,
            Some(row) if must_wait(&tx, &row, owner).await? => ClaimOutcome::Busy,
            Some(row) => ClaimOutcome::Claimed(Box::new(start(&tx, row, owner, now, lease).await?)),
        };
        tx.commit().await?;
        Ok(outcome)
    }

    /// Extends the leases of all chunks that `owner` has claimed. Gives their number.
    pub async fn renew(&self, owner: &str, lease: Duration) -> Result<u64> {
        let tx = self.write().await?;
        let until = self.now_micros(&*tx).await?.saturating_add(micros(lease));
        let result = chunk::Entity::update_many()
            .col_expr(chunk::Column::LeaseUntil, Expr::value(until))
            .filter(chunk::Column::Owner.eq(owner))
            .exec(&*tx)
            .await?;
        tx.commit().await?;
        Ok(result.rows_affected)
    }

    /// Takes chunks away from owners that did not renew their leases. No death: a slow worker is no dead one.
    pub async fn expire_leases(&self) -> Result<Vec<ChunkId>> {
        let tx = self.write().await?;
        let now = self.now_micros(&*tx).await?;
        let expired: Vec<i64> = chunk::Entity::find()
            .select_only()
            .column(chunk::Column::Id)
            .filter(at_work())
            .filter(chunk::Column::LeaseUntil.lt(now))
            .limit(EXPIRY_LIMIT)
            .into_tuple()
            .all(&*tx)
            .await?;
        for id in &expired {
            back_to_staged(0).filter(chunk::Column::Id.eq(*id)).exec(&*tx).await?;
        }
        tx.commit().await?;
        Ok(expired.into_iter().map(ChunkId).collect())
    }

    /// Gives a claimed chunk back, after a failure that will pass or at shutdown, to be tried again after
    /// `not_before`. False if the attempt is not at work any more.
    pub async fn release(&self, chunk: ChunkId, attempt: u32, not_before: Option<Duration>) -> Result<bool> {
        let tx = self.write().await?;
        let not_before = match not_before {
            Some(delay) => self.now_micros(&*tx).await?.saturating_add(micros(delay)),
            None => 0,
        };
        let result = back_to_staged(not_before)
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
    pub async fn mark_written(
        &self,
        chunk: ChunkId,
        attempt: u32,
        group: GroupId,
        written: &WrittenChunk,
    ) -> Result<bool> {
        let written = serde_json::to_string(written).map_err(|error| CatalogError::Corrupt(error.to_string()))?;
        let mut job_of_open_group = Query::select();
        job_of_open_group
            .column(commit_group::Column::Job)
            .from(commit_group::Entity)
            .and_where(Expr::col(commit_group::Column::Id).eq(group.0))
            .and_where(Expr::col(commit_group::Column::State).eq(GroupState::Open.as_str()))
            .and_where(Expr::col(commit_group::Column::Job).in_subquery(jobs_in(JobState::Running)));
        let tx = self.write().await?;
        let result = chunk::Entity::update_many()
            .col_expr(chunk::Column::State, Expr::value(ChunkState::Written.as_str()))
            .col_expr(chunk::Column::Owner, Expr::value(None::<String>))
            .col_expr(chunk::Column::LeaseUntil, Expr::value(None::<i64>))
            .col_expr(chunk::Column::GroupId, Expr::value(group.0))
            .col_expr(chunk::Column::Written, Expr::value(written))
            .filter(chunk::Column::Id.eq(chunk.0))
            .filter(chunk::Column::State.eq(ChunkState::Claimed.as_str()))
            .filter(chunk::Column::Attempt.eq(i64::from(attempt)))
            .filter(chunk::Column::Job.in_subquery(job_of_open_group))
            .exec(&*tx)
            .await?;
        tx.commit().await?;
        Ok(result.rows_affected == 1)
    }
}

/// A suspect, a chunk that a worker died of, must be alone in its process: who dies next is then known.
async fn must_wait(tx: &Write<'_>, row: &chunk::Model, owner: &str) -> Result<bool> {
    let most_deaths_at_work: Option<i64> = chunk::Entity::find()
        .select_only()
        .column(chunk::Column::Deaths)
        .filter(chunk::Column::Owner.eq(owner))
        .order_by_desc(chunk::Column::Deaths)
        .limit(1)
        .into_tuple()
        .one(&**tx)
        .await?;
    Ok(most_deaths_at_work.is_some_and(|deaths| deaths > 0 || row.deaths > 0))
}

async fn start(tx: &Write<'_>, mut row: chunk::Model, owner: &str, now: i64, lease: Duration) -> Result<Claim> {
    row.attempt += 1;
    chunk::Entity::update_many()
        .col_expr(chunk::Column::State, Expr::value(ChunkState::Claimed.as_str()))
        .col_expr(chunk::Column::Attempt, Expr::value(row.attempt))
        .col_expr(chunk::Column::Owner, Expr::value(owner))
        .col_expr(chunk::Column::LeaseUntil, Expr::value(now.saturating_add(micros(lease))))
        .col_expr(chunk::Column::StartedAt, Expr::value(now))
        .filter(chunk::Column::Id.eq(row.id))
        .exec(&**tx)
        .await?;
    if row.attempt > 1 {
        job::Entity::update_many()
            .col_expr(job::Column::Retries, Expr::col(job::Column::Retries).add(1))
            .filter(job::Column::Id.eq(row.job))
            .exec(&**tx)
            .await?;
    }
    row.try_into()
}

/// Chunks that are claimed. A range, because SQLite does not look into the index for what is not null.
pub(crate) fn at_work() -> Expr {
    chunk::Column::Owner.gt("")
}

/// An update that puts chunks (which, is for a filter to say) back to waiting, in a new epoch.
pub(crate) fn back_to_staged(not_before: i64) -> UpdateMany<chunk::Entity> {
    chunk::Entity::update_many()
        .col_expr(chunk::Column::State, Expr::value(ChunkState::Staged.as_str()))
        .col_expr(chunk::Column::Epoch, Expr::col(chunk::Column::Epoch).add(1))
        .col_expr(chunk::Column::DispatchedAt, Expr::value(None::<i64>))
        .col_expr(chunk::Column::NotBefore, Expr::value(not_before))
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
