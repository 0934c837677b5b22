//! A Redis server.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const START: Duration = Duration::from_secs(20);

/// A `redis-server` process.
#[derive(Debug)]
pub struct Redis {
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// Starts a server that keeps nothing over its death.
    pub fn start() -> Self {
        Self::start_with(&["--appendonly", "no"])
    }

    /// Starts a server that finds again, when it is started again, what it was told before it was killed.
    pub fn start_durable() -> Self {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts a server with arguments of the caller's own.
    pub fn start_with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for redis-server");
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut redis = Self { folder, port: 0, arguments, child: None };
        // Another process may take the port before the server does.
        for _ in 0..10 {
            redis.port = free_port();
            if redis.launch() {
                return redis;
            }
        }
        panic!("redis-server did not start on any of ten free ports");
    }

    /// Where it is, without credentials.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where it keeps what it keeps.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends a command, and waits for its answer. Words are separated by spaces.
    pub fn command(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("redis-server listens");
        stream.set_read_timeout(Some(START)).expect("a time-out can be set");
        stream.write_all(format!("{command}\r\n").as_bytes()).expect("redis-server listens");
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer).expect("redis-server answers");
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("redis-server can be killed");
            child.wait().expect("redis-server ends when it is killed");
        }
    }

    /// Stops it in order, as on a planned restart.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("redis-server listens");
            stream.write_all(b"SHUTDOWN NOSAVE\r\n").expect("redis-server listens");
            child.wait().expect("redis-server ends when it is told to");
        }
    }

    /// Starts it again on the same port and folder, after [`Self::kill`] or [`Self::stop`].
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let since = Instant::now();
        while !self.launch() {
            assert!(since.elapsed() < START, "redis-server did not start again on port {}", self.port);
        }
    }

    /// Starts the process and waits until it answers. False if it ended instead.
    fn launch(&mut self) -> bool {
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--loglevel", "warning"])
            .args(["--enable-debug-command", "local", "--dir"])
            .arg(self.folder.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match child {
            Ok(child) => self.child.insert(child),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("redis-server is missing: tests/run installs it")
            }
            Err(error) => panic!("can't start redis-server: {error}"),
        };
        let since = Instant::now();
        while !answers(self.port) {
            if child.try_wait().expect("the state of redis-server").is_some() {
                self.child = None;
                return false;
            }
            assert!(since.elapsed() < START, "redis-server on port {} does not answer", self.port);
            sleep(Duration::from_millis(5));
        }
        true
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may be gone already; there is nobody to tell.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("a bound port").port()
}

/// True once it has loaded what it kept. A server that wants a password is ready too.
fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 64];
        let length = stream.read(&mut answer)?;
        Ok(answer[..length].starts_with(b"+PONG") || answer[..length].starts_with(b"-NOAUTH"))
    };
    ask().unwrap_or(false)
}
