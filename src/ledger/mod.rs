//! The only writer of tasks. Every change goes through here: loaded, judged by
//! the machine, committed on the revision it was computed from, and only then
//! shown to watchers.

pub mod admission;
pub mod announce;
mod error;
mod files;
pub mod heard;
pub mod holds;
mod intake;
mod removal;
pub mod watch;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tracing::{error, info};

use crate::archive::Archive;
use crate::clock::Clock;
use crate::failpoint::failpoint;
use crate::images::Images;
use crate::store::contract::{Commit, Filter, TaskStore};
use crate::store::inputs::Inputs;
use crate::task::event::Event;
use crate::task::id::{Revision, TaskId};
use crate::task::machine::{self, Applied};
use crate::task::state::{State, Task};
use admission::Admission;
use announce::{Announcing, Telling};
use watch::{FilterWatch, TaskWatch, Watchers};

pub use error::LedgerError;
pub use intake::Submitted;

/// Writes tasks and shows them.
pub struct Ledger {
    store: Arc<dyn TaskStore>,
    archive: Arc<Archive>,
    inputs: Option<Arc<Inputs>>,
    images: Option<Arc<Images>>,
    clock: Clock,
    admission: Arc<Admission>,
    watchers: Arc<Watchers>,
    nudges: Nudges,
    holds: holds::Holds,
    unkept: files::Unkept,
    heard: heard::Heard,
    announcing: Announcing,
    telling: Telling,
}

/// What became of an event.
#[derive(Clone, Debug)]
pub enum Recorded {
    /// The task as it is now, changed or not.
    Task(Arc<Task>),
    /// The event is not allowed in the state that the task is in.
    NotAllowed(Arc<Task>),
}

impl Ledger {
    /// Opens the ledger over a store and the archive of its videos.
    pub fn new(store: Arc<dyn TaskStore>, archive: Arc<Archive>, clock: Clock) -> Self {
        let (admission, watchers, nudges, holds, unkept, heard) = Default::default();
        let (inputs, images) = (None, None);
        let (announcing, telling) = Default::default();
        Self {
            store,
            archive,
            inputs,
            images,
            clock,
            admission,
            watchers,
            nudges,
            holds,
            unkept,
            heard,
            announcing,
            telling,
        }
    }

    /// The same ledger, with the files of the pictures that requests bring along.
    pub fn with_inputs(self, inputs: Arc<Inputs>) -> Self {
        Self { inputs: Some(inputs), ..self }
    }

    /// The same ledger, with somebody who looks at images behind links.
    pub fn with_images(self, images: Arc<Images>) -> Self {
        Self { images: Some(images), ..self }
    }

    /// The same ledger, with somebody who may refuse new tasks.
    pub fn with_admission(self, admission: Arc<Admission>) -> Self {
        Self { admission, ..self }
    }

    /// The same ledger, which tells of its tasks.
    pub fn with_announcing(self, announcing: Announcing) -> Self {
        Self { announcing, ..self }
    }

    /// Records what happened to a task, starting from the state in hand. When
    /// somebody else was faster the event is judged again on the newer state.
    pub async fn record(&self, task: &Arc<Task>, event: &Event) -> Result<Recorded, LedgerError> {
        let mut current = Arc::clone(task);
        let _writing = self.watchers.writing(task.id);
        loop {
            let next = match machine::apply(&current, event, self.clock.now()) {
                Applied::Same => return Ok(Recorded::Task(current)),
                Applied::NotAllowed => return Ok(Recorded::NotAllowed(current)),
                Applied::Next(next) => Arc::<Task>::from(next),
            };
            failpoint!("record", next.state.word());
            let told = self.announcing.announcement(&current, &next);
            let tells = told.is_some();
            match self.store.commit_told(current.revision, Arc::clone(&next), told).await? {
                Commit::Committed => {
                    failpoint!("recorded", next.state.word());
                    if tells {
                        self.telling.hint(next.id, false);
                    }
                    self.publish(&next, Some(&current));
                    failpoint!("shown", next.state.word());
                    return Ok(Recorded::Task(next));
                }
                Commit::Stale => current = self.get(current.id).await?,
            }
        }
    }

    /// Records the caller's wish to cancel and lets the supervisor see to it.
    pub async fn cancel(&self, id: TaskId) -> Result<Recorded, LedgerError> {
        let task = self.get(id).await?;
        failpoint!("cancel.asked");
        let recorded = self.record(&task, &Event::CancelRequested).await?;
        failpoint!("cancel.noted");
        self.nudges.add(id);
        Ok(recorded)
    }

