//! `forebay serve`: one service, or all of them, as a process that others call.

mod counted;
mod drain;
mod enrichers;
mod sampler;
mod settings;
mod writers;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use forebay_api::TenantLimits;
use forebay_budget::Budget;
use forebay_catalog::Catalog;
use forebay_enrichment::{CACHE_FILE, CacheLocation, Enrichment, EnrichmentConfig};
use forebay_gateway::Reach;
use forebay_lake::STATE_FOLDER;
use forebay_objects::{Place, Writers};
use forebay_queue::{JobQueue, RedisQueue, SqliteQueue, WorkHandler};
use forebay_recipe::Tuning;
use forebay_rpc::client::{ClientSecurity, TokenSource};
use forebay_rpc::security::{ServerSecurity, ServerTls};
use forebay_rpc::server::{ServerLimits, ServerOptions, Services};

use forebay_storage::{Janitor, Storage};
use forebay_telemetry::{LogFormat, Logs, Metrics, serve_metrics};
use forebay_types::ByteSize;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::{ServeArgs, Service, log_to_standard_error};
use crate::commands::{Usage, default_memory, service_error};
use crate::keys;
use crate::plan::{Models, Plan, PlanRequest, Roles};
use crate::supervisor::{self, Role};
use crate::trim;
use crate::wiring::Wiring;

use enrichers::RemoteEnrichers;
use settings::LogForm;
pub(crate) use settings::{Address, Settings};
pub use writers::RemoteWriters;

/// Where `forebay serve all` keeps everything when nothing else is said.
const DEFAULT_STORE: &str = "forebay-store";

/// Longest record that a service is planned for, as recipes have it by default.
const RECORD_LIMIT: ByteSize = ByteSize::mib(10);

/// How long written rows wait for their commit when nothing else is said.
const COMMIT_INTERVAL: Duration = Duration::from_secs(30);

/// How long a service goes on with what is in work when nothing else is said. The lease of a chunk is renewed
/// meanwhile.
const DRAIN: Duration = Duration::from_secs(25);

/// Of the budget of a service that only enriches, what is no cache.
const PROGRAM: ByteSize = ByteSize::mib(40);

/// Its cache, when nothing else is said.
const ANSWERS: ByteSize = ByteSize::mib(32);

const MIB: ByteSize = ByteSize::mib(1);

/// Least memory of its reference files.
const REFERENCES: ByteSize = ByteSize::mib(16);

/// First wait for a database that does not answer; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Longest wait between two tries at a database.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// `forebay serve`
pub(crate) fn start(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let settings = args.settings.with_file(args.config.as_deref())?;
    // Only what works on chunks can die of one.
    if matches!(args.service, Service::All | Service::Transform) {
        match supervisor::role()? {
            Role::Supervisor => {
                log_to_standard_error();
                return supervisor::supervise(true);
            }
            Role::Worker { died } => return run(args.service, settings, died),
        }
    }
    run(args.service, settings, None)
}

fn run(service: Service, settings: Settings, died: Option<String>) -> anyhow::Result<ExitCode> {
    let runtime = crate::commands::run::runtime()?;
    let result = runtime.block_on(serve(service, settings, died));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result.map(|()| ExitCode::SUCCESS)
}

