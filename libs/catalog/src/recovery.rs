use forebay_types::{GroupId, GroupState, JobId};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use crate::attempts::{at_work, back_to_staged};
use crate::catalog::{Catalog, Result};
use crate::entity::{chunk, commit_group};
use crate::{Claim, Recovery};

impl Catalog {
    /// Cleans up after the process that had the catalog before. Only for a caller that holds the catalog alone, so
    /// that whatever is claimed or open belongs to the dead.
    ///
    /// Open groups are abandoned, and their written chunks wait again: nothing is known against those. Chunks that
    /// were at work stay claimed and are handed over if the process `crashed`; otherwise they wait again too.
    pub async fn recover(&self, crashed: bool) -> Result<Recovery> {
        let tx = self.write().await?;
        let mut recovery = Recovery::default();
        // A process has few open groups, abandons few, and claims no more chunks than it has workers.
        let groups = commit_group::Entity::find()
            .filter(
                commit_group::Column::State.is_in([GroupState::Open, GroupState::Abandoned].map(GroupState::as_str)),
            )
            .order_by_asc(commit_group::Column::Id)
            .all(&*tx)
            .await?;
        for group in groups {
            if group.state == GroupState::Open.as_str() {
                recovery.unwritten += self.abandon(&tx, GroupId(group.id)).await?;
            }
            recovery.abandoned.push((GroupId(group.id), JobId(group.job)));
        }
        if crashed {
            let rows = chunk::Entity::find().filter(at_work()).order_by_asc(chunk::Column::Id).all(&*tx).await?;
            for row in rows {
                recovery.claimed.push(row.try_into()?);
            }
        } else {
            back_to_staged(0).filter(at_work()).exec(&*tx).await?;
        }
        tx.commit().await?;
        Ok(recovery)
    }

    /// Chunks that a process has claimed. For its supervisor's next worker, which knows that it died.
    pub async fn claimed_by(&self, owner: &str) -> Result<Vec<Claim>> {
        let rows = chunk::Entity::find()
            .filter(chunk::Column::Owner.eq(owner))
            .order_by_asc(chunk::Column::Id)
            .all(&self.db)
            .await?;
        rows.into_iter().map(Claim::try_from).collect()
    }
}
