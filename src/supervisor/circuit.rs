//! Whether an account's credentials and money are good for another create. A wrong
//! key or an empty purse needs a human: until one has seen to it the account's tasks
//! are held in the queue, and one create at a time finds out whether it is mended.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};

use crate::task::id::TaskId;

/// The pause before the first probe; it doubles with each that is refused.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause between two probes.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// How long a task is held before it asks again by itself. It is called earlier
/// when the account is good again.
const BACKSTOP: Duration = Duration::from_secs(600);
/// The shortest wait of the task that is to be the next probe.
const SHORTEST_WAIT: Duration = Duration::from_secs(5);
/// How many polls in a row must be denied: a single one may be a matter of clocks.
const DENIALS: u32 = 3;

/// The circuit of one account.
#[derive(Debug, Default)]
pub struct Circuit {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Open>,
    /// The tasks that wait for it to close; the oldest is the next probe.
    held: BTreeSet<TaskId>,
    /// Polls denied in a row.
    denials: u32,
}

#[derive(Debug)]
struct Open {
    reason: String,
    /// Whether polls alone opened it: then a poll that succeeds closes it.
    by_polls: bool,
    /// How many probes were refused.
    refused: u32,
    probe_at: Instant,
    probing: Option<TaskId>,
}

/// What a task that wants to buy is told.
#[derive(Debug, PartialEq, Eq)]
pub enum Pass {
    /// Go on.
    Free,
    /// The account is held: for this reason, ask again after this long.
    Held(String, Duration),
}

/// What a refusal means for the task that met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is the first: it fails its task, so that somebody hears of it.
    First,
    /// The account is held already: the task goes back to the queue.
    Another,
}

impl Circuit {
    /// Takes over a hold from before a restart. The first create is a probe.
    pub fn resume(&self, reason: String, now: Instant) {
        self.with(|state| state.open = Some(Open::new(reason, false, now)));
    }

    /// Asks whether a task may buy. One that may while the account is held is a
    /// probe, until [`Circuit::leave`] is called for it.
    pub fn enter(&self, task: TaskId, now: Instant) -> Pass {
        self.with(|state| {
            let Some(open) = &mut state.open else { return Pass::Free };
            if open.probing.is_none() && now >= open.probe_at {
                open.probing = Some(task);
                state.held.remove(&task);
                return Pass::Free;
            }
            state.held.insert(task);
            let next = state.held.first() == Some(&task);
            let wait = if next { open.probe_at.saturating_duration_since(now).max(SHORTEST_WAIT) } else { BACKSTOP };
            Pass::Held(open.reason.clone(), wait)
        })
    }

    /// The task's create has ended, one way or another.
    pub fn leave(&self, task: TaskId, now: Instant, jitter: f64) {
        self.with(|state| {
            if let Some(open) = state.open.as_mut().filter(|open| open.probing == Some(task)) {
                open.probing = None;
                open.probe_at = now + open.pause(jitter);
            }
        });
    }

    /// A create was refused for want of credentials or money.
    pub fn refused(&self, task: TaskId, reason: &str, now: Instant, jitter: f64) -> Refusal {
        self.with(|state| match &mut state.open {
            None => {
                let mut open = Open::new(reason.to_owned(), false, now);
                open.probe_at = now + open.pause(jitter);
                state.open = Some(open);
                Refusal::First
            }
            Some(open) => {
                open.refused += u32::from(open.probing == Some(task));
                open.by_polls = false;
                reason.clone_into(&mut open.reason);
                Refusal::Another
            }
        })
    }

    /// A poll was denied. Says whether that opened the circuit.
    pub fn denied(&self, reason: &str, now: Instant) -> bool {
        self.with(|state| {
            state.denials += 1;
            let opens = state.denials >= DENIALS && state.open.is_none();
            if opens {
                state.open = Some(Open::new(reason.to_owned(), true, now + FIRST_PAUSE));
            }
            opens
        })
    }

    /// A create was taken: the account is good. Gives the tasks that were held, if
    /// it was.
    pub fn bought(&self) -> Option<BTreeSet<TaskId>> {
        self.with(|state| {
            state.open.take()?;
            Some(std::mem::take(&mut state.held))
        })
    }

