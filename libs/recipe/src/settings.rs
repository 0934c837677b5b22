use std::time::Duration;

use forebay_types::ByteSize;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::StrDeserializer;

use crate::spec::{FormatName, Protect, Recipe, Step};
use crate::{EnrichStep, Profile, RecipeError};

/// A key that `--set` takes.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// What values look like.
    pub values: &'static str,
    /// What it does, with the default.
    pub help: &'static str,
}

/// Every key that `--set` takes, for help and errors.
pub const SETTINGS: &[Setting] = &[
    Setting { key: "protect", values: "on|off", help: "withhold protected fields (default: the recipe's, on)" },
    Setting {
        key: "profile",
        values: "safe-harbor|limited|public",
        help: "what becomes of identifiers (default: the recipe's, safe-harbor); public is protect=off",
    },
    Setting { key: "release_year", values: "YEAR", help: "for ages over 89: the year the tables are given out" },
    Setting {
        key: "identifiers",
        values: "withhold|pseudonym",
        help: "fields that name or number a person: null, or a token by key (default: the recipe's, withhold)",
    },
    Setting {
        key: "dates",
        values: "profile|shift",
        help: "dates: as the profile says, or moved by key, the same for all of a subject (default: the recipe's, profile)",
    },
    Setting { key: "on_error", values: "reject|fail", help: "what becomes of a bad record (default: reject)" },
    Setting { key: "unknown_fields", values: "ignore|reject|keep", help: "fields the recipe does not name" },
    Setting { key: "source.format", values: "auto|ndjson|json|csv|parquet|arrow", help: "as --format" },
    Setting { key: "source.record_limit", values: "SIZE", help: "longer records are rejected (default 10MiB)" },
    Setting { key: "chunk.rows", values: "N", help: "rows over all tables in a chunk (default 50000)" },
    Setting { key: "chunk.bytes", values: "SIZE", help: "input bytes in a chunk (default: planned from the budget)" },
    Setting { key: "workers", values: "N", help: "chunks decoded at the same time (default: the cores)" },
    Setting { key: "max_in_flight", values: "N", help: "chunks in work at once (default: workers; x 2 for a bucket)" },
    Setting { key: "row_group.bytes", values: "SIZE", help: "decoded size of a row group (default: planned)" },
    Setting { key: "file.bytes", values: "SIZE", help: "size at which a file is closed (default 128MiB)" },
    Setting { key: "sink", values: "postgres://HOST/DATABASE", help: "as --sink, without user and password" },
    Setting { key: "commit.interval", values: "DURATION", help: "longest wait for a commit (default 30s)" },
    Setting { key: "ENRICHER.KEY", values: "VALUE", help: "of an enrich step, as in nppes.url=URL or nppes.rate=4" },
];

/// How a job is worked on. None of it changes the rows that come out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Rows over all tables that a chunk aims at.
    pub chunk_rows: u64,
    /// Input bytes that a chunk aims at; planned from the budget if not set.
    pub chunk_bytes: Option<ByteSize>,
    /// Chunks decoded at the same time; the number of cores if not set.
    pub workers: Option<usize>,
    /// Chunks in work at once.
    pub max_in_flight: Option<usize>,
    /// Decoded bytes of a row group; planned from the budget if not set.
    pub row_group_bytes: Option<ByteSize>,
    /// Bytes, as written, at which a file is closed.
    pub file_bytes: ByteSize,
    /// Longest time that a written chunk waits for its commit.
    pub commit_interval: Duration,
    /// Database that the tables are loaded into besides, without user and password. Whoever connects to it reads it.
    pub sink: Option<String>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            chunk_rows: 50_000,
            chunk_bytes: None,
            workers: None,
            max_in_flight: None,
            row_group_bytes: None,
            file_bytes: ByteSize::mib(128),
            commit_interval: Duration::from_secs(30),
            sink: None,
        }
    }
}

