//! PostgreSQL and Redis over TLS, with certificates of an authority that nobody but the test knows.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use forebay_testing::certificates::{Authority, Signed};
use forebay_testing::postgres::{PASSWORD, Postgres};
use forebay_testing::redis::Redis;

use crate::support::{Scratch, patients};

/// Longest wait for anything that a service should do soon.
const SOON: Duration = Duration::from_secs(60);

/// A process that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A Redis server, and the port that it speaks TLS on.
fn redis(signed: &Signed) -> (Redis, u16) {
    let port = free_port();
    let path = |file: &Path| file.display().to_string();
    let server = Redis::start_with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &path(&signed.certificate),
        "--tls-key-file",
        &path(&signed.key),
        "--tls-auth-clients",
        "no",
    ]);
    (server, port)
}

/// `forebay serve all` with a log.
fn serve(scratch: &Scratch, listen: u16, variables: &[(&str, &str)], log: &str) -> Server {
    let log = File::create(scratch.path(log)).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_forebay"), "serve", "all"])
        .args(["--listen", &format!("127.0.0.1:{listen}"), "--store-url"])
        .arg(scratch.path("store"))
        .current_dir(scratch.path("."))
        .env_remove("SSL_CERT_FILE")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    Server(command.spawn().unwrap())
}

fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_there() {
        assert!(since.elapsed() < SOON, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn catalog_queue_and_cache_are_reached_over_tls_and_a_stranger_is_not_believed() {
    let (authority, scratch, postgres) = (Authority::new(), Scratch::new(), Postgres::start());
    let signed = authority.server();
    postgres.encrypt(&signed.certificate, &signed.key);
    let (redis, port) = redis(&signed);
    let ca = authority.path().display().to_string();
    let catalog = format!("{}?sslmode=verify-full&sslrootcert={ca}", postgres.url());
    let (queue, cache) = (format!("rediss://localhost:{port}"), format!("rediss://127.0.0.1:{port}/1"));
    let addresses =
        [("FOREBAY_CATALOG_URL", &*catalog), ("FOREBAY_QUEUE_URL", &*queue), ("FOREBAY_CACHE_URL", &*cache)];

    // Whom the system trusts has signed neither server's certificate.
    let log = |name: &str| std::fs::read_to_string(scratch.path(name)).unwrap();
    let unsigned = format!("{}?sslmode=verify-full", postgres.url());
    let catalog_only = [("FOREBAY_CATALOG_URL", &*unsigned)];
    for (name, addresses) in [("catalog.log", catalog_only.as_slice()), ("redis.log", &addresses)] {
        let stranger = serve(&scratch, free_port(), addresses, name);
        wait_for("a word of the certificate", || log(name).contains("certificate"));
        drop(stranger);
    }

    let believing: Vec<_> = addresses.into_iter().chain([("SSL_CERT_FILE", &*ca)]).collect();
    let gateway = free_port();
    let _services = serve(&scratch, gateway, &believing, "services.log");
    let server = format!("http://127.0.0.1:{gateway}");
    wait_for("the services", || scratch.command(&["jobs", "--server", &server]).output().unwrap().status.success());
    let input = scratch.write("p.ndjson", patients(500));
    let submission = ["submit", "clinical", &input, "--server", &server, "--output", "o", "--set", "protect=off"];
    let mut command = scratch.command(&submission);
    command.args(["--wait", "--progress", "none", "--report", "report.json"]);
    scratch.finish(command.output().unwrap()).expect(0).conserved_elsewhere();
    assert_eq!(scratch.rows("store/o", "patients").len(), 500, "{}", log("services.log"));
    assert_ne!(postgres.query("SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl"), "0");
    // The services know the port for TLS only, and this question comes through the other.
    assert!(!redis.command("INFO clients").contains("connected_clients:1\r"), "nobody is connected over TLS");

    let mut stats = scratch.command(&["cache", "stats"]);
    let stats = stats.env("FOREBAY_CACHE_URL", &cache).env("SSL_CERT_FILE", &ca).output().unwrap();
    assert!(stats.status.success(), "{}", String::from_utf8_lossy(&stats.stderr));
    for name in ["services.log", "catalog.log", "redis.log"] {
        assert!(!log(name).contains(PASSWORD), "{name}: {}", log(name));
    }
}
