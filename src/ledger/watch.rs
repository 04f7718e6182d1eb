//! Who watches what. A watcher is shown the newest whole state, never a backlog:
//! one that reads slowly skips states, and costs its own memory only.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::store::contract::Filter;
use crate::task::id::{Revision, TaskId};
use crate::task::state::Task;

/// How many streams may be open at once.
pub const WATCH_LIMIT: usize = 200_000;
/// How many changed tasks may wait for a follower of many.
pub const FOLLOWER_BACKLOG: usize = 10_000;

/// One channel a watched task, and one inbox a follower of many.
#[derive(Debug, Default)]
pub struct Watchers {
    channels: Mutex<HashMap<TaskId, watch::Sender<Option<Arc<Task>>>>>,
    inboxes: Mutex<Vec<Arc<Inbox>>>,
    /// The tasks that are being written.
    writing: Mutex<HashMap<TaskId, Written>>,
    open: AtomicUsize,
}

impl Watchers {
    /// Listens to one task; nothing when too many do.
    pub(super) fn subscribe(self: &Arc<Self>, id: TaskId) -> Option<Subscription> {
        let place = self.enter()?;
        let receiver = locked(&self.channels).entry(id).or_insert_with(|| watch::channel(None).0).subscribe();
        Some(Subscription { id, receiver: Some(receiver), place })
    }

    /// Listens to every task that matches; nothing when too many do.
    pub(super) fn subscribe_matching(self: &Arc<Self>, filter: Filter) -> Option<FilterWatch> {
        let place = self.enter()?;
        let inbox = Arc::new(Inbox { filter, ..Inbox::default() });
        locked(&self.inboxes).push(Arc::clone(&inbox));
        Some(FilterWatch { inbox, place })
    }

    /// Shows a task to whoever listens, unless they have seen a newer state.
    pub(super) fn publish(&self, task: &Arc<Task>) {
        if let Some(channel) = locked(&self.channels).get(&task.id) {
            channel.send_if_modified(|shown| replace_if_newer(shown, task));
        }
        let inboxes = locked(&self.inboxes);
        if self.is_newest(task) {
            inboxes.iter().for_each(|inbox| inbox.put(task));
        }
    }

    /// To be taken before a commit and held until its publication: of two writers the
    /// one that committed first may be the last to publish.
    pub(super) fn writing(self: &Arc<Self>, id: TaskId) -> Writing {
        locked(&self.writing).entry(id).or_default().writers += 1;
        Writing { watchers: Arc::clone(self), id }
    }

    /// Whether no newer state was published by another who writes the same task.
    fn is_newest(&self, task: &Task) -> bool {
        let mut writing = locked(&self.writing);
        let Some(written) = writing.get_mut(&task.id) else { return true };
        let newest = written.newest < task.revision;
        written.newest = written.newest.max(task.revision);
        newest
    }

    fn enter(self: &Arc<Self>) -> Option<Place> {
        let place = Place(Arc::clone(self));
        (self.open.fetch_add(1, Ordering::Relaxed) < WATCH_LIMIT).then_some(place)
    }
}

/// A task that is being written.
#[derive(Debug, Default)]
struct Written {
    writers: usize,
    /// The newest revision that was published meanwhile.
    newest: Revision,
}

/// Somebody who writes a task.
#[derive(Debug)]
pub(super) struct Writing {
    watchers: Arc<Watchers>,
    id: TaskId,
}

impl Drop for Writing {
    fn drop(&mut self) {
        if let Entry::Occupied(mut written) = locked(&self.watchers.writing).entry(self.id) {
            written.get_mut().writers -= 1;
            if written.get().writers == 0 {
                written.remove();
            }
        }
    }
}

/// Two commits of a task may be published in the wrong order; only the newer one
/// is shown.
fn replace_if_newer(shown: &mut Option<Arc<Task>>, task: &Arc<Task>) -> bool {
    let newer = shown.as_ref().is_none_or(|shown| shown.revision < task.revision);
    if newer {
        *shown = Some(Arc::clone(task));
    }
    newer
}

/// One open stream, counted until it is dropped.
#[derive(Debug)]
struct Place(Arc<Watchers>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A listener to one task. The last one to leave takes the channel away.
#[derive(Debug)]
pub struct Subscription {
    id: TaskId,
    receiver: Option<watch::Receiver<Option<Arc<Task>>>>,
    place: Place,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut channels = locked(&self.place.0.channels);
        self.receiver = None;
        if channels.get(&self.id).is_some_and(|channel| channel.receiver_count() == 0) {
            channels.remove(&self.id);
        }
    }
}

