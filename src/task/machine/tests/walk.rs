//! Every sequence of events from a new task, as far as it goes: tasks that differ
//! only in their dates and history are walked on from once.

use std::collections::HashSet;

use super::invariants::{check, check_change};
use super::*;
use crate::dice::setting;

/// How many events in a row, unless `VIDEOGEN_TORTURE_DEPTH` says otherwise.
const DEPTH: u64 = 6;

/// An event, and how long after the one before.
fn steps() -> Vec<(Event, Duration)> {
    let at_once = [
        Event::CreateStarted,
        Event::ResendStarted,
        accepted("a"),
        accepted("b"),
        not_sent(),
        refused(),
        unknown(),
        found(1, "a"),
        found(2, "b"),
        Event::WindowOver,
        pending("rendering"),
        done("link"),
        done("fresh"),
        gave_up(),
        missing(),
        Event::CancelRequested,
        answered(CancelOutcome::Confirmed),
        answered(CancelOutcome::AskedUpstream),
        answered(CancelOutcome::NotSupported),
        stored(),
        unkept(),
        bad_image(),
    ];
    let later = [(missing(), 10 * MINUTE), (Event::DeadlinePassed, 24 * HOUR)];
    at_once.into_iter().map(|event| (event, Duration::ZERO)).chain(later).collect()
}

/// What of a life decides how it can go on.
fn essence(life: &Life) -> String {
    let Life { task, now } = life;
    let attempts: Vec<_> = task
        .attempts
        .iter()
        .map(|attempt| (attempt.outcome, attempt.sends, &attempt.job, attempt.unknown_since.is_some()))
        .collect();
    let link = task.output.as_ref().map(|output| &output.url);
    let failure = task.failure.as_ref().map(|failure| (failure.kind, failure.maybe_charged, task.is_recoverable(*now)));
    let missing = task.missing_since.map(|since| *now >= since + 10 * MINUTE);
    let missing = (missing, task.missing_answers);
    let (wish, over) = (life.cancellation(), *now >= task.deadline);
    let jobs = (&task.job, &task.spares, task.is_open());
    format!("{:?} {attempts:?} {link:?} {failure:?} {missing:?} {wish:?} {over} {jobs:?}", task.state)
}

/// Walks, and says how many different tasks it has met.
fn walk(policy: UnknownPolicy) -> usize {
    let steps = steps();
    let mut met = HashSet::new();
    let mut front = vec![Life::begin(policy)];
    for _ in 0..setting("VIDEOGEN_TORTURE_DEPTH", DEPTH) {
        let mut further = Vec::new();
        for life in &front {
            for (event, gap) in &steps {
                let now = life.now + *gap;
                let Applied::Next(task) = apply(&life.task, event, now) else { continue };
                check_change(&life.task, event, &task);
                check(&task, now);
                let next = Life { task: *task, now };
                if met.insert(essence(&next)) {
                    further.push(next);
                }
            }
        }
        front = further;
    }
    println!("{} different tasks", met.len());
    met.len()
}

#[test]
fn no_short_life_that_buys_once_breaks_an_invariant() {
    assert!(walk(ONCE) > 100);
}

#[test]
fn no_short_life_that_may_buy_twice_breaks_an_invariant() {
    assert!(walk(TWICE) > 200);
}