async fn serve(service: Service, settings: Settings, died: Option<String>) -> anyhow::Result<()> {
    let logs = Logs {
        format: match settings.log_format {
            Some(LogForm::Json) => LogFormat::Json,
            Some(LogForm::Text) | None => LogFormat::Text,
        },
        filter: settings.log.clone().unwrap_or_else(|| {
            "warn,forebay=info,forebay_gateway=info,forebay_storage=info,forebay_transform=info,forebay_queue=info,\
             deltalake_core=error,buoyant_kernel=error"
                .to_owned()
        }),
        otlp_endpoint: settings.otlp_endpoint.clone(),
    };
    let telemetry = logs.init(name_of(service)).map_err(|error| Usage(error.to_string()))?;
    let result = Box::pin(Node::start(service, &settings, died)).await;
    let result = match result {
        Ok(node) => node.until_told_to_stop(settings.drain.map_or(DRAIN, |drain| drain.0)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &result {
        tracing::error!(error = format!("{error:#}"), "the service ended");
    }
    telemetry.shutdown().await;
    result
}

const fn name_of(service: Service) -> &'static str {
    match service {
        Service::All => "forebay",
        Service::Gateway => "forebay-gateway",
        Service::Enrichment => "forebay-enrichment",
        Service::Transform => "forebay-transform",
        Service::Storage => "forebay-storage",
    }
}

const fn port_of(service: Service) -> u16 {
    match service {
        Service::All | Service::Gateway => 7401,
        Service::Enrichment => 7402,
        Service::Transform => 7403,
        Service::Storage => 7404,
    }
}

/// A process that serves.
struct Node {
    tasks: JoinSet<anyhow::Result<()>>,
    /// Told first: no more work is taken.
    intake: CancellationToken,
    /// Told last: what is in work is handed back.
    stop: CancellationToken,
    transform: Option<Arc<forebay_transform::Transform>>,
    storage: Option<Arc<Storage>>,
}

impl Node {
    async fn start(service: Service, settings: &Settings, died: Option<String>) -> anyhow::Result<Self> {
        let mut node = Self {
            tasks: JoinSet::new(),
            intake: CancellationToken::new(),
            stop: CancellationToken::new(),
            transform: None,
            storage: None,
        };
        let address = settings.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, port_of(service))));
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("can't listen on {address} (setting listen)"))?;
        let metrics = Metrics::default();
        let mut services = Services::new();
        if service == Service::Enrichment {
            let memory =
                settings.memory.map_or(ANSWERS, |memory| ByteSize(memory.0.saturating_sub(PROGRAM.0).max(MIB.0) / 2));
            let folder = settings.spill.clone().unwrap_or_else(std::env::temp_dir);
            let (cache, rates) = (cache(settings, None)?, settings.upstream_rates()?);
            // As much as for answers, and at least what a year of the fee schedule takes.
            let references = memory.0.max(REFERENCES.0);
            let references = Budget::new(references).pool("references", references)?;
            let config = EnrichmentConfig { cache, memory: memory.0, rates, references, folder };
            let enrichment = Enrichment::open(config).await.map_err(service_error)?;
            sampler::enrichment(Arc::clone(&enrichment), &metrics, node.stop.clone(), &mut node.tasks);
            services = services.enrichment(enrichment);
        } else {
            services = Box::pin(node.wire(service, settings, died, &metrics, services)).await?;
        }
        let health = services.health();
        let options = ServerOptions {
            security: server_security(settings),
            limits: limits(settings),
            metrics: metrics.clone(),
            reflection: settings.reflection,
        };
        let shutdown = node.intake.clone();
        tracing::info!(service = name_of(service), address = %listener.local_addr()?, "serving");
        node.tasks.spawn(async move { services.serve_with(listener, options, shutdown).await.map_err(service_error) });
        if let Some(address) = settings.metrics_listen {
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("can't listen on {address} (setting metrics_listen)"))?;
            let stop = node.stop.clone();
            // A worker has no service that is called: it is ready while it runs.
            let ready = move || service == Service::Transform || health.is_serving();
            node.tasks.spawn(async move { Ok(serve_metrics(listener, metrics, ready, stop).await?) });
        }
        Ok(node)
    }

    /// Starts what works on chunks, and gives the services that are called.
    async fn wire(
        &mut self,
        service: Service,
        settings: &Settings,
        died: Option<String>,
        metrics: &Metrics,
        mut services: Services,
    ) -> anyhow::Result<Services> {
        let roles = Roles {
            gateway: matches!(service, Service::All | Service::Gateway),
            transform: matches!(service, Service::All | Service::Transform),
            storage: matches!(service, Service::All | Service::Storage),
        };
        let stores = Stores::of(service, settings)?;
        let plan = plan(roles, settings, &stores)?;
        trim::start(plan.memory.0, trim::OF_A_SERVICE);
        let catalog = Arc::new(patiently("catalog", async || Catalog::open(&stores.catalog).await).await?);
        let mut wiring = Wiring::new(catalog, plan, supervisor::owner())?;
        wiring.upstream_rates = settings.upstream_rates()?;
        (wiring.intake, wiring.stop) = (self.intake.clone(), self.stop.clone());
        wiring.keys = keys::given(settings.keys.as_ref().map(|keys| keys.0.as_str()), settings.key_file.as_deref())?;
        if let Some(url) = &settings.sink_url {
            wiring.sink = Some(url.0.parse().map_err(|error| Usage(format!("{error} (setting sink_url)")))?);
        }
        if let Some(lease) = settings.lease {
            wiring.lease = lease.0;
        }
        wiring.observer = counted::observer(metrics);
        sampler::start(&wiring, metrics, &mut self.tasks);
        let leases = wiring.keep_leases(self.stop.clone());
        self.tasks.spawn(async move {
            leases.await;
            Ok(())
        });
        let storage: Arc<dyn forebay_api::Storage> = if roles.storage {
            let storage = self.start_storage(&wiring, settings)?;
            services = services.storage(Arc::clone(&storage) as Arc<dyn forebay_api::Storage>);
            storage
        } else {
            let addresses = Settings::needed(&settings.storage_url, "storage_url", "FOREBAY_STORAGE_URL")?;
            Arc::new(RemoteWriters::connect(&addresses, &client_security(settings)).map_err(service_error)?)
        };
        if !roles.gateway && !roles.transform {
            return Ok(services);
        }
        let queue = queue(&stores.queue).await?;
        if roles.transform {
            let enrichment: Arc<dyn forebay_api::Enrichment> = if roles.gateway {
                let folder = stores.local.clone().or_else(|| settings.spill.clone()).unwrap_or_else(std::env::temp_dir);
                let enrichment = wiring.enrichment(cache(settings, stores.local.as_deref())?, folder).await?;
                sampler::enrichment(Arc::clone(&enrichment), metrics, self.stop.clone(), &mut self.tasks);
                services = services.enrichment(Arc::clone(&enrichment) as Arc<dyn forebay_api::Enrichment>);
                enrichment
            } else {
                let addresses = settings.enrichment_url.as_deref().unwrap_or_default();
                Arc::new(RemoteEnrichers::connect(addresses, &client_security(settings)).map_err(service_error)?)
            };
            self.start_transform(&wiring, Arc::clone(&queue), Arc::clone(&storage), enrichment, died).await?;
        }
        if roles.gateway {
            let reach =
                Reach::Served { store: stores.store.clone(), inputs: settings.inputs.clone().unwrap_or_default().0 };
            let gateway = wiring.gateway(reach, Writers::Many, wiring.plan.in_flight as u64 * 16)?;
            services = services.gateway(Arc::clone(&gateway) as Arc<dyn forebay_api::Gateway>);
            let (dispatcher, stop) = (wiring.dispatcher(queue, storage), self.stop.clone());
            self.tasks.spawn(async move {
                dispatcher.run(stop).await;
                Ok(())
            });
            let stop = self.intake.clone();
            self.tasks.spawn(async move {
                gateway.resume_inputs(stop).await;
                Ok(())
            });
        }
        Ok(services)
    }

    fn start_storage(&mut self, wiring: &Wiring, settings: &Settings) -> anyhow::Result<Arc<Storage>> {
        let spill = settings.spill.clone().unwrap_or_else(std::env::temp_dir);
        std::fs::create_dir_all(&spill).with_context(|| format!("can't make {} (setting spill)", spill.display()))?;
        let file_bytes = settings.file_size.unwrap_or(ByteSize::mib(128)).0;
        let interval = settings.commit_interval.map_or(COMMIT_INTERVAL, |interval| interval.0);
        let storage = wiring.storage(file_bytes, interval, spill)?;
        let (writer, stop) = (Arc::clone(&storage), self.stop.clone());
        self.tasks.spawn(async move {
            writer.run(stop).await;
            Ok(())
        });
        let (writer, stop) = (Arc::clone(&storage), self.stop.clone());
        self.tasks.spawn(async move {
            writer.take_over(stop).await;
            Ok(())
        });
        if let Some(loader) = wiring.loader()? {
            let stop = self.stop.clone();
            self.tasks.spawn(async move {
                loader.run(stop).await;
                Ok(())
            });
        }
        let (janitor, stop) = (Janitor::new(Arc::clone(&wiring.catalog)), self.stop.clone());
        self.tasks.spawn(async move {
            janitor.run(stop).await;
            Ok(())
        });
        self.storage = Some(Arc::clone(&storage));
        Ok(storage)
    }

    async fn start_transform(
        &mut self,
        wiring: &Wiring,
        queue: Arc<dyn JobQueue>,
        storage: Arc<dyn forebay_api::Storage>,
        enrichment: Arc<dyn forebay_api::Enrichment>,
        died: Option<String>,
    ) -> anyhow::Result<()> {
        let transform = wiring.transform(storage, enrichment)?;
        if let Some(owner) = died {
            // The supervisor saw the worker before this one die: its chunks are under suspicion.
            for claim in wiring.catalog.claimed_by(&owner).await? {
                transform.settle_death(&claim).await.map_err(service_error)?;
            }
        }
        let (handler, stop, in_flight) = (Arc::clone(&transform), self.intake.clone(), wiring.plan.in_flight);
        self.tasks.spawn(async move {
            queue
                .run("transform", in_flight, handler as Arc<dyn WorkHandler>, stop)
                .await
                .map_err(|error| anyhow!(error))
        });
        self.transform = Some(transform);
        Ok(())
    }
}

