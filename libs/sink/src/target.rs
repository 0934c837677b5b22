use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use url::Url;
use url::form_urlencoded::Serializer;

use crate::SinkError;

/// PostgreSQL cuts longer names off.
pub(crate) const LONGEST_NAME: usize = 63;

/// What a URL may say about the connection; the driver knows them.
const OF_CONNECTION: [&str; 5] = ["sslmode", "sslrootcert", "sslcert", "sslkey", "application_name"];

/// What the server enforces for us: a process that is stopped in the middle of a transaction holds locks, and a
/// client that is gone is noticed.
const LIMITS: [(&str, &str); 4] = [
    ("idle_in_transaction_session_timeout", "120s"),
    ("lock_timeout", "30s"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
];

/// Where a job's rows go: a database, and what to do there. It is part of what a job is, and holds no secret.
///
/// Its text is a URL without user and password: `postgres://HOST:PORT/DATABASE?schema=NAME&key.TABLE=COLUMN,COLUMN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkTarget {
    host: String,
    port: u16,
    database: String,
    /// Schema of the tables; the user's first one if it is not set.
    pub schema: Option<String>,
    /// Tables whose rows replace those with the same key, and the columns of that key.
    pub keys: BTreeMap<String, Vec<String>>,
}

impl SinkTarget {
    /// True if both are in one database, whatever is done there.
    pub fn same_database(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port && self.database == other.database
    }

    /// The database alone, for messages.
    pub fn database(&self) -> String {
        Self { schema: None, keys: BTreeMap::new(), ..self.clone() }.to_string()
    }

    /// A table's full name, quoted.
    pub(crate) fn table(&self, table: &str) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quoted(schema), quoted(table)),
            None => quoted(table),
        }
    }

    /// The columns of a table's key, if its rows replace others.
    pub(crate) fn key(&self, table: &str) -> Option<&[String]> {
        self.keys.get(table).map(Vec::as_slice)
    }
}

impl fmt::Display for SinkTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut query = Serializer::new(String::new());
        if self.host.starts_with('/') {
            write!(f, "postgres:///{}", self.database)?;
            query.append_pair("host", &self.host);
        } else {
            write!(f, "postgres://{}:{}/{}", self.host, self.port, self.database)?;
        }
        if let Some(schema) = &self.schema {
            query.append_pair("schema", schema);
        }
        for (table, columns) in &self.keys {
            query.append_pair(&format!("key.{table}"), &columns.join(","));
        }
        let query = query.finish();
        if query.is_empty() { Ok(()) } else { write!(f, "?{query}") }
    }
}

impl FromStr for SinkTarget {
    type Err = SinkError;

    /// # Errors
    /// [`SinkError::Url`], without the URL's text: it may hold a password.
    fn from_str(text: &str) -> Result<Self, SinkError> {
        let (url, target) = read(text)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("user and password are the service's own business: leave them out here"));
        }
        Ok(target)
    }
}

/// The sink's URL with user and password, as a person or a service is given it. It shows itself without them.
#[derive(Clone)]
pub struct SinkUrl {
    target: Arc<SinkTarget>,
    options: Arc<PgConnectOptions>,
}

impl SinkUrl {
    /// Where it leads, without the secrets.
    pub fn target(&self) -> &SinkTarget {
        &self.target
    }

    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.options
    }
}

impl fmt::Debug for SinkUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SinkUrl({})", self.target)
    }
}

impl FromStr for SinkUrl {
    type Err = SinkError;

    /// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME&key.TABLE=COLUMN,COLUMN&sslmode=...`. What it
    /// leaves out comes from the driver's environment (`PGUSER`, `PGPASSWORD`, a password file).
    ///
    /// # Errors
    /// [`SinkError::Url`], without the URL's text.
    fn from_str(text: &str) -> Result<Self, SinkError> {
        let (mut url, target) = read(text)?;
        let kept: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(key, _)| OF_CONNECTION.contains(&&**key) || key == "host")
            .map(|(key, value)| (key.into_owned(), value.into_owned()))
            .collect();
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
        // The parser's own words may repeat parts of the URL.
        let options = PgConnectOptions::from_url(&url).map_err(|_| wrong("it is not understood"))?;
        let mut options = options.options(LIMITS).disable_statement_logging();
        if options.get_application_name().is_none() {
            options = options.application_name("forebay");
        }
        Ok(Self { target: Arc::new(target), options: Arc::new(options) })
    }
}

