//! Tells webhooks what the ledger has kept for them: at least once, those of a task
//! in their order, tasks independent of one another. What waits is in the store;
//! when it is tried again is memory only, and a restart begins anew.

mod letter;
mod post;
mod queue;
mod round;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::error;
use url::Url;

use crate::clock::Clock;
use crate::ledger::{Ledger, LedgerError};
use crate::task::announcement::AnnouncementId;
use crate::task::id::{AccountName, TaskId};

pub use self::letter::Letter;
pub use self::post::{Answer, Post, PostError, by_http};

use self::queue::Queue;
use self::round::{Next, Round};

/// How many tasks are read at a time at the start.
const PAGE: usize = 1000;
/// How long what is on the wire may take at the end; what is cut off is told again.
const FAREWELL: Duration = Duration::from_secs(5);
/// How soon a task is looked at again whose rows or letter gave trouble.
const AFTER_TROUBLE: Duration = Duration::from_secs(60);

/// Where events go.
#[derive(Clone, Debug, Default)]
pub struct Receivers {
    /// Where a task does not say it.
    pub url: Option<Url>,
    /// The same for the tasks of one account.
    pub accounts: HashMap<AccountName, Url>,
    /// Signs; while it is replaced, its predecessor signs too.
    pub secrets: Vec<SecretString>,
}

/// Everything the outbox works with.
pub struct Outbox {
    round: Arc<Round>,
    queue: Queue,
    sending: JoinSet<(TaskId, Next)>,
    /// Whom each of them is for, to tell which one ended early.
    flying: HashMap<tokio::task::Id, TaskId>,
}

impl Outbox {
    /// Tells what this ledger keeps.
    pub fn new(ledger: Arc<Ledger>, clock: Clock, receivers: Receivers, post: Post) -> Self {
        let round = Arc::new(Round::new(ledger, clock, receivers, post));
        Self { round, queue: Queue::default(), sending: JoinSet::new(), flying: HashMap::new() }
    }

    /// Works until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut recalled = false;
        while !stop.is_cancelled() {
            if !recalled {
                let Some(known) = stop.run_until_cancelled(self.recall()).await else { break };
                if let Err(error) = &known {
                    error!(%error, "what waits to be told could not be read; it is tried again");
                }
                recalled = known.is_ok();
            }
            self.send_due().await;
            metrics::gauge!("videogen_webhook_tasks_waiting").set(self.queue.len() as f64);
            let due = self.queue.next_due().unwrap_or_else(|| Instant::now() + AFTER_TROUBLE);
            let ledger = Arc::clone(&self.round.ledger);
            tokio::select! {
                () = stop.cancelled() => {}
                hints = ledger.to_be_told() => {
                    let now = Instant::now();
                    hints.into_iter().for_each(|(task, at_once)| self.queue.add(task, now, at_once));
                }
                Some(ended) = self.sending.join_next_with_id() => self.take(ended),
                () = sleep_until(due) => {}
            }
        }
        // What is cut off here may have arrived: it is told again under the same id.
        let _ = timeout(FAREWELL, async { while self.sending.join_next().await.is_some() {} }).await;
        self.sending.shutdown().await;
    }

    /// Reads what waits since before the start.
    async fn recall(&mut self) -> Result<(), LedgerError> {
        let mut after: Option<AnnouncementId> = None;
        loop {
            let page = self.round.ledger.announcements(Some(false), after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            let now = Instant::now();
            page.iter().for_each(|announcement| self.queue.add(announcement.id.task, now, false));
        }
    }

    /// Sends as much as may be under way at once.
    async fn send_due(&mut self) {
        while let Some(task) = self.queue.pop(Instant::now()) {
            let prepared = match self.round.prepare(task).await {
                Ok(Some(prepared)) => prepared,
                Ok(None) => {
                    self.queue.finish(task);
                    continue;
                }
                Err(error) => {
                    error!(task_id = %task, %error, "what is to be told cannot be read");
                    self.queue.again(task, Instant::now() + AFTER_TROUBLE);
                    continue;
                }
            };
            // A host that has enough to do keeps the task until it is through with one.
            if !self.queue.begin(task, &prepared.host) {
                continue;
            }
            let (round, tries) = (Arc::clone(&self.round), self.queue.tries(task));
            let handle = self.sending.spawn(async move { (task, round.send(prepared, tries).await) });
            self.flying.insert(handle.id(), task);
        }
    }

    fn take(&mut self, ended: Result<(tokio::task::Id, (TaskId, Next)), tokio::task::JoinError>) {
        let (id, next) = match ended {
            Ok((id, (_, next))) => (id, next),
            Err(error) => {
                error!(%error, "telling a webhook has ended early");
                (error.id(), Next::Failed(AFTER_TROUBLE))
            }
        };
        let Some(task) = self.flying.remove(&id) else { return };
        self.queue.end(task, next, Instant::now());
    }
}
