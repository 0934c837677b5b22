use std::io;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tonic::transport::{ClientTlsConfig, Endpoint};
use tracing_subscriber::filter::{EnvFilter, LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// How long one export to the collector, and the last flush, may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object a line, for log stores.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = TelemetryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(TelemetryError::Format(text.to_owned())),
        }
    }
}

/// Why logs or traces could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// An unknown log format.
    #[error("'{0}' is no log format: write text or json")]
    Format(String),
    /// A filter that cannot be read.
    #[error("'{filter}' is no log filter: write a level, or target=level, separated by commas ({why})")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        why: String,
    },
    /// A collector that cannot be used.
    #[error("'{endpoint}' is no OTLP endpoint: write http://host:4317 ({why})")]
    Endpoint {
        /// The address.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody else did it before.
    #[error("logs are set up already: {0}")]
    Twice(String),
}

/// What to log, how, and where spans go.
#[derive(Clone, Debug)]
pub struct Logs {
    /// How lines look. They go to standard error.
    pub format: LogFormat,
    /// As in `RUST_LOG`, such as `info,forebay_rpc=debug`.
    pub filter: String,
    /// The OTLP collector (gRPC), such as `http://collector:4317`. Without one, spans cost nothing.
    pub otlp_endpoint: Option<String>,
}

/// What must be flushed before the process ends.
#[derive(Debug)]
#[must_use = "spans that wait are lost unless it is shut down"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Logs {
    /// Sets up logs and traces of this process, once; `service` names it in traces, such as `forebay-gateway`. With a
    /// collector it needs a tokio runtime with more than one thread.
    pub fn init(self, service: &'static str) -> Result<Telemetry, TelemetryError> {
        let filter = EnvFilter::try_new(&self.filter)
            .map_err(|error| TelemetryError::Filter { filter: self.filter, why: error.to_string() })?;
        let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
        let lines = match self.format {
            LogFormat::Text => lines.boxed(),
            LogFormat::Json => lines.json().boxed(),
        };
        let provider = self.otlp_endpoint.map(|endpoint| provider(service, &endpoint)).transpose()?;
        // Only our own spans: those of the exporter's connection would beget spans for ever.
        let spans = provider.as_ref().map(|provider| {
            let ours = Targets::new().with_target("forebay", LevelFilter::INFO);
            tracing_opentelemetry::layer().with_tracer(provider.tracer("forebay")).with_filter(ours)
        });
        tracing_subscriber::registry()
            .with(spans)
            .with(lines.with_filter(filter))
            .try_init()
            .map_err(|error| TelemetryError::Twice(error.to_string()))?;
        Ok(Telemetry { provider })
    }
}

fn provider(service: &'static str, endpoint: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let wrong = |why: String| TelemetryError::Endpoint { endpoint: endpoint.to_owned(), why };
    let mut channel = Endpoint::from_shared(endpoint.to_owned()).map_err(|error| wrong(error.to_string()))?;
    if channel.uri().scheme_str() == Some("https") {
        let tls = ClientTlsConfig::new().with_native_roots();
        channel = channel.tls_config(tls).map_err(|error| wrong(error.to_string()))?;
    }
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_timeout(EXPORT_TIMEOUT)
        .with_channel(channel.connect_timeout(EXPORT_TIMEOUT).connect_lazy())
        .build()
        .map_err(|error| wrong(error.to_string()))?;
    let resource = Resource::builder().with_service_name(service).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

impl Telemetry {
    /// Sends the spans that wait, for at most five seconds. A collector that is away is logged, and no error.
    pub async fn shutdown(self) {
        let Some(provider) = self.provider else {
            return;
        };
        // It blocks: the exporter's thread waits for the network.
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(EXPORT_TIMEOUT)).await;
        match flushed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans could not be sent"),
            Err(error) => tracing::warn!(%error, "the last spans could not be sent"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_settings_are_named() {
        let logs = |filter: &str, endpoint: Option<&str>| Logs {
            format: LogFormat::Json,
            filter: filter.to_owned(),
            otlp_endpoint: endpoint.map(str::to_owned),
        };
        let error = logs("forebay=loud", None).init("a").unwrap_err();
        assert!(error.to_string().contains("'forebay=loud' is no log filter"), "{error}");
        let error = logs("info", Some("not an address")).init("a").unwrap_err();
        assert!(error.to_string().contains("'not an address' is no OTLP endpoint"), "{error}");
        let error = "xml".parse::<LogFormat>().unwrap_err();
        assert!(error.to_string().contains("'xml' is no log format"), "{error}");
    }
}