/// Where everything is that a service needs.
struct Stores {
    catalog: String,
    queue: String,
    /// Absolute URI, without a slash at its end.
    store: String,
    /// Folder for the files of a process that holds everything.
    local: Option<PathBuf>,
}

impl Stores {
    fn of(service: Service, settings: &Settings) -> anyhow::Result<Self> {
        let store = match (&settings.store_url, service) {
            (Some(store), _) => store.clone(),
            (None, Service::All) => DEFAULT_STORE.to_owned(),
            (None, Service::Gateway) => Settings::needed(&settings.store_url, "store_url", "FOREBAY_STORE_URL")?,
            // Jobs carry their output.
            (None, _) => String::new(),
        };
        let place =
            if store.is_empty() { None } else { Some(Place::open(&store).map_err(|error| Usage(error.to_string()))?) };
        let local = match (&place, service) {
            (Some(place), Service::All) => {
                Some(place.directory().map_or_else(|| PathBuf::from(DEFAULT_STORE), PathBuf::from).join(STATE_FOLDER))
            }
            _ => None,
        };
        let file = |name: &str| -> anyhow::Result<Option<String>> {
            let Some(folder) = &local else { return Ok(None) };
            std::fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
            Ok(Some(format!("sqlite:{}", folder.join(name).display())))
        };
        let url = |setting: &Option<settings::Address>, name, key, environment| -> anyhow::Result<String> {
            match (setting, file(name)?) {
                (Some(address), _) => Ok(address.0.clone()),
                (None, Some(file)) => Ok(file),
                (None, None) => Ok(Settings::needed(setting, key, environment)?.0),
            }
        };
        let catalog = url(&settings.catalog_url, "catalog.db", "catalog_url", "FOREBAY_CATALOG_URL")?;
        let queue = match service {
            Service::Storage | Service::Enrichment => String::new(),
            Service::All | Service::Gateway | Service::Transform => {
                url(&settings.queue_url, "queue.db", "queue_url", "FOREBAY_QUEUE_URL")?
            }
        };
        let store = place.map_or(store, |place| place.uri().as_str().trim_end_matches('/').to_owned());
        Ok(Self { catalog, queue, store, local })
    }
}

