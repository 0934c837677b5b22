use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arrow_array::StringArray;
use clap::{Args, Subcommand};
use forebay_api::{BoxStream, EnrichRequest, Enrichment as _, KeyBatch, ServiceError};
use forebay_budget::Budget;
use forebay_enrichment::{CACHE_FILE, CacheLocation, Enrichment, EnrichmentConfig, UpstreamRates};
use forebay_objects::Place;
use forebay_types::ByteSize;
use futures::{StreamExt, stream};

use crate::cli::DEFAULT_OUTPUT;
use crate::commands::{Usage, parse_settings, service_error};
use crate::embedded::state_folder;

/// The cache in memory of a command that only looks keys up.
const ANSWERS: ByteSize = ByteSize::mib(32);

/// Memory for its reference files.
const REFERENCES: ByteSize = ByteSize::mib(128);

/// Keys of a batch.
const KEYS: usize = 8192;

/// Time between two lines of progress.
const LINE: Duration = Duration::from_secs(2);

#[derive(Debug, Subcommand)]
pub(crate) enum EnrichCommand {
    /// Look up every key of a file, one a line, so that jobs find them in the cache
    Warm(WarmArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Show how many answers there are, and how large they are
    Stats(CacheArgs),
    /// Forget the answers
    Purge {
        #[command(flatten)]
        cache: CacheArgs,
        /// Only those that are no use any more
        #[arg(long)]
        expired: bool,
    },
}

/// `forebay enrich warm`
#[derive(Clone, Debug, Args)]
pub(crate) struct WarmArgs {
    /// Keys, one a line
    keys: PathBuf,
    /// The enricher
    #[arg(long, default_value = "nppes")]
    enricher: String,
    #[command(flatten)]
    cache: CacheArgs,
    /// A setting of the enricher, such as nppes.url=URL or nppes.rate=4
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

/// Which cache.
#[derive(Clone, Debug, Args)]
pub(crate) struct CacheArgs {
    /// The output whose jobs the cache is for
    #[arg(long, short, default_value = DEFAULT_OUTPUT, env = "FOREBAY_OUTPUT")]
    output: String,
    /// Another cache: sqlite:PATH or redis://HOST
    #[arg(long, env = "FOREBAY_CACHE_URL", hide_env_values = true)]
    cache_url: Option<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl CacheArgs {
    /// Where the cache is. The folder of an output that is not there yet is made only if it is to be `filled`.
    fn location(&self, filled: bool) -> anyhow::Result<Option<CacheLocation>> {
        if let Some(url) = &self.cache_url {
            return Ok(Some(url.parse().map_err(|error| Usage(format!("--cache-url: {error}")))?));
        }
        let place = Place::open(&self.output).map_err(|error| Usage(error.to_string()))?;
        let folder = state_folder(&place);
        let file = folder.join(CACHE_FILE);
        if filled {
            std::fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
        } else if !file.exists() {
            return Ok(None);
        }
        Ok(Some(CacheLocation::File(file)))
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

async fn open(cache: CacheLocation) -> anyhow::Result<Arc<Enrichment>> {
    let references = Budget::new(REFERENCES.0).pool("references", REFERENCES.0)?;
    let (rates, folder) = (UpstreamRates::default(), std::env::temp_dir());
    Enrichment::open(EnrichmentConfig { cache, memory: ANSWERS.0, rates, references, folder })
        .await
        .map_err(service_error)
}

/// `forebay cache`
pub(crate) fn cache(command: &CacheCommand) -> anyhow::Result<ExitCode> {
    let (CacheCommand::Stats(args) | CacheCommand::Purge { cache: args, .. }) = command;
    let location = args.location(false)?;
    runtime()?.block_on(async {
        match command {
            CacheCommand::Stats(args) => {
                let stats = match location {
                    Some(location) => open(location).await?.cache_stats().await.map_err(service_error)?,
                    None => forebay_enrichment::StoreStats::default(),
                };
                if args.json {
                    let line = serde_json::json!({
                        "entries": stats.entries, "expired": stats.expired, "bytes": stats.bytes,
                    });
                    println!("{line}");
                } else {
                    println!("{} keys, {} of them expired, {}", stats.entries, stats.expired, ByteSize(stats.bytes));
                }
            }
            CacheCommand::Purge { cache, expired } => {
                let purged = match location {
                    Some(location) => open(location).await?.purge(*expired).await.map_err(service_error)?,
                    None => 0,
                };
                if cache.json {
                    println!("{}", serde_json::json!({ "purged": purged }));
                } else {
                    println!("{purged} keys forgotten");
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// `forebay enrich warm`
pub(crate) fn warm(args: &WarmArgs) -> anyhow::Result<ExitCode> {
    let prefix = format!("{}.", args.enricher);
    let mut settings = std::collections::BTreeMap::new();
    for (key, value) in parse_settings(&args.settings)? {
        let Some(key) = key.strip_prefix(&prefix) else {
            return Err(Usage(format!("--set {key}: the settings of this command begin with {prefix}")).into());
        };
        settings.insert(key.to_owned(), value);
    }
    let Some(location) = args.cache.location(true)? else { return Ok(ExitCode::SUCCESS) };
    let keys = key_batches(&args.keys)?;
    let request = EnrichRequest { enricher: args.enricher.clone(), settings, columns: Vec::new() };
    runtime()?.block_on(async {
        let service = open(location).await?;
        let mut rows = service.enrich(request, keys).await.map_err(service_error)?;
        let mut line = tokio::time::interval(LINE);
        line.tick().await;
        loop {
            tokio::select! {
                batch = rows.next() => match batch {
                    Some(batch) => drop(batch.map_err(service_error)?),
                    None => break,
                },
                _ = line.tick() => show(&service),
            }
        }
        let stats = service.stats();
        let known = stats.memory + stats.store + stats.shared + stats.reference + stats.stale;
        let failed = stats.failed + stats.invalid;
        if args.cache.json {
            let line = serde_json::json!({
                "keys": stats.keys, "cache_hits": known, "upstream_calls": stats.calls, "failed": failed,
            });
            println!("{line}");
        } else {
            println!("{} keys: {known} known already, {} calls, {failed} failed", stats.keys, stats.calls);
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Shows how far it is, and how long it will take at this rate.
fn show(service: &Enrichment) {
    let (stats, rate) = (service.stats(), service.rate());
    let time = if rate > 0.0 { format!(", {:.0}s for those", stats.waiting as f64 / rate) } else { String::new() };
    eprintln!("{} keys, {} calls, {} wait at {rate:.1}/s{time}", stats.keys, stats.calls, stats.waiting);
}

/// The file's keys, read as they are asked for. Blank lines are none.
fn key_batches(path: &Path) -> anyhow::Result<BoxStream<Result<KeyBatch, ServiceError>>> {
    let file =
        File::open(path).map_err(|error| Usage(format!("can't read the keys of {}: {error}", path.display())))?;
    let name = path.display().to_string();
    let lines = BufReader::new(file).lines();
    let batches = stream::try_unfold(lines, move |mut lines| {
        let mut keys = Vec::with_capacity(KEYS);
        let mut failed = None;
        for line in lines.by_ref() {
            match line {
                Ok(line) if line.trim().is_empty() => {}
                Ok(line) => keys.push(line.trim().to_owned()),
                Err(error) => {
                    let message = format!("{name} can't be read to its end: {error}");
                    failed = Some(ServiceError::invalid("KEYS_UNREADABLE", message));
                    break;
                }
            }
            if keys.len() == KEYS {
                break;
            }
        }
        futures::future::ready(match failed {
            Some(error) => Err(error),
            None if keys.is_empty() => Ok(None),
            None => Ok(Some((KeyBatch { keys: Arc::new(StringArray::from_iter_values(keys)) }, lines))),
        })
    });
    Ok(batches.boxed())
}
