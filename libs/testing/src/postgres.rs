//! PostgreSQL.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a server may take to start, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The password of the user `postgres` over TCP. It is no secret, but nothing may print it.
pub const PASSWORD: &str = "not-to-be-printed";

/// Ends the server and removes its folder when the test's process closes its end of the pipe: by dropping the
/// server, by its exit, or by its death. The server works in its data folder; another process that has got the
/// same id by now does not.
const GUARDIAN: &str = r#"
cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd")" = "$1/data" ]; then
  kill -QUIT "$pid"
  for _ in $(seq 100); do [ -d "/proc/$pid/fd" ] && [ -e "$1/data/postmaster.pid" ] || break; sleep 0.05; done
fi
rm -rf "$1"
"#;

/// A PostgreSQL server with an empty cluster, which keeps its port and its data over stops and deaths.
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    folder: PathBuf,
    port: u16,
    user: Option<User>,
    child: Mutex<Option<Child>>,
    guardian: Child,
    databases: AtomicU64,
}

/// Whom the server runs as, where tests run as root: PostgreSQL refuses that.
#[derive(Clone, Copy, Debug)]
struct User {
    uid: u32,
    gid: u32,
}

impl Postgres {
    /// Starts a server of its own for a test that stops it.
    ///
    /// # Panics
    /// If PostgreSQL is not installed, or does not start.
    pub fn start() -> Self {
        let bin = binaries();
        let user = unprivileged();
        let folder = folder(user);
        let guardian = guardian(&folder);
        let mut server =
            Self { bin, folder, port: 0, user, child: Mutex::new(None), guardian, databases: AtomicU64::new(0) };
        server.make_cluster();
        let since = Instant::now();
        loop {
            // Another process may take the port before the server does.
            server.port = free_port();
            match server.try_start(since) {
                Ok(()) => return server,
                Err(problem) if since.elapsed() > PATIENCE => panic!("PostgreSQL does not start: {problem}"),
                Err(_) => {}
            }
        }
    }

    /// The server that the tests of this process share: started by the first that asks, ended with the process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// The URL of the database `postgres`, with its password.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The URL of a database that may exist or not.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database, and gives its URL.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.query(&format!("CREATE DATABASE {name}"));
        self.url_of(&name)
    }

    /// Runs a statement as the administrator, and gives what it printed.
    pub fn query(&self, sql: &str) -> String {
        self.query_in("postgres", sql)
    }

    /// The same in one of its databases.
    pub fn query_in(&self, database: &str, sql: &str) -> String {
        self.run(
            "psql",
            &["--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--dbname", database, "--command", sql],
        )
    }

    /// Lets clients speak TLS to it from now on, with a certificate and its key.
    pub fn encrypt(&self, certificate: &Path, key: &Path) {
        for (from, name) in [(certificate, "server.crt"), (key, "server.key")] {
            let to = self.folder.join("data").join(name);
            fs::copy(from, &to).unwrap_or_else(|error| panic!("can't write {}: {error}", to.display()));
            // PostgreSQL refuses a key that others can read.
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600))
                .unwrap_or_else(|error| panic!("can't protect {}: {error}", to.display()));
            if let Some(user) = self.user {
                give(&to, user);
            }
        }
        self.query("ALTER SYSTEM SET ssl = on");
        self.query("SELECT pg_reload_conf()");
    }

    /// Where its databases are.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops the server as an administrator does: connections are cut, what is committed is kept.
    pub fn stop(&self) {
        self.end(Signal::INT);
    }

    /// Kills the server, as the kernel does when memory is short.
    pub fn kill(&self) {
        self.end(Signal::KILL);
    }

    /// Starts the server again, where it was, and waits until it answers.
    ///
    /// # Panics
    /// If it does not.
    pub fn start_again(&self) {
        let since = Instant::now();
        // After a death, what is left of the old server may hold its memory for a moment.
        while let Err(problem) = self.try_start(since) {
            assert!(since.elapsed() < PATIENCE, "PostgreSQL does not start again: {problem}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_cluster(&self) {
        let password = self.folder.join("password");
        fs::write(&password, PASSWORD).unwrap_or_else(|error| panic!("can't write {}: {error}", password.display()));
        if let Some(user) = self.user {
            give(&password, user);
        }
        let file = format!("--pwfile={}", password.display());
        self.run(
            "initdb",
            &[
                "--pgdata=data",
                "--username=postgres",
                "--auth-local=trust",
                "--auth-host=scram-sha-256",
                &file,
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
        );
    }

    fn try_start(&self, since: Instant) -> Result<(), String> {
        let log = self.folder.join("log");
        let open = || fs::File::create(&log).unwrap_or_else(|error| panic!("can't write {}: {error}", log.display()));
        let (out, err) = (open(), open());
        let socket = self.folder.display().to_string();
        let port = self.port.to_string();
        let mut command = self.command("postgres");
        command.args(["-D", "data", "-h", "127.0.0.1", "-p", &port, "-k", &socket]);
        // Tests open many small pools.
        command.args(["-c", "max_connections=300", "-c", "shared_buffers=64MB"]);
        let spawned = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("can't start postgres: {error}"));
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(format!("{status}: {}", tail(&log)));
            }
            let ready = self.command("pg_isready").args(["-q", "-h", &socket, "-p", &port]).status();
            if ready.is_ok_and(|status| status.success()) {
                *self.child() = Some(child);
                return Ok(());
            }
            assert!(since.elapsed() < PATIENCE, "PostgreSQL does not answer: {}", tail(&log));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(&self, signal: Signal) {
        let Some(mut child) = self.child().take() else { return };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // One that has died already is reported by the wait.
            kill_process(pid, signal).ok();
        }
        child.wait().unwrap_or_else(|error| panic!("can't wait for postgres: {error}"));
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(&self.folder);
        // What a developer has set for a server of his own.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = self.command(program);
        if self.port != 0 {
            command.env("PGPORT", self.port.to_string());
        }
        command.env("PGHOST", &self.folder).env("PGUSER", "postgres");
        let output = command.args(arguments).stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| panic!("can't run {program}: {error}"));
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} failed: {problem}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The guardian sees the end of its input, and does the rest.
        drop(self.guardian.stdin.take());
        self.guardian.wait().ok();
        if let Some(mut child) = self.child().take() {
            child.wait().ok();
        }
    }
}

