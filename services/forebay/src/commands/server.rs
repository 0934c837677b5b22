use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use forebay_api::{Gateway, Observer, ServiceError};
use forebay_budget::Budget;
use forebay_catalog::Catalog;
use forebay_gateway::{GatewayConfig, Reach};
use forebay_objects::Writers;
use forebay_rpc::client::{ClientSecurity, GatewayClient, TokenSource, connect};
use forebay_seal::Keys;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::cli::KeeperArgs;
use crate::commands::jobs::open_catalog;
use crate::commands::service_error;

/// How long a client tries to get through to a gateway that does not answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// First pause between two tries; it doubles up to [`LONGEST_PAUSE`].
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Longest pause between two tries.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Which gateway to talk to, and how.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServerArgs {
    /// Address of a gateway, such as http://127.0.0.1:7401
    #[arg(long, env = "FOREBAY_SERVER", value_name = "ADDRESS")]
    pub(crate) server: Option<String>,
    /// File with the token to call it with (or the token itself in FOREBAY_TOKEN)
    #[arg(long, env = "FOREBAY_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Who signs its certificate (PEM; default: whom the system trusts)
    #[arg(long, env = "FOREBAY_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Certificate to call it with (PEM)
    #[arg(long, env = "FOREBAY_CERTIFICATE", value_name = "FILE", requires = "key")]
    pub(crate) certificate: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, env = "FOREBAY_KEY", value_name = "FILE", requires = "certificate")]
    pub(crate) key: Option<PathBuf>,
    /// Send the token over plain text to another machine
    #[arg(long)]
    pub(crate) insecure: bool,
}

impl ServerArgs {
    /// The gateway at the address.
    pub(crate) fn client(&self, address: &str) -> anyhow::Result<GatewayClient> {
        let token = match &self.token_file {
            Some(path) => Some(TokenSource::File(path.clone())),
            None => std::env::var_os("FOREBAY_TOKEN").map(|_| TokenSource::Env("FOREBAY_TOKEN".to_owned())),
        };
        let security = ClientSecurity {
            ca: self.ca.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            server_name: None,
            token,
            insecure: self.insecure,
        };
        Ok(GatewayClient::new(connect(address, &security).map_err(service_error)?))
    }
}

impl KeeperArgs {
    /// The gateway at the address or, without one, that of an output on this machine, which answers questions about
    /// its jobs.
    pub(crate) async fn gateway(&self) -> anyhow::Result<Arc<dyn Gateway>> {
        match &self.server.server {
            Some(address) => Ok(Arc::new(self.server.client(address)?)),
            None => Ok(Arc::new(reader(Arc::new(open_catalog(&self.output).await?))?)),
        }
    }
}

/// A gateway that takes nothing in.
fn reader(catalog: Arc<Catalog>) -> anyhow::Result<forebay_gateway::Gateway> {
    let budget = Budget::new(0);
    let config = GatewayConfig {
        chunk_bytes: 0,
        backlog: 0,
        reach: Reach::Anywhere,
        writers: Writers::One,
        observer: Observer::default(),
        keys: Keys::none(),
        sink: None,
    };
    let intake = budget.pool("intake", 0)?;
    Ok(forebay_gateway::Gateway::new(
        catalog,
        budget,
        intake,
        config,
        Arc::new(Notify::new()),
        CancellationToken::new(),
    ))
}

/// Whether the same call may succeed later.
pub(crate) fn may_pass(error: &ServiceError) -> bool {
    use forebay_api::ErrorKind;
    matches!(
        error.kind,
        ErrorKind::Unreachable
            | ErrorKind::Overloaded
            | ErrorKind::QuotaExceeded
            | ErrorKind::DeadlineExceeded
            | ErrorKind::Cancelled
    )
}

/// Pauses between tries, until patience runs out.
#[derive(Debug)]
pub(crate) struct Pauses {
    next: Duration,
    since: Option<std::time::Instant>,
}

impl Pauses {
    pub(crate) fn new() -> Self {
        Self { next: FIRST_PAUSE, since: None }
    }

    /// Something came through: the next trouble is a new one.
    pub(crate) fn forget(&mut self) {
        *self = Self::new();
    }

    /// Waits after an error, or gives it back if it will not pass or has lasted too long.
    pub(crate) async fn after(&mut self, error: ServiceError) -> Result<(), ServiceError> {
        let since = *self.since.get_or_insert_with(std::time::Instant::now);
        if !may_pass(&error) || since.elapsed() > PATIENCE {
            return Err(error);
        }
        let pause = error.retry_after.unwrap_or(self.next).min(LONGEST_PAUSE);
        tracing::debug!(%error, ?pause, "trying again");
        tokio::time::sleep(pause).await;
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
