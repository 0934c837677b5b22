use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::{FAILED, ReadyArgs};

/// How long a service may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// `forebay ready`: for health checks in images that have no HTTP client.
pub(crate) fn run(args: &ReadyArgs) -> anyhow::Result<ExitCode> {
    match ask(args.address) {
        Ok(answer) if answer.starts_with("HTTP/1.1 200") => Ok(ExitCode::SUCCESS),
        Ok(answer) => {
            super::complain(&format!("not ready: {}", answer.lines().next().unwrap_or_default()));
            Ok(ExitCode::from(FAILED))
        }
        Err(error) => {
            super::complain(&format!("no answer from {}: {error}", args.address));
            Ok(ExitCode::from(FAILED))
        }
    }
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
