//! The look at every row while the store is in use: once a day, a piece at a time,
//! so that rot is found before somebody needs the row. Receipts that speak only of
//! tasks that have ended go at the same time.

use std::ops::Bound;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Weak, mpsc};
use std::time::Duration;

use super::open::Opened;
use super::shared::Shared;
use crate::store::envelope::unseal;
use crate::store::receipts::prune;

/// How many rows are read between two rests.
const PIECE: usize = 256;

/// How long it rests: 100,000 rows take some 20 s.
const REST: Duration = Duration::from_millis(50);

/// Scrubs now and then, until the store ends. A plain thread: it reads blockingly.
pub(super) fn scrub_at_times(shared: &Weak<Shared>, dropped: &mpsc::Receiver<()>, every: Duration) {
    let rested = |time| dropped.recv_timeout(time) == Err(mpsc::RecvTimeoutError::Timeout);
    while rested(every) {
        let mut from = Bound::Unbounded;
        loop {
            // Held for one piece only, so that the store can be closed in between.
            let Some(shared) = shared.upgrade() else { return };
            match shared.scrub(&from) {
                Some(next) => from = Bound::Excluded(next),
                None => break,
            }
            drop(shared);
            if !rested(REST) {
                return;
            }
        }
        let Some(shared) = shared.upgrade() else { return };
        shared.after_scrub();
    }
}

impl Shared {
    /// Looks at the next rows; the key of the last one, unless that was the end.
    fn scrub(&self, from: &Bound<Vec<u8>>) -> Option<Vec<u8>> {
        let opened = self.opened().ok()?;
        let looked = std::panic::catch_unwind(AssertUnwindSafe(|| look(&opened, from)));
        let (rows, damaged, last) = match looked.unwrap_or_else(|_| Err("sled panicked".to_owned())) {
            Ok(looked) => looked,
            Err(reason) => {
                self.stop(&format!("scrub: {reason}"));
                return None;
            }
        };
        self.rotten.fetch_add(damaged, Ordering::Relaxed);
        metrics::counter!("videogen_store_scrubbed_rows_total").increment(rows);
        metrics::counter!("videogen_store_scrub_damaged_rows_total").increment(damaged);
        last
    }

    fn after_scrub(&self) {
        let Ok(opened) = self.opened() else { return };
        self.scrubs.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("videogen_store_scrubs_total").increment(1);
        let is_open = |id| self.index().is_open(id) || self.index().damage(id).is_some();
        let folder = opened.receipts().as_ref().map(|log| log.folder().to_owned());
        match folder.map(|folder| prune(&folder, is_open)).transpose() {
            Ok(gone) => tracing::info!(receipt_files_removed = gone.unwrap_or_default(), "the store was scrubbed"),
            Err(error) => tracing::warn!(%error, "receipts of ended tasks could not be removed"),
        }
    }
}

type Looked = (u64, u64, Option<Vec<u8>>);

/// Rows, damaged rows, and where to go on. Each row is proved by its own envelope,
/// so it does not matter what is written meanwhile.
fn look(opened: &Opened, from: &Bound<Vec<u8>>) -> Result<Looked, String> {
    let (mut rows, mut damaged, mut last) = (0, 0, None);
    for item in opened.tree.range::<Vec<u8>, _>((from.clone(), Bound::Unbounded)).take(PIECE) {
        let (key, row) = item.map_err(|error| error.to_string())?;
        rows += 1;
        if let Err(reason) = unseal(&key, &row) {
            damaged += 1;
            tracing::error!(?key, %reason, "a row is damaged; 'videogen fsck' tells more once the server is stopped");
        }
        last = Some(key.to_vec());
    }
    Ok((rows, damaged, last))
}
