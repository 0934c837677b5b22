use std::collections::BTreeMap;

use forebay_types::{JobId, JobState};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query, SelectStatement};
use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect};

use crate::StagedKey;
use crate::catalog::{Catalog, PAGE, Result, Write};
use crate::entity::{job, staged};

/// Staged objects, and by how many chunks more (or fewer) each is needed.
pub(crate) type Pending = BTreeMap<String, i64>;

impl Catalog {
    /// Objects in staging that nothing will read again: their chunks are all committed, or their job is cancelled.
    /// At most `limit`. Delete them, then forget them.
    pub async fn staged_keys_to_delete(&self, limit: u32) -> Result<Vec<StagedKey>> {
        let unneeded = Condition::any()
            .add(staged::Column::Pending.eq(0))
            .add(staged::Column::Job.in_subquery(jobs_in(JobState::Cancelled)));
        let rows = staged::Entity::find().filter(unneeded).limit(u64::from(limit)).all(&self.db).await?;
        Ok(rows.into_iter().map(|row| StagedKey { job: JobId(row.job), key: row.key }).collect())
    }

    /// Forgets objects in staging that have been deleted.
    pub async fn forget_staged(&self, keys: &[StagedKey]) -> Result<()> {
        let mut by_job = BTreeMap::<i64, Vec<&str>>::new();
        for StagedKey { job, key } in keys {
            by_job.entry(job.0).or_default().push(key);
        }
        let tx = self.write().await?;
        for (job, keys) in by_job {
            for page in keys.chunks(PAGE) {
                staged::Entity::delete_many()
                    .filter(staged::Column::Job.eq(job))
                    .filter(staged::Column::Key.is_in(page.iter().copied()))
                    .exec(&*tx)
                    .await?;
            }
        }
        tx.commit().await
    }
}

/// Rows of the jobs in a state, for use inside another statement.
pub(crate) fn jobs_in(state: JobState) -> SelectStatement {
    let mut jobs = Query::select();
    jobs.column(job::Column::Id).from(job::Entity).and_where(Expr::col(job::Column::State).eq(state.as_str()));
    jobs
}

/// Counts staged objects as needed by more chunks.
pub(crate) async fn keep_staged(tx: &Write<'_>, job: JobId, pending: Pending) -> Result<()> {
    let rows: Vec<_> = pending
        .into_iter()
        .map(|(key, n)| staged::ActiveModel { job: Set(job.0), key: Set(key), pending: Set(n) })
        .collect();
    for page in rows.chunks(PAGE) {
        let sum =
            Expr::col((staged::Entity, staged::Column::Pending)).add(Expr::col(("excluded", staged::Column::Pending)));
        let add = OnConflict::columns([staged::Column::Job, staged::Column::Key])
            .value(staged::Column::Pending, sum)
            .to_owned();
        staged::Entity::insert_many(page.to_vec()).on_conflict(add).exec_without_returning(&**tx).await?;
    }
    Ok(())
}

/// Counts staged objects as needed by fewer chunks.
pub(crate) async fn release_staged(tx: &Write<'_>, job: JobId, pending: Pending) -> Result<()> {
    // Most objects serve one chunk, so that this is one statement in nearly every commit.
    let mut by_count = BTreeMap::<i64, Vec<String>>::new();
    for (key, n) in pending {
        by_count.entry(n).or_default().push(key);
    }
    for (n, keys) in by_count {
        for page in keys.chunks(PAGE) {
            staged::Entity::update_many()
                .col_expr(staged::Column::Pending, Expr::col(staged::Column::Pending).sub(n))
                .filter(staged::Column::Job.eq(job.0))
                .filter(staged::Column::Key.is_in(page.iter().map(String::as_str)))
                .exec(&**tx)
                .await?;
        }
    }
    Ok(())
}