impl Tuning {
    /// Applies one `--set key=value` to the recipe or to the tuning.
    pub fn set(&mut self, recipe: &mut Recipe, key: &str, value: &str) -> Result<(), RecipeError> {
        let fail = |message: String| RecipeError::Setting { key: key.to_owned(), message };
        if let Some((name, of_enricher)) =
            key.split_once('.').filter(|(name, _)| enrich_steps(recipe, name).next().is_some())
        {
            return enrich_steps(recipe, name).try_for_each(|step| step.set(of_enricher, value)).map_err(fail);
        }
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
            let keys: Vec<_> = SETTINGS.iter().map(|setting| setting.key).collect();
            return Err(fail(format!("there is no such setting; the settings are {}", keys.join(", "))));
        };
        let wrong = || fail(format!("'{value}' does not fit; write {}", setting.values));
        match key {
            "protect" => {
                recipe.protect = match value {
                    "on" | "true" => Protect::On,
                    "off" | "false" => Protect::Off,
                    _ => return Err(wrong()),
                }
            }
            "profile" => {
                recipe.profile = Profile::parse(value).ok_or_else(wrong)?;
                recipe.protect = if recipe.profile == Profile::Public { Protect::Off } else { Protect::On };
            }
            "release_year" => {
                recipe.release_year =
                    value.parse().ok().filter(|year| (1990..=2200).contains(year)).ok_or_else(wrong)?;
            }
            "identifiers" => recipe.identifiers = word(value).ok_or_else(wrong)?,
            "dates" => recipe.dates = word(value).ok_or_else(wrong)?,
            "on_error" => recipe.on_error = word(value).ok_or_else(wrong)?,
            "unknown_fields" => recipe.unknown_fields = word(value).ok_or_else(wrong)?,
            "source.format" => recipe.source.format = FormatName::parse(value).ok_or_else(wrong)?,
            "source.record_limit" => recipe.source.record_limit = value.parse().map_err(|_| wrong())?,
            "chunk.rows" => self.chunk_rows = at_least_one(value).ok_or_else(wrong)?,
            "chunk.bytes" => self.chunk_bytes = Some(size(value, 1 << 10).ok_or_else(wrong)?),
            "workers" => self.workers = Some(at_least_one(value).ok_or_else(wrong)? as usize),
            "max_in_flight" => self.max_in_flight = Some(at_least_one(value).ok_or_else(wrong)? as usize),
            "row_group.bytes" => self.row_group_bytes = Some(size(value, 64 << 10).ok_or_else(wrong)?),
            "file.bytes" => self.file_bytes = size(value, 64 << 10).ok_or_else(wrong)?,
            "sink" => self.sink = Some(value.to_owned()),
            "commit.interval" => self.commit_interval = duration(value).ok_or_else(wrong)?,
            _ => return Err(wrong()),
        }
        Ok(())
    }
}

/// The steps that settings of a name are for.
fn enrich_steps<'r>(recipe: &'r mut Recipe, name: &'r str) -> impl Iterator<Item = &'r mut EnrichStep> {
    recipe.steps.iter_mut().filter_map(move |step| match step {
        Step::Enrich(step) if step.name() == name => Some(step),
        Step::Enrich(_) | Step::Sql(_) | Step::Redact(_) => None,
    })
}

/// One of the words that a recipe may say in the same place.
fn word<'v, T: Deserialize<'v>>(value: &'v str) -> Option<T> {
    let word: StrDeserializer<'v, serde::de::value::Error> = value.into_deserializer();
    T::deserialize(word).ok()
}

fn at_least_one(value: &str) -> Option<u64> {
    value.parse().ok().filter(|n| (1..=1_000_000_000).contains(n))
}

fn size(value: &str, least: u64) -> Option<ByteSize> {
    value.parse::<ByteSize>().ok().filter(|size| size.0 >= least)
}

/// Reads `250ms`, `30s`, `5m` or `1h`.
pub fn duration(value: &str) -> Option<Duration> {
    let split = value.find(|c: char| c.is_ascii_alphabetic())?;
    let number: u64 = value[..split].trim().parse().ok()?;
    match &value[split..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}
