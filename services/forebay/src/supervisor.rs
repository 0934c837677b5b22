//! `forebay run` and what else works on chunks does so in a child process, so that a chunk that kills its worker does not end the job: the parent sees
//! how the child died, and starts it again, told so. The chunks that were at work are then halved and tried alone;
//! at the third death they are quarantined. A child that somebody kills together with its parent leaves no such
//! mark, and its chunks are simply done again.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};

/// Set for the child; its value is the parent's process id.
const SUPERVISED: &str = "FOREBAY_SUPERVISED";

/// The child's unique name, in which it holds leases. The supervisor gives it, so that it knows whose they were.
const OWNER: &str = "FOREBAY_OWNER";

/// Set for a child whose predecessor died; its value is the predecessor's name.
const DIED: &str = "FOREBAY_DIED";

/// Deaths after which something else than a chunk must be wrong.
const MOST_DEATHS: u32 = 200;

/// What this process is.
pub(crate) enum Role {
    /// It does the work.
    Worker {
        /// The name of the worker before, if that died of something that was no clean stop.
        died: Option<String>,
    },
    /// It watches over one that does.
    Supervisor,
}

/// What this process is, by its environment.
pub(crate) fn role() -> anyhow::Result<Role> {
    let Ok(parent) = std::env::var(SUPERVISED) else { return Ok(Role::Supervisor) };
    set_parent_process_death_signal(Some(Signal::KILL)).context("can't tie the worker to its supervisor")?;
    // The parent may have died before the line above.
    let alive = rustix::process::getppid().is_some_and(|pid| pid.as_raw_nonzero().get().to_string() == parent);
    if !alive {
        std::process::exit(1);
    }
    Ok(Role::Worker { died: std::env::var(DIED).ok() })
}

/// The unique name of this process.
pub(crate) fn owner() -> String {
    std::env::var(OWNER).unwrap_or_else(|_| new_owner())
}

fn new_owner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("{}-{}-{now:x}", host.trim(), std::process::id())
}

/// Runs this command in a child until it ends by itself, and gives its exit status.
pub(crate) fn supervise(restartable: bool) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut deaths = 0;
        let mut died = None;
        loop {
            let owner = new_owner();
            let status = run_child(&owner, died.as_deref()).await?;
            if let Some(code) = status.code() {
                return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
            }
            deaths += 1;
            died = Some(owner);
            let signal = status.signal().unwrap_or(0);
            if !restartable || deaths > MOST_DEATHS {
                anyhow::bail!(
                    "the worker was killed by signal {signal}; run the same command again, it resumes (input from a \
                     stream must be given again)"
                );
            }
            tracing::warn!(
                signal,
                deaths,
                "the worker died; it is started again, and the chunks it had are tried alone"
            );
        }
    })
}

async fn run_child(owner: &str, died: Option<&str>) -> anyhow::Result<std::process::ExitStatus> {
    let program = std::env::current_exe().context("can't find the program itself")?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).env(SUPERVISED, std::process::id().to_string()).stdin(Stdio::inherit());
    command.env(OWNER, owner);
    if let Some(died) = died {
        command.env(DIED, died);
    }
    // A group of its own, so that a terminal's Ctrl-C comes to the child once: through the parent.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut child = tokio::process::Command::from(command).spawn().context("can't start the worker")?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    loop {
        let forward = tokio::select! {
            status = child.wait() => return Ok(status?),
            _ = interrupt.recv() => Signal::INT,
            _ = terminate.recv() => Signal::TERM,
            _ = hangup.recv() => Signal::HUP,
        };
        if let Some(pid) = pid {
            // A child that is gone already is reported by the wait.
            kill_process(pid, forward).ok();
        }
    }
}
