//! The `enrich` step: which keys are looked up where, and which columns they become.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::settings::duration;
use crate::{ColumnType, FieldType, Ordered};

/// A place that keys are looked up in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnricherKind {
    /// The registry of health-care providers: its API, and its dissemination file if there is one.
    Nppes,
    /// The Medicare Physician Fee Schedule, from its files.
    Medicare,
    /// Addresses to coordinates, by the Census Bureau's batch geocoder.
    Geocode,
    /// ZIP codes to coordinates, by the Census Bureau's gazetteer file.
    Zip,
    /// A user's own HTTP API that answers JSON.
    Http,
    /// A user's own reference table, CSV or Parquet.
    Table,
}

/// Settings of every enricher that asks somebody over the network.
const ASKING: &[&str] = &[
    "url",
    "rate",
    "concurrency",
    "timeout",
    "tries",
    "ttl",
    "not_found_ttl",
    "failed_ttl",
    "stale",
    "open_wait",
    "on_open",
];

impl EnricherKind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Nppes, Self::Medicare, Self::Geocode, Self::Zip, Self::Http, Self::Table];

    /// The name users write.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nppes => "nppes",
            Self::Medicare => "medicare",
            Self::Geocode => "geocode",
            Self::Zip => "zip",
            Self::Http => "http",
            Self::Table => "table",
        }
    }

    /// Reads the name users write.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The columns that it can give; none where the recipe says which there are.
    pub const fn columns(self) -> &'static [(&'static str, ColumnType)] {
        use ColumnType::{Decimal, Float64, String as Text};
        match self {
            Self::Nppes => &[
                ("org_name", Text),
                ("enumeration_type", Text),
                ("status", Text),
                ("credential", Text),
                ("primary_taxonomy_code", Text),
                ("primary_taxonomy_desc", Text),
                ("address_1", Text),
                ("city", Text),
                ("state", Text),
                ("postal_code", Text),
                ("country_code", Text),
                ("telephone", Text),
            ],
            Self::Medicare => &[("rate", Decimal(12, 2)), ("carrier", Text), ("locality", Text)],
            Self::Geocode => {
                &[("latitude", Float64), ("longitude", Float64), ("matched_address", Text), ("precision", Text)]
            }
            Self::Zip => &[("latitude", Float64), ("longitude", Float64), ("precision", Text)],
            Self::Http | Self::Table => &[],
        }
    }

    /// The parts of a key; none where it is one value, or the recipe says which there are.
    pub const fn key_parts(self) -> &'static [&'static str] {
        match self {
            Self::Medicare => &["code", "modifier", "zip", "place_of_service", "date"],
            Self::Geocode => &["street", "city", "state", "zip"],
            Self::Nppes | Self::Zip | Self::Http | Self::Table => &[],
        }
    }

    /// Settings that it has of its own.
    const fn own_settings(self) -> &'static [&'static str] {
        match self {
            Self::Nppes => &["file", "weekly", "deactivated"],
            Self::Medicare => &["rvu", "gpci", "zip5", "zip9", "anes", "factors", "facilities", "qp"],
            Self::Geocode => &["benchmark", "batch"],
            Self::Zip => &["file"],
            Self::Table => &["file", "key"],
            Self::Http => &["found", "limit"],
        }
    }

    /// The setting that names the file without which it knows nothing.
    pub const fn needed_file(self) -> Option<&'static str> {
        match self {
            Self::Medicare => Some("rvu"),
            Self::Zip | Self::Table => Some("file"),
            Self::Nppes | Self::Geocode | Self::Http => None,
        }
    }

    /// True if it asks somebody over the network.
    pub const fn asks(self) -> bool {
        match self {
            Self::Nppes | Self::Geocode | Self::Http => true,
            Self::Medicare | Self::Zip | Self::Table => false,
        }
    }

    /// The keys of all settings that it has.
    pub fn settings(self) -> impl Iterator<Item = &'static str> {
        let asking: &[&str] = if self.asks() { ASKING } else { &[] };
        self.own_settings().iter().chain(asking).copied()
    }

    /// True if a setting changes which rows come out, rather than how they are come by.
    pub fn is_meaningful(self, setting: &str) -> bool {
        self.own_settings().contains(&setting) || (self == Self::Http && setting == "url")
    }
}

/// What becomes of keys while their upstream is out of order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnOpen {
    /// They wait for it, as long as the setting `open_wait` says.
    #[default]
    Wait,
    /// Their columns are null, with a reason.
    Null,
}

