//! Looking into what signed callbacks claim: that an attempt whose answer was lost has
//! bought a job. The signature says that the provider wrote it, the address that it was
//! meant for this attempt. Neither says that the job is ours: whoever has got hold of
//! an address could have a job of their own call it, or replay the callback of another
//! task. So the job is adopted only when the provider shows it to this account, and
//! when no other task has it.

use std::sync::Arc;

use tokio::time::Duration;
use tracing::{debug, info, warn};

use super::account::Account;
use super::drive::{Again, Driver};
use crate::ledger::heard::Claim;
use crate::ledger::{LedgerError, Recorded};
use crate::providers::contract::Trouble;
use crate::providers::{claimed_job, without_words};
use crate::task::event::{Event, Observation};
use crate::task::state::{Attempt, AttemptOutcome, Job, Task};

/// What looking into a task's claims came to.
pub(super) enum Claims {
    /// Nothing: the step goes on as it would have.
    Nothing,
    /// A job was adopted; when to come back.
    Adopted(Again),
    /// The provider did not say; look again after this.
    Unsettled(Duration),
}

/// What a claimed job is.
enum Claimed {
    Ours(Job, Observation),
    NotOurs,
    Unknown(Trouble),
}

impl Driver {
    /// Looks into what callbacks claimed for a task.
    pub(super) async fn settle_claims(&self, task: &Arc<Task>, account: &Account) -> Result<Claims, LedgerError> {
        let mut unsettled = Claims::Nothing;
        for claim in self.ledger.take_claims(task.id) {
            let Some(attempt) = task.attempts.iter().find(|attempt| attempt.number == claim.attempt) else { continue };
            if attempt.job.is_some() || !matches!(attempt.outcome, AttemptOutcome::Pending | AttemptOutcome::Unknown) {
                continue;
            }
            match self.look_into(task, account, &claim).await? {
                Claimed::Ours(job, observation) => {
                    return Ok(Claims::Adopted(self.adopt(task, attempt, job, observation).await?));
                }
                Claimed::NotOurs => {
                    warn!(jobs = ?claim.jobs, "a callback named a job that is not this task's; it is passed over");
                    metrics::counter!("videogen_claims_total", "outcome" => "not_ours").increment(1);
                }
                // One that has ended may wait for the look-ups.
                Claimed::Unknown(_) if !task.is_open() => {}
                // Not counted as trouble of the account's: a stranger's job may be denied for
                // ever, and must not use up the retries of everybody else.
                Claimed::Unknown(trouble) => {
                    debug!(%trouble, "whether a claimed job is ours was not told");
                    self.ledger.claim(task.id, claim);
                    unsettled = Claims::Unsettled(self.polling.max_interval.mul_f64(1.0 - 0.5 * self.clock.jitter()));
                }
            }
        }
        Ok(unsettled)
    }

    /// Asks the provider for each of the names.
    async fn look_into(&self, task: &Arc<Task>, account: &Account, claim: &Claim) -> Result<Claimed, LedgerError> {
        let Some(model) = self.model(task) else { return Ok(Claimed::NotOurs) };
        for job in claim.jobs.iter().filter_map(|id| claimed_job(&model, id)) {
            if self.ledger.owner(&job.id).await?.is_some() {
                return Ok(Claimed::NotOurs);
            }
            self.waiting(task.id, account.turn()).await;
            match without_words(account.poll_alone(job.clone()).await, &task.submission.spec) {
                Ok(Observation::Missing) => {}
                Ok(observation) => {
                    self.answered(task, account).await?;
                    return Ok(Claimed::Ours(job, observation));
                }
                Err(trouble) => return Ok(Claimed::Unknown(trouble)),
            }
        }
        Ok(Claimed::NotOurs)
    }

    async fn adopt(
        &self,
        task: &Arc<Task>,
        attempt: &Attempt,
        job: Job,
        observation: Observation,
    ) -> Result<Again, LedgerError> {
        info!(job_id = %job.id, attempt = attempt.number, "a callback named the job, and the provider has confirmed it");
        metrics::counter!("videogen_claims_total", "outcome" => "adopted").increment(1);
        let (id, found) = (job.id.clone(), Event::JobFound { attempt: attempt.number, job });
        let (Recorded::Task(now) | Recorded::NotAllowed(now)) = self.ledger.record(task, &found).await?;
        if now.job.as_ref().is_some_and(|job| job.id == id) {
            return self.record(&now, Event::Observed(observation)).await;
        }
        self.settle_slots(&now);
        Ok(self.rest(&now))
    }
}
