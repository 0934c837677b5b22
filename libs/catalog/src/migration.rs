use sea_orm::sea_query::{
    ConditionalStatement, Expr, ExprTrait, ForeignKey, ForeignKeyCreateStatement, Index, IndexCreateStatement, Table,
};
use sea_orm::{DatabaseConnection, DbBackend, DbErr, TransactionTrait};
use sea_orm_migration::schema::{big_integer, big_integer_null, big_pk_auto, blob_null, boolean, text, text_null};
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager, async_trait, seaql_migrations};

use crate::CatalogError;
use crate::catalog::lock_name;

/// Brings a catalog's schema up to date, or refuses one that is newer than this program. Of processes that start at
/// once on PostgreSQL, one does it while the others wait.
pub(crate) async fn migrate(db: &DatabaseConnection) -> Result<(), CatalogError> {
    if db.get_database_backend() == DbBackend::Sqlite {
        refuse_newer(Migrator::get_migration_models(db).await?)?;
        return Ok(Migrator::up(db, None).await?);
    }
    let tx = db.begin().await?;
    lock_name(&tx, "migrations").await?;
    refuse_newer(Migrator::get_migration_models(&tx).await?)?;
    Migrator::up(&tx, None).await?;
    Ok(tx.commit().await?)
}

fn refuse_newer(applied: Vec<seaql_migrations::Model>) -> Result<(), CatalogError> {
    let known = Migrator::migrations();
    let unknown = applied.into_iter().find(|applied| !known.iter().any(|known| known.name() == applied.version));
    unknown.map_or(Ok(()), |unknown| Err(CatalogError::Newer(unknown.version)))
}

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Initial), Box::new(Failures), Box::new(JobTrace), Box::new(Sink)]
    }
}

struct Initial;

impl MigrationName for Initial {
    fn name(&self) -> &str {
        "m0001_initial"
    }
}

