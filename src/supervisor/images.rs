//! The images of a task before its create: those behind links are looked at once
//! more, those that came with the request are read from their files. One that
//! cannot be used ends the task before anything is bought.

use std::sync::Arc;

use tokio::time::Duration;
use tracing::{error, warn};

use super::drive::{Again, Driver};
use crate::clock::since;
use crate::images::{Finding, Verdict};
use crate::ledger::LedgerError;
use crate::store::inputs::{InputError, Loaded};
use crate::task::backoff;
use crate::task::event::Event;
use crate::task::state::{Failure, FailureKind, State, Task};
use crate::task::text::shortened;

/// How long a task rests whose pictures the disk does not give.
const DISK_REST: Duration = Duration::from_secs(10);
/// How long one rests whose pictures are gone, and which may have been bought.
const LOST_REST: Duration = Duration::from_secs(300);

/// The longest message of a failure.
const MESSAGE_BYTES: usize = 512;
/// What is said of a task whose images nobody can fetch now: always the same, so
/// that the history says since when.
const OUT_OF_REACH: &str = "an image cannot be fetched; it is tried again";

impl Driver {
    /// Looks at the images behind links: when to come back if one stands in the way
    /// of the create, nothing if none does.
    pub(super) async fn images_in_the_way(&self, task: &Arc<Task>) -> Result<Option<Again>, LedgerError> {
        let Some(images) = &self.images else { return Ok(None) };
        let look = self.stop.run_until_cancelled(images.look(&task.submission.spec));
        match self.waiting(task.id, look).await {
            Some(Verdict::Good) => Ok(None),
            Some(Verdict::Refused(findings)) => Ok(Some(self.reject(task, &findings).await?)),
            Some(Verdict::Unclear(findings)) => Ok(Some(self.out_of_reach(task, &findings).await?)),
            None => Ok(Some(None)),
        }
    }

    /// Nobody can fetch an image now: the task waits, without a slot, up to a limit
    /// that survives a restart because it is counted from the task's own history.
    async fn out_of_reach(&self, task: &Arc<Task>, findings: &[Finding]) -> Result<Again, LedgerError> {
        let task = self.note(task, Event::Held { reason: OUT_OF_REACH.to_owned() }).await?;
        let first = task.history.last().filter(|entry| entry.reason == OUT_OF_REACH);
        let left = first.map(|entry| self.image_patience.saturating_sub(since(self.clock.now(), entry.time)));
        match left {
            // Somebody has changed the task meanwhile.
            None => Ok(self.rest(&task)),
            Some(Duration::ZERO) => self.reject(&task, findings).await,
            Some(left) => {
                let failures = self.troubles.count(task.id);
                warn!(failures, "an image of the task cannot be fetched");
                Ok(Some(backoff::resend(failures, self.clock.jitter()).min(left)))
            }
        }
    }

    async fn reject(&self, task: &Arc<Task>, findings: &[Finding]) -> Result<Again, LedgerError> {
        let findings: Vec<_> =
            findings.iter().map(|Finding { field, message }| format!("{field}: {message}")).collect();
        let failure = Failure::free(FailureKind::ImageRejected, shortened(&findings.join("; "), MESSAGE_BYTES));
        self.record(task, Event::ImageRejected(failure)).await
    }

    /// The task's spec with its pictures in memory, or when to come back.
    pub(super) async fn loaded(&self, task: &Arc<Task>) -> Result<Result<Loaded, Again>, LedgerError> {
        let spec = &task.submission.spec;
        let read = match &self.inputs {
            Some(inputs) => self.waiting(task.id, inputs.load(spec)).await,
            None if spec.files().next().is_some() => Err(InputError::Lost),
            None => Ok(Loaded::of(spec)),
        };
        match read {
            Ok(loaded) => Ok(Ok(loaded)),
            Err(trouble @ InputError::Io(_)) => {
                error!(%trouble, "the task waits");
                self.settle_slots(task);
                Ok(Err(Some(DISK_REST)))
            }
            Err(trouble @ InputError::Lost) if task.state == State::Queued => {
                error!(%trouble, "the task ends before anything is bought");
                let failure = Failure::free(FailureKind::ImageRejected, format!("spec: {trouble}"));
                Ok(Err(self.record(task, Event::ImageRejected(failure)).await?))
            }
            // It may have been bought: it is looked for, and not sent again.
            Err(trouble @ InputError::Lost) => {
                error!(%trouble, "the create cannot be sent again");
                Ok(Err(Some(LOST_REST)))
            }
        }
    }
}
