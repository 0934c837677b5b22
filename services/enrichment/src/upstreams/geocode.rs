use async_trait::async_trait;
use forebay_api::ServiceError;
use forebay_geo::{Address, Batch, Outcome as Found, Precision, parse_answers};
use reqwest::Url;

use super::{Upstream, parse_url};
use crate::answer::{Cell, Outcome};
use crate::call::CallError;
use crate::http::HttpClient;
use crate::keys::Key;
use crate::settings::AskSettings;

/// Where the geocoder is, when nothing else is said.
pub(crate) const GEOCODER: &str = "https://geocoding.geo.census.gov/geocoder/locations/addressbatch";

/// The geocoder's addresses, when nothing else is said: those of now.
const BENCHMARK: &str = "Public_AR_Current";

/// Largest answer that is read: ten thousand rows have less.
const ANSWER_LIMIT: usize = 16 << 20;

/// Between the parts of the form. It is in no address: those are quoted CSV on one line each.
const BOUNDARY: &str = "forebay-7d0b2a91c3e84f65";

/// The Census Bureau's batch geocoder.
#[derive(Debug)]
pub(crate) struct CensusGeocoder {
    client: HttpClient,
    url: Url,
    benchmark: String,
    batch: usize,
}

impl CensusGeocoder {
    pub(crate) fn new(settings: &AskSettings, benchmark: Option<&String>) -> Result<Self, ServiceError> {
        let url = parse_url(settings.url.as_deref().unwrap_or(GEOCODER))?;
        Ok(Self {
            client: HttpClient::new(&url, settings.timeout, ANSWER_LIMIT)?,
            url,
            benchmark: benchmark.cloned().unwrap_or_else(|| BENCHMARK.to_owned()),
            batch: settings.batch.clamp(1, Batch::MOST_ROWS as usize),
        })
    }

    fn form(&self, batch: &Batch) -> Vec<u8> {
        let field = |name: &str, more: &str| {
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n")
        };
        let file = field("addressFile", "; filename=\"addresses.csv\"\r\nContent-Type: text/csv");
        let benchmark = format!("{}{}\r\n", field("benchmark", ""), self.benchmark);
        let end = format!("\r\n--{BOUNDARY}--\r\n");
        [benchmark.as_bytes(), file.as_bytes(), batch.body(), end.as_bytes()].concat()
    }
}

#[async_trait]
impl Upstream for CensusGeocoder {
    fn check(&self, key: &Key) -> Result<(), &'static str> {
        let mut parts = key.parts();
        let (street, rest) = (parts.next().unwrap_or_default(), parts.any(|part| !part.is_empty()));
        if !street.is_empty() && rest && key.text().len() <= 500 { Ok(()) } else { Err("incomplete_address") }
    }

    fn batch(&self) -> usize {
        self.batch
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Outcome>, CallError> {
        let mut batch = Batch::new();
        for key in keys {
            let mut parts = key.parts();
            let mut part = || parts.next().unwrap_or_default();
            let address = Address { street: part(), city: part(), state: part(), zip: part() };
            batch.push(&address).map_err(|_| CallError::Refused("batch_too_large".into()))?;
        }
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let body = match self.client.post(self.url.clone(), &kind, self.form(&batch)).await {
            Err(CallError::NotFound) => return Err(CallError::unavailable("upstream_status_404")),
            body => body?,
        };
        let found = parse_answers(&body, batch.len()).map_err(|_| CallError::unavailable("upstream_unknown_shape"))?;
        Ok(found.into_iter().map(outcome).collect())
    }
}

fn outcome(found: Found) -> Outcome {
    let reason = found.reason();
    match found {
        Found::Match { point, matched_address, .. } => Outcome::Found(vec![
            Cell::Float(point.latitude),
            Cell::Float(point.longitude),
            Cell::Text(matched_address.into()),
            Cell::text(Some(Precision::Address.as_str())),
        ]),
        Found::NoMatch | Found::Tie => Outcome::Missing(reason.unwrap_or("not_found").into()),
        Found::Missing => Outcome::Failed(reason.unwrap_or("upstream_incomplete").into()),
    }
}
