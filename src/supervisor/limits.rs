//! How much at once: slots per account and model, which a job holds from its
//! create to its end, and the rate of requests per account.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};

use crate::task::id::{AccountName, ModelName, TaskId};
use crate::task::state::{State, Task};

/// Slots of every account and model.
#[derive(Debug, Default)]
pub struct Slots {
    lanes: Mutex<HashMap<Lane, Places>>,
}

/// What providers count their parallel jobs by.
type Lane = (AccountName, ModelName);

#[derive(Debug, Default)]
struct Places {
    holders: HashSet<TaskId>,
    /// Oldest first, which is the order of ids.
    waiting: BTreeSet<TaskId>,
}

impl Slots {
    /// Takes a slot for a task that is about to be bought. Without a free one, or
    /// with an older task waiting, it has to wait.
    pub fn claim(&self, task: &Task, limit: usize) -> bool {
        self.with(task, |places| {
            let turn = places.waiting.first().is_none_or(|oldest| *oldest >= task.id);
            let free = places.holders.contains(&task.id) || places.holders.len() < limit;
            if turn && free {
                places.waiting.remove(&task.id);
                places.holders.insert(task.id);
            } else {
                places.waiting.insert(task.id);
            }
            turn && free
        })
    }

    /// Brings the slots in line with what became of a task, and names the tasks
    /// whose turn has come.
    pub fn settle(&self, task: &Task, limit: usize) -> Vec<TaskId> {
        self.with(task, |places| {
            if occupies(task.state) {
                places.waiting.remove(&task.id);
                places.holders.insert(task.id);
                return Vec::new();
            }
            let held = places.holders.remove(&task.id);
            let waited = places.waiting.remove(&task.id);
            if !held && !waited {
                return Vec::new();
            }
            let free = limit.saturating_sub(places.holders.len());
            places.waiting.iter().take(free).copied().collect()
        })
    }

    fn with<T>(&self, task: &Task, work: impl FnOnce(&mut Places) -> T) -> T {
        let lane = (task.submission.account.clone(), task.submission.spec.model.clone());
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let places = lanes.entry(lane.clone()).or_default();
        let result = work(places);
        if places.holders.is_empty() && places.waiting.is_empty() {
            lanes.remove(&lane);
        }
        result
    }
}

/// Whether the provider may count a job for a task in this state.
fn occupies(state: State) -> bool {
    match state {
        State::Submitting | State::Reconciling | State::Running => true,
        State::Queued | State::Archiving | State::Succeeded | State::Failed | State::Cancelled => false,
    }
}

/// The rate of requests to one account: evenly spaced, with a second's worth of
/// burst after a pause.
#[derive(Debug)]
pub struct Rate {
    interval: Duration,
    next: Mutex<Option<Instant>>,
}

impl Rate {
    /// So many requests a second.
    pub fn per_second(requests: f64) -> Self {
        Self { interval: Duration::from_secs_f64(1.0 / requests.max(0.001)), next: Mutex::new(None) }
    }

    /// Waits for the next request's turn.
    pub async fn turn(&self) {
        let at = self.reserve(Instant::now());
        tokio::time::sleep_until(at).await;
    }

    fn reserve(&self, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        let at = next.map_or(oldest, |next| next.max(oldest));
        *next = Some(at + self.interval);
        at.max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_a_second_of_requests_through_and_then_spaces_them() {
        let rate = Rate::per_second(4.0);
        let now = Instant::now() + Duration::from_secs(10);
        let times: Vec<f64> = (0..8).map(|_| (rate.reserve(now) - now).as_secs_f64()).collect();
        assert_eq!(times, [0.0, 0.0, 0.0, 0.0, 0.0, 0.25, 0.5, 0.75]);
    }
}
