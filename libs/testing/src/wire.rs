//! A TCP connection that can be cut: a proxy between two processes.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed, and says why")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes that are passed on at a time.
const BUFFER: usize = 64 << 10;

/// A proxy before a server. It ends when it is dropped.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    upstream: SocketAddr,
    open: Mutex<Vec<TcpStream>>,
    ended: AtomicBool,
}

impl Wire {
    /// A proxy on a free port, before the server at `upstream`, which need not be there yet.
    pub fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State { upstream, open: Mutex::default(), ended: AtomicBool::new(false) });
        let accepting = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.ended.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(client) = client {
                    accepting.connect(client);
                }
            }
        });
        Self { address, state }
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections, at once and in the middle of whatever they carry. New ones come through.
    pub fn cut(&self) {
        for stream in self.state.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes the accepting thread.
        TcpStream::connect(self.address).ok();
    }
}

impl State {
    fn connect(&self, client: TcpStream) {
        let Ok(server) = TcpStream::connect_timeout(&self.upstream, Duration::from_secs(1)) else { return };
        for stream in [&client, &server] {
            stream.set_nodelay(true).ok();
        }
        let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else { return };
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.extend([client.try_clone(), server.try_clone()].into_iter().flatten());
        }
        for (from, to) in [(from_client, server), (from_server, client)] {
            thread::spawn(move || pass(from, to));
        }
    }
}

/// Passes bytes on until either side ends.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}