/// Where the newest PostgreSQL's programs are: Debian keeps those of the server out of the path.
fn binaries() -> PathBuf {
    let mut versions: Vec<(u32, PathBuf)> = Vec::new();
    for entry in fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        if let Ok(version) = entry.file_name().to_string_lossy().parse() {
            versions.push((version, entry.path().join("bin")));
        }
    }
    versions.sort();
    let in_path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let folders = versions.into_iter().rev().map(|(_, folder)| folder).chain(in_path.into_iter().flatten());
    let found = folders.into_iter().find(|folder| folder.join("postgres").is_file() && folder.join("initdb").is_file());
    found.unwrap_or_else(|| panic!("PostgreSQL is not installed: run tests/run, which installs it"))
}

/// A user to run the server as, if we are root.
fn unprivileged() -> Option<User> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    };
    let user = find("postgres").or_else(|| find("nobody"));
    Some(user.unwrap_or_else(|| panic!("PostgreSQL does not run as root, and there is no user postgres or nobody")))
}

/// A folder that the server's user has. The guardian removes it.
fn folder(user: Option<User>) -> PathBuf {
    let folder = tempfile::Builder::new().prefix("forebay-postgres-").tempdir().map(TempDir::keep);
    let folder = folder.unwrap_or_else(|error| panic!("can't make a temporary folder: {error}"));
    if let Some(user) = user {
        give(&folder, user);
    }
    folder
}

fn give(path: &Path, user: User) {
    chown(path, Some(user.uid), Some(user.gid))
        .unwrap_or_else(|error| panic!("can't give {} to postgres: {error}", path.display()));
}

fn guardian(folder: &Path) -> Child {
    let mut command = Command::new("sh");
    command.arg("-c").arg(GUARDIAN).arg("guardian").arg(folder).stdin(Stdio::piped());
    // Of a group of its own, so that a terminal's Ctrl-C does not end it before its time.
    command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().unwrap_or_else(|error| panic!("can't start sh: {error}"))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.unwrap_or_else(|error| panic!("no free port: {error}")).port()
}

/// The end of a server's log.
fn tail(log: &Path) -> String {
    let mut text = String::new();
    if let Err(error) = fs::File::open(log).and_then(|mut file| file.read_to_string(&mut text)) {
        write!(text, "(can't read {}: {error})", log.display()).ok();
    }
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
