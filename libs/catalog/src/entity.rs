//! The tables as sea-orm sees them. `migration.rs` creates them, with their indexes.

macro_rules! entity {
    ($(#[doc = $doc:literal])* $module:ident, $table:literal, { $($(#[$attr:meta])* $field:ident: $type:ty,)* }) => {
        $(#[doc = $doc])*
        pub(crate) mod $module {
            use sea_orm::entity::prelude::*;

            #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
            #[sea_orm(table_name = $table)]
            pub(crate) struct Model { $($(#[$attr])* pub(crate) $field: $type,)* }

            #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
            pub(crate) enum Relation {}

            impl ActiveModelBehavior for ActiveModel {}
        }
    };
}

entity! {
    /// Facts about the catalog itself.
    meta, "meta", {
        #[sea_orm(primary_key, auto_increment = false)]
        name: String,
        value: String,
    }
}

entity! {
    /// One submission, with the running totals of its progress.
    job, "job", {
        #[sea_orm(primary_key)]
        id: i64,
        tenant: String,
        key: String,
        recipe_name: String,
        recipe: String,
        digest: String,
        output: String,
        format: String,
        settings: String,
        max_rejects: Option<i64>,
        state: String,
        error: Option<String>,
        framed: bool,
        created_at: i64,
        ended_at: Option<i64>,
        next_seq: i64,
        bytes_framed: i64,
        records_in: i64,
        bytes_out: i64,
        chunks: i64,
        chunks_committed: i64,
        chunks_split: i64,
        retries: i64,
        commits: i64,
        staged_bytes: i64,
        traceparent: Option<String>,
        sink: Option<String>,
    }
}

entity! {
    /// One input of a job, and how far it is framed.
    input, "input", {
        #[sea_orm(primary_key, auto_increment = false)]
        job: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        number: i64,
        uri: String,
        size: Option<i64>,
        version: Option<String>,
        offset: i64,
        records: i64,
        complete: bool,
        header: Option<Vec<u8>>,
        info: Option<String>,
        batch_seq: i64,
    }
}

entity! {
    /// One chunk. `owner` is set while it is claimed and only then; `group_id` while it is written and after.
    chunk, "chunk", {
        #[sea_orm(primary_key)]
        id: i64,
        job: i64,
        seq: i64,
        origin_seq: i64,
        parent: Option<i64>,
        input: i64,
        source: String,
        staged_key: Option<String>,
        first_record: i64,
        records: i64,
        bytes: i64,
        checksum: Option<String>,
        state: String,
        epoch: i64,
        dispatched_at: Option<i64>,
        not_before: i64,
        attempt: i64,
        deaths: i64,
        lapses: i64,
        failures: i64,
        quarantined: bool,
        owner: Option<String>,
        lease_until: Option<i64>,
        started_at: Option<i64>,
        group_id: Option<i64>,
        written: Option<String>,
    }
}

entity! {
    /// One commit group: the intent before its files exist, the record of them afterwards. `commit_seq` is set when
    /// it is committed, `to_load` until the job's sink has it.
    commit_group, "commit_group", {
        #[sea_orm(primary_key)]
        id: i64,
        job: i64,
        state: String,
        owner: String,
        lease_until: i64,
        commit_seq: Option<i64>,
        opened_at: i64,
        ended_at: Option<i64>,
        to_load: bool,
    }
}

entity! {
    /// One committed file.
    file, "file", {
        #[sea_orm(primary_key)]
        id: i64,
        group_id: i64,
        table_name: String,
        path: String,
        bytes: i64,
        rows: i64,
        add_action: String,
    }
}

entity! {
    /// One object in staging, and how many chunks that are not committed yet read it.
    staged, "staged", {
        #[sea_orm(primary_key, auto_increment = false)]
        job: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        key: String,
        pending: i64,
        bytes: i64,
    }
}

entity! {
    /// A running total of committed work: rows of a table, rejects of a reason, or microseconds of a stage.
    job_total, "job_total", {
        #[sea_orm(primary_key, auto_increment = false)]
        job: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        kind: String,
        #[sea_orm(primary_key, auto_increment = false)]
        name: String,
        total: i64,
    }
}
