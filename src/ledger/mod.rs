//! The only writer of tasks. Every change goes through here: loaded, judged by
//! the machine, committed on the revision it was computed from, and only then
//! shown to watchers.

pub mod admission;
pub mod announce;
mod files;
pub mod heard;
pub mod holds;
pub mod watch;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tracing::{error, info, warn};

use crate::archive::{Archive, ReadError};
use crate::clock::Clock;
use crate::failpoint::failpoint;
use crate::images::{Finding, Images, Verdict};
use crate::store::contract::{Commit, Creation, Filter, StoreError, TaskStore, Tombstone};
use crate::store::inputs::{InputError, Inputs, Pinned};
use crate::task::announcement::AnnouncementId;
use crate::task::event::Event;
use crate::task::id::{Revision, TaskId};
use crate::task::machine::{self, Applied};
use crate::task::spec::{Submission, Warning};
use crate::task::state::{State, Task};
use admission::{Admission, Refusal};
use announce::{Announcing, Telling};
use watch::{FilterWatch, TaskWatch, Watchers};

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

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// The task.
    pub task: Arc<Task>,
    /// Whether the request had been accepted before.
    pub replayed: bool,
}

/// What became of an event.
#[derive(Clone, Debug)]
pub enum Recorded {
    /// The task as it is now, changed or not.
    Task(Arc<Task>),
    /// The event is not allowed in the state that the task is in.
    NotAllowed(Arc<Task>),
}

/// Why the ledger could not answer.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is no such task.
    #[error("there is no task {0}")]
    Unknown(TaskId),
    /// The request id belongs to another request.
    #[error("the request id was used for another request, task {0}")]
    RequestIdReused(TaskId),
    /// The request id belongs to a task that was removed.
    #[error("the request id was used for task {0}, which was removed")]
    RequestIdExpired(TaskId),
    /// Nothing new is taken in now.
    #[error("nothing new is taken in: {}", .0.reason())]
    Refused(Refusal),
    /// The caller has seen a revision that the task has not reached.
    #[error("the task is at revision {}", current.0)]
    RevisionAhead {
        /// Where the task is.
        current: Revision,
    },
    /// There is no file yet, or there will be none.
    #[error("the task has no video")]
    NoArtifact(Arc<Task>),
    /// The wanted range starts behind the end of the file.
    #[error("the file has {size} bytes")]
    OutOfRange {
        /// Bytes in the file.
        size: u64,
    },
    /// The stored file is missing or altered.
    #[error("the video of task {task}: {error}")]
    Damaged {
        /// Whose file.
        task: TaskId,
        /// What is wrong with it.
        error: ReadError,
    },
    /// Files are kept where nobody signs links.
    #[error("files are kept in a folder, to which there are no links")]
    NoLinks,
    /// There is no such announcement any more: it was told, or never was.
    #[error("there is nothing to be told under {0}")]
    NotToBeTold(AnnouncementId),
    /// Too many streams are open.
    #[error("too many watches are open")]
    WatchLimit,
    /// Images of the request cannot be used.
    #[error("images of the request cannot be used")]
    ImagesRefused(Vec<Finding>),
    /// A picture of the request could not be kept.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
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

    /// Removes a task that is closed, unless it has changed: from here on it is
    /// unknown and its request id is refused. Its file is still there.
    pub async fn remove(&self, task: &Task) -> Result<Option<Tombstone>, LedgerError> {
        let removed = self.store.remove(task.revision, task.id, self.clock.now()).await?;
        if removed.is_some() {
            failpoint!("retention.removed");
            if let Some(inputs) = &self.inputs {
                inputs.release(&task.submission).await;
            }
            info!(task_id = %task.id, "removed");
        }
        Ok(removed)
    }

    /// Removes the file of a removed task, and notes that it is gone; false when it
    /// cannot be removed now.
    pub async fn remove_file(&self, tombstone: Tombstone) -> Result<bool, LedgerError> {
        if let Err(error) = self.archive.delete(tombstone.task).await {
            warn!(task_id = %tombstone.task, %error, "the file of a removed task cannot be removed now");
            return Ok(false);
        }
        failpoint!("retention.deleted");
        self.store.bury(Tombstone { has_file: false, ..tombstone }).await?;
        Ok(true)
    }

    /// Forgets a removed task: its request id may be used again.
    pub async fn forget(&self, id: TaskId) -> Result<(), LedgerError> {
        Ok(self.store.forget(id).await?)
    }

    /// What is left of removed tasks, by their ids, after `after`.
    pub async fn tombstones(&self, after: Option<TaskId>, limit: usize) -> Result<Vec<Tombstone>, LedgerError> {
        Ok(self.store.tombstones(after, limit).await?)
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
