use std::collections::BTreeMap;

use arrow_schema::DataType;
use async_trait::async_trait;
use forebay_api::ServiceError;
use forebay_types::ByteSize;
use reqwest::Url;
use serde_json::Value;

use super::Upstream;
use crate::answer::{Cell, Outcome};
use crate::call::CallError;
use crate::http::HttpClient;
use crate::keys::Key;
use crate::rows::ColumnSpec;
use crate::settings::AskSettings;

/// Largest answer that is read when nothing else is said.
const ANSWER_LIMIT: ByteSize = ByteSize::mib(1);

/// Longest text of a column.
const TEXT_LIMIT: usize = 64 << 10;

/// A user's own API: a GET with the key in its URL, answered by JSON.
#[derive(Debug)]
pub(crate) struct JsonApi {
    client: HttpClient,
    /// With `{key}`, or the names of the key's parts in braces.
    template: String,
    parts: Vec<String>,
    columns: Vec<JsonColumn>,
    /// Where something must be, for a key to be known.
    found: Option<String>,
}

#[derive(Clone, Debug)]
struct JsonColumn {
    pointer: String,
    data_type: DataType,
}

/// Columns that a recipe defines: `column.NAME` is `TYPE:PATH`.
pub(crate) fn defined_columns(settings: &BTreeMap<String, String>) -> Result<Vec<(ColumnSpec, String)>, ServiceError> {
    let defined = settings.iter().filter_map(|(key, value)| Some((key.strip_prefix("column.")?, value)));
    defined
        .map(|(name, value)| {
            let (data_type, path) = match value.split_once(':') {
                Some(("string", path)) => (DataType::Utf8, path),
                Some(("int", path)) => (DataType::Int64, path),
                Some(("float", path)) => (DataType::Float64, path),
                _ => {
                    let message = format!("column.{name}: write TYPE:PATH, with string, int or float");
                    return Err(ServiceError::invalid("SETTING_INVALID", message));
                }
            };
            Ok((ColumnSpec { name: name.to_owned(), data_type }, path.to_owned()))
        })
        .collect()
}

/// Reads the address of an upstream.
pub(crate) fn parse_url(text: &str) -> Result<Url, ServiceError> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let message = "the enricher's setting 'url' must be an address such as https://host/path";
    url.ok_or_else(|| ServiceError::invalid("SETTING_INVALID", message))
}

impl JsonApi {
    pub(crate) fn new(
        settings: &AskSettings,
        all: &BTreeMap<String, String>,
        parts: Vec<String>,
    ) -> Result<Self, ServiceError> {
        let template = settings.url.clone().unwrap_or_default();
        let example = expand(&template, &parts, &Key::one("key"));
        let url = parse_url(&example)?;
        let limit = match all.get("limit") {
            None => ANSWER_LIMIT,
            Some(text) => text.parse::<ByteSize>().map_err(|_| {
                ServiceError::invalid("SETTING_INVALID", "the enricher's setting 'limit' must be a size such as 64KiB")
            })?,
        };
        let columns = defined_columns(all)?;
        Ok(Self {
            client: HttpClient::new(&url, settings.timeout, limit.0 as usize)?,
            template,
            parts,
            columns: columns
                .into_iter()
                .map(|(column, pointer)| JsonColumn { pointer, data_type: column.data_type })
                .collect(),
            found: all.get("found").cloned(),
        })
    }
}

/// The parts of a key that an address names, in order; none where it has `{key}`, or one value.
pub(crate) fn named_parts(template: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for piece in template.split('{').skip(1) {
        if let Some((name, _)) = piece.split_once('}')
            && name != "key"
            && !parts.iter().any(|known| known == name)
        {
            parts.push(name.to_owned());
        }
    }
    parts
}

/// Puts the key's parts into the template. Whatever is not a letter or a digit is encoded, so that a key can't change
/// which host or path is asked.
fn expand(template: &str, parts: &[String], key: &Key) -> String {
    let mut url = template.to_owned();
    let names: Vec<&str> = if parts.is_empty() { vec!["key"] } else { parts.iter().map(String::as_str).collect() };
    for (name, value) in names.into_iter().zip(key.parts()) {
        let mut encoded = String::with_capacity(value.len());
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
                encoded.push(char::from(byte));
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
        url = url.replace(&format!("{{{name}}}"), &encoded);
    }
    url
}

