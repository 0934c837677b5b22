use forebay_types::{ChunkState, JobId, JobState};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ColumnTrait, EntityTrait, JoinType, QueryFilter, QuerySelect};

use crate::catalog::{Catalog, Result};
use crate::entity::{chunk, job, job_total};
use crate::jobs::running_page;
use crate::progress::Total;
use crate::{CatalogError, Conflict};

impl Catalog {
    /// True if a job is running.
    pub async fn has_running_jobs(&self) -> Result<bool> {
        Ok(!self.running_jobs(None, 1).await?.is_empty())
    }

    /// Running jobs whose input is framed and whose chunks are all written, by their rows: at most `limit` after
    /// `after`. Its cost does not grow with the number of chunks.
    pub async fn written_jobs(&self, after: Option<JobId>, limit: u32) -> Result<Vec<JobId>> {
        let mut unwritten = Query::select();
        unwritten
            .column((chunk::Entity, chunk::Column::Id))
            .from(chunk::Entity)
            .and_where(Expr::col((chunk::Entity, chunk::Column::Job)).equals((job::Entity, job::Column::Id)))
            .and_where(chunk::Column::State.is_in([ChunkState::Staged, ChunkState::Claimed].map(ChunkState::as_str)));
        let ids: Vec<i64> = running_page(after, limit)
            .filter(job::Column::Framed.eq(true))
            .filter(Expr::exists(unwritten).not())
            .into_tuple()
            .all(&self.db)
            .await?;
        Ok(ids.into_iter().map(JobId).collect())
    }

    /// Fails the running jobs that have more rejects committed than they may, and gives them.
    pub async fn fail_over_reject_limit(&self) -> Result<Vec<JobId>> {
        // A sum of 64-bit integers is a decimal on some databases.
        let rejected = || Expr::col((job_total::Entity, job_total::Column::Total)).sum().cast_as("bigint");
        let over: Vec<(i64, i64, i64)> = job::Entity::find()
            .select_only()
            .columns([job::Column::Id, job::Column::MaxRejects])
            .column_as(rejected(), "rejected")
            .join(
                JoinType::InnerJoin,
                job::Entity::belongs_to(job_total::Entity).from(job::Column::Id).to(job_total::Column::Job).into(),
            )
            .filter(job::Column::State.eq(JobState::Running.as_str()))
            .filter(job::Column::MaxRejects.is_not_null())
            .filter(job_total::Column::Kind.eq(Total::Rejects.as_str()))
            .group_by(job::Column::Id)
            .group_by(job::Column::MaxRejects)
            .having(rejected().gt(Expr::col((job::Entity, job::Column::MaxRejects))))
            .into_tuple()
            .all(&self.db)
            .await?;
        let mut failed = Vec::new();
        for (id, most, rejected) in over {
            let message = format!("{rejected} records were rejected, more than --max-rejects {most}");
            match self.end_job(JobId(id), JobState::Failed, Some(message)).await {
                Ok(true) => failed.push(JobId(id)),
                // Somebody else ended it in between.
                Ok(false) | Err(CatalogError::Conflict(Conflict::JobState { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(failed)
    }
}
