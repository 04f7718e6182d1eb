//! Lives in great number, each drawn from a seed: the invariants hold and the
//! reference agrees, whatever happens. `VIDEOGEN_TORTURE_SEED` is the first seed,
//! `VIDEOGEN_TORTURE_COUNT` how many.

use super::invariants::{check, check_change};
use super::properties::events;
use super::reference::Reference;
use super::*;
use crate::dice::{Dice, Replay, setting};

/// The most events of one life.
const LONGEST: u64 = 40;
/// How often an event that is allowed is looked for. Most events are not allowed in
/// most states: left to chance, few lives would get far.
const TRIES: usize = 6;

fn policy(dice: &Dice) -> UnknownPolicy {
    match dice.below(4) {
        0 => ONCE,
        max_paid_attempts => UnknownPolicy::AtLeastOnce { max_paid_attempts: max_paid_attempts as u32 },
    }
}

/// How much later the next event happens; at times the clock was set back.
fn gap(dice: &Dice, now: SystemTime) -> SystemTime {
    match dice.below(12) {
        0..6 => now + SECOND,
        6..8 => now,
        8..10 => now + Duration::from_secs(dice.below(700)),
        10 => now + if dice.chance(0.5) { 2 * HOUR } else { 25 * HOUR },
        _ => now - HOUR,
    }
}

fn live(dice: &Dice, events: &[Event]) -> usize {
    let Life { mut task, mut now } = Life::begin(policy(dice));
    let timeout = task.submission.generation_timeout;
    let mut reference = Reference::of(&task);
    let mut changes = 0;
    for _ in 0..dice.below(LONGEST) {
        now = gap(dice, now);
        let mut event = &events[dice.below(events.len() as u64) as usize];
        let mut answer = apply(&task, event, now);
        for _ in 0..TRIES {
            if answer != Applied::NotAllowed {
                break;
            }
            event = &events[dice.below(events.len() as u64) as usize];
            answer = apply(&task, event, now);
        }
        reference.follow(event, now.max(task.updated), timeout);
        if let Applied::Next(next) = answer {
            check_change(&task, event, &next);
            check(&next, now);
            task = *next;
            changes += 1;
        }
        reference.agrees_with(&task, event);
    }
    changes
}

#[test]
fn many_lives_agree_with_the_reference() {
    let (first, count) = (setting("VIDEOGEN_TORTURE_SEED", 1), setting("VIDEOGEN_TORTURE_COUNT", 20_000));
    let events = events();
    let mut changes = 0;
    for seed in first..first + count {
        let _replay = Replay { test: "machine::tests::random", seed };
        changes += live(&Dice::new(seed), &events);
    }
    assert!(changes as u64 >= count, "too little happened: {changes} changes");
    println!("{count} lives from seed {first}, {changes} changes");
}
