//! Removes what has been kept long enough: first the task, leaving a tombstone
//! with its request id, then its file, then the file's mention in the tombstone,
//! and long after that the tombstone. Whatever is interrupted is finished by the
//! next pass; each step may be done twice.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::clock::{Clock, since};
use crate::ledger::{Ledger, LedgerError};
use crate::store::contract::Filter;
use crate::task::state::{State, Task};

/// How many tasks or tombstones are looked at at a time.
const PAGE: usize = 128;
/// The rest after each removal, so that callers are not held up.
const REST: Duration = Duration::from_millis(5);
/// The bounds of the wait between two passes.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Tasks and their files, from their end on; for ever if nothing.
    pub tasks: Option<Duration>,
    /// Request ids of removed tasks, from the removal on.
    pub request_ids: Duration,
}

/// Removes, pass by pass.
pub struct Remover {
    ledger: Arc<Ledger>,
    clock: Clock,
    retention: Retention,
}

impl Remover {
    /// Works on this ledger.
    pub fn new(ledger: Arc<Ledger>, clock: Clock, retention: Retention) -> Self {
        Self { ledger, clock, retention }
    }

    /// Makes passes until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let shortest = self.retention.tasks.unwrap_or(self.retention.request_ids).min(self.retention.request_ids);
        let wait = (shortest / 10).clamp(WAIT.0, WAIT.1);
        loop {
            // Dropped anywhere it leaves only what the next pass finishes.
            match stop.run_until_cancelled(self.pass()).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => error!(%error, "what has been kept long enough could not be removed"),
            }
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// Finishes what an earlier pass began, then removes what is due.
    pub async fn pass(&self) -> Result<(), LedgerError> {
        self.tend_tombstones().await?;
        match self.retention.tasks {
            Some(kept) => self.remove_tasks(kept).await,
            None => Ok(()),
        }
    }

    async fn tend_tombstones(&self) -> Result<(), LedgerError> {
        let (mut left, mut files) = (0_u32, 0_u32);
        let mut after = None;
        loop {
            let page = self.ledger.tombstones(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.task);
            for mut tombstone in page {
                if tombstone.has_file {
                    tombstone.has_file = !self.ledger.remove_file(tombstone).await?;
                    tokio::time::sleep(REST).await;
                }
                if !tombstone.has_file && since(self.clock.now(), tombstone.removed) >= self.retention.request_ids {
                    self.ledger.forget(tombstone.task).await?;
                    metrics::counter!("videogen_request_ids_forgotten_total").increment(1);
                    continue;
                }
                left += 1;
                files += u32::from(tombstone.has_file);
            }
        }
        metrics::gauge!("videogen_tombstones").set(left);
        metrics::gauge!("videogen_files_to_remove").set(files);
        Ok(())
    }

    async fn remove_tasks(&self, kept: Duration) -> Result<(), LedgerError> {
        let Some(until) = self.clock.now().checked_sub(kept) else { return Ok(()) };
        let states = State::ALL.into_iter().filter(|state| state.is_final()).collect();
        let filter = Filter { states, created_before: Some(until), ..Filter::default() };
        let (mut before, mut removed) = (None, 0);
        loop {
            let page = self.ledger.list(&filter, before, PAGE).await?;
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            for task in page.iter().filter(|task| is_due(task, until)) {
                if let Some(tombstone) = self.ledger.remove(task).await? {
                    removed += 1;
                    metrics::counter!("videogen_tasks_removed_total").increment(1);
                    // A file that stays for now is the next pass's.
                    self.ledger.remove_file(tombstone).await?;
                    tokio::time::sleep(REST).await;
                }
            }
        }
        if removed > 0 {
            info!(removed, "removed tasks that were kept long enough");
        }
        Ok(())
    }
}

fn is_due(task: &Task, until: SystemTime) -> bool {
    !task.is_open() && task.ended.is_some_and(|ended| ended <= until)
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
