//! Finding out what became of a create whose answer was lost. Nothing is bought
//! here unless the provider refuses duplicates or the caller's policy says so.

use std::sync::Arc;

use tokio::time::Duration;
use tracing::{info, warn};

use super::account::Account;
use super::drive::{Again, Driver, within_recovery};
use crate::clock::since;
use crate::failpoint::{failpoint, haste, hastened};
use crate::ledger::{LedgerError, Recorded};
use crate::providers::contract::{Found, Order, Trouble};
use crate::task::backoff::{self, LookUp};
use crate::task::event::Event;
use crate::task::state::{Attempt, AttemptOutcome, State, Task};
use crate::task::transition::{RECOVERABLE_FOR, may_buy_again};

/// How often a create that stayed unknown is still looked for, after its task has
/// failed and while it may be recovered.
const LATE_LOOK: Duration = Duration::from_secs(300);
/// The pause between look-ups once the row of them is over.
const LATER_LOOK: Duration = Duration::from_secs(60);

impl Driver {
    /// Takes one step towards knowing.
    pub(super) async fn reconcile(&self, task: &Arc<Task>, account: &Account) -> Result<Again, LedgerError> {
        let Some(task) = self.note_interruption(task).await? else { return Ok(Some(Duration::ZERO)) };
        let Some(attempt) = task.attempt() else { return Ok(None) };
        if task.state.is_final() {
            return self.look_late(&task, account).await;
        }
        let now = self.clock.now();
        let window_left = self.unknown_window.saturating_sub(since(now, attempt.unknown_since.unwrap_or(attempt.sent)));
        let abilities = account.provider.abilities();
        if window_left.is_zero() {
            // The process may have been away for the whole window: it looks once in any case.
            if abilities.finds_by_marker
                && let Sought::Settled(again) = self.find(&task, account).await?
            {
                return Ok(again);
            }
            return self.give_up_looking(&task, account).await;
        }
        if !abilities.finds_by_marker {
            return Ok(Some(window_left));
        }
        let (again, may_resend) = match backoff::look_up(since(now, attempt.sent) * haste()) {
            // Whoever calls back has seen the create: there is no reason to wait.
            LookUp::Wait(wait) if self.ledger.take_heard(task.id) => (wait, false),
            LookUp::Wait(wait) => return Ok(Some(hastened(wait).min(window_left))),
            LookUp::Look(again) => (again, false),
            // What the caller no longer wants is looked for, but not asked for again.
            LookUp::LookThenResend => (LATER_LOOK, abilities.refuses_duplicates && task.cancellation.is_none()),
        };
        if let Some(wait) = self.rationed(&task, account) {
            return Ok(Some(wait.min(window_left)));
        }
        failpoint!("unknown.look");
        match self.find(&task, account).await? {
            Sought::Settled(again) => Ok(again),
            Sought::Nothing if may_resend => {
                info!("nothing was found; sending the same create again");
                self.create(&task, account, Event::ResendStarted).await
            }
            Sought::Nothing => Ok(Some(hastened(again).min(window_left))),
            // It told nothing, so it does not count as one of the row.
            Sought::Unanswered(trouble) => Ok(Some(self.wait_out(&task, &trouble).min(window_left))),
        }
    }

    /// A task found in SUBMITTING was left there by a process that ended: whether
    /// its create arrived is unknown.
    async fn note_interruption(&self, task: &Arc<Task>) -> Result<Option<Arc<Task>>, LedgerError> {
        if task.state != State::Submitting {
            return Ok(Some(Arc::clone(task)));
        }
        let reason = "the process ended while the create was on its way".to_owned();
        match self.ledger.record(task, &Event::CreateUnknown { reason }).await? {
            Recorded::Task(task) => Ok(Some(task)),
            Recorded::NotAllowed(_) => Ok(None),
        }
    }

