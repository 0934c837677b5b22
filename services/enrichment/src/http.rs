use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use forebay_api::ServiceError;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use tokio::time::timeout;

use crate::call::CallError;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Longest wait that an upstream may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);

/// Asks over HTTP, within bounds: of time, from the first byte sent to the last received; of size; and of redirects,
/// which are not followed, since each would be a request that nobody counted.
#[derive(Clone, Debug)]
pub(crate) struct HttpClient {
    client: Client,
    time: Duration,
    bytes: usize,
}

impl HttpClient {
    /// A client for the host of `url`.
    pub(crate) fn new(url: &Url, time: Duration, bytes: usize) -> Result<Self, ServiceError> {
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT.min(time))
            .user_agent(concat!("forebay/", env!("CARGO_PKG_VERSION")));
        let host = url.host_str().unwrap_or_default();
        if host == "localhost" || host.starts_with("127.") || host == "[::1]" {
            // A proxy is for other machines.
            builder = builder.no_proxy();
        }
        let client =
            builder.build().map_err(|error| ServiceError::internal(format!("no HTTP client can be made: {error}")))?;
        Ok(Self { client, time, bytes })
    }

    /// The body of the answer to a GET.
    pub(crate) async fn get(&self, url: Url) -> Result<Vec<u8>, CallError> {
        self.send(self.client.get(url)).await
    }

    /// The body of the answer to a POST.
    pub(crate) async fn post(&self, url: Url, content_type: &str, body: Vec<u8>) -> Result<Vec<u8>, CallError> {
        self.send(self.client.post(url).header(CONTENT_TYPE, content_type).body(body)).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Vec<u8>, CallError> {
        let exchange = timeout(self.time, self.exchange(request)).await;
        exchange.unwrap_or_else(|_| Err(CallError::unavailable("upstream_timeout")))
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<Vec<u8>, CallError> {
        let mut response = request.send().await.map_err(|error| failed(&error))?;
        check(response.status(), response.headers())?;
        let too_large = || CallError::unavailable("upstream_too_large");
        if response.content_length().is_some_and(|length| length > self.bytes as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
            if body.len() + chunk.len() > self.bytes {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// The client's errors name the URL, and with it the key: only their kind goes on.
fn failed(error: &reqwest::Error) -> CallError {
    let reason = if error.is_timeout() {
        "upstream_timeout"
    } else if error.is_connect() {
        "upstream_unreachable"
    } else {
        "upstream_cut_off"
    };
    CallError::unavailable(reason)
}

fn check(status: StatusCode, headers: &HeaderMap) -> Result<(), CallError> {
    let named = || Cow::Owned(format!("upstream_status_{}", status.as_u16()));
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::TOO_MANY_REQUESTS => Err(CallError::Limited { retry_after: retry_after(headers) }),
        StatusCode::SERVICE_UNAVAILABLE if headers.contains_key(RETRY_AFTER) => {
            Err(CallError::Limited { retry_after: retry_after(headers) })
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(CallError::NotFound),
        status if status.is_redirection() => Err(CallError::unavailable("upstream_redirect")),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => {
            Err(CallError::Unavailable(named()))
        }
        status if status.is_client_error() => Err(CallError::Refused(named())),
        _ => Err(CallError::Unavailable(named())),
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            SystemTime::from(at).duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let read = |text: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]));
        assert_eq!(read("3"), Some(Duration::from_secs(3)));
        assert_eq!(read("99999999"), Some(LONGEST_RETRY_AFTER));
        assert_eq!(read("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn statuses_say_whether_to_ask_again() {
        let check = |status: u16| check(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
        assert_eq!(check(200), Ok(()));
        assert_eq!(check(404), Err(CallError::NotFound));
        assert_eq!(check(429), Err(CallError::Limited { retry_after: None }));
        assert_eq!(check(302), Err(CallError::unavailable("upstream_redirect")));
        assert_eq!(check(503), Err(CallError::unavailable("upstream_status_503")));
        assert_eq!(check(422), Err(CallError::Refused("upstream_status_422".into())));
    }
}
