use std::collections::BTreeMap;

use forebay_types::{JobId, JobState};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query, SelectStatement};
use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect};

use crate::StagedKey;
use crate::catalog::{Catalog, PAGE, Result, Write};
use crate::entity::{job, staged};

/// Staged objects, and by how many chunks fewer each is needed.
pub(crate) type Pending = BTreeMap<String, i64>;

/// Staged objects that chunks need.
pub(crate) type Kept = BTreeMap<String, KeptObject>;

/// What chunks add to a staged object.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeptObject {
    /// By how many chunks more it is needed.
    pub(crate) pending: i64,
    /// How many more input bytes it holds.
    pub(crate) bytes: i64,
}

impl Catalog {
    /// Objects in staging that nothing will read again: their chunks are all committed, or their job is cancelled.
    /// At most `limit`. Delete them, then forget them.
    pub async fn staged_keys_to_delete(&self, limit: u32) -> Result<Vec<StagedKey>> {
        // Two statements, each with an index: for one or the other condition in one, PostgreSQL reads all that is staged.
        let first = |limit: u64| staged::Entity::find().limit(limit);
        let mut rows = first(u64::from(limit)).filter(staged::Column::Pending.eq(0)).all(&self.db).await?;
        let left = u64::from(limit) - rows.len() as u64;
        if left > 0 {
            let cancelled = staged::Column::Job.in_subquery(jobs_in(JobState::Cancelled));
            rows.extend(first(left).filter(cancelled).filter(staged::Column::Pending.ne(0)).all(&self.db).await?);
        }
        Ok(rows.into_iter().map(|row| StagedKey { job: JobId(row.job), key: row.key }).collect())
    }

    /// Forgets objects in staging that have been deleted.
    pub async fn forget_staged(&self, keys: &[StagedKey]) -> Result<()> {
        let mut by_job = BTreeMap::<i64, Vec<&str>>::new();
        for StagedKey { job, key } in keys {
            by_job.entry(job.0).or_default().push(key);
        }
        for (job, keys) in by_job {
            let tx = self.write().await?;
            tx.lock_job(JobId(job)).await?;
            for page in keys.chunks(PAGE) {
                forget_page(&tx, job, page).await?;
            }
            tx.commit().await?;
        }
        Ok(())
    }
}

async fn forget_page(tx: &Write<'_>, job: i64, keys: &[&str]) -> Result<()> {
    let named = || {
        let of_job = Condition::all().add(staged::Column::Job.eq(job));
        of_job.add(staged::Column::Key.is_in(keys.iter().copied()))
    };
    // A sum of 64-bit integers is a decimal on some databases.
    let sum = Expr::col(staged::Column::Bytes).sum().cast_as("bigint");
    let bytes: Option<Option<i64>> =
        staged::Entity::find().select_only().column_as(sum, "bytes").filter(named()).into_tuple().one(&**tx).await?;
    staged::Entity::delete_many().filter(named()).exec(&**tx).await?;
    job::Entity::update_many()
        .col_expr(
            job::Column::StagedBytes,
            Expr::col(job::Column::StagedBytes).sub(bytes.flatten().unwrap_or_default()),
        )
        .filter(job::Column::Id.eq(job))
        .exec(&**tx)
        .await?;
    Ok(())
}

/// Rows of the jobs in a state, for use inside another statement.
pub(crate) fn jobs_in(state: JobState) -> SelectStatement {
    let mut jobs = Query::select();
    jobs.column(job::Column::Id).from(job::Entity).and_where(Expr::col(job::Column::State).eq(state.as_str()));
    jobs
}

/// Counts staged objects as needed by more chunks.
pub(crate) async fn keep_staged(tx: &Write<'_>, job: JobId, kept: Kept) -> Result<()> {
    let rows: Vec<_> = kept
        .into_iter()
        .map(|(key, KeptObject { pending, bytes })| staged::ActiveModel {
            job: Set(job.0),
            key: Set(key),
            pending: Set(pending),
            bytes: Set(bytes),
        })
        .collect();
    let sum = |column: staged::Column| Expr::col((staged::Entity, column)).add(Expr::col(("excluded", column)));
    let add = OnConflict::columns([staged::Column::Job, staged::Column::Key])
        .value(staged::Column::Pending, sum(staged::Column::Pending))
        .value(staged::Column::Bytes, sum(staged::Column::Bytes))
        .to_owned();
    for page in rows.chunks(PAGE) {
        staged::Entity::insert_many(page.to_vec()).on_conflict(add.clone()).exec_without_returning(&**tx).await?;
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
