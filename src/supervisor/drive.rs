//! One step of one task: decide from what is stored, do one thing outside, record
//! one event, say when to come back.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::Semaphore;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info_span, warn};

use super::account::Account;
use super::circuit::Pass;
use super::claim::Claims;
use super::fetches::Fetches;
use super::hand::Hand;
use super::hold::is_of_the_account;
use super::limits::Slots;
use super::trouble::Troubles;
use crate::archive::Archive;
use crate::catalog::{Catalog, Model};
use crate::clock::{Clock, since};
use crate::failpoint::{failpoint, hastened};
use crate::images::Images;
use crate::ledger::{Ledger, LedgerError, Recorded};
use crate::providers::contract::{Created, Order, Trouble};
use crate::store::inputs::Inputs;
use crate::task::backoff::{self, Polling};
use crate::task::event::Event;
use crate::task::id::{AccountName, TaskId};
use crate::task::machine::{self, Action};
use crate::task::state::{State, Task};
use crate::wire::capability::CallbackAddresses;

/// How long a task without a slot waits before it asks again by itself. It is
/// called earlier when its turn comes.
const SLOT_BACKSTOP: Duration = Duration::from_secs(300);
/// How often the job of a failed but recoverable task is asked after.
const LATE_POLL: Duration = Duration::from_secs(120);
/// How long a task rests whose account or model the settings no longer hold.
const UNSERVED: Duration = Duration::from_secs(300);

/// What every step works with.
pub(super) struct Driver {
    pub(super) ledger: Arc<Ledger>,
    pub(super) archive: Arc<Archive>,
    pub(super) inputs: Option<Arc<Inputs>>,
    pub(super) images: Option<Arc<Images>>,
    pub(super) image_patience: Duration,
    pub(super) catalog: Arc<Catalog>,
    pub(super) accounts: HashMap<AccountName, Account>,
    pub(super) polling: Polling,
    pub(super) unknown_window: Duration,
    pub(super) callbacks: Option<CallbackAddresses>,
    pub(super) clock: Clock,
    pub(super) stop: CancellationToken,
    /// The tasks being worked on, and what is held against them.
    pub(super) hand: Arc<Hand>,
    /// For suspects: one is worked on at a time.
    pub(super) alone: Semaphore,
    pub(super) fetches: Fetches,
    pub(super) slots: Slots,
    /// Tasks whose turn has come, for a slot or because their account is good again.
    pub(super) turns: Mutex<BTreeSet<TaskId>>,
    pub(super) troubles: Troubles,
}

/// When to come back: after a while, or never.
pub(super) type Again = Option<Duration>;

impl Driver {
    /// Does what is due for a task.
    pub(super) async fn step(&self, id: TaskId) -> Again {
        let span = info_span!("step", task_id = %id);
        self.guarded(id, async {
            match self.ledger.get(id).await {
                Ok(task) => self.act(task).await.unwrap_or_else(|trouble| self.unserved(&trouble)),
                Err(LedgerError::Unknown(_)) => None,
                Err(trouble) => self.unserved(&trouble),
            }
        })
        .instrument(span)
        .await
    }

    /// The store did not answer, which is not this task's affair.
    fn unserved(&self, trouble: &LedgerError) -> Again {
        error!(%trouble, "the step could not be done");
        Some(UNSERVED)
    }

    async fn act(&self, task: Arc<Task>) -> Result<Again, LedgerError> {
        let action = machine::next(&task, self.clock.now());
        let Some(account) = self.accounts.get(&task.submission.account) else {
            return self.without_account(&task, action).await;
        };
        #[cfg(debug_assertions)]
        crate::failpoint::poisoned(&task.submission.labels);
        debug!(?action, state = task.state.word(), "step");
        failpoint!("step.begin");
        let retry = match self.settle_claims(&task, account).await? {
            Claims::Adopted(again) => return Ok(again),
            Claims::Unsettled(wait) => Some(wait),
            Claims::Nothing => None,
        };
        let again = self.take(action, &task, account).await?;
        Ok(again.into_iter().chain(retry).min())
    }

    async fn take(&self, action: Action, task: &Arc<Task>, account: &Account) -> Result<Again, LedgerError> {
        match action {
            Action::Submit => self.submit(task, account).await,
            Action::Reconcile => self.reconcile(task, account).await,
            Action::Poll => self.poll(task, account).await,
            Action::Cancel => self.cancel(task, account).await,
            Action::Archive => self.keep(task, account).await,
            Action::Expire => self.expire(task, account).await,
            Action::Nothing => {
                self.settle_slots(task);
                Ok(None)
            }
        }
    }

