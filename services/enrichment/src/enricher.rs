use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_schema::DataType;
use forebay_api::{EnrichRequest, ErrorKind, ServiceError};
use forebay_budget::Pool;
use forebay_recipe::EnricherKind;
use reqwest::Url;
use xxhash_rust::xxh3::xxh3_64;

use crate::gate::Gate;
use crate::keys::Namespace;
use crate::references::{self, Registry, Table};
use crate::rows::ColumnSpec;
use crate::settings::AskSettings;
use crate::upstreams::{
    CensusGeocoder, GEOCODER, JsonApi, NppesApi, REGISTRY, Reference, Upstream, defined_columns, named_parts,
};

/// An enricher with its settings, ready to be asked.
pub(crate) struct Enricher {
    /// What its keys are called in caches. Changes with whatever changes the answers.
    pub(crate) namespace: Namespace,
    /// The parts of its key; none where it is one value.
    pub(crate) parts: Vec<String>,
    pub(crate) columns: Vec<ColumnSpec>,
    pub(crate) sources: Sources,
}

/// Whom an enricher asks.
#[derive(Clone)]
pub(crate) enum Sources {
    /// Nobody: a file is missing in the settings, and the reason says which.
    Nobody(&'static str),
    /// A local source.
    Reference(Arc<dyn Reference>),
    /// Somebody over the network, after a local source if there is one.
    Upstream { before: Option<Arc<Registry>>, asking: Asking },
}

/// Somebody over the network.
#[derive(Clone)]
pub(crate) struct Asking {
    pub(crate) upstream: Arc<dyn Upstream>,
    pub(crate) settings: AskSettings,
    /// Host and port: whoever asks there shares one pace.
    pub(crate) address: String,
    /// How it does for those who ask with these settings. What others demand of it, such as an answer within a
    /// millisecond, says nothing about that.
    pub(crate) gate: Arc<Gate>,
}

impl Enricher {
    /// Makes what a request names. Reference files are read here, once.
    pub(crate) fn new(request: &EnrichRequest, folder: &Path, pool: &Pool) -> Result<Self, ServiceError> {
        let Some(kind) = EnricherKind::parse(&request.enricher) else {
            let known: Vec<_> = EnricherKind::ALL.iter().map(|kind| kind.as_str()).collect();
            let message = format!("there is no enricher '{}': there are {}", request.enricher, known.join(", "));
            return Err(ServiceError::new(ErrorKind::NotFound, "ENRICHER_UNKNOWN", message));
        };
        let settings = &request.settings;
        let ask = AskSettings::read(settings)?;
        let parts: Vec<String> = match kind {
            EnricherKind::Http => named_parts(ask.url.as_deref().unwrap_or_default()),
            EnricherKind::Nppes
            | EnricherKind::Medicare
            | EnricherKind::Geocode
            | EnricherKind::Zip
            | EnricherKind::Table => kind.key_parts().iter().map(|part| (*part).to_owned()).collect(),
        };
        let columns: Vec<ColumnSpec> = if kind.columns().is_empty() {
            defined_columns(settings)?.into_iter().map(|(column, _)| column).collect()
        } else {
            let column = |(name, kind): &(&str, forebay_recipe::ColumnType)| ColumnSpec {
                name: (*name).to_owned(),
                data_type: kind.data_type(),
            };
            kind.columns().iter().map(column).collect()
        };
        let url = |default: &str| ask.url.clone().unwrap_or_else(|| default.to_owned());
        let sources = match kind {
            EnricherKind::Nppes => {
                let (url, before) = (url(REGISTRY), references::registry(settings, folder, pool)?);
                upstream(Arc::new(NppesApi::new(&ask)?), before, ask, &url)
            }
            EnricherKind::Http => {
                let url = url("");
                upstream(Arc::new(JsonApi::new(&ask, settings, parts.clone())?), None, ask, &url)
            }
            EnricherKind::Geocode => {
                let url = url(GEOCODER);
                upstream(Arc::new(CensusGeocoder::new(&ask, settings.get("benchmark"))?), None, ask, &url)
            }
            EnricherKind::Medicare => local(references::medicare(settings, pool)?),
            EnricherKind::Zip => local(references::zips(settings, pool)?),
            EnricherKind::Table => {
                local(Table::load(settings, pool)?.map(|table| Arc::new(table) as Arc<dyn Reference>))
            }
        };
        Ok(Self { namespace: namespace(kind, &columns, settings), parts, columns, sources })
    }
}

fn local(reference: Option<Arc<dyn Reference>>) -> Sources {
    reference.map_or(Sources::Nobody("no_reference_file"), Sources::Reference)
}

fn upstream(upstream: Arc<dyn Upstream>, before: Option<Arc<Registry>>, settings: AskSettings, url: &str) -> Sources {
    // Only the host: what is below it shares the host's patience.
    let host = Url::parse(&url.replace(['{', '}'], "_")).ok();
    let host = host.and_then(|url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?)));
    let gate = Gate::new(settings.concurrency);
    Sources::Upstream { before, asking: Asking { upstream, settings, address: host.unwrap_or_default(), gate } }
}

/// An address that somebody gave is a source of its own: what a stand-in answered is not what the registry says, and
/// nobody else is to be answered from it.
fn namespace(kind: EnricherKind, columns: &[ColumnSpec], settings: &BTreeMap<String, String>) -> Namespace {
    let mut what = String::new();
    for column in columns {
        let kind = match &column.data_type {
            DataType::Utf8 => "text".to_owned(),
            other => other.to_string(),
        };
        what.push_str(&format!("{}:{kind}\n", column.name));
    }
    for (key, value) in settings {
        if kind.is_meaningful(key) || key.starts_with("column.") || key == "url" {
            what.push_str(&format!("{key}={value}\n"));
        }
    }
    Namespace::new(format!("{}-{:08x}", kind.as_str(), xxh3_64(what.as_bytes()) >> 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_another_address_are_not_those_of_the_registry() {
        let of = |settings: &[(&str, &str)]| {
            let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            namespace(EnricherKind::Nppes, &[], &settings).name().to_owned()
        };
        assert_eq!(of(&[]), of(&[("rate", "9")]));
        assert_ne!(of(&[]), of(&[("url", "http://127.0.0.1:8080/api/")]));
        assert_ne!(of(&[("url", "http://a/")]), of(&[("url", "http://b/")]));
    }
}
