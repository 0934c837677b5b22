use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use forebay_enrichment::UpstreamRates;
use forebay_types::ByteSize;
use serde::{Deserialize, Deserializer};

use crate::commands::Usage;

macro_rules! settings {
    ($($(#[doc = $help:literal])+ $field:ident: $type:ty, $environment:literal;)*) => {
        /// Settings of `forebay serve`. A flag wins over the environment, the environment over the file, the file over
        /// the default.
        #[derive(Args, Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct Settings {
            $($(#[doc = $help])+ #[arg(long, env = $environment, hide_env_values = true)] pub(crate) $field: Option<$type>,)*
        }

        impl Settings {
            /// Every setting: its key in the file, its environment variable, what it is for.
            #[cfg(test)]
            const KEYS: &[(&str, &str, &str)] = &[$((stringify!($field), $environment, concat!($($help, "\n"),+)),)*];

            fn or(self, file: Self) -> Self {
                Self { $($field: self.$field.or(file.$field),)* }
            }
        }
    };
}

settings! {
    /// Address that this service listens on (default: 127.0.0.1, and 7401 for the gateway or all, 7402 for enrichment,
    /// 7403 for transform, 7404 for storage)
    listen: SocketAddr, "FOREBAY_LISTEN";
    /// Address of /metrics, /healthz and /readyz, over plain HTTP (default: none)
    metrics_listen: SocketAddr, "FOREBAY_METRICS_LISTEN";
    /// The catalog: sqlite:PATH, or postgres://USER:PASSWORD@HOST/DATABASE (default for `all`: SQLite below the store)
    catalog_url: Address, "FOREBAY_CATALOG_URL";
    /// The queue: sqlite:PATH, or redis://HOST (default for `all`: SQLite below the store)
    queue_url: Address, "FOREBAY_QUEUE_URL";
    /// The enrichment cache: memory:, or redis://HOST (default: memory:)
    cache_url: Address, "FOREBAY_CACHE_URL";
    /// Below which all tables and staged chunks are: a path or s3://bucket/prefix (default for `all`: forebay-store)
    store_url: String, "FOREBAY_STORE_URL";
    /// Address of the enrichment service, for transform
    enrichment_url: String, "FOREBAY_ENRICHMENT_URL";
    /// Address of the storage writer, for gateway and transform
    storage_url: String, "FOREBAY_STORAGE_URL";
    /// Database that jobs may have their tables loaded into besides, for gateway and storage:
    /// postgres://USER:PASSWORD@HOST/DATABASE (default: none)
    sink_url: Address, "FOREBAY_SINK_URL";
    /// File with the keys that protected records are encrypted with while they wait, one a line, the newest first; for
    /// gateway and transform (default: none)
    key_file: PathBuf, "FOREBAY_KEY_FILE";
    /// The keys themselves, instead of a file: better in the variable than here
    keys: Secret, "FOREBAY_KEYS";
    /// Memory budget of the process (default: a quarter of the machine's or container's memory, at most 2GiB)
    memory: ByteSize, "FOREBAY_MEMORY";
    /// Of that, for models of language in redact steps, for transform (default: none)
    model_memory: ByteSize, "FOREBAY_MODEL_MEMORY";
    /// Chunks decoded, or row groups encoded, at the same time (default: the cores)
    workers: usize, "FOREBAY_WORKERS";
    /// Chunks in work at once (default: twice the workers, if they fit in the budget)
    max_in_flight: usize, "FOREBAY_MAX_IN_FLIGHT";
    /// Submissions that are read at the same time; more wait (default: 4)
    submissions: u64, "FOREBAY_SUBMISSIONS";
    /// Open files at once that the budget is planned for (default: 6)
    tables: u64, "FOREBAY_TABLES";
    /// Prefixes, separated by commas, of what clients may have read or asked for them: inputs, and the files and
    /// addresses of enrichers (default: none)
    inputs: List, "FOREBAY_INPUTS";
    /// Most requests a second to upstreams, over all replicas and whatever recipes say, HOST=RATE or HOST:PORT=RATE
    /// separated by commas (default: 4 for the NPI registry and the Census geocoder; else the highest that a job asks with)
    upstream_rates: List, "FOREBAY_UPSTREAM_RATES";
    /// Size at which a file is closed (default: 128MiB)
    file_size: ByteSize, "FOREBAY_FILE_SIZE";
    /// Longest time that written rows wait for their commit (default: 30s)
    commit_interval: Span, "FOREBAY_COMMIT_INTERVAL";
    /// How long a chunk, or a file that is being written, is held without a sign of life of its process (default: 15s)
    lease: Span, "FOREBAY_LEASE";
    /// Folder for what the budget does not hold (default: the system's folder for temporary files)
    spill: PathBuf, "FOREBAY_SPILL";
    /// How long a service that is told to stop goes on with what is in work (default: 25s)
    drain: Span, "FOREBAY_DRAIN";
    /// Certificate of the listener, and those above it (PEM)
    tls_certificate: PathBuf, "FOREBAY_TLS_CERTIFICATE";
    /// Its private key (PEM)
    tls_key: PathBuf, "FOREBAY_TLS_KEY";
    /// Who signs the certificates of callers (PEM)
    tls_client_ca: PathBuf, "FOREBAY_TLS_CLIENT_CA";
    /// Refuse callers without a certificate (default: false)
    tls_require_client_certificate: bool, "FOREBAY_TLS_REQUIRE_CLIENT_CERTIFICATE";
    /// File with a line `tenant: token` for each caller; our own services are the tenant `internal`
    auth_tokens: PathBuf, "FOREBAY_AUTH_TOKENS";
    /// File with a line `tenant: name` for each name in a caller's certificate
    auth_certificates: PathBuf, "FOREBAY_AUTH_CERTIFICATES";
    /// Serve on a public address without TLS and authentication, and send tokens in plain text (default: false)
    insecure: bool, "FOREBAY_INSECURE";
    /// Let callers list the services (default: on a loopback address)
    reflection: bool, "FOREBAY_REFLECTION";
    /// Who signs the certificates of the other services (default: whom the system trusts)
    client_ca: PathBuf, "FOREBAY_CLIENT_CA";
    /// Certificate that is shown to other services (PEM)
    client_certificate: PathBuf, "FOREBAY_CLIENT_CERTIFICATE";
    /// Its private key (PEM)
    client_key: PathBuf, "FOREBAY_CLIENT_KEY";
    /// File with the token that is sent to other services
    client_token_file: PathBuf, "FOREBAY_CLIENT_TOKEN_FILE";
    /// Calls that a tenant may have open at a time (default: 64)
    tenant_streams: u32, "FOREBAY_TENANT_STREAMS";
    /// Bytes that a tenant may have in staging (default: no limit)
    tenant_staged: ByteSize, "FOREBAY_TENANT_STAGED";
    /// Jobs that a tenant may have running (default: no limit)
    tenant_jobs: u32, "FOREBAY_TENANT_JOBS";
    /// Where traces go: an OTLP endpoint such as http://collector:4317 (default: nowhere)
    otlp_endpoint: String, "FOREBAY_OTLP_ENDPOINT";
    /// Form of the log: text or json (default: text)
    log_format: LogForm, "FOREBAY_LOG_FORMAT";
    /// What is logged, as in info,forebay_storage=debug (default: info for our own services, warn for the rest)
    log: String, "FOREBAY_LOG";
}

impl Settings {
    /// The settings, with those of a file below them.
    pub(crate) fn with_file(self, path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(self) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| Usage(format!("can't read the configuration {}: {error}", path.display())))?;
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(self);
        }
        let file: Self = serde_saphyr::from_str(&text)
            .map_err(|error| Usage(format!("{}: {error}", path.display())))
            .context("the configuration is wrong")?;
        Ok(self.or(file))
    }

    /// How fast upstreams may be asked, whatever recipes say: several parties set rates here.
    pub(crate) fn upstream_rates(&self) -> Result<UpstreamRates, Usage> {
        let rates = self.upstream_rates.clone().unwrap_or_default().0.join(",");
        let rates: UpstreamRates = rates.parse().map_err(|error| Usage(format!("upstream_rates: {error}")))?;
        Ok(rates.with_public())
    }

    /// A setting that the service can't do without.
    pub(crate) fn needed<T: Clone>(setting: &Option<T>, key: &str, environment: &str) -> Result<T, Usage> {
        setting.clone().ok_or_else(|| {
            Usage(format!("the setting {key} is missing: set it in the configuration, or the variable {environment}"))
        })
    }
}

/// The URL of a database, a queue or a cache. It may hold a password, so that it shows itself without one.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Address(pub(crate) String);

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.rsplit_once('@') {
            Some((_, rest)) => write!(f, "***@{rest}"),
            None => f.write_str(&self.0),
        }
    }
}

