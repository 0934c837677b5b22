//! A stand-in for the NPI registry's API, for development and tests. It answers in the real shapes, of both eras, with
//! made-up providers; it enforces a limit and writes down every request, so that whoever is meant to keep to the limit
//! can be held to it; and it fails on request.

mod answers;
mod fault;
mod server;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use answers::Era;
pub use fault::{Fault, FaultShare, FaultShareError};

/// Over which time requests are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// How a stand-in behaves.
#[derive(Clone, Debug, Default)]
pub struct RegistryConfig {
    /// Most requests answered in any one second; above it the status is 429. None for no limit.
    pub rate: Option<u32>,
    /// Time before an answer begins.
    pub latency: Duration,
    /// Which shares of the requests fail, and how.
    pub faults: Vec<FaultShare>,
    /// What providers there are, and which requests fail. With 0 every valid NPI has a provider; with another one in
    /// fifty is unknown and one in a hundred deactivated.
    pub seed: u64,
    /// File that every request is appended to: one JSON object a line, with `t` in microseconds since 1970, `npi` and
    /// `status`.
    pub log: Option<PathBuf>,
    /// The shape of the answers.
    pub era: Era,
}

/// A stand-in for the NPI registry.
#[derive(Debug)]
pub struct Registry {
    latency: Duration,
    seed: u64,
    era: Era,
    started: Instant,
    started_at: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rate: Option<u32>,
    faults: Vec<FaultShare>,
    log: Option<File>,
    /// When the requests of the last second came that were let through.
    recent: VecDeque<Instant>,
    requests: u64,
}

/// What becomes of a request.
pub(crate) enum Verdict {
    /// The limit is reached.
    Limited,
    /// It is answered, or fails as said.
    Taken(Option<Fault>),
}

impl Registry {
    /// A stand-in that nobody can reach yet.
    ///
    /// # Errors
    /// The log can't be written.
    pub fn new(config: RegistryConfig) -> io::Result<Arc<Self>> {
        let log = config.log.as_deref().map(open_log).transpose()?;
        let state = State { rate: config.rate, faults: config.faults, log, recent: VecDeque::new(), requests: 0 };
        Ok(Arc::new(Self {
            latency: config.latency,
            seed: config.seed,
            era: config.era,
            started: Instant::now(),
            started_at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            state: Mutex::new(state),
        }))
    }

    /// Answers whoever connects, until it is told to stop.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        server::serve(self, listener, stop).await
    }

    /// Requests that came so far, whatever became of them.
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    /// Changes what fails from now on.
    pub fn set_faults(&self, faults: Vec<FaultShare>) {
        self.state().faults = faults;
    }

    /// Decides about a request that has just come, and writes it down.
    pub(crate) fn take(&self, npi: &str) -> Verdict {
        let mut state = self.state();
        // Under the lock, so that the log is in order of time.
        let now = Instant::now();
        state.requests += 1;
        while state.recent.front().is_some_and(|first| now.duration_since(*first) >= WINDOW) {
            state.recent.pop_front();
        }
        let limited = state.rate.is_some_and(|rate| state.recent.len() >= rate as usize);
        let verdict = if limited {
            Verdict::Limited
        } else {
            if state.rate.is_some() {
                state.recent.push_back(now);
            }
            Verdict::Taken(Fault::draw(&state.faults, self.seed, state.requests))
        };
        let status = match &verdict {
            Verdict::Limited | Verdict::Taken(Some(Fault::TooMany)) => 429,
            Verdict::Taken(Some(Fault::ServerError)) => 503,
            Verdict::Taken(Some(Fault::Malformed | Fault::Slow | Fault::Cut) | None) => 200,
        };
        let t = (self.started_at + now.duration_since(self.started)).as_micros();
        if let Some(log) = &mut state.log {
            let npi = serde_json::Value::from(npi);
            if let Err(error) = writeln!(log, "{{\"t\":{t},\"npi\":{npi},\"status\":{status}}}") {
                tracing::error!(%error, "the log of requests can't be written");
            }
        }
        verdict
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}