/// One task's states, revisions strictly growing, up to the final one.
#[derive(Debug)]
pub struct TaskWatch {
    subscription: Subscription,
    /// The state that was read when the watch began.
    first: Option<Arc<Task>>,
    seen: Revision,
    ended: bool,
}

impl TaskWatch {
    pub(super) fn new(subscription: Subscription, task: Arc<Task>, after: Revision) -> Self {
        // A final state that the client already has leaves nothing to send.
        let ended = task.state.is_final() && after == task.revision;
        Self { subscription, first: Some(task), seen: after, ended }
    }

    /// The last revision handed out, or where the watch began.
    pub fn seen(&self) -> Revision {
        self.seen
    }

    /// The next newer state, or nothing after the final one. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<Task>> {
        while !self.ended {
            if let Some(task) = self.newest().filter(|task| task.revision > self.seen) {
                self.seen = task.revision;
                self.ended = task.state.is_final();
                return Some(task);
            }
            self.subscription.receiver.as_mut()?.changed().await.ok()?;
        }
        None
    }

    fn newest(&mut self) -> Option<Arc<Task>> {
        let shown = self.subscription.receiver.as_mut()?.borrow_and_update().clone();
        let first = self.first.take();
        match (shown, first) {
            (Some(shown), Some(first)) if first.revision > shown.revision => Some(first),
            (Some(shown), _) => Some(shown),
            (None, first) => first,
        }
    }
}

/// What waits for one follower of many tasks: the newest state of each.
#[derive(Debug, Default)]
struct Inbox {
    filter: Filter,
    waiting: Mutex<BTreeMap<TaskId, Arc<Task>>>,
    some: Notify,
    overrun: AtomicBool,
}

impl Inbox {
    fn put(&self, task: &Arc<Task>) {
        if !self.filter.matches(task) || self.overrun.load(Ordering::Relaxed) {
            return;
        }
        let mut waiting = locked(&self.waiting);
        if waiting.len() >= FOLLOWER_BACKLOG && !waiting.contains_key(&task.id) {
            self.overrun.store(true, Ordering::Relaxed);
        } else if waiting.get(&task.id).is_none_or(|known| known.revision < task.revision) {
            waiting.insert(task.id, Arc::clone(task));
        }
        drop(waiting);
        self.some.notify_one();
    }
}

/// Every change to matching tasks, the newest state of each.
#[derive(Debug)]
pub struct FilterWatch {
    inbox: Arc<Inbox>,
    place: Place,
}

/// The follower reads more slowly than tasks change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reader is too slow")]
pub struct TooSlow;

impl FilterWatch {
    /// What it follows.
    pub fn filter(&self) -> &Filter {
        &self.inbox.filter
    }

    /// The next change. Cancel safe.
    pub async fn next(&mut self) -> Result<Arc<Task>, TooSlow> {
        loop {
            if self.inbox.overrun.load(Ordering::Relaxed) {
                return Err(TooSlow);
            }
            if let Some((_, task)) = locked(&self.inbox.waiting).pop_first() {
                return Ok(task);
            }
            self.inbox.some.notified().await;
        }
    }
}

impl Drop for FilterWatch {
    fn drop(&mut self) {
        locked(&self.place.0.inboxes).retain(|inbox| !Arc::ptr_eq(inbox, &self.inbox));
    }
}

/// These sections only move values; one that panicked left nothing half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::task::fixture;

    #[tokio::test]
    async fn a_follower_of_many_is_never_shown_an_older_state_of_a_task() {
        let watchers = Arc::new(Watchers::default());
        let mut watch = watchers.subscribe_matching(Filter::default()).unwrap();
        let first = Arc::new(fixture::task(1));
        let second = Arc::new(first.next());
        // Both are on disk; the first writer comes to publish after the second.
        let slow = watchers.writing(first.id);
        let quick = watchers.writing(first.id);
        watchers.publish(&second);
        drop(quick);
        assert_eq!(watch.next().await.unwrap().revision, second.revision);
        watchers.publish(&first);
        drop(slow);
        assert!(watch.next().now_or_never().is_none());
        let third = Arc::new(second.next());
        watchers.publish(&third);
        assert_eq!(watch.next().await.unwrap().revision, third.revision);
        assert!(locked(&watchers.writing).is_empty());
    }
}
