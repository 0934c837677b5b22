use std::time::Duration;

use anyhow::anyhow;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::Node;
use crate::commands::service_error;

/// How often it is looked whether chunks are still in work.
const LOOK: Duration = Duration::from_millis(50);

impl Node {
    /// Serves until a signal comes, or a part of the process fails. Then no more work is taken, what is in work is
    /// finished or, after `drain`, handed back, and what is written is committed.
    pub(super) async fn until_told_to_stop(mut self, drain: Duration) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let failed = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            Some(ended) = self.tasks.join_next() => Some(match ended {
                Ok(Ok(())) => anyhow!("a part of the service ended by itself"),
                Ok(Err(error)) => error,
                Err(error) => anyhow!("a part of the service failed: {error}"),
            }),
        };
        tracing::info!("stopping");
        // A second signal does not wait for anything.
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(130);
        });
        self.intake.cancel();
        let until = Instant::now() + drain;
        if let Some(transform) = &self.transform {
            while transform.at_work() > 0 && Instant::now() < until {
                tokio::time::sleep(LOOK).await;
            }
        }
        if let Some(storage) = &self.storage {
            // What workers elsewhere have written is done again if this fails.
            let committed = tokio::time::timeout_at(until + drain, storage.commit_all()).await;
            match committed {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(error = %service_error(error), "failed to commit what was written"),
                Err(_) => tracing::warn!("what was written could not be committed in time"),
            }
        }
        self.stop.cancel();
        while let Some(task) = self.tasks.join_next().await {
            match task {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "a part of the service failed while it stopped"),
                Err(error) => tracing::warn!(%error, "a part of the service failed while it stopped"),
            }
        }
        failed.map_or(Ok(()), Err)
    }
}
