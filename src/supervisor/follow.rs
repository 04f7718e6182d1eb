//! Following a job that was bought: asking after it, asking for it to be stopped, and
//! the end of the time that it is given.

use std::sync::Arc;

use tokio::time::{Duration, Instant};
use tracing::{debug, warn};

use super::account::Account;
use super::drive::{Again, Driver, within_recovery};
use super::trust;
use crate::failpoint::failpoint;
use crate::ledger::{LedgerError, Recorded};
use crate::providers::contract::Trouble;
use crate::providers::without_words;
use crate::task::event::{Event, Observation};
use crate::task::state::{CancelOutcome, State, Task};

impl Driver {
    /// Asks after the job, unless the account has no retry to spare.
    pub(super) async fn poll(&self, task: &Arc<Task>, account: &Account) -> Result<Again, LedgerError> {
        if let Some(wait) = self.rationed(task, account) {
            return Ok(Some(within_recovery(task, self.clock.now(), wait)));
        }
        let called = self.ledger.take_heard(task.id);
        match self.ask(task, account).await {
            Some(Ok(observation)) => {
                self.learn(task, account, &observation, called);
                self.record(task, Event::Observed(observation)).await
            }
            Some(Err(trouble)) => {
                if called {
                    self.ledger.heard(task.id);
                }
                Ok(Some(self.wait_out(task, &trouble)))
            }
            None => Ok(None),
        }
    }

    /// Asks after the task's job. Nothing when the process is ending.
    pub(super) async fn ask(&self, task: &Task, account: &Account) -> Option<Result<Observation, Trouble>> {
        let job = task.job.clone()?;
        failpoint!("poll.asked");
        let answer = match self.hand.suspicion(task.id) {
            Some(_) => {
                self.waiting(task.id, self.stop.run_until_cancelled(account.turn())).await?;
                self.stop.run_until_cancelled(account.poll_alone(job)).await?
            }
            None => self.waiting(task.id, self.stop.run_until_cancelled(account.poll(task.id, job))).await?,
        };
        failpoint!("poll.answered");
        let answer = without_words(answer, &task.submission.spec);
        let word = match &answer {
            Ok(Observation::Pending(_)) => "pending",
            Ok(Observation::Succeeded { .. }) => "succeeded",
            Ok(Observation::Failed { .. }) => "failed",
            Ok(Observation::Missing) => "missing",
            Err(_) => "trouble",
        };
        metrics::counter!("videogen_polls_total", "outcome" => word).increment(1);
        if let Err(trouble) = self.heard(task, account, &answer).await {
            warn!(%trouble, "whether the account is held could not be put on record");
        }
        Some(answer)
    }

    /// Passes the wish to cancel on, where the provider can do something about it.
    pub(super) async fn cancel(&self, task: &Arc<Task>, account: &Account) -> Result<Again, LedgerError> {
        let Some(job) = &task.job else { return Ok(Some(Duration::ZERO)) };
        if !account.provider.abilities().cancels {
            return self.record(task, Event::CancelAnswered(CancelOutcome::NotSupported)).await;
        }
        self.waiting(task.id, account.turn()).await;
        match account.provider.cancel(job).await {
            Ok(outcome) => self.record(task, Event::CancelAnswered(outcome)).await,
            // Whether or not the provider can be told to stop, the job is followed.
            Err(trouble) => {
                debug!(%trouble, "the provider could not be asked to cancel");
                self.poll(task, account).await
            }
        }
    }

    /// The time is over: a running job is asked after one last time.
    pub(super) async fn expire(&self, task: &Arc<Task>, account: &Account) -> Result<Again, LedgerError> {
        let mut task = Arc::clone(task);
        if task.state == State::Running
            && let Some(Ok(observation)) = self.ask(&task, account).await
        {
            let (Recorded::Task(now) | Recorded::NotAllowed(now)) =
                self.ledger.record(&task, &Event::Observed(observation)).await?;
            task = now;
        }
        self.record(&task, Event::DeadlinePassed).await
    }

    /// The delay of a poll while callbacks do the telling.
    pub(super) fn thinned(&self, task: &Task, plain: Duration, jitter: f64) -> Duration {
        let Some(account) = self.accounts.get(&task.submission.account) else { return plain };
        let weight = account.trust.weight(Instant::now(), |id| self.ledger.take_heard(id));
        let longest = self.polling.max_interval * trust::LONGEST;
        trust::thinned(plain, longest.mul_f64(1.0 - 0.1 * jitter), weight)
    }

    /// A poll told something about a job: whether callbacks tell the ends of jobs is
    /// learnt from it.
    fn learn(&self, task: &Task, account: &Account, observation: &Observation, called: bool) {
        if matches!(observation, Observation::Succeeded { .. } | Observation::Failed { .. }) {
            account.trust.ended(task.id, called, Instant::now(), |id| self.ledger.take_heard(id));
        }
    }
}