impl FromStr for Address {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// A duration, written `250ms`, `30s`, `5m` or `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        forebay_recipe::duration(text)
            .map(Self)
            .ok_or_else(|| format!("'{text}' is no duration: write 250ms, 30s, 5m or 1h"))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Several texts: separated by commas, or a list in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct List(pub(crate) Vec<String>);

impl FromStr for List {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()))
    }
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogForm {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("forebay.yaml");
        std::fs::write(&path, text).unwrap();
        Settings::default().with_file(Some(&path)).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn the_reference_file_names_every_setting_and_is_valid() {
        let reference = include_str!("../../../../infra/forebay.yaml");
        for (key, environment, _) in Settings::KEYS {
            assert!(reference.contains(&format!("#{key}: ")), "infra/forebay.yaml lacks {key}");
            assert!(reference.contains(environment), "infra/forebay.yaml lacks {environment}");
        }
        let lines = reference.lines().filter_map(|line| line.strip_prefix('#'));
        let live: Vec<&str> = lines.filter(|line| !line.starts_with(' ') && line.contains(": ")).collect();
        assert_eq!(live.len(), Settings::KEYS.len(), "{live:?}");
        read(&live.join("\n")).unwrap();
    }

    #[test]
    fn errors_name_the_key() {
        for (text, named) in [
            ("lissten: 127.0.0.1:1", "lissten"),
            ("memory: much", "much"),
            ("drain: 3 days", "3 days"),
            ("listen: here", "listen"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(named) && error.contains("forebay.yaml"), "{error}");
        }
    }

    #[test]
    fn passwords_do_not_show() {
        let settings = read("catalog_url: postgres://me:s3cret@db/forebay\nkeys: s3cret").unwrap();
        let shown = format!("{settings:?}");
        assert!(!shown.contains("s3cret") && shown.contains("db/forebay"), "{shown}");
    }
}