    /// Makes a task due now. A hint: it may be lost or doubled without harm.
    pub fn nudge(&self, id: TaskId) {
        self.nudges.add(id);
    }

    /// Waits for tasks to be made due, and takes them.
    pub async fn nudged(&self) -> HashSet<TaskId> {
        self.nudges.taken().await
    }

    /// The key that callback addresses are derived from: made once, kept with the
    /// tasks, so that addresses given out before a restart still hold.
    pub async fn callback_key(&self) -> Result<Vec<u8>, LedgerError> {
        const NOTE: &str = "callback_key";
        if let Some(key) = self.store.read_note(NOTE).await? {
            return Ok(key);
        }
        let key = self.clock.secret().to_vec();
        self.store.write_note(NOTE, key.clone()).await?;
        Ok(key)
    }

    /// The newest durable state of a task.
    pub async fn get(&self, id: TaskId) -> Result<Arc<Task>, LedgerError> {
        self.store.load(id).await?.ok_or(LedgerError::Unknown(id))
    }

    /// Matching tasks, newest first, created before `before`.
    pub async fn list(
        &self,
        filter: &Filter,
        before: Option<TaskId>,
        limit: usize,
    ) -> Result<Vec<Arc<Task>>, LedgerError> {
        Ok(self.store.list(filter, before, limit).await?)
    }

    /// Open tasks, oldest first, for the supervisor's start.
    pub async fn unfinished(&self, after: Option<TaskId>, limit: usize) -> Result<Vec<Arc<Task>>, LedgerError> {
        Ok(self.store.unfinished(after, limit).await?)
    }

    /// How many tasks are open.
    pub fn open_tasks(&self) -> usize {
        self.store.open_tasks()
    }

    /// How many tasks wait before this one; nothing once it waits no longer.
    pub async fn place(&self, task: &Task) -> Result<Option<u32>, LedgerError> {
        match task.state {
            State::Queued => Ok(Some(self.store.queued_before(task).await?)),
            _ => Ok(None),
        }
    }

    /// Follows one task from a revision on.
    pub async fn watch(&self, id: TaskId, after: Revision) -> Result<TaskWatch, LedgerError> {
        // Subscribed before the state is read: a change in between is seen twice
        // rather than never.
        let subscription = self.watchers.subscribe(id).ok_or(LedgerError::WatchLimit)?;
        let task = self.get(id).await?;
        if after > task.revision {
            return Err(LedgerError::RevisionAhead { current: task.revision });
        }
        Ok(TaskWatch::new(subscription, task, after))
    }

    /// Follows every task that matches, starting with those that do now.
    pub fn watch_matching(&self, filter: Filter) -> Result<FilterWatch, LedgerError> {
        self.watchers.subscribe_matching(filter).ok_or(LedgerError::WatchLimit)
    }

    /// Shows a committed task. A change of state is one line, so that a task's life
    /// can be read in the log with one filter.
    fn publish(&self, task: &Arc<Task>, before: Option<&Task>) {
        if before.is_none_or(|before| before.state != task.state) {
            let (state, revision) = (task.state.word(), task.revision.0);
            let reason = task.history.last().map_or("", |entry| entry.reason.as_str());
            info!(task_id = %task.id, revision, state, reason, "task");
            metrics::counter!("videogen_task_states_total", "state" => state).increment(1);
        }
        if before.is_some_and(|before| before.spares.len() < task.spares.len()) {
            let job_id = task.spares.last().map_or("", |job| job.id.as_str());
            error!(task_id = %task.id, job_id, "the task has bought a second job");
            metrics::counter!("videogen_double_purchases_total").increment(1);
        }
        if task.state != State::Archiving {
            self.unkept.forget(task.id);
        }
        self.watchers.publish(task);
    }
}

/// Tasks to be looked at at once: each at most once, however often it was named.
#[derive(Debug, Default)]
struct Nudges {
    ids: Mutex<HashSet<TaskId>>,
    some: Notify,
}

impl Nudges {
    fn add(&self, id: TaskId) {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        self.some.notify_one();
    }

    async fn taken(&self) -> HashSet<TaskId> {
        loop {
            let ids = std::mem::take(&mut *self.ids.lock().unwrap_or_else(PoisonError::into_inner));
            if !ids.is_empty() {
                return ids;
            }
            self.some.notified().await;
        }
    }
}
