//! Sees every open task through: takes what is due, runs one step per task within
//! limits, and puts it back for later. It keeps ids and times only; what to do is
//! read from the stored task each time.

pub mod account;
mod archive;
pub mod budget;
pub mod circuit;
mod claim;
mod drive;
mod fetches;
mod follow;
pub mod hand;
mod hold;
mod images;
pub mod limits;
mod reconcile;
pub mod schedule;
mod suspect;
#[cfg(test)]
mod tests;
pub mod trouble;
mod trust;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use account::Account;
use drive::Driver;
use fetches::Fetches;
use hand::Hand;
use limits::Slots;
use schedule::Schedule;

use crate::archive::Archive;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::images::Images;
use crate::ledger::{Ledger, LedgerError};
use crate::providers::contract::Provider;
use crate::store::inputs::Inputs;
use crate::task::backoff::Polling;
use crate::task::id::{AccountName, TaskId};
use crate::task::machine::{self, Action};
use crate::task::state::Task;
use crate::wire::capability::CallbackAddresses;

/// How many steps run at once.
const STEPS_AT_ONCE: usize = 2048;
/// How many tasks are read at a time when the schedule is rebuilt.
const PAGE: usize = 512;
/// How many files are fetched at once.
pub const FETCHES_AT_ONCE: usize = 8;
/// How long a task rests whose step has panicked.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// What a supervisor works with.
pub struct Parts {
    /// Where tasks are read and events recorded.
    pub ledger: Arc<Ledger>,
    /// Where videos go.
    pub archive: Arc<Archive>,
    /// Where the pictures are that came with requests; none where none are kept in files.
    pub inputs: Option<Arc<Inputs>>,
    /// Who looks at images behind links before a create; none to go without.
    pub images: Option<Arc<Images>>,
    /// How long a task waits for an image that cannot be fetched.
    pub image_patience: Duration,
    /// What the models take.
    pub catalog: Arc<Catalog>,
    /// The accounts by name.
    pub accounts: Vec<AccountParts>,
    /// The bounds of polling.
    pub polling: Polling,
    /// How long a create of unknown outcome is looked up.
    pub unknown_window: Duration,
    /// Where providers call back, if they can reach us.
    pub callbacks: Option<CallbackAddresses>,
    /// Where the tasks that are being worked on are written down, to find out one
    /// whose work ends the process; none to go without.
    pub in_hand: Option<PathBuf>,
    /// How long such a task rests at first.
    pub quarantine: Duration,
    /// Time and jitter.
    pub clock: Clock,
}

/// One account to work with.
pub struct AccountParts {
    /// Its name in the settings.
    pub name: AccountName,
    /// Its adapter.
    pub provider: Arc<dyn Provider>,
    /// How many jobs a model may have at once.
    pub max_parallel: usize,
    /// How many requests a second it is sent.
    pub requests_per_second: f64,
}

/// The supervisor, before it runs.
pub struct Supervisor {
    driver: Arc<Driver>,
    schedule: Schedule,
    steps: Steps,
    /// Gathers polls; owned here so that it ends with the supervisor.
    gatherers: JoinSet<()>,
}

/// The steps under way. A step that panics is traced back to its task.
#[derive(Default)]
struct Steps {
    running: JoinSet<Option<Duration>>,
    tasks: HashMap<tokio::task::Id, TaskId>,
}

impl Supervisor {
    /// Puts the parts together and schedules every open task.
    pub async fn start(parts: Parts, stop: CancellationToken) -> Result<Self, LedgerError> {
        let mut gatherers = JoinSet::new();
        let mut accounts = HashMap::new();
        let hand = Arc::new(open_hand(parts.in_hand.as_deref(), parts.clock.now(), parts.quarantine));
        for part in parts.accounts {
            let trickle = parts.polling.max_interval;
            let (account, gather) = Account::open(&part, trickle, Arc::clone(&hand));
            gatherers.spawn(gather);
            let hold = parts.ledger.recall_hold(&part.name).await?;
            metrics::gauge!("videogen_account_held", "account" => part.name.to_string()).set(f64::from(hold.is_some()));
            if let Some(hold) = hold {
                warn!(account = %part.name, reason = hold.reason, "the account is held since before this start");
                account.circuit.resume(hold.reason, Instant::now());
            }
            accounts.insert(part.name, account);
        }
        let driver = Driver {
            ledger: parts.ledger,
            archive: parts.archive,
            inputs: parts.inputs,
            images: parts.images,
            image_patience: parts.image_patience,
            catalog: parts.catalog,
            accounts,
            polling: parts.polling,
            unknown_window: parts.unknown_window,
            callbacks: parts.callbacks,
            clock: parts.clock,
            stop,
            hand,
            alone: Semaphore::new(1),
            fetches: Fetches::new(FETCHES_AT_ONCE),
            slots: Slots::default(),
            turns: Mutex::default(),
            troubles: trouble::Troubles::default(),
        };
        let mut supervisor = Self {
            driver: Arc::new(driver),
            schedule: Schedule::new(Instant::now()),
            steps: Steps::default(),
            gatherers,
        };
        supervisor.resume().await?;
        supervisor.driver.name_suspects().await?;
        Ok(supervisor)
    }

