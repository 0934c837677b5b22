use forebay_types::{ChunkId, ChunkState, JobId};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::attempts::back_to_staged;
use crate::catalog::{Catalog, Result, Write, unsigned};
use crate::entity::{chunk, job};
use crate::framing::{Lineage, insert_chunks};
use crate::jobs::job_row;
use crate::staging::release_staged;
use crate::{Conflict, DeathVerdict, NewChunk};

/// A chunk that so many workers died of runs no recipe any more.
const QUARANTINE_AT: i64 = 3;

impl Catalog {
    /// Records that a worker died of a chunk, and decides what becomes of it. `halves`, if the chunk can be split,
    /// must cover its records in order. Its lapses are settled by this. Repeating a call that came through says that
    /// the attempt is stale.
    ///
    /// # Errors
    /// [`Conflict::Coverage`] if the halves do not.
    pub async fn record_death(
        &self,
        chunk: ChunkId,
        attempt: u32,
        halves: Option<[NewChunk; 2]>,
    ) -> Result<DeathVerdict> {
        let tx = self.write().await?;
        tx.lock_job_of_chunk(chunk).await?;
        let found = chunk::Entity::find_by_id(chunk.0)
            .filter(chunk::Column::State.eq(ChunkState::Claimed.as_str()))
            .filter(chunk::Column::Attempt.eq(i64::from(attempt)))
            .one(&*tx)
            .await?;
        let Some(row) = found else {
            tx.rollback().await?;
            return Ok(DeathVerdict::Stale);
        };
        let deaths = row.deaths + 1;
        let verdict = match halves {
            Some(halves) if deaths < QUARANTINE_AT && row.records > 1 => {
                DeathVerdict::Split(split(&tx, &row, deaths, &halves).await?)
            }
            _ => {
                back_to_staged(0)
                    .col_expr(chunk::Column::Deaths, Expr::value(deaths))
                    .col_expr(chunk::Column::Lapses, Expr::value(0_i64))
                    .col_expr(chunk::Column::Quarantined, Expr::value(deaths >= QUARANTINE_AT))
                    .filter(chunk::Column::Id.eq(row.id))
                    .exec(&*tx)
                    .await?;
                if deaths >= QUARANTINE_AT { DeathVerdict::Quarantined } else { DeathVerdict::Retry }
            }
        };
        tx.commit().await?;
        Ok(verdict)
    }
}

async fn split(tx: &Write<'_>, row: &chunk::Model, deaths: i64, halves: &[NewChunk; 2]) -> Result<[ChunkId; 2]> {
    let [left, right] = halves;
    let start = unsigned(row.first_record);
    let covered = left.first_record == start
        && right.first_record == start + left.records
        && left.records + right.records == unsigned(row.records)
        && left.records > 0
        && right.records > 0
        && halves.iter().all(|half| i64::from(half.input) == row.input);
    if !covered {
        return Err(Conflict::Coverage(format!("the halves of chunk {} do not cover it", row.id)).into());
    }
    let job = JobId(row.job);
    let first_seq = job_row(&**tx, job).await?.next_seq;
    let added = insert_chunks(tx, job, halves, Lineage::Split { parent: row, deaths, first_seq }).await?;
    if let Some(key) = &row.staged_key {
        release_staged(tx, job, [(key.clone(), 1)].into()).await?;
    }
    let plus = |column: job::Column, n: i64| Expr::col(column).add(n);
    job::Entity::update_many()
        .col_expr(job::Column::NextSeq, plus(job::Column::NextSeq, 2))
        .col_expr(job::Column::Chunks, plus(job::Column::Chunks, 2))
        .col_expr(job::Column::ChunksSplit, plus(job::Column::ChunksSplit, 1))
        .filter(job::Column::Id.eq(job.0))
        .exec(&**tx)
        .await?;
    chunk::Entity::update_many()
        .col_expr(chunk::Column::State, Expr::value(ChunkState::Split.as_str()))
        .col_expr(chunk::Column::Deaths, Expr::value(deaths))
        .col_expr(chunk::Column::Owner, Expr::value(None::<String>))
        .col_expr(chunk::Column::LeaseUntil, Expr::value(None::<i64>))
        .filter(chunk::Column::Id.eq(row.id))
        .exec(&**tx)
        .await?;
    Ok([added[0].chunk, added[1].chunk])
}