/// Looks the keys of a table up, and adds what is known of them as columns.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrichStep {
    /// Table whose rows get the columns.
    pub table: String,
    /// Where its keys are looked up.
    pub enricher: EnricherKind,
    /// Name in `--set NAME.KEY=VALUE`, where it is not the enricher's.
    #[serde(default)]
    pub name: Option<String>,
    /// Column that holds the key, or, for a key of several parts, the column of each.
    pub key: KeyColumns,
    /// Columns that are added: names, or names and what they are called here, or definitions.
    pub columns: AddedColumns,
    /// Column that says why a row's columns are null. Without it, nobody says.
    #[serde(default)]
    pub reason: Option<String>,
    /// What becomes of keys while their upstream is out of order.
    #[serde(default)]
    pub on_open: OnOpen,
    /// The enricher's settings.
    #[serde(default)]
    pub settings: BTreeMap<String, SettingValue>,
}

/// Where the key is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum KeyColumns {
    /// In one column.
    One(String),
    /// In several: each part's name, and its column.
    Parts(Ordered<String>),
}

/// Which columns are added.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum AddedColumns {
    /// The enricher's, under their own names.
    Names(Vec<String>),
    /// The enricher's names, with what becomes of each.
    Defined(Ordered<AddedColumn>),
}

/// One added column.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum AddedColumn {
    /// What it is called here.
    Renamed(String),
    /// Where its value is in an answer, for enrichers whose columns the recipe defines.
    Defined(ColumnDefinition),
}

/// A column that the recipe defines.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnDefinition {
    /// For `http`: a JSON pointer (RFC 6901), such as `/data/0/price`. For `table`: the file's column.
    pub path: String,
    /// `string` (default), `int` or `float`.
    #[serde(default = "text", rename = "type")]
    pub kind: FieldType,
}

const fn text() -> FieldType {
    FieldType::String
}

/// A setting's value: text, or a number as YAML writes it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum SettingValue {
    /// A number.
    Number(f64),
    /// Text.
    Text(String),
}

impl SettingValue {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// A column that is added, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// Its name in the enricher's answer.
    pub from: String,
    /// Its name in the table.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
}

