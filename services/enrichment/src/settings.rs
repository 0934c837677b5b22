use std::collections::BTreeMap;
use std::time::Duration;

use forebay_api::ServiceError;
use forebay_recipe::span;
use xxhash_rust::xxh3::xxh3_64;

use crate::answer::Patience;

const DAY: Duration = Duration::from_secs(86_400);

/// How an upstream is asked, and how long its answers last.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AskSettings {
    pub(crate) url: Option<String>,
    /// Most requests in any one second, over all replicas.
    pub(crate) rate: f64,
    /// Requests under way at a time, in this process.
    pub(crate) concurrency: usize,
    /// Longest time of one request, from connecting to the last byte.
    pub(crate) timeout: Duration,
    /// Requests for a key that fail before it is given up.
    pub(crate) tries: u32,
    /// How long an answer is fresh.
    pub(crate) ttl: Duration,
    /// How long "there is none" is fresh.
    pub(crate) not_found_ttl: Duration,
    /// How long a failure is not tried again.
    pub(crate) failed_ttl: Duration,
    /// How much longer than fresh an answer is kept, for times when the upstream can't be asked.
    pub(crate) stale: Duration,
    /// Most keys of one request, where it takes several.
    pub(crate) batch: usize,
    /// Longest wait for an upstream that is out of order; zero if nobody waits.
    pub(crate) open_wait: Duration,
}

impl AskSettings {
    /// Reads a request's settings over the defaults of an enricher.
    pub(crate) fn read(settings: &BTreeMap<String, String>) -> Result<Self, ServiceError> {
        let waits = match settings.get("on_open").map(String::as_str) {
            None | Some("wait") => true,
            Some("null") => false,
            Some(_) => return Err(wrong("on_open", "wait or null")),
        };
        let open_wait = time(settings, "open_wait", Duration::from_secs(60))?;
        Ok(Self {
            url: settings.get("url").cloned(),
            rate: number(settings, "rate", 4.0)?,
            concurrency: number(settings, "concurrency", 5.0)? as usize,
            timeout: time(settings, "timeout", Duration::from_secs(10))?,
            tries: number(settings, "tries", 5.0)? as u32,
            ttl: time(settings, "ttl", 30 * DAY)?,
            not_found_ttl: time(settings, "not_found_ttl", DAY)?,
            failed_ttl: time(settings, "failed_ttl", Duration::from_secs(60))?,
            stale: time(settings, "stale", 30 * DAY)?,
            batch: number(settings, "batch", 500.0)? as usize,
            open_wait: if waits { open_wait } else { Duration::ZERO },
        })
    }

    /// What a failure may be due to besides the key and the upstream.
    pub(crate) fn patience(&self) -> Patience {
        Patience(xxh3_64(format!("{:?}", (self.timeout, self.tries, self.batch)).as_bytes()) as u32)
    }
}

fn wrong(key: &str, values: &str) -> ServiceError {
    ServiceError::invalid("SETTING_INVALID", format!("the enricher's setting '{key}' must be {values}"))
}

fn time(settings: &BTreeMap<String, String>, key: &str, default: Duration) -> Result<Duration, ServiceError> {
    let Some(text) = settings.get(key) else { return Ok(default) };
    span(text).ok_or_else(|| wrong(key, "a duration such as 250ms, 30s, 5m, 1h or 30d"))
}

fn number(settings: &BTreeMap<String, String>, key: &str, default: f64) -> Result<f64, ServiceError> {
    let Some(text) = settings.get(key) else { return Ok(default) };
    let number = text.parse().ok().filter(|number: &f64| *number > 0.0 && *number <= 100_000.0);
    number.ok_or_else(|| wrong(key, "a number above 0"))
}
