//! Faults between a client and an HTTP server: a proxy that answers in the server's place, cuts, delays or keeps
//! silent, at requests that a test names or that a seed chooses.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed, and says why")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often who is kept waiting looks whether the proxy has ended.
const LOOK: Duration = Duration::from_millis(50);

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server never sees it; this status and S3 error code are the answer.
    Answer(u16, &'static str),
    /// The server never sees it, and the connection ends.
    CutBefore,
    /// The server does it, and the connection ends before its answer.
    CutAfter,
    /// The server sees it after this time.
    Slow(Duration),
    /// The server never sees it, and nothing is answered until the client gives up.
    Hang,
    /// The server does it, and nothing is answered until the client gives up.
    HangAfter,
}

impl Fault {
    /// The store has an error.
    pub const INTERNAL: Self = Self::Answer(500, "InternalError");
    /// The store has too much to do.
    pub const SLOW_DOWN: Self = Self::Answer(503, "SlowDown");
    /// Two writers got into each other's way, and nothing was written.
    pub const CONFLICT: Self = Self::Answer(409, "ConditionalRequestConflict");
}

/// Kinds of requests of the S3 protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any request.
    Any,
    /// Writes an object, whether it is there or not.
    Put,
    /// Writes an object unless it is there.
    Create,
    /// Begins an upload.
    Begin,
    /// Uploads a part.
    Part,
    /// Completes an upload.
    Complete,
    /// Aborts an upload.
    Abort,
    /// Reads an object.
    Get,
    /// Looks an object up.
    Head,
    /// Lists objects or uploads.
    List,
    /// Deletes objects.
    Delete,
}

/// The proxy. Each of its connections carries one request. It ends when it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    plan: Mutex<Plan>,
    /// Told whenever a request met a fault.
    met: Condvar,
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Plan {
    rules: Vec<Rule>,
    random: Option<Random>,
    requests: u64,
    met: Vec<(Kind, String, Fault)>,
}

#[derive(Debug)]
struct Rule {
    kind: Kind,
    path: String,
    /// How many more requests it lets pass.
    skip: usize,
    fault: Fault,
}

#[derive(Debug)]
struct Random {
    seed: u64,
    percent: u64,
    faults: Vec<Fault>,
}

