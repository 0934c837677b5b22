use std::sync::Arc;
use std::time::Duration;

use forebay_api::{Event, Observer};
use forebay_catalog::Catalog;
use tokio_util::sync::CancellationToken;

/// A lease is renewed so many times before it would run out.
const RENEWALS: u32 = 3;

/// Renews the leases of whatever a process holds, chunks and groups, until it is told to stop.
pub async fn keep_leases(
    catalog: Arc<Catalog>,
    owner: String,
    lease: Duration,
    observer: Observer,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = forebay_runtime::sleep(lease / RENEWALS) => {}
        }
        match catalog.renew(&owner, lease).await {
            Ok(held) => observer.tell(Event::Leases { held }),
            Err(error) => tracing::warn!(%error, "failed to renew leases"),
        }
    }
}
