//! The pictures of a task before its create: read from their files, or the task
//! ends before anything is bought.

use std::sync::Arc;

use tokio::time::Duration;
use tracing::error;

use super::drive::{Again, Driver};
use crate::ledger::LedgerError;
use crate::store::inputs::{InputError, Loaded};
use crate::task::event::Event;
use crate::task::state::{Failure, FailureKind, State, Task};

/// How long a task rests whose pictures the disk does not give.
const DISK_REST: Duration = Duration::from_secs(10);
/// How long one rests whose pictures are gone, and which may have been bought.
const LOST_REST: Duration = Duration::from_secs(300);

impl Driver {
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
