use forebay_types::{ChunkState, JobState};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QuerySelect};

use crate::catalog::{Catalog, Result, unsigned};
use crate::entity::{chunk, job};
use crate::staging::jobs_in;
use crate::{QueueDepth, TenantUsage};

impl Catalog {
    /// How much work there is for the fleet, at one moment. Its cost does not grow with the number of chunks that
    /// wait.
    pub async fn queue_depth(&self) -> Result<QueueDepth> {
        let snapshot = self.snapshot().await?;
        let unfinished = Expr::col(job::Column::Chunks)
            .sub(Expr::col(job::Column::ChunksCommitted))
            .sub(Expr::col(job::Column::ChunksSplit));
        let sums: Option<(Option<i64>, Option<i64>)> = job::Entity::find()
            .select_only()
            // A sum of 64-bit integers is a decimal on some databases.
            .column_as(unfinished.sum().cast_as("bigint"), "unfinished")
            .column_as(Expr::col(job::Column::StagedBytes).sum().cast_as("bigint"), "bytes")
            .filter(job::Column::State.eq(JobState::Running.as_str()))
            .into_tuple()
            .one(&snapshot)
            .await?;
        let counted: Vec<(String, i64)> = chunk::Entity::find()
            .select_only()
            .column(chunk::Column::State)
            .column_as(chunk::Column::Id.count(), "n")
            .filter(chunk::Column::Job.in_subquery(jobs_in(JobState::Running)))
            .filter(chunk::Column::State.is_in([ChunkState::Claimed, ChunkState::Written].map(ChunkState::as_str)))
            .group_by(chunk::Column::State)
            .into_tuple()
            .all(&snapshot)
            .await?;
        snapshot.commit().await?;
        let count = |state: ChunkState| {
            unsigned(counted.iter().filter(|(counted, _)| counted == state.as_str()).map(|(_, n)| n).sum())
        };
        let (at_work, written) = (count(ChunkState::Claimed), count(ChunkState::Written));
        let (unfinished, staged_bytes) = sums.unwrap_or_default();
        let waiting = unsigned(unfinished.unwrap_or_default()).saturating_sub(at_work + written);
        Ok(QueueDepth { waiting, at_work, written, staged_bytes: unsigned(staged_bytes.unwrap_or_default()) })
    }

    /// What a tenant has in hand. Its cost does not grow with the number of chunks.
    pub async fn tenant_usage(&self, tenant: &str) -> Result<TenantUsage> {
        let snapshot = self.snapshot().await?;
        let running_jobs = job::Entity::find()
            .filter(job::Column::Tenant.eq(tenant))
            .filter(job::Column::State.eq(JobState::Running.as_str()))
            .count(&snapshot)
            .await?;
        let staged_bytes: Option<Option<i64>> = job::Entity::find()
            .select_only()
            .column_as(Expr::col(job::Column::StagedBytes).sum().cast_as("bigint"), "bytes")
            .filter(job::Column::Tenant.eq(tenant))
            .filter(job::Column::StagedBytes.gt(0))
            .into_tuple()
            .one(&snapshot)
            .await?;
        snapshot.commit().await?;
        Ok(TenantUsage { running_jobs, staged_bytes: unsigned(staged_bytes.flatten().unwrap_or_default()) })
    }
}
