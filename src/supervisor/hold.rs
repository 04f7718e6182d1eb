//! Holding back: what an account's refusals, and its troubles, mean for the tasks
//! that want something of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::{Duration, Instant};
use tracing::{error, info, warn};

use super::account::Account;
use super::circuit::Refusal;
use super::drive::{Again, Driver};
use crate::ledger::LedgerError;
use crate::providers::contract::Trouble;
use crate::task::event::{Event, Observation};
use crate::task::id::{AccountName, TaskId};
use crate::task::state::{Failure, FailureKind, Task};

/// Whether a refusal is about the account rather than the request.
pub(super) fn is_of_the_account(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::ProviderAuth | FailureKind::ProviderFunds)
}

/// What a held task's history says.
fn told(reason: &str) -> String {
    format!("the account is held: {reason}")
}

impl Driver {
    /// How long a retry has to wait because the account's budget for them is used up.
    pub(super) fn rationed(&self, task: &Task, account: &Account) -> Again {
        if !self.troubles.any(task.id) {
            return None;
        }
        let wait = account.budget.take(Instant::now()).err()?;
        metrics::counter!("videogen_retries_held_total").increment(1);
        Some(wait + self.polling.max_interval.mul_f64(self.clock.jitter()))
    }

    /// The account is held, and this task with it. It says so once and waits for its
    /// turn; its time limit still holds.
    pub(super) async fn hold(&self, task: &Arc<Task>, reason: &str, wait: Duration) -> Result<Again, LedgerError> {
        self.note(task, Event::Held { reason: told(reason) }).await?;
        Ok(Some(wait))
    }

    /// The create was refused for want of credentials or money. The first such
    /// refusal fails its task, so that whoever typed a wrong key hears of it; while
    /// the account is held nothing was bought and the task queues again.
    pub(super) async fn denied(
        &self,
        task: &Arc<Task>,
        account: &Account,
        failure: Failure,
    ) -> Result<Again, LedgerError> {
        let reason = failure.message.clone();
        match account.circuit.refused(task.id, &reason, Instant::now(), self.clock.jitter()) {
            Refusal::First => {
                self.hold_account(&task.submission.account, &reason).await;
                self.record(task, Event::CreateRefused(failure)).await
            }
            Refusal::Another => {
                let task = self.note(task, Event::CreateThrottled { reason: told(&reason) }).await?;
                Ok(self.rest(&task))
            }
        }
    }

    /// A poll came back, and may tell about the account too.
    pub(super) async fn heard(
        &self,
        task: &Task,
        account: &Account,
        answer: &Result<Observation, Trouble>,
    ) -> Result<(), LedgerError> {
        match answer {
            Ok(_) => self.answered(task, account).await,
            Err(trouble) if trouble.denied && account.circuit.denied(&trouble.reason, Instant::now()) => {
                self.hold_account(&task.submission.account, &trouble.reason).await;
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    /// A poll or a look-up was answered.
    pub(super) async fn answered(&self, task: &Task, account: &Account) -> Result<(), LedgerError> {
        account.budget.succeeded(self.troubles.any(task.id));
        self.good_again(task, account.circuit.answered()).await
    }

    /// The account is good again, if it was held: everybody's turn has come.
    pub(super) async fn good_again(&self, task: &Task, held: Option<BTreeSet<TaskId>>) -> Result<(), LedgerError> {
        let Some(held) = held else { return Ok(()) };
        let account = &task.submission.account;
        info!(%account, tasks = held.len(), "the account is good again");
        metrics::gauge!("videogen_account_held", "account" => account.to_string()).set(0.0);
        self.call(held);
        self.ledger.release(account).await
    }

    /// Holds the account. If that cannot be put on record it is held until a restart.
    async fn hold_account(&self, account: &AccountName, reason: &str) {
        error!(%account, reason, "the account is held: its credentials or its money need somebody to look");
        metrics::gauge!("videogen_account_held", "account" => account.to_string()).set(1.0);
        if let Err(trouble) = self.ledger.hold(account, reason).await {
            warn!(%trouble, "that the account is held could not be put on record");
        }
    }
}
