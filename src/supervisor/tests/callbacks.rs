//! Callbacks over hours: what they save while they come, what is missed when they do not.

use tokio::time::Duration;

use super::World;
use super::provider::{Scripted, done, pending};
use crate::task::spec::UnknownPolicy::AtMostOnce;
use crate::task::state::State;

/// How long each job takes.
const LIFE: Duration = Duration::from_secs(300);
/// Four times the longest interval of polling: the bound of a missed callback.
const MOST: Duration = Duration::from_secs(120);

fn provider() -> Scripted {
    Scripted::like_kling(|age| if age < LIFE { pending() } else { done() })
}

/// Sees one job through; its callback comes at its end, or not at all. Says how many
/// polls it took and how long after its end the task knew.
async fn one_job(world: &World, called: bool) -> (usize, Duration) {
    let before = world.provider.polls().len();
    let id = world.submit(AtMostOnce).await;
    let (_, until_running) = world.until(id, State::Running).await;
    if called {
        tokio::time::sleep(LIFE).await;
        world.ledger.heard(id);
        world.ledger.nudge(id);
    }
    let waited = if called { LIFE } else { Duration::ZERO };
    let (_, took) = world.until(id, State::Succeeded).await;
    let late = (until_running + waited + took).saturating_sub(LIFE);
    (world.provider.polls().len() - before, late)
}

#[tokio::test(start_paused = true)]
async fn while_callbacks_come_polls_grow_rare_and_without_them_they_are_as_ever() {
    let world = World::new(provider()).await;
    let (plain, _) = one_job(&world, false).await;
    assert!(plain >= 10, "{plain} polls before anything is known");
    for _ in 0..40 {
        let (_, late) = one_job(&world, true).await;
        assert!(late < Duration::from_secs(1), "{late:?}");
    }
    let (trusted, _) = one_job(&world, true).await;
    assert!(trusted <= 4, "{trusted} polls with a callback, {plain} without");
    let mut polls = Vec::new();
    for _ in 0..8 {
        let (asked, late) = one_job(&world, false).await;
        assert!(late <= MOST + Duration::from_secs(1), "a missed callback cost {late:?}");
        polls.push(asked);
    }
    assert!(polls[0] <= 5 && polls[7] >= plain * 2 / 3, "{polls:?}, {plain} at first");
}

#[tokio::test(start_paused = true)]
async fn a_restart_begins_without_trust() {
    let world = World::new(provider()).await;
    let (plain, _) = one_job(&world, false).await;
    for _ in 0..20 {
        one_job(&world, true).await;
    }
    let (trusted, _) = one_job(&world, true).await;
    let world = world.restart().await;
    let (again, _) = one_job(&world, false).await;
    assert!(trusted * 2 < again && again >= plain * 2 / 3, "{plain}, {trusted}, {again}");
}

#[tokio::test(start_paused = true)]
async fn a_callback_whose_poll_says_that_the_job_runs_builds_no_trust() {
    let world = World::new(provider()).await;
    let (plain, _) = one_job(&world, false).await;
    for _ in 0..10 {
        let id = world.submit(AtMostOnce).await;
        world.until(id, State::Running).await;
        // Forged: it claims the end at once.
        world.ledger.heard(id);
        world.ledger.nudge(id);
        world.until(id, State::Succeeded).await;
    }
    let (polls, _) = one_job(&world, false).await;
    assert!(polls >= plain * 2 / 3, "{polls}, {plain} at first");
}
