use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use forebay_standin::{Era, FaultShare, Registry, RegistryConfig};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::commands::Usage;

#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// The NPI registry's API: its shapes, a limit that it enforces and writes down, and faults
    Nppes(NppesArgs),
}

/// `forebay sim nppes`
#[derive(Clone, Debug, Args)]
pub(crate) struct NppesArgs {
    /// Address to listen on; with port 0, one that is free
    #[arg(long, default_value = "127.0.0.1:7410")]
    listen: SocketAddr,
    /// Most requests answered in any one second; above it the status is 429 (default: no limit)
    #[arg(long)]
    rate: Option<u32>,
    /// Milliseconds before an answer begins
    #[arg(long, default_value_t = 0)]
    latency: u64,
    /// Share of the requests that fail, such as 5xx=0.1; with 429, 5xx, malformed, slow or cut
    #[arg(long = "fault", value_name = "KIND=SHARE")]
    faults: Vec<FaultShare>,
    /// Which providers there are, and which requests fail; with 0 every valid NPI has a provider
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// File that every request is appended to, a JSON object a line: t (microseconds), npi, status
    #[arg(long)]
    log: Option<PathBuf>,
    /// Shape of the answers: 2018 or 2024
    #[arg(long, default_value = "2024")]
    era: Era,
}

/// Answers until it is told to stop.
pub(crate) fn nppes(args: NppesArgs) -> anyhow::Result<ExitCode> {
    if args.rate == Some(0) {
        return Err(Usage("--rate 0 would answer nobody: leave it out for no limit".to_owned()).into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let log = args.log.clone();
        let registry = Registry::new(RegistryConfig {
            rate: args.rate,
            latency: Duration::from_millis(args.latency),
            faults: args.faults,
            seed: args.seed,
            log: args.log,
            era: args.era,
        });
        let registry = registry.with_context(|| format!("can't write {}", log.unwrap_or_default().display()))?;
        let listener =
            TcpListener::bind(args.listen).await.with_context(|| format!("can't listen on {}", args.listen))?;
        println!("listening on http://{}/api/", listener.local_addr()?);
        let stop = CancellationToken::new();
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            served = registry.serve(listener, stop) => served?,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}
