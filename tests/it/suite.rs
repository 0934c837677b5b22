//! All services as processes of their own, over a real PostgreSQL, Redis and S3 server that the test starts.

mod beside;
mod canary;
mod chaos;
mod submit;
mod traces;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use forebay_testing::faults::FaultProxy;
use forebay_testing::postgres::Postgres;
use forebay_testing::redis::Redis;
use forebay_testing::s3::{S3Server, files_below};
use forebay_testing::wire::Wire;

use crate::support::{Outcome, Scratch, files_of, rows_of};

/// Longest wait for anything that a service should do soon.
const SOON: Duration = Duration::from_secs(60);

/// How many processes of each service there are.
#[derive(Clone, Copy)]
pub(crate) struct Fleet {
    pub(crate) gateways: usize,
    pub(crate) transforms: usize,
    pub(crate) storages: usize,
}

/// Enrichment services that transform workers ask.
const ENRICHMENTS: usize = 2;

/// One of each, but two for enrichment.
pub(crate) const SMALL: Fleet = Fleet { gateways: 1, transforms: 1, storages: 1 };

/// The services, and what they need.
pub(crate) struct Suite {
    pub(crate) scratch: Scratch,
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    pub(crate) s3: S3Server,
    pub(crate) services: Vec<Service>,
    /// Between services and what they need.
    pub(crate) wires: Wires,
    /// Before the store.
    pub(crate) store: FaultProxy,
    variables: Vec<(String, String)>,
}

/// Connections that can be cut.
pub(crate) struct Wires {
    pub(crate) postgres: Wire,
    pub(crate) redis: Wire,
    /// To each storage writer.
    pub(crate) storages: Vec<Wire>,
}

/// A service's process.
pub(crate) struct Service {
    pub(crate) kind: &'static str,
    address: SocketAddr,
    metrics: SocketAddr,
    child: Child,
    log: PathBuf,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Service {
    /// Its process dies at once, and its worker with it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Tells it to stop, and gives its exit status.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        send("TERM", self.child.id());
        let since = Instant::now();
        while since.elapsed() < SOON {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{} did not stop: {}", self.kind, self.log());
    }

    /// Its process and, if it is supervised, its worker.
    pub(crate) fn pids(&self) -> Vec<u32> {
        [Some(self.child.id()), self.worker()].into_iter().flatten().collect()
    }

    /// The worker of a supervised service.
    pub(crate) fn worker(&self) -> Option<u32> {
        let pid = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().next()?.parse().ok()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn is_ready(&self) -> bool {
        get(self.metrics, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// Most memory that a process of it ever had resident, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        let peak = |pid: u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().to_owned();
            Some(line.trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
        };
        self.pids().into_iter().filter_map(peak).max().unwrap_or(0)
    }
}

/// Sends a signal to a process.
pub(crate) fn send(signal: &str, pid: u32) {
    Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
}

/// One HTTP request.
pub(crate) fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// An address that a service can listen on later, also a second time. It is below the ports that the system gives to
/// connections, so that none of those takes it in between.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 12_000 + u16::try_from(std::process::id() % 100).unwrap() * 200;
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], first + NEXT.fetch_add(1, Ordering::Relaxed) % 200));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

impl Suite {
    pub(crate) fn start(fleet: Fleet) -> Self {
        Self::start_with(fleet, &[])
    }