fn plan(roles: Roles, settings: &Settings, stores: &Stores) -> anyhow::Result<Plan> {
    let tuning = Tuning { workers: settings.workers, max_in_flight: settings.max_in_flight, ..Tuning::default() };
    let request = PlanRequest {
        roles,
        submissions: settings.submissions.unwrap_or(4).max(1),
        remote: true,
        memory: settings.memory.unwrap_or_else(default_memory),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        tuning,
        record_limit: RECORD_LIMIT,
        tables: settings.tables.unwrap_or(6),
        steps: true,
        redacts: true,
        enrichment: roles.transform && roles.gateway,
        references: roles.transform && roles.gateway,
        // A writer does not know its jobs' outputs beforehand.
        bucket: stores.store.is_empty() || stores.store.starts_with("s3://"),
        sink: settings.sink_url.is_some(),
        models: settings.model_memory.map_or(Models::None, Models::Allowed),
    };
    Plan::new(&request).map_err(|error| Usage(format!("{error} (setting memory)")).into())
}

/// Where answers are kept: as the settings say, else in a file below `local`, else in memory.
fn cache(settings: &Settings, local: Option<&Path>) -> anyhow::Result<CacheLocation> {
    match (&settings.cache_url, local) {
        (Some(address), _) => Ok(address.0.parse().map_err(|error| Usage(format!("cache_url: {error}")))?),
        (None, Some(folder)) => Ok(CacheLocation::File(folder.join(CACHE_FILE))),
        (None, None) => Ok(CacheLocation::Memory),
    }
}