    /// Only the account that bought a job can follow it. A task without one waits
    /// for the settings to be mended; its time limit still holds.
    async fn without_account(&self, task: &Arc<Task>, action: Action) -> Result<Again, LedgerError> {
        match action {
            Action::Nothing => Ok(None),
            Action::Expire => self.record(task, Event::DeadlinePassed).await,
            _ => {
                warn!(account = %task.submission.account, "the settings hold no such account; the task waits");
                Ok(Some(UNSERVED))
            }
        }
    }

    async fn submit(&self, task: &Arc<Task>, account: &Account) -> Result<Again, LedgerError> {
        if self.model(task).is_none() {
            warn!(model = %task.submission.spec.model, "the catalog holds no such model; the task waits");
            return Ok(Some(UNSERVED));
        }
        if let Some(wait) = self.rationed(task, account) {
            return Ok(Some(wait));
        }
        failpoint!("queue.slot");
        if !self.slots.claim(task, account.max_parallel) {
            return Ok(Some(SLOT_BACKSTOP));
        }
        failpoint!("queue.claimed");
        if let Some(again) = self.images_in_the_way(task).await? {
            return Ok(again);
        }
        self.create(task, account, Event::CreateStarted).await
    }

    /// Buys, unless the account is held.
    pub(super) async fn create(
        &self,
        task: &Arc<Task>,
        account: &Account,
        intent: Event,
    ) -> Result<Again, LedgerError> {
        if let Pass::Held(reason, wait) = account.circuit.enter(task.id, Instant::now()) {
            return self.hold(task, &reason, wait).await;
        }
        let again = self.buy(task, account, intent).await;
        account.circuit.leave(task.id, Instant::now(), self.clock.jitter());
        again
    }

    /// Buys: the intent is stored, then the create is sent once, then its outcome
    /// is stored. From the intent on nothing cuts it short.
    async fn buy(&self, task: &Arc<Task>, account: &Account, intent: Event) -> Result<Again, LedgerError> {
        let Some(model) = self.model(task) else { return Ok(Some(UNSERVED)) };
        // Held until the outcome is stored.
        let turn = self.waiting(task.id, self.stop.run_until_cancelled(account.create_turn())).await;
        let Some(Some(_place)) = turn else {
            return Ok(Some(Duration::ZERO));
        };
        let loaded = match self.loaded(task).await? {
            Ok(loaded) => loaded,
            Err(again) => return Ok(again),
        };
        failpoint!("create.intent");
        let Recorded::Task(task) = self.ledger.record(task, &intent).await? else { return Ok(Some(Duration::ZERO)) };
        let (State::Submitting, Some(attempt)) = (task.state, task.attempt()) else {
            return Ok(Some(Duration::ZERO));
        };
        let callback = self.callbacks.as_ref().map(|addresses| addresses.of(attempt.marker.as_str()));
        let order = Order {
            spec: &loaded.spec,
            model: &model,
            marker: &attempt.marker,
            callback: callback.as_ref(),
            resent: attempt.unknown_since.is_some(),
            sent: attempt.sent,
        };
        failpoint!("create.order");
        let created = account.provider.submit(order).await;
        failpoint!("create.judged");
        metrics::counter!("videogen_creates_total", "outcome" => outcome_word(&created)).increment(1);
        self.record_created(&task, account, created).await
    }

    async fn record_created(
        &self,
        task: &Arc<Task>,
        account: &Account,
        created: Created,
    ) -> Result<Again, LedgerError> {
        match created {
            Created::Accepted(job) => {
                let retried = self.troubles.any(task.id);
                let again = self.record(task, Event::CreateAccepted(job)).await?;
                account.budget.succeeded(retried);
                self.good_again(task, account.circuit.bought()).await?;
                Ok(again)
            }
            Created::Refused(failure) if is_of_the_account(&failure) => self.denied(task, account, failure).await,
            Created::Refused(failure) => {
                account.budget.succeeded(false);
                self.record(task, Event::CreateRefused(failure)).await
            }
            Created::Unknown { reason } => {
                warn!(reason, "the outcome of the create is unknown");
                self.record(task, Event::CreateUnknown { reason }).await
            }
            Created::Throttled { after, reason } => {
                let wait = |failures| backoff::turned_away(failures, after, self.clock.jitter());
                self.put_back(task, Event::CreateThrottled { reason }, wait).await
            }
            Created::NotSent { reason } => {
                let wait = |failures| backoff::resend(failures, self.clock.jitter());
                self.put_back(task, Event::CreateNotSent { reason }, wait).await
            }
        }
    }

