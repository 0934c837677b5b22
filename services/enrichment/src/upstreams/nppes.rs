use async_trait::async_trait;
use forebay_api::ServiceError;
use forebay_nppes::{Answer, EnumerationType, Npi, Provider};
use reqwest::Url;

use super::Upstream;
use crate::answer::{Cell, Outcome};
use crate::call::CallError;
use crate::http::HttpClient;
use crate::keys::Key;
use crate::settings::AskSettings;

/// Where the registry is, when nothing else is said.
pub(crate) const REGISTRY: &str = "https://npiregistry.cms.hhs.gov/api/";

/// Largest answer that is read. Real ones have a few kilobytes.
const ANSWER_LIMIT: usize = 1 << 20;

/// The NPI registry's API, version 2.1: one provider a request.
#[derive(Debug)]
pub(crate) struct NppesApi {
    client: HttpClient,
    url: Url,
}

impl NppesApi {
    pub(crate) fn new(settings: &AskSettings) -> Result<Self, ServiceError> {
        let mut url = super::json::parse_url(settings.url.as_deref().unwrap_or(REGISTRY))?;
        if url.path() == "/" {
            url.set_path("/api/");
        }
        Ok(Self { client: HttpClient::new(&url, settings.timeout, ANSWER_LIMIT)?, url })
    }
}

#[async_trait]
impl Upstream for NppesApi {
    fn check(&self, key: &Key) -> Result<(), &'static str> {
        check(key).map(|_| ())
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Outcome>, CallError> {
        let mut outcomes = Vec::with_capacity(keys.len());
        for key in keys {
            let npi = check(key).map_err(|reason| CallError::Refused(reason.into()))?;
            let mut url = self.url.clone();
            url.query_pairs_mut().append_pair("version", "2.1").append_pair("number", &npi.to_string());
            let body = match self.client.get(url).await {
                Ok(body) => body,
                Err(CallError::NotFound) => return Err(CallError::unavailable("upstream_status_404")),
                Err(error) => return Err(error),
            };
            outcomes.push(outcome(&Answer::parse(npi, &body))?);
        }
        Ok(outcomes)
    }
}

fn check(key: &Key) -> Result<Npi, &'static str> {
    Npi::parse(key.text()).map_err(|_| "invalid_npi")
}

fn outcome(answer: &Answer) -> Result<Outcome, CallError> {
    match answer {
        Answer::Found(provider) => Ok(Outcome::Found(cells(provider))),
        Answer::NotFound | Answer::Deactivated => Ok(Outcome::Missing(answer.reason().unwrap_or("not_found").into())),
        Answer::Failed(forebay_nppes::AnswerError::Refused { .. }) => {
            Err(CallError::Refused("upstream_refused".into()))
        }
        Answer::Failed(_) => Err(CallError::unavailable(answer.reason().unwrap_or("upstream_failed"))),
    }
}

/// A provider's columns, in the order of the enricher.
pub(crate) fn cells(provider: &Provider) -> Vec<Cell> {
    let texts = [
        provider.org_name.as_deref(),
        provider.enumeration_type.map(EnumerationType::as_str),
        provider.status.as_deref(),
        provider.credential.as_deref(),
        provider.primary_taxonomy_code.as_deref(),
        provider.primary_taxonomy_desc.as_deref(),
        provider.address_1.as_deref(),
        provider.city.as_deref(),
        provider.state.as_deref(),
        provider.postal_code.as_deref(),
        provider.country_code.as_deref(),
        provider.telephone.as_deref(),
    ];
    texts.into_iter().map(Cell::text).collect()
}