async fn queue(url: &str) -> anyhow::Result<Arc<dyn JobQueue>> {
    match url.split_once(':') {
        Some(("sqlite", path)) => Ok(Arc::new(SqliteQueue::open(path).await?)),
        Some(("redis" | "rediss", _)) => Ok(Arc::new(RedisQueue::open(url).map_err(|error| Usage(error.to_string()))?)),
        _ => Err(Usage("queue_url: write sqlite:PATH or redis://HOST".to_owned()).into()),
    }
}

/// Opens a database, and waits for one that is not there yet: services start in any order.
async fn patiently<T>(
    what: &'static str,
    open: impl AsyncFn() -> Result<T, forebay_catalog::CatalogError>,
) -> anyhow::Result<T> {
    let mut wait = FIRST_WAIT;
    loop {
        match open().await {
            Err(error) if error.is_transient() => {
                tracing::warn!(what, %error, "waiting for it");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            result => return Ok(result?),
        }
    }
}

fn server_security(settings: &Settings) -> ServerSecurity {
    let tls = match (&settings.tls_certificate, &settings.tls_key) {
        (None, None) => None,
        (certificate, key) => Some(ServerTls {
            certificate: certificate.clone().unwrap_or_default(),
            key: key.clone().unwrap_or_default(),
            client_ca: settings.tls_client_ca.clone(),
            require_client_certificate: settings.tls_require_client_certificate.unwrap_or(false),
        }),
    };
    ServerSecurity {
        tls,
        tokens: settings.auth_tokens.clone(),
        certificates: settings.auth_certificates.clone(),
        insecure: settings.insecure.unwrap_or(false),
        ..ServerSecurity::default()
    }
}

fn client_security(settings: &Settings) -> ClientSecurity {
    ClientSecurity {
        ca: settings.client_ca.clone(),
        certificate: settings.client_certificate.clone(),
        key: settings.client_key.clone(),
        server_name: None,
        token: settings.client_token_file.clone().map(TokenSource::File),
        insecure: settings.insecure.unwrap_or(false),
    }
}

fn limits(settings: &Settings) -> ServerLimits {
    let default = ServerLimits::default();
    let tenant = TenantLimits {
        streams: settings.tenant_streams.or(default.tenant.streams),
        jobs: settings.tenant_jobs,
        staged_bytes: settings.tenant_staged.map(|size| size.0),
    };
    ServerLimits { tenant, drain: settings.drain.map_or(DRAIN, |drain| drain.0), ..default }
}
