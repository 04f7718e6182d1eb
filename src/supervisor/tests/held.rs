//! What is held back: the tasks of an account without credentials or money, and
//! retries while a provider is down.

use tokio::time::{Duration, Instant};

use super::provider::{Scripted, done, pending, silent};
use super::{Limits, World};
use crate::providers::contract::{Created, Trouble};
use crate::task::id::AccountName;
use crate::task::spec::UnknownPolicy::AtMostOnce;
use crate::task::state::{Failure, FailureKind, State, Task};

const MINUTE: Duration = Duration::from_secs(60);

fn bad_key() -> Created {
    Created::Refused(Failure::free(FailureKind::ProviderAuth, "the key is not valid"))
}

fn says_held(task: &Task) -> bool {
    task.history.iter().any(|entry| entry.reason == "the account is held: the key is not valid")
}

fn quick() -> Scripted {
    Scripted::like_kling(|age| if age < MINUTE { pending() } else { done() })
}

#[tokio::test(start_paused = true)]
async fn a_wrong_key_fails_one_task_and_holds_the_others_until_it_is_mended() {
    let world = World::new(quick().answering([bad_key(), bad_key()])).await;
    let first = world.submit(AtMostOnce).await;
    let (failed, _) = world.until(first, State::Failed).await;
    assert_eq!(failed.failure.as_ref().unwrap().kind, FailureKind::ProviderAuth);
    let main = AccountName::new("main");
    assert_eq!(world.ledger.held(&main).unwrap().reason, "the key is not valid");

    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(world.submit(AtMostOnce).await);
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    for id in &ids {
        let task = world.ledger.get(*id).await.unwrap();
        assert!(task.state == State::Queued && says_held(&task), "{task:?}");
    }
    for id in &ids {
        let (task, _) = world.until(*id, State::Succeeded).await;
        assert_eq!(task.attempts.len(), 1);
    }
    let creates = world.provider.creates();
    assert_eq!(creates.len(), 7, "one that failed, one probe that was refused, and one for each video");
    assert!(creates[1].1 - creates[0].1 >= Duration::from_secs(22), "{creates:?}");
    assert!(creates[2].1 - creates[1].1 >= Duration::from_secs(45), "the pauses grow: {creates:?}");
    assert_eq!(world.ledger.held(&main), None);
}

#[tokio::test(start_paused = true)]
async fn an_account_stays_held_over_a_restart_and_no_further_task_fails() {
    let world = World::new(quick().answering([bad_key(), bad_key(), bad_key()])).await;
    let first = world.submit(AtMostOnce).await;
    world.until(first, State::Failed).await;
    let second = world.submit(AtMostOnce).await;
    let world = world.restart().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.provider.creates().len(), 2, "a restart is a reason to try at once");
    let task = world.ledger.get(second).await.unwrap();
    assert!(task.state == State::Queued && says_held(&task), "{task:?}");
    world.until(second, State::Succeeded).await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_held_for_a_day_fails_and_says_why() {
    let world = World::new(quick().answering(vec![bad_key(); 1000])).await;
    let first = world.submit(AtMostOnce).await;
    world.until(first, State::Failed).await;
    let held = world.submit(AtMostOnce).await;
    let (task, took) = world.until(held, State::Failed).await;
    let failure = task.failure.as_ref().unwrap();
    assert_eq!((failure.kind, failure.maybe_charged), (FailureKind::Deadline, false));
    assert!(failure.message.contains("the key is not valid"), "{failure:?}");
    assert!(took >= Duration::from_secs(24 * 3600) - MINUTE);
    let probes = world.provider.creates().len();
    assert!((100..250).contains(&probes), "{probes} probes in a day");
}

#[tokio::test(start_paused = true)]
async fn polls_that_are_denied_hold_the_queue_and_are_gone_on_with() {
    let denied = |age| match age < 20 * MINUTE {
        true => Err(Trouble { reason: "http 401".into(), retry_after: None, denied: true }),
        false => done(),
    };
    let world = World::new(Scripted::like_kling(denied)).await;
    let first = world.submit(AtMostOnce).await;
    world.until(first, State::Running).await;
    while world.ledger.held(&AccountName::new("main")).is_none() {
        tokio::time::sleep(MINUTE).await;
    }
    let second = world.submit(AtMostOnce).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.ledger.get(second).await.unwrap().state, State::Queued);
    world.until(first, State::Succeeded).await;
    world.until(second, State::Succeeded).await;
    assert_eq!(world.ledger.held(&AccountName::new("main")), None);
}

/// A thousand jobs, and a provider that is down for a quarter of an hour.
#[tokio::test(start_paused = true)]
async fn an_outage_does_not_turn_a_thousand_tasks_into_many_thousand_requests() {
    const TASKS: usize = 1000;
    let begun = Instant::now();
    let down = begun + 10 * MINUTE..begun + 25 * MINUTE;
    let span = down.clone();
    let life = move |_| match begun.elapsed() {
        _ if span.contains(&Instant::now()) => silent(),
        elapsed if elapsed < 28 * MINUTE => pending(),
        _ => done(),
    };
    let limits = Limits { parallel: TASKS, per_second: 50.0 };
    let world = World::with(Scripted::like_fal(life), limits).await;
    let mut ids = Vec::new();
    for _ in 0..TASKS {
        ids.push(world.submit(AtMostOnce).await);
    }
    for id in ids {
        world.until(id, State::Succeeded).await;
    }
    let polls = world.provider.polls();
    let during = polls.iter().filter(|at| down.contains(at)).count();
    let all_done = *polls.last().unwrap() - begun;
    println!("{during} requests during the outage for {TASKS} tasks; all done after {all_done:?}");
    // Each task finds out once; beyond that there are ten tokens and a trickle.
    assert!((TASKS / 2..TASKS + 10 + 31).contains(&during), "{during} requests");
    assert!(all_done < 34 * MINUTE, "{all_done:?}");
    assert_eq!(world.provider.creates().len(), TASKS);
}