    /// Rebuilds the schedule. Jobs that would all be overdue at once are spread
    /// over the time that their account's rate needs for them.
    async fn resume(&mut self) -> Result<(), LedgerError> {
        let mut polls: Vec<Arc<Task>> = Vec::new();
        let mut after = None;
        loop {
            let page = self.driver.ledger.unfinished(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for task in page {
                self.driver.settle_slots(&task);
                match machine::next(&task, self.driver.clock.now()) {
                    Action::Nothing => {}
                    Action::Poll => polls.push(task),
                    _ => self.schedule.add(task.id, Instant::now()),
                }
            }
        }
        let resumed = self.schedule.len() + polls.len();
        self.spread(&polls);
        if resumed > 0 {
            info!(tasks = resumed, "resuming open tasks");
        }
        Ok(())
    }

    fn spread(&mut self, polls: &[Arc<Task>]) {
        let mut by_account: HashMap<&AccountName, Vec<TaskId>> = HashMap::new();
        for task in polls {
            by_account.entry(&task.submission.account).or_default().push(task.id);
        }
        let now = Instant::now();
        for (name, ids) in by_account {
            let each = self.driver.accounts.get(name).map_or(Duration::ZERO, |account| {
                let jobs_per_second = account.requests_per_second * account.provider.abilities().poll_batch as f64;
                Duration::from_secs_f64(1.0 / jobs_per_second.max(0.01))
            });
            for (place, id) in ids.into_iter().enumerate() {
                self.schedule.add(id, now + each * u32::try_from(place).unwrap_or(u32::MAX));
            }
        }
    }

    /// Works until told to stop; then lets the steps under way finish what must
    /// not be cut. Whoever waits for it bounds the time.
    pub async fn run(mut self) {
        let stop = self.driver.stop.clone();
        while !stop.is_cancelled() {
            self.begin_due();
            let due = self.schedule.next_due().filter(|_| self.steps.running.len() < STEPS_AT_ONCE);
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep_until(due) => {}
                ids = self.driver.ledger.nudged() => {
                    let now = Instant::now();
                    ids.into_iter().for_each(|id| self.schedule.add(id, now));
                }
                Some(ended) = self.steps.running.join_next_with_id() => self.give_back(ended),
                Some(ended) = self.gatherers.join_next() => {
                    // Without them jobs would not be followed: better to end and be
                    // started again.
                    error!(?ended, "an account's polls have ended by themselves");
                    break;
                }
            }
        }
        while self.steps.running.join_next().await.is_some() {}
    }

    fn begin_due(&mut self) {
        let now = Instant::now();
        while self.steps.running.len() < STEPS_AT_ONCE
            && let Some(id) = self.schedule.take(now)
        {
            let driver = Arc::clone(&self.driver);
            let step = self.steps.running.spawn(async move { driver.step(id).await });
            self.steps.tasks.insert(step.id(), id);
        }
        metrics::gauge!("videogen_open_tasks").set(self.schedule.len() as f64);
    }

    fn give_back(&mut self, ended: Result<(tokio::task::Id, Option<Duration>), JoinError>) {
        let (step, again) = match ended {
            Ok((step, again)) => (step, again),
            Err(panic) => {
                error!(%panic, "a step has panicked");
                (panic.id(), Some(AFTER_PANIC))
            }
        };
        let now = Instant::now();
        if let Some(id) = self.steps.tasks.remove(&step) {
            self.schedule.give_back(id, again, now);
        }
        for id in self.driver.turns() {
            self.schedule.add(id, now);
        }
    }
}

/// Without the file everything works but the search for a poisonous task.
fn open_hand(path: Option<&Path>, now: SystemTime, rest: Duration) -> Hand {
    let Some(path) = path else { return Hand::without_file() };
    Hand::open(path, now, rest).unwrap_or_else(|error| {
        warn!(%error, path = %path.display(), "the tasks in hand cannot be written down");
        Hand::without_file()
    })
}

/// Sleeps until then, or for ever.
async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
