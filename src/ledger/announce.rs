//! What is told to webhooks: decided here when a task changes, kept by the store in
//! the same write, and taken away once the outbox has told it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;

use super::{Ledger, LedgerError};
use crate::task::announcement::{Announcement, AnnouncementId, Parked, Topic};
use crate::task::id::{AccountName, Revision, TaskId};
use crate::task::state::Task;
use crate::task::text::shortened;

/// Which tasks are told of, and what, where a task does not say so itself.
#[derive(Clone, Debug, Default)]
pub struct Announcing {
    /// What is told.
    pub topics: BTreeSet<Topic>,
    /// Whether of every task.
    pub all: bool,
    /// Of the tasks of these accounts.
    pub accounts: BTreeSet<AccountName>,
}

impl Announcing {
    fn wants(&self, task: &Task, topic: Topic) -> bool {
        match &task.submission.webhook {
            Some(webhook) => topic != Topic::Updated || webhook.updates,
            None => (self.all || self.accounts.contains(&task.submission.account)) && self.topics.contains(&topic),
        }
    }

    /// What is to be told of a change.
    pub(super) fn announcement(&self, before: &Task, after: &Task) -> Option<Announcement> {
        let topic = Topic::of(before, after);
        self.wants(after, topic).then(|| Announcement::of(after, topic))
    }
}

/// How the telling of a task has gone so far: in memory, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// What is being told.
    pub id: AnnouncementId,
    /// How many tries have failed.
    pub tries: u32,
    /// How the last one ended.
    pub note: String,
    /// When the next one is due.
    pub next: SystemTime,
}

/// What the outbox and the doors tell one another.
#[derive(Debug, Default)]
pub(super) struct Telling {
    hints: Mutex<HashMap<TaskId, bool>>,
    some: Notify,
    trials: Mutex<HashMap<TaskId, Trial>>,
}

impl Telling {
    /// Something of this task waits to be told; at once, or when its turn comes.
    pub(super) fn hint(&self, task: TaskId, at_once: bool) {
        *self.hints.lock().unwrap_or_else(PoisonError::into_inner).entry(task).or_default() |= at_once;
        self.some.notify_one();
    }

    fn trials<T>(&self, work: impl FnOnce(&mut HashMap<TaskId, Trial>) -> T) -> T {
        work(&mut self.trials.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Ledger {
    /// Waits until there is something to be told, and says of which tasks, and whether
    /// at once. A hint: it may be doubled without harm, and a start reads the store.
    pub async fn to_be_told(&self) -> HashMap<TaskId, bool> {
        loop {
            let hints = std::mem::take(&mut *self.telling.hints.lock().unwrap_or_else(PoisonError::into_inner));
            if !hints.is_empty() {
                return hints;
            }
            self.telling.some.notified().await;
        }
    }

    /// Pages through what is not told, by id: only parked announcements or only
    /// others, if that is said.
    pub async fn announcements(
        &self,
        parked: Option<bool>,
        after: Option<AnnouncementId>,
        limit: usize,
    ) -> Result<Vec<Announcement>, LedgerError> {
        Ok(self.store.announcements(parked, after, limit).await?)
    }

    /// What is not told of one task, in its order.
    pub async fn announcements_of(&self, task: TaskId) -> Result<Vec<Announcement>, LedgerError> {
        Ok(self.store.announcements_of(task).await?)
    }

    /// It was told.
    pub async fn told(&self, id: AnnouncementId) -> Result<(), LedgerError> {
        self.telling.trials(|trials| trials.remove(&id.task));
        Ok(self.store.told(id).await?)
    }

    /// It is not told any more, until somebody asks for it. An update is let go: the
    /// task itself says more.
    pub async fn park(&self, announcement: &Announcement, gone: bool, note: &str) -> Result<(), LedgerError> {
        if announcement.topic == Topic::Updated {
            return self.told(announcement.id).await;
        }
        self.telling.trials(|trials| trials.remove(&announcement.id.task));
        let parked = Some(Parked { time: self.clock.now(), gone, note: shortened(note, 200) });
        self.store.announce(Announcement { parked, ..announcement.clone() }).await?;
        Ok(())
    }

    /// Notes that a try has failed.
    pub fn tried(&self, trial: Trial) {
        self.telling.trials(|trials| trials.insert(trial.id.task, trial));
    }

    /// How the telling of an announcement has gone so far.
    pub fn trial(&self, id: AnnouncementId) -> Option<Trial> {
        self.telling.trials(|trials| trials.get(&id.task).filter(|trial| trial.id == id).cloned())
    }

    /// Sends an announcement that was not told once more, at once; one that is parked
    /// gets its whole time again.
    pub async fn replay(&self, id: AnnouncementId) -> Result<Announcement, LedgerError> {
        let before = AnnouncementId { revision: Revision(id.revision.0.saturating_sub(1)), ..id };
        let found = self.store.announcements(None, Some(before), 1).await?.pop().filter(|found| found.id == id);
        let mut announcement = found.ok_or(LedgerError::NotToBeTold(id))?;
        if announcement.parked.take().is_some() {
            announcement.replayed = Some(self.clock.now());
            if !self.store.announce(announcement.clone()).await? {
                return Err(LedgerError::NotToBeTold(id));
            }
        }
        self.telling.hint(id.task, true);
        Ok(announcement)
    }
}
