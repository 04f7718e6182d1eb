//! Taking requests in: each becomes one task, once, and nothing is acknowledged that
//! is not on the disk.

use std::sync::Arc;

use super::admission::Refusal;
use super::{Ledger, LedgerError};
use crate::failpoint::failpoint;
use crate::images::{Finding, Verdict};
use crate::store::contract::{Creation, StoreError};
use crate::store::inputs::Pinned;
use crate::task::machine;
use crate::task::spec::{Submission, Warning};
use crate::task::state::Task;

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// The task.
    pub task: Arc<Task>,
    /// Whether the request had been accepted before.
    pub replayed: bool,
}

impl Ledger {
    /// Makes a request durable as a task, or hands back the task that it became
    /// before.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, LedgerError> {
        let fingerprint = submission.fingerprint;
        let refusal = self.admission.refusal(self.store.open_tasks());
        if refusal.is_some() || submission.spec.images().next().is_some() {
            // A repeat buys nothing: it needs no room, and nobody looks at its images.
            if let Some(earlier) = self.store.recall(&submission.request_id).await? {
                return known(earlier, fingerprint);
            }
        }
        refusal.map_or(Ok(()), |refusal| Err(refused(refusal)))?;
        let submission = self.look_at_images(submission).await?;
        failpoint!("submit.seen");
        let (submission, pinned) = self.keep_inputs(submission).await?;
        let task = Arc::new(machine::accept(self.clock.task_id(), Arc::new(submission), self.clock.now()));
        let _writing = self.watchers.writing(task.id);
        failpoint!("submit.inputs");
        // An error does not tell whether the task is on the disk: the files stay.
        let creation = self.store.create(Arc::clone(&task)).await?;
        if let Creation::Created = creation {
            failpoint!("submit.stored");
            self.publish(&task, None);
            self.nudges.add(task.id);
        }
        if let (Some(inputs), Some(pinned)) = (&self.inputs, pinned) {
            inputs.settle(pinned).await;
        }
        match creation {
            Creation::Created => Ok(Submitted { task, replayed: false }),
            other => known(other, fingerprint),
        }
    }

    /// Looks at the images of a request: those that cannot be used refuse it, those
    /// that nobody can tell of now become warnings and are looked at again before
    /// anything is bought.
    pub async fn look_at_images(&self, mut submission: Submission) -> Result<Submission, LedgerError> {
        let Some(images) = &self.images else { return Ok(submission) };
        match images.look(&submission.spec).await {
            Verdict::Good => {}
            Verdict::Refused(findings) => return Err(LedgerError::ImagesRefused(findings)),
            Verdict::Unclear(findings) => {
                let warnings = findings.into_iter().map(|Finding { field, message }| Warning {
                    field,
                    message: format!("{message}; it is looked at again before anything is bought"),
                });
                submission.warnings.extend(warnings);
            }
        }
        Ok(submission)
    }

    async fn keep_inputs(&self, submission: Submission) -> Result<(Submission, Option<Pinned>), LedgerError> {
        let Some(inputs) = &self.inputs else { return Ok((submission, None)) };
        let (submission, pinned) = inputs.keep(submission).await?;
        Ok((submission, Some(pinned)))
    }
}

/// The answer to a request id that was used before.
fn known(earlier: Creation, fingerprint: [u8; 32]) -> Result<Submitted, LedgerError> {
    match earlier {
        Creation::Created => Err(StoreError::Stopped("a request is stored and was not".to_owned()).into()),
        Creation::Removed(id) => Err(LedgerError::RequestIdExpired(id)),
        Creation::Earlier(task) if task.submission.fingerprint == fingerprint => Ok(Submitted { task, replayed: true }),
        Creation::Earlier(task) => Err(LedgerError::RequestIdReused(task.id)),
    }
}

fn refused(refusal: Refusal) -> LedgerError {
    metrics::counter!("videogen_submits_refused_total", "reason" => refusal.reason()).increment(1);
    LedgerError::Refused(refusal)
}