impl FaultProxy {
    /// Starts a proxy on a free port before the server at an `http://` URL. It passes everything on until it is told
    /// otherwise.
    pub fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream: upstream.trim_start_matches("http://").trim_end_matches('/').to_owned(),
            plan: Mutex::default(),
            met: Condvar::new(),
            ended: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.ended.load(Ordering::Relaxed) {
                    return;
                }
                let (client, shared) = (client.unwrap(), Arc::clone(&accepting));
                // A client that hangs up is what this is about.
                std::thread::spawn(move || drop(shared.serve(client)));
            }
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Where it listens, as a URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets a fault happen once: to the request of a kind, with a part of its path and query, that is number `nth`
    /// from now, from 1.
    pub fn once(&self, kind: Kind, path: &str, nth: usize, fault: Fault) {
        let rule = Rule { kind, path: path.to_owned(), skip: nth - 1, fault };
        self.shared.plan.lock().unwrap().rules.push(rule);
    }

    /// Lets one of some faults happen to a share of all requests. Which request meets which fault depends on the
    /// seed and the request's number only, so a test that prints its seed can be repeated.
    pub fn often(&self, seed: u64, percent: u64, faults: &[Fault]) {
        self.shared.plan.lock().unwrap().random = Some(Random { seed, percent, faults: faults.to_vec() });
    }

    /// From now on everything is passed on.
    pub fn pass(&self) {
        let mut plan = self.shared.plan.lock().unwrap();
        plan.rules.clear();
        plan.random = None;
    }

    /// What has met a fault: kind, path with query, fault.
    pub fn met(&self) -> Vec<(Kind, String, Fault)> {
        self.shared.plan.lock().unwrap().met.clone()
    }

    /// Waits until a number of requests have met a fault. False if they did not in time.
    pub fn wait_met(&self, faults: usize, limit: Duration) -> bool {
        let plan = self.shared.plan.lock().unwrap();
        let (plan, _) = self.shared.met.wait_timeout_while(plan, limit, |plan| plan.met.len() < faults).unwrap();
        plan.met.len() >= faults
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the acceptor, which would wait for a client.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

impl Shared {
    fn serve(&self, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut reader = BufReader::new(client.try_clone()?);
        let Some(request) = Request::read(&mut reader)? else { return Ok(()) };
        let fault = self.decide(&request);
        // What happens afterwards has been met when the server has done it.
        if matches!(fault, Some(Fault::CutAfter | Fault::HangAfter)) {
            self.forward(&request, &mut io::sink())?;
        }
        if let Some(fault) = fault {
            self.plan.lock().unwrap().met.push((request.kind(), request.target.clone(), fault));
            self.met.notify_all();
        }
        match fault {
            None => self.forward(&request, &mut &client)?,
            Some(Fault::Answer(status, code)) => answer(&mut &client, &request, status, code)?,
            Some(Fault::CutBefore | Fault::CutAfter) => {}
            Some(Fault::Slow(time)) => {
                std::thread::sleep(time);
                self.forward(&request, &mut &client)?;
            }
            Some(Fault::Hang | Fault::HangAfter) => self.hang(&client)?,
        }
        client.shutdown(Shutdown::Both)
    }

    fn decide(&self, request: &Request) -> Option<Fault> {
        let mut plan = self.plan.lock().unwrap();
        plan.requests += 1;
        let number = plan.requests;
        let kind = request.kind();
        let mut fault = None;
        plan.rules.retain_mut(|rule| {
            let fits = (rule.kind == Kind::Any || rule.kind == kind) && request.target.contains(&rule.path);
            if !fits || fault.is_some() {
                return true;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                return true;
            }
            fault = Some(rule.fault);
            false
        });
        if fault.is_none()
            && let Some(random) = &plan.random
        {
            let chance = mix(random.seed ^ mix(number));
            fault = (chance % 100 < random.percent)
                .then(|| random.faults[(chance / 100 % random.faults.len() as u64) as usize]);
        }
        fault
    }

    /// Hands a request on, on a connection of its own, and copies the answer until the server closes.
    fn forward(&self, request: &Request, client: &mut impl Write) -> io::Result<()> {
        let mut server = TcpStream::connect(&self.upstream)?;
        server.set_nodelay(true)?;
        server.write_all(request.head.as_bytes())?;
        server.write_all(&request.body)?;
        io::copy(&mut server, client)?;
        Ok(())
    }

    /// Waits until the client hangs up.
    fn hang(&self, mut client: &TcpStream) -> io::Result<()> {
        client.set_read_timeout(Some(LOOK))?;
        while !self.ended.load(Ordering::Relaxed) {
            match client.read(&mut [0; 64]) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

struct Request {
    method: String,
    target: String,
    creates: bool,
    /// As it came, but asking the server to close the connection afterwards.
    head: String,
    body: Vec<u8>,
}

impl Request {
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(None);
        }
        let mut words = first.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (mut head, mut length, mut creates) = (first.clone(), 0, false);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap(),
                "if-none-match" => creates = true,
                "connection" => continue,
                _ => {}
            }
            head.push_str(&line);
        }
        head.push_str("connection: close\r\n\r\n");
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Some(Self { method, target, creates, head, body }))
    }

    fn kind(&self) -> Kind {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let has = |name: &str| query.split('&').any(|part| part.split('=').next() == Some(name));
        let whole_bucket = path.trim_matches('/').split('/').count() < 2;
        match self.method.as_str() {
            "PUT" if has("partNumber") => Kind::Part,
            "PUT" if self.creates => Kind::Create,
            "PUT" => Kind::Put,
            "POST" if has("uploads") => Kind::Begin,
            "POST" if has("uploadId") => Kind::Complete,
            "POST" => Kind::Delete,
            "DELETE" if has("uploadId") => Kind::Abort,
            "DELETE" => Kind::Delete,
            "HEAD" => Kind::Head,
            _ if whole_bucket => Kind::List,
            _ => Kind::Get,
        }
    }
}

fn answer(client: &mut impl Write, request: &Request, status: u16, code: &str) -> io::Result<()> {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>a fault</Message></Error>");
    let body = if request.method == "HEAD" { "" } else { &body };
    write!(
        client,
        "HTTP/1.1 {status} Fault\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Spreads numbers evenly (SplitMix64).
fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
