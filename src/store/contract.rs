//! What the ledger needs of a store, and how a store says no. Indexes are the
//! backend's own affair: derived from the task, changed in the same atomic write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::task::announcement::{Announcement, AnnouncementId};
use crate::task::id::{ModelName, RequestId, Revision, TaskId};
use crate::task::state::{State, Task};

/// Keeps tasks. What it answers is durable: on disk, synced, before it says so,
/// and nobody is shown what is not.
#[async_trait]
pub trait TaskStore: Send + Sync {
    /// Stores a new task together with its request id, in one atomic write, or
    /// says what became of that request id.
    async fn create(&self, task: Arc<Task>) -> Result<Creation, StoreError>;

    /// What a create under this request id would be told; nothing when it is new.
    async fn recall(&self, request: &RequestId) -> Result<Option<Creation>, StoreError>;

    /// Replaces a task if its stored revision is still `expected`. The task's own
    /// revision must be the next one.
    async fn commit(&self, expected: Revision, task: Arc<Task>) -> Result<Commit, StoreError> {
        self.commit_told(expected, task, None).await
    }

    /// The same, and stores in the same atomic write what is to be told of it. An
    /// update that waits takes the place of the task's earlier ones.
    async fn commit_told(
        &self,
        expected: Revision,
        task: Arc<Task>,
        told: Option<Announcement>,
    ) -> Result<Commit, StoreError>;

    /// Writes an announcement as it is now; false when its task is not there.
    async fn announce(&self, announcement: Announcement) -> Result<bool, StoreError>;

    /// Takes announcements away, whether or not they are there.
    async fn told(&self, id: AnnouncementId) -> Result<(), StoreError>;

    /// Pages through the announcements by their ids, after `after`: only parked ones
    /// or only others, if that is said.
    async fn announcements(
        &self,
        parked: Option<bool>,
        after: Option<AnnouncementId>,
        limit: usize,
    ) -> Result<Vec<Announcement>, StoreError>;

    /// Removes a task for good if its stored revision is still `expected`, it is not
    /// open and no announcement of it waits, and hands back the tombstone that took its place in one atomic
    /// write. From then on its request id is refused; parked announcements go with it.
    async fn remove(&self, expected: Revision, id: TaskId, now: SystemTime) -> Result<Option<Tombstone>, StoreError>;

    /// Writes a tombstone as it is now, whether or not there is one.
    async fn bury(&self, tombstone: Tombstone) -> Result<(), StoreError>;

    /// Takes a tombstone away: its request id may be used again.
    async fn forget(&self, id: TaskId) -> Result<(), StoreError>;

    /// Pages through the tombstones, by the ids of their tasks, after `after`.
    async fn tombstones(&self, after: Option<TaskId>, limit: usize) -> Result<Vec<Tombstone>, StoreError>;

    /// Loads one task.
    async fn load(&self, id: TaskId) -> Result<Option<Arc<Task>>, StoreError>;

    /// Pages through the tasks that are open ([`Task::is_open`]), oldest first,
    /// starting after `after`.
    async fn unfinished(&self, after: Option<TaskId>, limit: usize) -> Result<Vec<Arc<Task>>, StoreError>;

    /// How many tasks are open.
    fn open_tasks(&self) -> usize;

    /// The tasks that are set aside because their rows are damaged, each with the
    /// first half of SHA-256 of its request id where that can still be told.
    fn damaged_tasks(&self) -> Vec<(TaskId, Option<[u8; 16]>)>;

    /// Whether a task uses the picture of this digest.
    fn uses_input(&self, digest: &[u8; 32]) -> bool;

    /// The announcements of one task, in the order in which they are told.
    async fn announcements_of(&self, task: TaskId) -> Result<Vec<Announcement>, StoreError>;

    /// Lists tasks that match, newest first, starting before `before`.
    async fn list(&self, filter: &Filter, before: Option<TaskId>, limit: usize) -> Result<Vec<Arc<Task>>, StoreError>;

    /// Counts the QUEUED tasks of the same account and model that were created
    /// before this one.
    async fn queued_before(&self, task: &Task) -> Result<u32, StoreError>;

    /// Reads a small note, such as a learned duration.
    async fn read_note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// All notes, by name.
    async fn notes(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// Writes a small note of at most 1 KiB, durably.
    async fn write_note(&self, name: &str, value: Vec<u8>) -> Result<(), StoreError>;

    /// Turns true when the store has stopped for good after an error: nothing is
    /// acknowledged any more and the process should end, to recover at its next
    /// start.
    fn stopped(&self) -> watch::Receiver<bool>;

    /// Finishes what is in flight and syncs. Later calls answer `Stopped`.
    async fn close(&self);
}

/// What became of a create.
#[derive(Clone, Debug, PartialEq)]
pub enum Creation {
    /// The task is stored.
    Created,
    /// The request id was used before; this is its task.
    Earlier(Arc<Task>),
    /// The request id was used before, for this task, which was removed.
    Removed(TaskId),
}

/// What is left of a removed task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The task.
    pub task: TaskId,
    /// The first half of SHA-256 of its request id.
    pub request: [u8; 16],
    /// When it was removed.
    pub removed: SystemTime,
    /// Whether its file may still be there.
    pub has_file: bool,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The task is stored.
    Committed,
    /// Somebody else committed first: load, decide again.
    Stale,
}

/// Why a store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It stopped after an earlier error; whether the write in question is on
    /// disk will be known after a restart.
    #[error("the store has stopped: {0}")]
    Stopped(String),
    /// One row does not hold what its checksum promises.
    #[error("task {id} is damaged: {reason}")]
    Damaged {
        /// Whose row.
        id: TaskId,
        /// What is wrong with it.
        reason: String,
    },
    /// The task is too large to be kept.
    #[error("the task is too large to be stored")]
    TooLarge,
}

/// Chooses tasks. Everything that is set must match.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Filter {
    /// Any of these; empty means all.
    pub states: Vec<State>,
    /// All of these.
    pub labels: BTreeMap<String, String>,
    /// This model.
    pub model: Option<ModelName>,
    /// Created at or after.
    pub created_from: Option<SystemTime>,
    /// Created before.
    pub created_before: Option<SystemTime>,
}

impl Filter {
    /// Whether the task is chosen.
    pub fn matches(&self, task: &Task) -> bool {
        let submission = &task.submission;
        (self.states.is_empty() || self.states.contains(&task.state))
            && self.labels.iter().all(|(key, value)| submission.labels.get(key) == Some(value))
            && self.model.as_ref().is_none_or(|model| *model == submission.spec.model)
            && self.created_from.is_none_or(|from| task.created >= from)
            && self.created_before.is_none_or(|before| task.created < before)
    }
}