    /// A poll was answered: that closes what polls have opened.
    pub fn answered(&self) -> Option<BTreeSet<TaskId>> {
        self.with(|state| {
            state.denials = 0;
            state.open.take_if(|open| open.by_polls)?;
            Some(std::mem::take(&mut state.held))
        })
    }

    /// A task no longer waits to buy. Gives the one that is the next probe instead.
    pub fn forget(&self, task: TaskId) -> Option<TaskId> {
        self.with(|state| {
            let was_next = state.held.first() == Some(&task);
            state.held.remove(&task);
            state.held.first().copied().filter(|_| was_next)
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Open {
    fn new(reason: String, by_polls: bool, probe_at: Instant) -> Self {
        Self { reason, by_polls, refused: 0, probe_at, probing: None }
    }

    /// The pause before the next probe: doubling, with jitter that takes away up to a
    /// quarter.
    fn pause(&self, jitter: f64) -> Duration {
        let grown = FIRST_PAUSE.saturating_mul(1 << self.refused.min(10)).min(LONGEST_PAUSE);
        grown.mul_f64(1.0 - 0.25 * jitter.clamp(0.0, 1.0)).max(FIRST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(number: u64) -> TaskId {
        TaskId::floor(number)
    }

    fn wait(pass: Pass) -> Duration {
        match pass {
            Pass::Held(_, wait) => wait,
            Pass::Free => panic!("it is not held"),
        }
    }

    #[test]
    fn only_the_first_refusal_fails_its_task() {
        let circuit = Circuit::default();
        let now = Instant::now();
        assert_eq!(circuit.enter(task(1), now), Pass::Free);
        assert_eq!(circuit.enter(task(2), now), Pass::Free);
        assert_eq!(circuit.refused(task(1), "bad key", now, 0.0), Refusal::First);
        assert_eq!(circuit.refused(task(2), "bad key", now, 0.0), Refusal::Another);
        assert_eq!(circuit.enter(task(3), now), Pass::Held("bad key".into(), FIRST_PAUSE));
    }

    #[test]
    fn one_probe_goes_at_a_time_with_growing_pauses() {
        let circuit = Circuit::default();
        let mut now = Instant::now();
        circuit.refused(task(1), "no money", now, 0.0);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let pause = wait(circuit.enter(task(2), now));
            pauses.push(pause.as_secs());
            now += pause;
            assert_eq!(circuit.enter(task(2), now), Pass::Free);
            assert!(wait(circuit.enter(task(3), now)) >= SHORTEST_WAIT, "one at a time");
            assert_eq!(circuit.refused(task(2), "no money", now, 0.0), Refusal::Another);
            circuit.leave(task(2), now, 0.0);
        }
        assert_eq!(pauses, [30, 60, 120, 240, 480, 600, 600]);
    }

    #[test]
    fn the_first_success_lets_everybody_through() {
        let circuit = Circuit::default();
        let now = Instant::now();
        assert_eq!(circuit.bought(), None);
        circuit.refused(task(1), "no money", now, 0.0);
        circuit.enter(task(3), now);
        circuit.enter(task(2), now);
        assert_eq!(circuit.answered(), None, "polls need no money");
        assert_eq!(circuit.bought(), Some(BTreeSet::from([task(2), task(3)])));
        assert_eq!(circuit.enter(task(2), now), Pass::Free);
    }

    #[test]
    fn polls_that_are_denied_hold_the_account_until_one_is_answered() {
        let circuit = Circuit::default();
        let now = Instant::now();
        assert_eq!([circuit.denied("401", now), circuit.denied("401", now)], [false, false]);
        assert_eq!(circuit.answered(), None, "the count begins anew");
        assert_eq!([(); 4].map(|()| circuit.denied("401", now)), [false, false, true, false]);
        assert_eq!(wait(circuit.enter(task(1), now)), FIRST_PAUSE);
        assert_eq!(circuit.answered(), Some(BTreeSet::from([task(1)])));
    }

    #[test]
    fn the_next_of_the_held_takes_the_place_of_one_that_leaves() {
        let circuit = Circuit::default();
        let now = Instant::now();
        circuit.refused(task(9), "no money", now, 0.0);
        (1..4).for_each(|number| drop(circuit.enter(task(number), now)));
        assert_eq!(circuit.forget(task(2)), None);
        assert_eq!(circuit.forget(task(1)), Some(task(3)));
    }
}
