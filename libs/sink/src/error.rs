use sqlx::postgres::PgDatabaseError;

/// Why rows did not get into PostgreSQL. No message holds a password or a value of a row.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The sink's URL is wrong.
    #[error("the sink's URL: {0}")]
    Url(String),
    /// The server did not let us in, or went away.
    #[error("the sink {target}: {problem}: {remedy}")]
    Server {
        /// The database, without user and password.
        target: String,
        /// What happened.
        problem: String,
        /// What to do.
        remedy: String,
        /// True if the same call may succeed later with nothing changed.
        transient: bool,
    },
    /// A table can't take the rows.
    #[error("table {table} of the sink does not fit: {message}")]
    Schema {
        /// The table.
        table: String,
        /// Which column, how, and what to do.
        message: String,
    },
    /// Another process is loading the same: ask again.
    #[error("table {0} of the sink is being loaded by another process")]
    Busy(String),
    /// The rows could not be read.
    #[error("{message}")]
    Source {
        /// What happened.
        message: String,
        /// True if the same call may succeed later with nothing changed.
        transient: bool,
    },
    /// The server does not take COPY for this table. Never leaves this crate.
    #[error("COPY is refused: {0}")]
    CopyRefused(String),
}

impl SinkError {
    /// True if the same load may succeed later with nothing changed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Server { transient, .. } | Self::Source { transient, .. } => *transient,
            Self::Busy(_) | Self::CopyRefused(_) => true,
            Self::Url(_) | Self::Schema { .. } => false,
        }
    }
}

/// States of PostgreSQL that pass: other transactions were in the way (40001, 40P01, 55P03), the server is short of
/// connections or memory (53300, 53200), stopping or starting (57P01 to 57P03), has lost patience with us (57014, 25P03,
/// 57P05), or has become a standby (25006).
const TRANSIENT: [&str; 12] =
    ["40001", "40P01", "55P03", "53300", "53200", "57P01", "57P02", "57P03", "57014", "25P03", "57P05", "25006"];

/// States of a server, a proxy or a table that takes INSERT but not COPY: not supported (row-level security, say), a
/// view, no such statement.
const NO_COPY: [&str; 3] = ["0A000", "42809", "42601"];

/// What a failure means, for the table that was being loaded.
pub(crate) fn sort(target: &str, table: Option<&str>, error: &sqlx::Error) -> SinkError {
    let server = |problem: String, remedy: &str, transient| SinkError::Server {
        target: target.to_owned(),
        problem,
        remedy: remedy.to_owned(),
        transient,
    };
    match error {
        sqlx::Error::Database(cause) => match cause.try_downcast_ref::<PgDatabaseError>() {
            Some(cause) => of_database(target, table, cause),
            None => server("an unknown error of the database".to_owned(), "look into its log", false),
        },
        sqlx::Error::Io(cause) => {
            server(format!("no connection ({cause})"), "see that PostgreSQL runs there and is reachable", true)
        }
        sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed | sqlx::Error::BeginFailed => {
            server("the connection was cut".to_owned(), "see that PostgreSQL runs there and is reachable", true)
        }
        sqlx::Error::Tls(cause) => {
            server(format!("TLS: {cause}"), "correct sslmode and sslrootcert in the sink's URL", false)
        }
        // The texts of the others may hold a value.
        _ => server("the driver failed".to_owned(), "this is a bug of forebay: please report it", false),
    }
}

/// True if INSERT may do what COPY did not.
pub(crate) fn refuses_copy(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|cause| cause.code()).is_some_and(|code| NO_COPY.contains(&&*code))
}

fn of_database(target: &str, table: Option<&str>, cause: &PgDatabaseError) -> SinkError {
    let code = cause.code();
    let name = table.or(cause.table()).unwrap_or("?").to_owned();
    let remedy = match code {
        "3D000" => "create the database, or correct the sink's URL",
        "3F000" => "create the schema (CREATE SCHEMA), or correct `schema` in the sink's URL",
        "28P01" | "28000" => "correct user and password in the sink's URL, or the server's pg_hba.conf",
        "42501" => "grant the sink's user INSERT on its tables (and CREATE on the schema, where they are missing)",
        "53100" => "free space for the database, and run the same command again: it goes on where it stopped",
        "53300" => "raise the server's max_connections",
        "57P03" => "wait until the server has started",
        _ => "run the same command again when it is mended: it goes on where it stopped",
    };
    match &code[..2] {
        // What the server says of a value may repeat the value.
        "22" | "23" => {
            let place = [("column", cause.column()), ("type", cause.data_type()), ("constraint", cause.constraint())];
            let place: Vec<String> =
                place.iter().filter_map(|(what, name)| name.map(|name| format!("{what} {name}"))).collect();
            let place = if place.is_empty() { String::new() } else { format!(" ({})", place.join(", ")) };
            let message = format!(
                "PostgreSQL refused a row: {}{place}: change the table, or the recipe, so that it takes them",
                condition(code)
            );
            SinkError::Schema { table: name, message }
        }
        "42" if code != "42501" => SinkError::Schema { table: name, message: cause.message().to_owned() },
        _ => SinkError::Server {
            target: target.to_owned(),
            problem: match table {
                Some(table) => format!("table {table}: {} ({code})", cause.message()),
                None => format!("{} ({code})", cause.message()),
            },
            remedy: remedy.to_owned(),
            transient: code.starts_with("08") || TRANSIENT.contains(&code),
        },
    }
}

/// A state's name, as the manual of PostgreSQL has it (appendix A).
fn condition(code: &str) -> String {
    let name = match code {
        "22001" => "a text is too long for its column",
        "22003" => "a number is out of its column's range",
        "22008" => "a date is out of range",
        "22P02" => "a text is not of its column's type",
        "22P05" => "a character does not exist in the database's encoding, which is not UTF8",
        "23502" => "a column may not be null",
        "23503" => "a foreign key has no such row",
        "23505" => "a unique key is there already",
        "23514" => "a check failed",
        _ => return format!("state {code}"),
    };
    format!("{name} ({code})")
}
