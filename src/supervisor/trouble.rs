//! What is held against the tasks: calls in a row that told nothing, and since when
//! a video's link is refused. Memory only: a restart forgives all of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::{Duration, Instant};

use crate::task::id::TaskId;

/// The tasks against which something is held.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<HashMap<TaskId, Held>>);

#[derive(Debug, Default)]
struct Held {
    /// Calls in a row that told nothing.
    failures: u32,
    /// When the link was first refused, if every try since was refused as well.
    refused: Option<Instant>,
}

impl Troubles {
    /// Counts one more call that told nothing; how many there were in a row before.
    pub(super) fn count(&self, id: TaskId) -> u32 {
        let mut tasks = self.lock();
        let held = tasks.entry(id).or_default();
        held.failures += 1;
        held.failures - 1
    }

    /// Whether the last call for the task told nothing, so that the next is a retry.
    pub(super) fn any(&self, id: TaskId) -> bool {
        self.lock().get(&id).is_some_and(|held| held.failures > 0)
    }

    /// The link is refused: for how long now, without a break.
    pub(super) fn link_refused(&self, id: TaskId, now: Instant) -> Duration {
        now - *self.lock().entry(id).or_default().refused.get_or_insert(now)
    }

    /// Nobody said that the link is refused: it may well work.
    pub(super) fn link_may_work(&self, id: TaskId) {
        if let Some(held) = self.lock().get_mut(&id) {
            held.refused = None;
        }
    }

    /// Something was told: nothing is held against the task.
    pub(super) fn forget(&self, id: TaskId) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