    /// Starts everything and waits until it is ready. `variables` are for all services.
    pub(crate) fn start_with(fleet: Fleet, variables: &[(&str, &str)]) -> Self {
        let (scratch, postgres, redis, s3) = (Scratch::new(), Postgres::start(), Redis::start(), S3Server::start());
        let store = FaultProxy::start(s3.endpoint());
        let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let storages: Vec<SocketAddr> = (0..fleet.storages).map(|_| free_address()).collect();
        let enrichments: Vec<SocketAddr> = (0..ENRICHMENTS).map(|_| free_address()).collect();
        let asked: Vec<String> = enrichments.iter().map(|address| format!("http://{address}")).collect();
        let wires = Wires {
            postgres: Wire::start(local(postgres.port())),
            redis: Wire::start(local(redis.port())),
            storages: storages.iter().map(|address| Wire::start(*address)).collect(),
        };
        let through = |url: String, port: u16, wire: &Wire| {
            url.replace(&format!(":{port}"), &format!(":{}", wire.address().port()))
        };
        // Faults cost a connection a request: only who asks for them goes through them.
        let faulty = variables.iter().any(|(name, _)| *name == "AWS_TIMEOUT");
        let endpoint = if faulty { store.endpoint() } else { s3.endpoint().to_owned() };
        let mut all = S3Server::variables(&endpoint);
        let addresses: Vec<String> = wires.storages.iter().map(|wire| format!("http://{}", wire.address())).collect();
        all.extend(
            [
                ("FOREBAY_CATALOG_URL", through(postgres.url(), postgres.port(), &wires.postgres)),
                ("FOREBAY_QUEUE_URL", through(redis.url(), redis.port(), &wires.redis)),
                ("FOREBAY_STORE_URL", "s3://bucket/store".to_owned()),
                ("FOREBAY_STORAGE_URL", addresses.join(",")),
                ("FOREBAY_ENRICHMENT_URL", asked.join(",")),
                ("FOREBAY_CACHE_URL", redis.url()),
                ("FOREBAY_MEMORY", "192MiB".to_owned()),
                ("FOREBAY_COMMIT_INTERVAL", "2s".to_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        all.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let services = Vec::new();
        let mut suite = Self { scratch, postgres, redis, s3, services, wires, store, variables: all };
        for address in storages {
            suite.launch("storage", address);
        }
        for _ in 0..fleet.gateways {
            suite.launch("gateway", free_address());
        }
        for _ in 0..fleet.transforms {
            suite.launch("transform", free_address());
        }
        for address in enrichments {
            suite.launch("enrichment", address);
        }
        suite.wait_ready();
        suite
    }

    fn launch(&mut self, kind: &'static str, address: SocketAddr) {
        let log = self.scratch.path(&format!("{kind}-{}.log", self.services.len()));
        let metrics = free_address();
        let child = self.spawn(kind, address, metrics, &log);
        self.services.push(Service { kind, address, metrics, child, log });
    }

    fn spawn(&self, kind: &str, address: SocketAddr, metrics: SocketAddr, log: &Path) -> Child {
        let log = File::options().create(true).append(true).open(log).unwrap();
        // A test that is killed takes its services with it.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_forebay"), "serve"])
            .args([kind, "--listen", &address.to_string(), "--metrics-listen", &metrics.to_string()])
            .current_dir(self.scratch.path("."))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        command.spawn().unwrap()
    }

    /// Starts a service again that has ended, on its old address.
    pub(crate) fn restart(&mut self, index: usize) {
        let (kind, address, metrics, log) = {
            let service = &self.services[index];
            (service.kind, service.address, service.metrics, service.log.clone())
        };
        self.services[index].child = self.spawn(kind, address, metrics, &log);
    }

    pub(crate) fn wait_ready(&mut self) {
        let since = Instant::now();
        for service in &mut self.services {
            while !service.is_ready() {
                let ended = service.child.try_wait().unwrap();
                assert!(ended.is_none(), "{} ended: {}", service.kind, service.log());
                assert!(since.elapsed() < SOON, "{} is not ready: {}", service.kind, service.log());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    pub(crate) fn of(&self, kind: &str) -> Vec<usize> {
        (0..self.services.len()).filter(|&index| self.services[index].kind == kind).collect()
    }

    /// The address of the first gateway.
    pub(crate) fn server(&self) -> String {
        format!("http://{}", self.services[self.of("gateway")[0]].address)
    }

    /// A command of a client, which knows nothing but the gateway's address.
    pub(crate) fn client(&self, args: &[&str]) -> Command {
        let mut command = self.scratch.command(args);
        command.args(["--server", &self.server()]);
        command
    }

    /// Submits an input and waits for the job's end.
    pub(crate) fn submit(&self, recipe: &str, input: &str, output: &str, more: &[&str]) -> Outcome {
        let mut command = self.submission(recipe, input, output, more);
        self.finish(command.output().unwrap(), output)
    }

    /// A submission that waits for the job's end, and reports to a file that is named after its output.
    pub(crate) fn submission(&self, recipe: &str, input: &str, output: &str, more: &[&str]) -> Command {
        let mut command = self.client(&["submit", recipe, input, "--output", output, "--wait", "--progress", "none"]);
        command.args(["--report", &format!("{output}.json")]).args(more);
        command
    }

    /// The outcome of a submission.
    pub(crate) fn finish(&self, output: std::process::Output, name: &str) -> Outcome {
        let path = self.scratch.path(&format!("{name}.json"));
        if path.is_file() {
            std::fs::rename(path, self.scratch.path("report.json")).unwrap();
        }
        self.scratch.finish(output)
    }

    /// Rows of a table, read from the folder behind the bucket.
    pub(crate) fn rows(&self, output: &str, table: &str) -> Vec<String> {
        rows_of(&self.s3.bucket().join("store").join(output).join(table).display().to_string())
    }

    /// Asserts that nothing is left that should not be there after all jobs have ended.
    pub(crate) fn clean(&self, output: &str, tables: &[&str]) {
        let folder = self.s3.bucket().join("store").join(output);
        assert_eq!(files_below(&folder.join("_forebay/staging")), Vec::<PathBuf>::new(), "left in staging");
        assert_eq!(self.s3.uploads(), Vec::<String>::new(), "uploads that were not ended");
        for table in tables {
            let table = folder.join(table);
            let visible = files_of(&table.display().to_string());
            let mut orphans = files_below(&table);
            orphans.retain(|file| !file.starts_with(table.join("_delta_log")));
            orphans.retain(|file| !visible.iter().any(|name| file.ends_with(name)));
            assert_eq!(orphans, Vec::<PathBuf>::new(), "files that are not in the log of {}", table.display());
        }
    }

    pub(crate) fn logs(&self) -> String {
        self.services.iter().map(|service| format!("=== {}\n{}", service.kind, service.log())).collect()
    }
}
