use std::collections::BTreeMap;
use std::time::Duration;

use forebay_types::{ChunkId, ChunkState, JobId, JobState};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::ChunkRef;
use crate::catalog::{Catalog, PAGE, Result, micros, small};
use crate::entity::{chunk, job};
use crate::staging::jobs_in;

impl Catalog {
    /// At most `limit` chunks that wait for a worker and are not in the queue: the outbox. Those that a worker died
    /// of come last, then by job and place.
    pub async fn dispatchable(&self, limit: u32) -> Result<Vec<ChunkRef>> {
        let limit = u64::from(limit);
        let running: Vec<i64> = job::Entity::find()
            .select_only()
            .column(job::Column::Id)
            .filter(job::Column::State.eq(JobState::Running.as_str()))
            .order_by_asc(job::Column::Id)
            .into_tuple()
            .all(&self.db)
            .await?;
        // One query a job walks the index in its order and stops at the limit, however long the backlog is.
        let mut found = Vec::new();
        let mut healthy = 0;
        for job in running {
            if healthy == limit {
                break;
            }
            let page = self.waiting(job, limit - healthy).await?;
            healthy += page.iter().filter(|(deaths, ..)| *deaths == 0).count() as u64;
            found.extend(page);
        }
        // The sort is stable, so that the place within a job stays.
        found.sort_by_key(|(deaths, job, ..)| (*deaths, *job));
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        found
            .into_iter()
            .map(|(_, job, id, epoch)| Ok(ChunkRef { job: JobId(job), chunk: ChunkId(id), epoch: small(epoch)? }))
            .collect()
    }

    /// Deaths, job, chunk and epoch of a job's chunks in the outbox, in the order of dispatch.
    async fn waiting(&self, job: i64, limit: u64) -> Result<Vec<(i64, i64, i64, i64)>> {
        use chunk::Column::{Deaths, DispatchedAt, Epoch, FirstRecord, Id, Job, NotBefore, OriginSeq, State};
        let page = chunk::Entity::find()
            .select_only()
            .columns([Deaths, Job, Id, Epoch])
            .filter(Job.eq(job))
            .filter(State.eq(ChunkState::Staged.as_str()))
            .filter(DispatchedAt.is_null())
            .filter(Expr::col(NotBefore).lte(self.now()))
            // Null in all of these rows, but PostgreSQL sees the index's order only if it is named.
            .order_by_asc(DispatchedAt)
            .order_by_asc(Deaths)
            .order_by_asc(OriginSeq)
            .order_by_asc(FirstRecord)
            .limit(limit)
            .into_tuple()
            .all(&self.db)
            .await?;
        Ok(page)
    }

    /// Notes that these chunks are in the queue. Those that have moved on since are left alone.
    pub async fn mark_dispatched(&self, chunks: &[ChunkRef]) -> Result<()> {
        let mut by_job = BTreeMap::<JobId, BTreeMap<u32, Vec<i64>>>::new();
        for chunk in chunks {
            by_job.entry(chunk.job).or_default().entry(chunk.epoch).or_default().push(chunk.chunk.0);
        }
        for (job, by_epoch) in by_job {
            let tx = self.write().await?;
            tx.lock_job(job).await?;
            for (epoch, ids) in by_epoch {
                for page in ids.chunks(PAGE) {
                    chunk::Entity::update_many()
                        .col_expr(chunk::Column::DispatchedAt, self.now())
                        .filter(chunk::Column::Id.is_in(page.iter().copied()))
                        .filter(chunk::Column::State.eq(ChunkState::Staged.as_str()))
                        .filter(chunk::Column::Epoch.eq(i64::from(epoch)))
                        .exec(&*tx)
                        .await?;
                }
            }
            tx.commit().await?;
        }
        Ok(())
    }

    /// Puts chunks back into the outbox that have been in the queue for longer than `older_than`, because the
    /// queue may have lost them. Gives their number.
    pub async fn undispatch_stale(&self, older_than: Duration) -> Result<u64> {
        let stale = || {
            Condition::all()
                .add(chunk::Column::State.eq(ChunkState::Staged.as_str()))
                .add(Expr::col(chunk::Column::DispatchedAt).lte(self.now().sub(micros(older_than))))
        };
        let jobs: Vec<i64> = chunk::Entity::find()
            .select_only()
            .column(chunk::Column::Job)
            .distinct()
            .filter(chunk::Column::Job.in_subquery(jobs_in(JobState::Running)))
            .filter(stale())
            .into_tuple()
            .all(&self.db)
            .await?;
        let mut undispatched = 0;
        for job in jobs {
            let tx = self.write().await?;
            tx.lock_job(JobId(job)).await?;
            let result = chunk::Entity::update_many()
                .col_expr(chunk::Column::Epoch, Expr::col(chunk::Column::Epoch).add(1))
                .col_expr(chunk::Column::DispatchedAt, Expr::value(None::<i64>))
                .filter(chunk::Column::Job.eq(job))
                .filter(stale())
                .exec(&*tx)
                .await?;
            tx.commit().await?;
            undispatched += result.rows_affected;
        }
        Ok(undispatched)
    }
}