// The trait leaves the lifetime out, and async_trait would not take another signature for the same.
#[expect(elided_lifetimes_in_paths)]
#[async_trait::async_trait]
impl MigrationTrait for Initial {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_jobs(manager).await?;
        create_groups(manager).await?;
        create_chunks(manager).await?;
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    // A crash in the middle of a migration must leave the catalog as it was. The default is none on SQLite.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

struct Failures;

impl MigrationName for Failures {
    fn name(&self) -> &str {
        "m0002_failures"
    }
}

// As above.
#[expect(elided_lifetimes_in_paths)]
#[async_trait::async_trait]
impl MigrationTrait for Failures {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut table = Table::alter();
        table.table("chunk").add_column(big_integer("failures").default(0));
        manager.alter_table(table).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

struct JobTrace;

impl MigrationName for JobTrace {
    fn name(&self) -> &str {
        "m0003_job_trace"
    }
}

#[expect(elided_lifetimes_in_paths)]
#[async_trait::async_trait]
impl MigrationTrait for JobTrace {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table("job").add_column(text_null("traceparent")).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

/// A job may have a sink, which its committed groups are loaded into. A version that knows of none commits groups that
/// are not to be loaded, and has no job with a sink.
struct Sink;

impl MigrationName for Sink {
    fn name(&self) -> &str {
        "m0004_sink"
    }
}

#[expect(elided_lifetimes_in_paths)]
#[async_trait::async_trait]
impl MigrationTrait for Sink {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut job = Table::alter();
        manager.alter_table(job.table("job").add_column(text_null("sink")).to_owned()).await?;
        let mut group = Table::alter();
        group.table("commit_group").add_column(boolean("to_load").default(false));
        manager.alter_table(group).await?;
        let mut index = Index::create();
        index.table("commit_group").name("group_to_load").col("job").col("commit_seq");
        manager.create_index(index.and_where(Expr::col("to_load").eq(true)).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

const JOB_COUNTERS: [&str; 10] = [
    "next_seq",
    "bytes_framed",
    "records_in",
    "bytes_out",
    "chunks",
    "chunks_committed",
    "chunks_split",
    "retries",
    "commits",
    "staged_bytes",
];

fn references(column: &'static str, table: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create().from_col(column).to(table, "id").to_owned()
}

async fn create_jobs(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut meta = Table::create();
    meta.table("meta").col(text("name").primary_key()).col(text("value"));
    let mut job = Table::create();
    job.table("job").col(big_pk_auto("id"));
    for column in ["tenant", "key", "recipe_name", "recipe", "digest", "output", "format", "settings", "state"] {
        job.col(text(column));
    }
    job.col(text_null("error")).col(boolean("framed"));
    job.col(big_integer("created_at")).col(big_integer_null("ended_at")).col(big_integer_null("max_rejects"));
    for counter in JOB_COUNTERS {
        job.col(big_integer(counter));
    }
    let mut input = Table::create();
    input.table("input").col(big_integer("job")).col(big_integer("number")).col(text("uri"));
    input.col(big_integer_null("size")).col(text_null("version")).col(big_integer("offset"));
    input.col(big_integer("records")).col(boolean("complete")).col(blob_null("header"));
    input.col(text_null("info")).col(big_integer("batch_seq"));
    input.primary_key(Index::create().col("job").col("number")).foreign_key(&mut references("job", "job"));
    let mut total = Table::create();
    total.table("job_total").col(big_integer("job")).col(text("kind")).col(text("name")).col(big_integer("total"));
    total.primary_key(Index::create().col("job").col("kind").col("name"));
    total.foreign_key(&mut references("job", "job"));
    for table in [meta, job, input, total] {
        manager.create_table(table).await?;
    }
    Ok(())
}

async fn create_groups(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut group = Table::create();
    group.table("commit_group").col(big_pk_auto("id")).col(big_integer("job")).col(text("state"));
    group.col(text("owner")).col(big_integer("lease_until")).col(big_integer_null("commit_seq"));
    group.col(big_integer("opened_at")).col(big_integer_null("ended_at"));
    group.foreign_key(&mut references("job", "job"));
    let mut file = Table::create();
    file.table("file").col(big_pk_auto("id")).col(big_integer("group_id")).col(text("table_name"));
    file.col(text("path")).col(big_integer("bytes")).col(big_integer("rows")).col(text("add_action"));
    file.foreign_key(&mut references("group_id", "commit_group"));
    for table in [group, file] {
        manager.create_table(table).await?;
    }
    Ok(())
}

async fn create_chunks(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut chunk = Table::create();
    chunk.table("chunk").col(big_pk_auto("id")).col(big_integer("job")).col(big_integer("seq"));
    chunk.col(big_integer("origin_seq")).col(big_integer_null("parent"));
    chunk.col(big_integer("input")).col(text("source")).col(text_null("staged_key"));
    chunk.col(big_integer("first_record")).col(big_integer("records")).col(big_integer("bytes"));
    chunk.col(text_null("checksum")).col(text("state")).col(big_integer("epoch"));
    chunk.col(big_integer_null("dispatched_at")).col(big_integer("not_before")).col(big_integer("attempt"));
    chunk.col(big_integer("deaths")).col(big_integer("lapses")).col(boolean("quarantined")).col(text_null("owner"));
    chunk.col(big_integer_null("lease_until")).col(big_integer_null("started_at"));
    chunk.col(big_integer_null("group_id")).col(text_null("written"));
    chunk.foreign_key(&mut references("job", "job")).foreign_key(&mut references("group_id", "commit_group"));
    let mut staged = Table::create();
    staged.table("staged").col(big_integer("job")).col(text("key")).col(big_integer("pending"));
    staged.col(big_integer("bytes"));
    staged.primary_key(Index::create().col("job").col("key")).foreign_key(&mut references("job", "job"));
    for table in [chunk, staged] {
        manager.create_table(table).await?;
    }
    Ok(())
}

fn indexes() -> Vec<IndexCreateStatement> {
    let index = |table: &'static str, name: &str, columns: &[&'static str]| {
        let mut index = Index::create();
        index.table(table).name(name);
        for column in columns {
            index.col(*column);
        }
        index
    };
    // Few rows of many: an index of those alone stays small, and the database sees that it is.
    let index_where_set = |name: &str, column: &'static str| {
        index("chunk", name, &[column]).and_where(Expr::col(column).is_not_null()).to_owned()
    };
    vec![
        index("job", "job_key", &["tenant", "key"]).unique().to_owned(),
        index("job", "job_state", &["state", "id"]),
        index("job", "job_created", &["created_at"]),
        index("job", "job_tenant_created", &["tenant", "created_at"]),
        index("job", "job_tenant_state", &["tenant", "state"]),
        index("job", "job_tenant_staged", &["tenant", "staged_bytes"]),
        index("chunk", "chunk_seq", &["job", "seq"]).unique().to_owned(),
        // The outbox in its order; its prefix serves whatever asks for a job's chunks in one state.
        index("chunk", "chunk_outbox", &["job", "state", "dispatched_at", "deaths", "origin_seq", "first_record"]),
        index_where_set("chunk_owner", "owner"),
        index_where_set("chunk_lease", "lease_until"),
        index("chunk", "chunk_group", &["group_id"]),
        index("commit_group", "group_state", &["state"]),
        index("commit_group", "group_job", &["job", "state"]),
        // Two groups of a job with one place in its order of publication would be lost rows.
        index("commit_group", "group_commit", &["job", "commit_seq"]).unique().to_owned(),
        index("file", "file_group", &["group_id"]),
        index("staged", "staged_pending", &["pending"]),
    ]
}
