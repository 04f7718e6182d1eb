//! A backup at regular intervals, also across restarts.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::store::backup::Shelf;

/// How long to wait after a backup that failed, at most.
const AFTER_TROUBLE: Duration = Duration::from_secs(600);

/// Makes a backup whenever the newest one is older than `every`, until told to stop.
pub async fn run(shelf: Arc<Shelf>, every: Duration, stop: CancellationToken) {
    let mut wait = until_due(&shelf, every);
    while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        let Some(made) = stop.run_until_cancelled(shelf.make()).await else { return };
        wait = match made {
            Ok((file, found)) => {
                info!(file, tasks = found.tasks, "made a backup");
                if found.damaged > 0 {
                    warn!(damaged = found.damaged, "damaged tasks are not in the backup");
                }
                every
            }
            Err(error) => {
                metrics::counter!("videogen_backup_failures_total").increment(1);
                error!(%error, "no backup could be made");
                every.min(AFTER_TROUBLE)
            }
        };
    }
}

fn until_due(shelf: &Shelf, every: Duration) -> Duration {
    match shelf.age() {
        Ok(Some(age)) => every.saturating_sub(age),
        Ok(None) => Duration::ZERO,
        Err(error) => {
            warn!(%error, "the age of the newest backup is not known");
            Duration::ZERO
        }
    }
}