    /// The window is over: the caller's policy decides.
    async fn give_up_looking(&self, task: &Arc<Task>, account: &Account) -> Result<Again, LedgerError> {
        failpoint!("unknown.over");
        // An account that stays held does not keep the task waiting for ever.
        if may_buy_again(task) && self.clock.now() < task.deadline {
            warn!("the outcome stays unknown; the policy allows another paid create");
            return self.create(task, account, Event::CreateStarted).await;
        }
        warn!("the outcome stays unknown; nothing more is bought");
        self.record(task, Event::WindowOver).await
    }

    /// The task has failed for want of an answer, but its video may still be found.
    async fn look_late(&self, task: &Arc<Task>, account: &Account) -> Result<Again, LedgerError> {
        let now = self.clock.now();
        if !account.provider.abilities().finds_by_marker {
            return Ok(Some(within_recovery(task, now, RECOVERABLE_FOR)));
        }
        if let Some(wait) = self.rationed(task, account) {
            return Ok(Some(within_recovery(task, now, wait)));
        }
        match self.find(task, account).await? {
            // A job that is found so late has most likely ended: it is asked after at once.
            Sought::Settled(_) => Ok(Some(Duration::ZERO)),
            Sought::Unanswered(trouble) => {
                let wait = self.wait_out(task, &trouble).max(hastened(LATE_LOOK));
                Ok(Some(within_recovery(task, now, wait)))
            }
            Sought::Nothing => Ok(Some(within_recovery(task, now, hastened(LATE_LOOK)))),
        }
    }

    /// Looks for the job of every attempt whose outcome is unknown, the last one
    /// first. Where a later attempt was allowed, an earlier one may still have bought.
    async fn find(&self, task: &Arc<Task>, account: &Account) -> Result<Sought, LedgerError> {
        let unknown = task.attempts.iter().rev().filter(|attempt| attempt.outcome == AttemptOutcome::Unknown);
        let mut sought = Sought::Nothing;
        for attempt in unknown {
            match self.find_one(task, attempt, account).await? {
                Sought::Settled(again) => return Ok(Sought::Settled(again)),
                Sought::Nothing => {}
                unanswered @ Sought::Unanswered(_) => sought = unanswered,
            }
        }
        Ok(sought)
    }

    async fn find_one(&self, task: &Arc<Task>, attempt: &Attempt, account: &Account) -> Result<Sought, LedgerError> {
        let Some(model) = self.model(task) else { return Ok(Sought::unanswered("the catalog holds no such model")) };
        let Ok(loaded) = self.loaded(task).await? else {
            return Ok(Sought::unanswered("the images of the task cannot be read"));
        };
        let order = Order {
            spec: &loaded.spec,
            model: &model,
            marker: &attempt.marker,
            callback: None,
            resent: attempt.unknown_since.is_some(),
            sent: attempt.sent,
        };
        let looked = async {
            self.waiting(task.id, account.turn()).await;
            account.provider.find(order).await
        };
        match self.stop.run_until_cancelled(looked).await {
            Some(Ok(Found::Job(job))) => {
                self.answered(task, account).await?;
                info!(job_id = %job.id, attempt = attempt.number, "the job was found");
                let found = Event::JobFound { attempt: attempt.number, job };
                Ok(Sought::Settled(self.record(task, found).await?))
            }
            Some(Ok(Found::Nothing)) => {
                self.answered(task, account).await?;
                self.troubles.forget(task.id);
                Ok(Sought::Nothing)
            }
            Some(Err(trouble)) => Ok(Sought::Unanswered(trouble)),
            None => Ok(Sought::unanswered("the process is ending")),
        }
    }
}

/// What a look-up came to.
enum Sought {
    /// The job was found and recorded.
    Settled(Again),
    /// The provider knows of none.
    Nothing,
    /// The provider did not say.
    Unanswered(Trouble),
}

impl Sought {
    fn unanswered(reason: &str) -> Self {
        Self::Unanswered(Trouble { reason: reason.to_owned(), retry_after: None, denied: false })
    }
}