    /// The create was not taken: the task queues again, a little longer each time.
    async fn put_back(
        &self,
        task: &Arc<Task>,
        event: Event,
        wait: impl FnOnce(u32) -> Duration,
    ) -> Result<Again, LedgerError> {
        let task = self.note(task, event).await?;
        Ok(match task.state {
            State::Queued => Some(wait(self.troubles.count(task.id))),
            _ => self.rest(&task),
        })
    }

    /// Records an event and says when the task wants to be looked at again.
    pub(super) async fn record(&self, task: &Arc<Task>, event: Event) -> Result<Again, LedgerError> {
        let task = self.note(task, event).await?;
        self.troubles.forget(task.id);
        Ok(self.rest(&task))
    }

    /// Records an event and brings the slots in line with what became of the task.
    pub(super) async fn note(&self, task: &Arc<Task>, event: Event) -> Result<Arc<Task>, LedgerError> {
        let task = match self.ledger.record(task, &event).await? {
            Recorded::Task(task) => task,
            Recorded::NotAllowed(task) => {
                debug!(state = task.state.word(), "the event came too late for the task");
                task
            }
        };
        self.settle_slots(&task);
        Ok(task)
    }

    /// How long a task rests until its next step.
    pub(super) fn rest(&self, task: &Task) -> Again {
        let now = self.clock.now();
        let jitter = self.clock.jitter();
        match machine::next(task, now) {
            Action::Nothing => None,
            Action::Submit | Action::Reconcile | Action::Cancel | Action::Archive | Action::Expire => {
                Some(Duration::ZERO)
            }
            Action::Poll if task.state.is_final() => {
                Some(within_recovery(task, now, hastened(LATE_POLL).mul_f64(1.0 + jitter)))
            }
            Action::Poll => {
                let begun = task.attempt().map_or(task.created, |attempt| attempt.sent);
                let plain = self.polling.delay(since(now, begun), task.submission.typical, jitter);
                Some(self.thinned(task, plain, jitter).min(since(task.deadline, now)))
            }
        }
    }

    /// The rest after a call that told nothing: it grows with each in a row.
    pub(super) fn wait_out(&self, task: &Task, trouble: &Trouble) -> Duration {
        let failures = self.troubles.count(task.id);
        debug!(%trouble, failures, "the provider told nothing");
        self.polling.after_trouble(failures, trouble.retry_after, self.clock.jitter())
    }

    /// The catalog's row for the task's model.
    pub(super) fn model(&self, task: &Task) -> Option<Arc<Model>> {
        self.catalog.resolve(task.submission.spec.model.as_str())
    }

    /// Brings the slots in line with the task, and notes whose turn has come.
    pub(super) fn settle_slots(&self, task: &Task) {
        let account = self.accounts.get(&task.submission.account);
        let turns = self.slots.settle(task, account.map_or(0, |account| account.max_parallel));
        self.call(turns);
        if !matches!(task.state, State::Queued | State::Reconciling) {
            self.call(account.and_then(|account| account.circuit.forget(task.id)));
        }
    }

    /// Makes tasks due now.
    pub(super) fn call(&self, tasks: impl IntoIterator<Item = TaskId>) {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).extend(tasks);
    }

    /// Takes the tasks whose turn for a slot has come.
    pub(super) fn turns(&self) -> BTreeSet<TaskId> {
        std::mem::take(&mut *self.turns.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The delay, or what is left of the time in which a failed task can be recovered.
pub(super) fn within_recovery(task: &Task, now: SystemTime, delay: Duration) -> Duration {
    task.recoverable_until().map_or(delay, |until| delay.min(since(until, now)))
}

fn outcome_word(created: &Created) -> &'static str {
    match created {
        Created::Accepted(_) => "accepted",
        Created::Refused(_) => "refused",
        Created::Throttled { .. } => "throttled",
        Created::NotSent { .. } => "not_sent",
        Created::Unknown { .. } => "unknown",
    }
}