/// Takes a URL apart.
fn read(text: &str) -> Result<(Url, SinkTarget), SinkError> {
    let url = Url::parse(text).map_err(|_| wrong("it is not understood"))?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(wrong("it begins with neither postgres:// nor postgresql://"));
    }
    let database = url.path().trim_start_matches('/').to_owned();
    if database.is_empty() || database.contains('/') {
        return Err(wrong("it names no database"));
    }
    let mut target = SinkTarget {
        host: url.host_str().unwrap_or_default().to_owned(),
        port: url.port().unwrap_or(5432),
        database,
        schema: None,
        keys: BTreeMap::new(),
    };
    for (key, value) in url.query_pairs() {
        match &*key {
            "schema" => target.schema = Some(name(&value)?),
            "host" => target.host = value.into_owned(),
            key if OF_CONNECTION.contains(&key) => {}
            key => match key.strip_prefix("key.") {
                Some(table) => {
                    let columns = value.split(',').map(name).collect::<Result<Vec<_>, _>>()?;
                    target.keys.insert(name(table)?, columns);
                }
                None => {
                    return Err(wrong(&format!(
                        "'{key}' is no parameter of it; there are schema, key.TABLE, host, {}",
                        OF_CONNECTION.join(", ")
                    )));
                }
            },
        }
    }
    if target.host.is_empty() {
        return Err(wrong("it names no host"));
    }
    Ok((url, target))
}

fn name(text: &str) -> Result<String, SinkError> {
    let text = text.trim();
    if text.is_empty() || text.len() > LONGEST_NAME || text.contains('\0') {
        return Err(wrong("a name in it is empty, or longer than PostgreSQL's 63 bytes"));
    }
    Ok(text.to_owned())
}

fn wrong(problem: &str) -> SinkError {
    SinkError::Url(format!("{problem}: write postgres://USER:PASSWORD@HOST/DATABASE"))
}

/// A name as an identifier of SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_its_url_without_secrets_and_comes_back() {
        let text = "postgresql://me:s3cret@db.example/ware?schema=Clin%20ical&key.patients=patient_id&sslmode=disable";
        let url: SinkUrl = text.parse().unwrap();
        let shown = url.target().to_string();
        assert_eq!(shown, "postgres://db.example:5432/ware?schema=Clin+ical&key.patients=patient_id");
        assert!(!format!("{url:?}").contains("s3cret"), "{url:?}");
        let again: SinkTarget = shown.parse().unwrap();
        assert_eq!(&again, url.target());
        assert_eq!(again.table("a\"b"), r#""Clin ical"."a""b""#);
        assert_eq!(again.key("patients"), Some(&["patient_id".to_owned()][..]));
        let plain: SinkTarget = "postgres://db.example/ware".parse().unwrap();
        assert!(plain.same_database(&again) && plain.database() == again.database());
        let socket: SinkTarget = "postgres:///ware?host=/run/postgresql".parse().unwrap();
        assert_eq!(socket.to_string().parse::<SinkTarget>().unwrap(), socket);
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_it() {
        for (text, named) in [
            ("mysql://me:s3cret@h/d", "postgres://"),
            ("postgres://me:s3cret@h", "no database"),
            ("postgres://me:s3cret@h/d?shema=x", "'shema'"),
            ("postgres://me:s3cret@h/d?schema=", "a name"),
            ("s3cret", "not understood"),
        ] {
            let error = text.parse::<SinkUrl>().unwrap_err().to_string();
            assert!(error.contains(named) && !error.contains("s3cret"), "{error}");
        }
        assert!("postgres://me:s3cret@h/d".parse::<SinkTarget>().is_err());
    }
}
