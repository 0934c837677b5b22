use std::collections::BTreeSet;

use forebay_types::{GroupId, GroupState};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::catalog::{Catalog, PAGE, Result};
use crate::entity::{commit_group, job};

impl Catalog {
    /// Which of these groups are open, committed or published: their files are or may become part of a table.
    /// Groups that are abandoned or unknown are dead for good, and so is what was written for them.
    pub async fn live_groups(&self, groups: &BTreeSet<GroupId>) -> Result<BTreeSet<GroupId>> {
        let live = [GroupState::Open, GroupState::Committed, GroupState::Published].map(GroupState::as_str);
        let groups: Vec<i64> = groups.iter().map(|group| group.0).collect();
        let mut found = BTreeSet::new();
        for page in groups.chunks(PAGE) {
            let ids: Vec<i64> = commit_group::Entity::find()
                .select_only()
                .column(commit_group::Column::Id)
                .filter(commit_group::Column::Id.is_in(page.iter().copied()))
                .filter(commit_group::Column::State.is_in(live))
                .into_tuple()
                .all(&self.db)
                .await?;
            found.extend(ids.into_iter().map(GroupId));
        }
        Ok(found)
    }

    /// URIs of the outputs that jobs write to: at most `limit` behind `after`, in their order.
    pub async fn outputs(&self, after: Option<&str>, limit: u32) -> Result<Vec<String>> {
        let outputs = job::Entity::find()
            .select_only()
            .column(job::Column::Output)
            .distinct()
            .filter(job::Column::Output.gt(after.unwrap_or_default()))
            .order_by_asc(job::Column::Output)
            .limit(u64::from(limit))
            .into_tuple()
            .all(&self.db)
            .await?;
        Ok(outputs)
    }
}