#[async_trait]
impl Upstream for JsonApi {
    fn check(&self, key: &Key) -> Result<(), &'static str> {
        // Dots alone would mean another path.
        let fits = key.parts().all(|part| !matches!(part, "." | ".."));
        if fits && !key.text().is_empty() && key.text().len() <= 2_000 { Ok(()) } else { Err("invalid_key") }
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Outcome>, CallError> {
        let mut outcomes = Vec::with_capacity(keys.len());
        for key in keys {
            let url = Url::parse(&expand(&self.template, &self.parts, key));
            let url = url.map_err(|_| CallError::Refused("invalid_key".into()))?;
            let body = match self.client.get(url).await {
                Ok(body) => body,
                Err(CallError::NotFound) => {
                    outcomes.push(Outcome::Missing("not_found".into()));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let value: Value =
                serde_json::from_slice(&body).map_err(|_| CallError::unavailable("upstream_not_json"))?;
            outcomes.push(self.outcome(&value));
        }
        Ok(outcomes)
    }
}

impl JsonApi {
    fn outcome(&self, answer: &Value) -> Outcome {
        if let Some(found) = &self.found
            && answer.pointer(found).is_none_or(Value::is_null)
        {
            return Outcome::Missing("not_found".into());
        }
        let cell =
            |column: &JsonColumn| cell(answer.pointer(&column.pointer).unwrap_or(&Value::Null), &column.data_type);
        Outcome::Found(self.columns.iter().map(cell).collect())
    }
}

/// A value of another type than the column's is null, but a number that is written as text is a number.
fn cell(value: &Value, data_type: &DataType) -> Cell {
    match (data_type, value) {
        (_, Value::Null) => Cell::Null,
        (DataType::Utf8, Value::String(text)) if text.len() <= TEXT_LIMIT => Cell::Text(text.as_str().into()),
        (DataType::Utf8, Value::String(_)) => Cell::Null,
        (DataType::Utf8, other) => Cell::text(Some(other.to_string()).filter(|text| text.len() <= TEXT_LIMIT)),
        (DataType::Int64, Value::String(text)) => text.trim().parse().map_or(Cell::Null, Cell::Int),
        (DataType::Int64, value) => value.as_i64().map_or(Cell::Null, Cell::Int),
        (_, Value::String(text)) => text.trim().parse().map_or(Cell::Null, Cell::Float),
        (_, value) => value.as_f64().map_or(Cell::Null, Cell::Float),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn api(settings: &[(&str, &str)]) -> JsonApi {
        let all: BTreeMap<String, String> = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        JsonApi::new(&AskSettings::read(&all).unwrap(), &all, Vec::new()).unwrap()
    }

    #[test]
    fn keys_cannot_leave_their_place_in_the_address() {
        assert_eq!(named_parts("https://host/{a}/{b}?again={a}&q={key}"), ["a", "b"]);
        let parts = ["a", "b"].map(str::to_owned);
        assert_eq!(expand("https://host/{a}?z={b}", &parts, &Key::of(&["1/2", "3"])), "https://host/1%2F2?z=3");
        let url = expand("https://host/item/{key}?x=1", &[], &Key::one("../a b/ü?&#@evil"));
        assert_eq!(url, "https://host/item/..%2Fa%20b%2F%C3%BC%3F%26%23%40evil?x=1");
        assert_eq!(Url::parse(&url).unwrap().host_str(), Some("host"));
        let api = api(&[("url", "https://host/{key}"), ("column.a", "int:/a")]);
        assert!(api.check(&Key::one("..")).is_err() && api.check(&Key::one("")).is_err());
    }

    #[test]
    fn paths_become_columns() {
        let api = api(&[
            ("url", "https://host/{key}"),
            ("found", "/data"),
            ("column.a_name", "string:/data/name"),
            ("column.b_price", "float:/data/prices/1"),
            ("column.c_count", "int:/data/count"),
            ("column.d_gone", "string:/data/gone"),
        ]);
        let answer = json!({"data": {"name": "N", "prices": [1, "2.5"], "count": 3}});
        let wanted = vec![Cell::Text("N".into()), Cell::Float(2.5), Cell::Int(3), Cell::Null];
        assert_eq!(api.outcome(&answer), Outcome::Found(wanted));
        assert_eq!(api.outcome(&json!({"data": null})), Outcome::Missing("not_found".into()));
    }
}
