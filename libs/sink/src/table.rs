use arrow_schema::Schema;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Row};

use crate::columns::{Column, PgType, made_for, taken_by};
use crate::target::quoted;
use crate::{SinkError, SinkTarget};

/// The table of what was loaded: for each job and table, the place of the last group in the job's order of commits.
pub(crate) const COMMITS: &str = "_forebay_commits";

/// Of the lock that whoever makes tables takes: `CREATE TABLE IF NOT EXISTS` fails when two do it at once.
const MAKING: i64 = 0x666f_7265_6261_7901;

/// A column as the server describes it.
struct There {
    name: String,
    kind: i64,
    shown: String,
    needed: bool,
}

/// Looks at a table, and makes it if it is not there. Gives the columns that a batch's are written to, in their order.
pub(crate) async fn prepare(
    connection: &mut PgConnection,
    target: &SinkTarget,
    table: &str,
    schema: &Schema,
) -> Result<Vec<Column>, Failure> {
    let mut there = describe(connection, &target.table(table)).await?;
    let commits = describe(connection, &target.table(COMMITS)).await?;
    if there.is_empty() || commits.is_empty() {
        make(connection, target, table, schema).await?;
        there = describe(connection, &target.table(table)).await?;
    }
    let columns = check(table, schema, &there)?;
    if let Some(key) = target.key(table) {
        check_key(connection, target, table, key, &columns).await?;
    }
    Ok(columns)
}

/// What went wrong: with the server, or with the table.
pub(crate) enum Failure {
    Server(sqlx::Error),
    Sink(SinkError),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Server(error)
    }
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

/// The columns of a table; none if there is no such table. What a domain is made of counts, not the domain.
async fn describe(connection: &mut PgConnection, table: &str) -> Result<Vec<There>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT a.attname::text AS name, COALESCE(NULLIF(t.typbasetype, 0), t.oid)::int8 AS kind, \
         format_type(a.atttypid, a.atttypmod) AS shown, \
         a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND a.attgenerated = '' AS needed \
         FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
         WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
    )
    .bind(table)
    .fetch_all(connection)
    .await?;
    let there = |row: PgRow| {
        Ok(There {
            name: row.try_get("name")?,
            kind: row.try_get("kind")?,
            shown: row.try_get("shown")?,
            needed: row.try_get("needed")?,
        })
    };
    // As many as a table has columns: PostgreSQL allows 1,600.
    rows.into_iter().map(there).collect()
}

async fn make(connection: &mut PgConnection, target: &SinkTarget, table: &str, schema: &Schema) -> Result<(), Failure> {
    let full = target.table(table);
    let mut columns = Vec::new();
    for field in schema.fields() {
        columns.push(format!("{} {}", quoted(field.name()), made_for(table, field)?.1));
    }
    let mut tx = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(MAKING).execute(&mut *tx).await?;
    if describe(&mut tx, &target.table(COMMITS)).await?.is_empty() {
        let sql = format!(
            "CREATE TABLE {} (catalog text NOT NULL, job bigint NOT NULL, table_name text NOT NULL, \
             last_commit bigint NOT NULL, rows bigint NOT NULL, loaded_at timestamptz NOT NULL, \
             PRIMARY KEY (catalog, job, table_name))",
            target.table(COMMITS)
        );
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *tx).await?;
    }
    if describe(&mut tx, &full).await?.is_empty() {
        let sql = format!("CREATE TABLE {full} ({})", columns.join(", "));
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *tx).await?;
        if let Some(key) = target.key(table) {
            let key: Vec<String> = key.iter().map(|column| quoted(column)).collect();
            let sql = format!("CREATE UNIQUE INDEX ON {full} ({})", key.join(", "));
            sqlx::query(AssertSqlSafe(sql)).execute(&mut *tx).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

fn check(table: &str, schema: &Schema, there: &[There]) -> Result<Vec<Column>, SinkError> {
    let fail = |message: String| SinkError::Schema { table: table.to_owned(), message };
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let made = made_for(table, field)?.1;
        let Some(found) = there.iter().find(|column| column.name == *field.name()) else {
            return Err(fail(format!(
                "it has no column '{name}': ALTER TABLE ... ADD COLUMN {} {made}",
                quoted(field.name()),
                name = field.name()
            )));
        };
        let kind = u32::try_from(found.kind).ok().and_then(PgType::from_oid);
        let Some(kind) = kind.filter(|kind| taken_by(field.data_type()).contains(kind)) else {
            return Err(fail(format!(
                "its column '{}' is {}, and {made} is needed: ALTER TABLE ... ALTER COLUMN ... TYPE {made}",
                field.name(),
                found.shown
            )));
        };
        columns.push(Column { name: field.name().clone(), kind });
    }
    let extra = there.iter().find(|column| column.needed && schema.field_with_name(&column.name).is_err());
    match extra {
        Some(extra) => Err(fail(format!(
            "its column '{}' may not be null, and the recipe does not have it: give it a default",
            extra.name
        ))),
        None => Ok(columns),
    }
}

/// A statement without rows tells whether there is a unique index for a key.
async fn check_key(
    connection: &mut PgConnection,
    target: &SinkTarget,
    table: &str,
    key: &[String],
    columns: &[Column],
) -> Result<(), Failure> {
    let fail = |message: String| Failure::Sink(SinkError::Schema { table: table.to_owned(), message });
    if let Some(unknown) = key.iter().find(|name| columns.iter().all(|column| column.name != **name)) {
        return Err(fail(format!("its key has the column '{unknown}', which the recipe does not write")));
    }
    let full = target.table(table);
    let list = key.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
    let sql =
        format!("INSERT INTO {full} ({list}) SELECT {list} FROM {full} WHERE false ON CONFLICT ({list}) DO NOTHING");
    match sqlx::query(AssertSqlSafe(sql)).execute(connection).await {
        Ok(_) => Ok(()),
        Err(error) if error.as_database_error().and_then(|cause| cause.code()).is_some_and(|code| code == "42P10") => {
            Err(fail(format!("it has no unique index for its key: CREATE UNIQUE INDEX ON {full} ({list})")))
        }
        Err(error) => Err(error.into()),
    }
}
