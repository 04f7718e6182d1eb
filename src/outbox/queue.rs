//! Whose turn it is: so many at once in all, so many for each host, and one alone for
//! a host whose last answer was none. A slow receiver keeps nobody else waiting.
//! Pure but for tokio's `Instant`.

use std::collections::{BTreeSet, HashMap, VecDeque};

use tokio::time::Instant;

use super::round::Next;
use crate::task::id::TaskId;

/// How many are sent at once.
pub(super) const AT_ONCE: usize = 64;
/// How many are sent to one host at once.
pub(super) const PER_HOST: usize = 8;

/// A task of which something waits.
#[derive(Debug)]
struct Line {
    stand: Stand,
    /// Failures in a row.
    tries: u32,
    /// Somebody asked for it while it was being sent.
    asked: bool,
    /// The host that kept it and has called it.
    called: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stand {
    /// Its turn comes then.
    Due(Instant),
    /// Being read.
    Read,
    /// Waits for a place at this host.
    Held(String),
    /// On its way to this host.
    Sent(String),
}

#[derive(Debug, Default)]
struct Host {
    busy: usize,
    failing: bool,
    held: VecDeque<TaskId>,
}

impl Host {
    fn places(&self) -> usize {
        if self.failing { 1 } else { PER_HOST }
    }
}

/// Every task of which something waits.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lines: HashMap<TaskId, Line>,
    due: BTreeSet<(Instant, TaskId)>,
    hosts: HashMap<String, Host>,
    sent: usize,
}

impl Queue {
    /// How many tasks there are.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Takes a task in. One that is known keeps its turn, unless it is asked for at
    /// once.
    pub(super) fn add(&mut self, task: TaskId, now: Instant, at_once: bool) {
        match self.lines.get_mut(&task) {
            None => {
                self.lines.insert(task, Line { stand: Stand::Due(now), tries: 0, asked: false, called: None });
                self.due.insert((now, task));
            }
            Some(line) => match &line.stand {
                Stand::Due(_) if at_once => self.set_due(task, now),
                Stand::Due(_) | Stand::Held(_) => {}
                Stand::Read | Stand::Sent(_) => line.asked = true,
            },
        }
    }

