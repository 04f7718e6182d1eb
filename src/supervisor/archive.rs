//! Bringing a finished video home. The money is spent: whatever can be tried again
//! is tried again, apart from the generation, until the provider has no link left.

use std::sync::Arc;

use tokio::time::{Duration, Instant};
use tracing::{debug, error, warn};

use super::account::Account;
use super::drive::{Again, Driver};
use super::fetches::link_ends;
use crate::archive::FetchError;
use crate::clock::since;
use crate::failpoint::failpoint;
use crate::ledger::{LedgerError, Recorded};
use crate::providers::contract::Trouble;
use crate::task::event::{Event, Observation};
use crate::task::state::{Artifact, Failure, FailureKind, Output, State, Task};

/// How long a link that the provider keeps repeating may be refused, each time that
/// it is tried, before the video counts as lost.
const DEAD_LINK_FOR: Duration = Duration::from_secs(600);
/// How long a file that cannot be fetched whole is tried.
const FETCH_FOR: Duration = Duration::from_secs(24 * 3600);
/// How often a file that is no intact video is fetched before that is believed.
const REJECTIONS: u32 = 4;
/// How long everything rests when the disk is full.
const STORAGE_REST: Duration = Duration::from_secs(10);

impl Driver {
    /// Fetches the task's video once.
    pub(super) async fn keep(&self, task: &Arc<Task>, account: &Account) -> Result<Again, LedgerError> {
        let Some(output) = &task.output else { return Ok(None) };
        match self.bring(task, output).await {
            Some(Ok(artifact)) => self.record(task, Event::ArtifactStored(artifact)).await,
            Some(Err(error)) => self.after_fetch_error(task, account, error).await,
            None => Ok(None),
        }
    }

    /// Has the task's file in its place, or tells why not. Nothing when the process
    /// is ending.
    async fn bring(&self, task: &Task, output: &Output) -> Option<Result<Artifact, FetchError>> {
        let turn = self.waiting(task.id, self.fetches.enter(link_ends(task)));
        let _place = self.stop.run_until_cancelled(turn).await.flatten()?;
        failpoint!("archive.begin");
        // A crash after the file was stored and before the record said so leaves a
        // file that needs only to be adopted.
        if let Some(artifact) = self.stop.run_until_cancelled(self.archive.find(task.id)).await? {
            return Some(Ok(artifact));
        }
        #[cfg(test)]
        if let Some(error) = super::tests::scripted_fetch(&output.url, self.clock.now()) {
            return Some(Err(error));
        }
        // Not cut short from outside: what was sent to a bucket has to be taken back.
        Some(self.archive.fetch(task.id, output, &self.stop).await)
    }

    async fn after_fetch_error(
        &self,
        task: &Arc<Task>,
        account: &Account,
        error: FetchError,
    ) -> Result<Again, LedgerError> {
        if !matches!(error, FetchError::LinkExpired { .. }) {
            self.troubles.link_may_work(task.id);
        }
        match error {
            FetchError::LinkExpired { .. } => self.fresh_link(task, account).await,
            FetchError::Transient { reason, retry_after } if self.archiving_for(task) < FETCH_FOR => {
                warn!(reason, "the video could not be fetched whole; trying again");
                Ok(Some(self.wait_out(task, &Trouble { reason, retry_after, denied: false })))
            }
            FetchError::Transient { reason, .. } => self.lost(task, &reason).await,
            FetchError::Rejected(reason) => {
                let failures = self.troubles.count(task.id);
                if failures + 1 < REJECTIONS {
                    warn!(reason, "what was fetched is no intact video; trying again");
                    return Ok(Some(self.polling.after_trouble(failures, None, self.clock.jitter())));
                }
                let failure = Failure::charged(FailureKind::ArtifactRejected, reason);
                self.record(task, Event::ArtifactFailed(failure)).await
            }
            FetchError::Forbidden(rule) => {
                let failure = Failure::charged(FailureKind::TargetForbidden, format!("the video's link: {rule}"));
                self.record(task, Event::ArtifactFailed(failure)).await
            }
            FetchError::Stopped => Ok(None),
            FetchError::Storage(reason) => {
                error!(reason, "the video cannot be stored; it waits at the provider");
                self.ledger.note_unkept(task.id);
                Ok(Some(STORAGE_REST))
            }
        }
    }

    /// The link no longer works: the job may have a fresh one.
    async fn fresh_link(&self, task: &Arc<Task>, account: &Account) -> Result<Again, LedgerError> {
        if let Some(wait) = self.rationed(task, account) {
            return Ok(Some(wait));
        }
        failpoint!("link.refused");
        let observation = match self.ask(task, account).await {
            Some(Ok(observation)) => observation,
            Some(Err(trouble)) => return Ok(Some(self.wait_out(task, &trouble))),
            None => return Ok(None),
        };
        if renews(task.output.as_ref(), &observation) {
            debug!("the provider gave a fresh link");
            failpoint!("link.renewed");
            return match self.ledger.record(task, &Event::Observed(observation)).await? {
                Recorded::Task(_) => Ok(Some(Duration::ZERO)),
                Recorded::NotAllowed(_) => Ok(None),
            };
        }
        let refused_for = self.troubles.link_refused(task.id, Instant::now());
        if refused_for < DEAD_LINK_FOR && self.archiving_for(task) < FETCH_FOR {
            let reason = "the link is refused and the provider gives no other".to_owned();
            return Ok(Some(self.wait_out(task, &Trouble { reason, retry_after: None, denied: false })));
        }
        self.lost(task, "the provider's link is refused and it gives no other").await
    }

    async fn lost(&self, task: &Arc<Task>, reason: &str) -> Result<Again, LedgerError> {
        error!(reason, "a video that was paid for is lost");
        self.record(task, Event::ArtifactFailed(Failure::charged(FailureKind::ArtifactLost, reason))).await
    }

    /// Since when the video is being fetched.
    fn archiving_for(&self, task: &Task) -> Duration {
        let entered = task.history.iter().rev().find(|entry| entry.state == State::Archiving);
        since(self.clock.now(), entered.map_or(task.updated, |entry| entry.time))
    }
}

/// Whether the observation brings another link than the one in hand.
fn renews(output: Option<&Output>, observation: &Observation) -> bool {
    match observation {
        Observation::Succeeded { output: fresh, .. } => output.is_none_or(|known| known.url != fresh.url),
        Observation::Pending(_) | Observation::Failed { .. } | Observation::Missing => false,
    }
}