impl EnrichStep {
    /// Its name in settings.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.enricher.as_str())
    }

    /// The columns that it adds, or what is wrong with them.
    pub fn added(&self) -> Result<Vec<Added>, String> {
        let known = |name: &str| {
            let found = self.enricher.columns().iter().find(|(known, _)| *known == name);
            found.map(|(_, kind)| kind.clone()).ok_or_else(|| {
                let names: Vec<_> = self.enricher.columns().iter().map(|(name, _)| *name).collect();
                match names.as_slice() {
                    [] => format!("'{name}' needs a definition: {{path: ..., type: ...}}"),
                    names => format!("{} has no column '{name}': it has {}", self.enricher.as_str(), names.join(", ")),
                }
            })
        };
        let added = match &self.columns {
            AddedColumns::Names(names) => names
                .iter()
                .map(|name| Ok(Added { from: name.clone(), name: name.clone(), kind: known(name)? }))
                .collect::<Result<Vec<_>, String>>()?,
            AddedColumns::Defined(columns) => columns
                .0
                .iter()
                .map(|(from, column)| match column {
                    AddedColumn::Renamed(name) => {
                        Ok(Added { from: from.clone(), name: name.clone(), kind: known(from)? })
                    }
                    AddedColumn::Defined(column) if self.enricher.columns().is_empty() => {
                        let kind = defined_type(column.kind)?;
                        Ok(Added { from: from.clone(), name: from.clone(), kind })
                    }
                    AddedColumn::Defined(_) => Err(format!("'{from}': only http and table have columns to define")),
                })
                .collect::<Result<Vec<_>, String>>()?,
        };
        if added.is_empty() { Err("there must be at least one column".to_owned()) } else { Ok(added) }
    }

    /// The columns of the key: each part's name and its column. A key of one value has the part `key`.
    pub fn key_columns(&self) -> Result<Vec<(String, String)>, String> {
        let parts = self.enricher.key_parts();
        match &self.key {
            KeyColumns::One(_) if !parts.is_empty() => {
                Err(format!("{} has a key of several parts: {}", self.enricher.as_str(), parts.join(", ")))
            }
            KeyColumns::One(column) => Ok(vec![("key".to_owned(), column.clone())]),
            KeyColumns::Parts(given) => {
                if parts.is_empty() && matches!(self.enricher, EnricherKind::Nppes | EnricherKind::Zip) {
                    return Err(format!("{} has a key of one column", self.enricher.as_str()));
                }
                if let Some((unknown, _)) =
                    given.0.iter().find(|(part, _)| !parts.is_empty() && !parts.contains(&part.as_str()))
                {
                    return Err(format!("'{unknown}' is no part of the key: they are {}", parts.join(", ")));
                }
                Ok(given.0.clone())
            }
        }
    }

    /// What the enrichment service is told: the settings, and where defined columns are.
    pub fn request_settings(&self) -> BTreeMap<String, String> {
        let mut settings: BTreeMap<String, String> =
            self.settings.iter().map(|(key, value)| (key.clone(), value.text())).collect();
        if self.enricher.asks() {
            let on_open = if self.on_open == OnOpen::Wait { "wait" } else { "null" };
            settings.entry("on_open".to_owned()).or_insert_with(|| on_open.to_owned());
        }
        if let AddedColumns::Defined(columns) = &self.columns {
            for (name, column) in &columns.0 {
                if let AddedColumn::Defined(column) = column {
                    let kind = match column.kind {
                        FieldType::Int => "int",
                        FieldType::Float => "float",
                        _ => "string",
                    };
                    settings.insert(format!("column.{name}"), format!("{kind}:{}", column.path));
                }
            }
        }
        settings
    }

    /// The addresses and files that its settings name, with the settings' keys: what the enrichment service asks or
    /// reads in its own name.
    pub fn sources(&self) -> impl Iterator<Item = (&str, String)> {
        let named = |key: &str| !matches!(key, "qp" | "benchmark" | "batch" | "key" | "found" | "limit");
        let is_source = move |key: &str| key == "url" || (self.enricher.own_settings().contains(&key) && named(key));
        self.settings.iter().filter(move |(key, _)| is_source(key)).flat_map(|(key, value)| {
            let text = value.text();
            let parts: Vec<String> =
                if key == "url" { vec![text] } else { text.split(',').map(|part| part.trim().to_owned()).collect() };
            parts.into_iter().map(move |part| (key.as_str(), part))
        })
    }

    /// Takes a setting, or says what is wrong with it.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        self.settings.insert(key.to_owned(), SettingValue::Text(value.to_owned()));
        self.check_settings()
    }

    /// Says what is wrong with the settings.
    pub(crate) fn check_settings(&self) -> Result<(), String> {
        for (key, value) in &self.settings {
            if !self.enricher.settings().any(|known| known == key) {
                let known: Vec<_> = self.enricher.settings().collect();
                return Err(format!("{} has no setting '{key}': it has {}", self.enricher.as_str(), known.join(", ")));
            }
            let value = value.text();
            let fits = match key.as_str() {
                "rate" => value.parse::<f64>().is_ok_and(|rate| rate > 0.0 && rate <= 100_000.0),
                "concurrency" | "tries" | "batch" => value.parse::<u32>().is_ok_and(|n| (1..=10_000).contains(&n)),
                "timeout" | "ttl" | "not_found_ttl" | "failed_ttl" | "stale" | "open_wait" => span(&value).is_some(),
                "on_open" => matches!(value.as_str(), "wait" | "null"),
                "url" => value.starts_with("http://") || value.starts_with("https://"),
                _ => true,
            };
            if !fits {
                return Err(format!("'{value}' does not fit '{key}'"));
            }
        }
        Ok(())
    }

    /// Says which setting is missing.
    pub(crate) fn check_complete(&self) -> Result<(), String> {
        if self.enricher == EnricherKind::Http && !self.settings.contains_key("url") {
            return Err("http needs the setting 'url', such as https://host/path/{key}".to_owned());
        }
        Ok(())
    }
}

fn defined_type(kind: FieldType) -> Result<ColumnType, String> {
    match kind {
        FieldType::String => Ok(ColumnType::String),
        FieldType::Int => Ok(ColumnType::Int64),
        FieldType::Float => Ok(ColumnType::Float64),
        _ => Err("a defined column is a string, an int or a float".to_owned()),
    }
}

/// Reads `250ms`, `30s`, `5m`, `1h` or `30d`.
pub fn span(text: &str) -> Option<Duration> {
    match text.strip_suffix('d') {
        Some(days) => days.parse::<u64>().ok()?.checked_mul(86_400).map(Duration::from_secs),
        None => duration(text),
    }
}
