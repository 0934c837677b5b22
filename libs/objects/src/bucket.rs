use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer};
use object_store::client::{HttpClient, HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use url::Url;

use crate::StoreError;
use crate::retry::{TRIES, backoff};

/// How a request is repeated after an answer of 5xx, 429 or 408 or a connection that broke. At a third of bad answers
/// one request in 400,000 still fails. It ends after a minute, and the last try of it after half a minute more
/// (`AWS_TIMEOUT` sets that): then the chunk goes back and waits, instead of a worker.
const RETRIES: RetryConfig = RetryConfig {
    backoff: BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(5), base: 2.0 },
    max_retries: 10,
    retry_timeout: Duration::from_secs(60),
};

/// A bucket: its store, and the HTTP client below it for what the store's interface lacks.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    store: Arc<AmazonS3>,
    client: HttpClient,
}

/// Makes the clients of a store, and remembers the last one, which is the store's own: those made before it are for
/// credentials.
#[derive(Clone, Debug, Default)]
struct Connector(Arc<Mutex<Option<HttpClient>>>);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
        Ok(client)
    }
}

impl Bucket {
    /// The bucket of an `s3://` URL, configured from the environment, over which `settings` win: the same names,
    /// `AWS_...`.
    pub(crate) fn open(url: &Url, settings: &[(String, String)]) -> Result<Self, object_store::Error> {
        let mut builder = AmazonS3Builder::from_env().with_url(url.as_str()).with_retry(RETRIES);
        for (name, value) in settings {
            builder = builder.with_config(name.to_ascii_lowercase().parse()?, value);
        }
        let plain = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint]
            .iter()
            .find_map(|key| builder.get_config_value(key))
            .is_some_and(|endpoint| endpoint.starts_with("http://"));
        if plain {
            builder = builder.with_allow_http(true);
        }
        let connector = Connector::default();
        let store = builder.with_http_connector(connector.clone()).build()?;
        let client = connector.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let client = client.ok_or_else(|| problem("it was built without a client"))?;
        Ok(Self { store: Arc::new(store), client })
    }

    /// The store, with `/` at the bucket's root.
    pub(crate) fn store(&self) -> &Arc<AmazonS3> {
        &self.store
    }

    /// Asks the bucket itself, signed, with a query that the store's interface has no call for.
    pub(crate) async fn query(&self, place: &str, query: &[(&str, &str)]) -> Result<Bytes, StoreError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match self.query_once(query).await {
                Ok((200, body)) => return Ok(body),
                Ok((status, body)) => StoreError::from_answer(place, status, &String::from_utf8_lossy(&body)),
                Err(error) => StoreError::from_store(place, &error),
            };
            if !error.is_transient() || attempt == TRIES {
                return Err(error);
            }
            tokio::time::sleep(backoff(attempt)).await;
        }
    }

    async fn query_once(&self, query: &[(&str, &str)]) -> object_store::Result<(u16, Bytes)> {
        // A signed URL knows where the bucket is and which region signs for it, however that was configured.
        let signed = self.store.signed_url(Default::default(), &Path::from("x"), Duration::from_secs(60)).await?;
        let scope = signed.query_pairs().find(|(name, _)| name == "X-Amz-Credential").map(|(_, scope)| scope);
        let region = scope.as_deref().and_then(|scope| scope.rsplit('/').nth(2)).unwrap_or_default();
        let mut url = signed.clone();
        url.set_path(signed.path().strip_suffix("/x").unwrap_or_default());
        url.set_query(None);
        url.query_pairs_mut().extend_pairs(query);
        let credential = self.store.credentials().get_credential().await?;
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = url.as_str().parse().map_err(problem)?;
        AwsAuthorizer::new(&credential, "s3", region).authorize(&mut request, None);
        let response = self.client.execute(request).await.map_err(problem)?;
        let status = response.status().as_u16();
        Ok((status, response.into_body().bytes().await.map_err(problem)?))
    }
}

fn problem(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> object_store::Error {
    object_store::Error::Generic { store: "S3", source: error.into() }
}