    /// When the next turn comes; nothing while there is no place.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if self.sent >= AT_ONCE {
            return None;
        }
        self.due.first().map(|(at, _)| *at)
    }

    /// The task whose turn it is, if there is a place.
    pub(super) fn pop(&mut self, now: Instant) -> Option<TaskId> {
        let (at, task) = *self.due.first()?;
        if self.sent >= AT_ONCE || at > now {
            return None;
        }
        self.due.remove(&(at, task));
        if let Some(line) = self.lines.get_mut(&task) {
            line.stand = Stand::Read;
        }
        Some(task)
    }

    /// How many tries in a row have failed.
    pub(super) fn tries(&self, task: TaskId) -> u32 {
        self.lines.get(&task).map_or(0, |line| line.tries)
    }

    /// Whether the task may be sent to this host now; if not, the host keeps it.
    pub(super) fn begin(&mut self, task: TaskId, name: &str) -> bool {
        let Some(line) = self.lines.get_mut(&task) else { return false };
        line.called = None;
        let host = self.hosts.entry(name.to_owned()).or_default();
        if host.busy >= host.places() {
            line.stand = Stand::Held(name.to_owned());
            host.held.push_back(task);
            return false;
        }
        host.busy += 1;
        self.sent += 1;
        line.stand = Stand::Sent(name.to_owned());
        true
    }

    /// Nothing of this task waits any more, unless something was added meanwhile.
    pub(super) fn finish(&mut self, task: TaskId) {
        self.pass_on(task);
        match self.lines.get(&task) {
            Some(line) if line.asked => self.set_due(task, Instant::now()),
            _ => drop(self.lines.remove(&task)),
        }
    }

    /// The task could not be read; again then.
    pub(super) fn again(&mut self, task: TaskId, at: Instant) {
        self.pass_on(task);
        self.set_due(task, at);
    }

    /// A sending has ended.
    pub(super) fn end(&mut self, task: TaskId, next: Next, now: Instant) {
        let Some(line) = self.lines.get_mut(&task) else { return };
        let Stand::Sent(name) = line.stand.clone() else { return };
        let (tries, at) = match next {
            Next::Failed(wait) => (line.tries + 1, now + wait),
            // The next one of the task, if there is one.
            Next::Told | Next::Parked => (0, now),
        };
        line.tries = tries;
        self.sent -= 1;
        self.set_due(task, at);
        if let Some(host) = self.hosts.get_mut(&name) {
            host.busy -= 1;
            host.failing = next != Next::Told;
        }
        self.call(&name, now);
    }

    /// A task that was called to a host does not go there: another one may.
    fn pass_on(&mut self, task: TaskId) {
        if let Some(name) = self.lines.get_mut(&task).and_then(|line| line.called.take()) {
            self.call(&name, Instant::now());
        }
    }

    /// Calls the tasks that a host keeps to the places that are free.
    fn call(&mut self, name: &str, now: Instant) {
        let Some(host) = self.hosts.get_mut(name) else { return };
        let free = host.places().saturating_sub(host.busy).min(host.held.len());
        let called: Vec<TaskId> = host.held.drain(..free).collect();
        if host.busy == 0 && host.held.is_empty() && called.is_empty() {
            self.hosts.remove(name);
        }
        for task in called {
            self.set_due(task, now);
            if let Some(line) = self.lines.get_mut(&task) {
                line.called = Some(name.to_owned());
            }
        }
    }

    fn set_due(&mut self, task: TaskId, at: Instant) {
        let Some(line) = self.lines.get_mut(&task) else { return };
        if let Stand::Due(before) = line.stand {
            self.due.remove(&(before, task));
        }
        line.stand = Stand::Due(at);
        line.asked = false;
        self.due.insert((at, task));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::task::fixture::id;

    /// Begins all that may begin.
    fn begin_all(queue: &mut Queue, host: impl Fn(TaskId) -> &'static str) -> Vec<TaskId> {
        let mut begun = Vec::new();
        while let Some(task) = queue.pop(Instant::now()) {
            if queue.begin(task, host(task)) {
                begun.push(task);
            }
        }
        begun
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_host_keeps_nobody_else_waiting() {
        let mut queue = Queue::default();
        let now = Instant::now();
        (0..1000).for_each(|number| queue.add(id(number), now, false));
        let slow = |task| if task < id(900) { "slow" } else { "quick" };
        let begun = begin_all(&mut queue, slow);
        assert_eq!(begun.len(), 2 * PER_HOST);
        let quick: Vec<_> = begun.into_iter().filter(|task| *task >= id(900)).collect();
        assert_eq!(quick.len(), PER_HOST);
        quick.iter().for_each(|task| queue.end(*task, Next::Told, now));
        quick.iter().for_each(|task| assert_eq!(queue.pop(now), Some(*task), "its next one"));
        quick.iter().for_each(|task| queue.finish(*task));
        let next = begin_all(&mut queue, slow);
        assert_eq!(next, (908..916).map(id).collect::<Vec<_>>(), "those that were held, in their order");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_host_is_called_one_at_a_time_until_it_answers() {
        let mut queue = Queue::default();
        let now = Instant::now();
        (0..100).for_each(|number| queue.add(id(number), now, false));
        let begun = begin_all(&mut queue, |_| "host");
        let failed = Next::Failed(Duration::from_secs(60));
        begun.iter().for_each(|task| queue.end(*task, failed, now));
        let one = begin_all(&mut queue, |_| "host");
        assert_eq!(one, [id(8)]);
        queue.end(id(8), Next::Told, now);
        assert_eq!(begin_all(&mut queue, |_| "host").len(), PER_HOST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_is_not_taken_goes_to_the_next() {
        let mut queue = Queue::default();
        let now = Instant::now();
        (0..20).for_each(|number| queue.add(id(number), now, false));
        let begun = begin_all(&mut queue, |_| "host");
        begun.iter().for_each(|task| queue.end(*task, Next::Failed(Duration::from_secs(60)), now));
        // One after another is called, has nothing to be told any more, and goes.
        for number in 8..20 {
            assert_eq!(queue.pop(now), Some(id(number)));
            queue.finish(id(number));
        }
        assert_eq!((queue.pop(now), queue.len()), (None, PER_HOST));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_added_while_a_task_is_sent_is_not_lost() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.add(id(1), now, false);
        assert_eq!(queue.pop(now), Some(id(1)));
        queue.add(id(1), now, false);
        queue.finish(id(1));
        assert_eq!(queue.pop(now), Some(id(1)));
        queue.finish(id(1));
        assert_eq!((queue.len(), queue.next_due()), (0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_waits_keeps_its_turn_unless_it_is_asked_for() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.add(id(1), now, false);
        assert!(queue.pop(now).is_some() && queue.begin(id(1), "host"));
        let later = now + Duration::from_secs(60);
        queue.end(id(1), Next::Failed(later - now), now);
        queue.add(id(1), now, false);
        assert_eq!((queue.next_due(), queue.tries(id(1))), (Some(later), 1));
        queue.add(id(1), now, true);
        assert_eq!(queue.next_due(), Some(now));
    }
}
