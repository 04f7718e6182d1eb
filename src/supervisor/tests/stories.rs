//! What becomes of tasks over minutes, hours and days.

use tokio::time::Duration;

use super::World;
use super::provider::{Scripted, done, done_behind_an_outage, failed, pending, silent};
use crate::providers::contract::{Created, Trouble};
use crate::task::event::Observation;
use crate::task::spec::UnknownPolicy::{AtLeastOnce, AtMostOnce};
use crate::task::state::{AttemptOutcome, FailureKind, State};

const MINUTE: Duration = Duration::from_secs(60);

fn done_after(time: Duration) -> impl Fn(Duration) -> Result<Observation, Trouble> {
    move |age| if age < time { pending() } else { done() }
}

fn lost_answer() -> Created {
    Created::Unknown { reason: "reset".into() }
}

#[tokio::test(start_paused = true)]
async fn a_job_of_five_minutes_is_found_soon_with_few_polls() {
    let world = World::new(Scripted::like_kling(done_after(5 * MINUTE))).await;
    let id = world.submit(AtMostOnce).await;
    let (_, took) = world.until(id, State::Succeeded).await;
    assert!(took < 5 * MINUTE + Duration::from_secs(31), "found after {took:?}");
    let polls = world.provider.polls();
    assert!((5..=25).contains(&polls.len()), "{} polls", polls.len());
    let closest = polls.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
    assert!(closest >= Duration::from_secs(2), "{closest:?} between two polls");
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_changed_nothing_writes_nothing() {
    let world = World::new(Scripted::like_kling(|_| pending())).await;
    let id = world.submit(AtMostOnce).await;
    world.until(id, State::Running).await;
    while world.provider.polls().len() < 2 {
        tokio::time::sleep(MINUTE).await;
    }
    let before = world.store.stats().changes;
    while world.provider.polls().len() < 20 {
        tokio::time::sleep(MINUTE).await;
    }
    assert_eq!(world.store.stats().changes, before);
}

#[tokio::test(start_paused = true)]
async fn polls_that_fail_for_twenty_minutes_fail_nothing() {
    let bad_spell = |age| if age < 20 * MINUTE { silent() } else { done() };
    let world = World::new(Scripted::like_fal(bad_spell)).await;
    let id = world.submit(AtMostOnce).await;
    let (task, _) = world.until(id, State::Succeeded).await;
    assert!(task.failure.is_none());
    assert_eq!(world.provider.creates().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wish_to_be_left_alone_is_obeyed() {
    let busy = |age| match age < 10 * MINUTE {
        true => Err(Trouble { reason: "429".into(), retry_after: Some(5 * MINUTE), denied: false }),
        false => done(),
    };
    let world = World::new(Scripted::like_fal(busy)).await;
    let id = world.submit(AtMostOnce).await;
    world.until(id, State::Succeeded).await;
    let polls = world.provider.polls();
    assert!(polls.windows(2).all(|pair| pair[1] - pair[0] >= 5 * MINUTE), "{}", polls.len());
}

#[tokio::test(start_paused = true)]
async fn a_late_video_turns_a_task_around_that_had_run_out_of_time() {
    let world = World::new(Scripted::like_kling(done_after(120 * MINUTE))).await;
    let id = world.submit(AtMostOnce).await;
    let (task, took) = world.until(id, State::Failed).await;
    let failure = task.failure.clone().unwrap();
    assert_eq!(failure.kind, FailureKind::Deadline);
    assert!(failure.recoverable_until.is_some() && failure.maybe_charged);
    assert!((30 * MINUTE..32 * MINUTE).contains(&took), "{took:?}");

    let (task, _) = world.until(id, State::Succeeded).await;
    assert!(task.artifact.is_some() && task.failure.is_none());
    assert_eq!(world.provider.creates().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_looked_up_before_the_same_create_is_sent_again() {
    let world = World::new(Scripted::like_kling(done_after(MINUTE)).answering([lost_answer()])).await;
    let id = world.submit(AtMostOnce).await;
    let (task, _) = world.until(id, State::Succeeded).await;
    let creates = world.provider.creates();
    assert_eq!(creates.len(), 2);
    assert_eq!(creates[0].0, creates[1].0, "the same marker, which the provider refuses twice");
    assert!(creates[1].1 - creates[0].1 >= Duration::from_secs(82));
    assert_eq!(world.provider.looks().len(), 4);
    assert_eq!((task.attempts.len(), task.attempts[0].sends), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_create_is_looked_up_at_2_7_22_and_82_seconds() {
    let world = World::new(Scripted::like_kling(done_after(MINUTE)).answering([lost_answer()])).await;
    let id = world.submit(AtMostOnce).await;
    world.until(id, State::Succeeded).await;
    let sent = world.provider.creates()[0].1;
    let looks: Vec<u64> = world.provider.looks().iter().map(|at| (*at - sent).as_secs()).collect();
    assert_eq!(looks, [2, 7, 22, 82]);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_that_no_look_up_finds_stays_unknown_and_is_not_bought_anew() {
    // As Kling says 1201 of a marker that is taken, and does not show the job.
    let answers = std::iter::repeat_with(lost_answer).take(1_000);
    let world = World::new(Scripted::like_kling(|_| pending()).answering(answers)).await;
    let id = world.submit(AtMostOnce).await;
    world.until(id, State::Reconciling).await;
    let world = world.restart().await;
    let (task, took) = world.until(id, State::Failed).await;
    assert_eq!(task.failure.as_ref().unwrap().kind, FailureKind::SubmitOutcomeUnknown);
    assert!((super::WINDOW..super::WINDOW + 2 * MINUTE).contains(&took), "{took:?}");
    let creates = world.provider.creates();
    assert!(creates.len() > 2, "it was sent again");
    assert!(creates.iter().all(|create| create.0 == creates[0].0), "under one marker only");
    assert_eq!((task.attempts.len(), task.attempts[0].sends as usize), (1, creates.len()));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_a_look_up_finds_is_adopted() {
    let world = World::new(Scripted::like_kling(done_after(MINUTE)).answering([lost_answer()])).await;
    let id = world.submit(AtMostOnce).await;
    world.until(id, State::Reconciling).await;
    let marker = world.provider.creates()[0].0.clone();
    world.provider.reveal(&marker);
    let (task, _) = world.until(id, State::Succeeded).await;
    assert_eq!(world.provider.creates().len(), 1);
    assert_eq!(task.attempts[0].outcome, AttemptOutcome::Accepted);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_know_is_said_when_the_window_is_over() {
    let world = World::new(Scripted::like_fal(|_| pending()).answering([lost_answer()])).await;
    let id = world.submit(AtMostOnce).await;
    let (task, took) = world.until(id, State::Failed).await;
    let failure = task.failure.clone().unwrap();
    assert_eq!(failure.kind, FailureKind::SubmitOutcomeUnknown);
    assert!(failure.maybe_charged);
    assert!((super::WINDOW..super::WINDOW + MINUTE).contains(&took), "{took:?}");
    assert_eq!(world.provider.creates().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_a_caller_who_allows_it_buys_again_under_another_marker() {
    let world = World::new(Scripted::like_fal(done_after(MINUTE)).answering([lost_answer()])).await;
    let id = world.submit(AtLeastOnce { max_paid_attempts: 2 }).await;
    let (task, took) = world.until(id, State::Succeeded).await;
    assert!(took >= super::WINDOW);
    let creates = world.provider.creates();
    assert_eq!(creates.len(), 2);
    assert_ne!(creates[0].0, creates[1].0);
    assert_eq!(task.attempts[0].outcome, AttemptOutcome::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_job_counts_as_lost_only_when_the_provider_insists() {
    let forgetful = |age| if age < 3 * MINUTE { pending() } else { Ok(Observation::Missing) };
    let world = World::new(Scripted::like_kling(forgetful)).await;
    let id = world.submit(AtMostOnce).await;
    let (task, took) = world.until(id, State::Failed).await;
    assert_eq!(task.failure.clone().unwrap().kind, FailureKind::ProviderLostJob);
    assert!(took >= 13 * MINUTE, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_create_turned_away_waits_and_is_sent_again_as_the_same_attempt() {
    let busy = || Created::Throttled { after: None, reason: "1303".into() };
    let down = || Created::NotSent { reason: "refused".into() };
    let world = World::new(Scripted::like_kling(done_after(MINUTE)).answering([busy(), down(), busy()])).await;
    let id = world.submit(AtMostOnce).await;
    let (task, _) = world.until(id, State::Succeeded).await;
    assert_eq!((task.attempts.len(), task.attempts[0].sends), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn tasks_above_the_slots_wait_their_turn() {
    let world = World::new(Scripted::like_kling(done_after(5 * MINUTE))).await;
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(world.submit(AtMostOnce).await);
    }
    for id in ids {
        world.until(id, State::Succeeded).await;
    }
    let creates = world.provider.creates();
    // Two slots: each pair is bought when the pair before it has ended.
    for (early, late) in [(1, 2), (3, 4)] {
        assert!(creates[late].1 - creates[early].1 >= 4 * MINUTE, "{creates:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_from_what_is_stored() {
    let world = World::new(Scripted::like_kling(done_after(5 * MINUTE))).await;
    let id = world.submit(AtMostOnce).await;
    world.until(id, State::Running).await;
    let world = world.restart().await;
    let (task, _) = world.until(id, State::Succeeded).await;
    assert_eq!(world.provider.creates().len(), 1);
    assert_eq!(task.attempts.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_after_it_was_asked_to_stop_is_cancelled() {
    let stopped = |age| if age < 3 * MINUTE { pending() } else { failed() };
    let world = World::new(Scripted::like_fal(stopped)).await;
    let id = world.submit(AtMostOnce).await;
    world.until(id, State::Running).await;
    world.ledger.cancel(id).await.unwrap();
    let (task, _) = world.until(id, State::Cancelled).await;
    assert!(task.failure.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_nothing_recovers_is_closed_after_a_day() {
    for provider in [Scripted::like_fal(|_| pending()), Scripted::like_kling(|_| pending())] {
        let world = World::new(provider.answering([lost_answer()]).answering(vec![lost_answer(); 60])).await;
        let id = world.submit(AtMostOnce).await;
        let (failed, _) = world.until(id, State::Failed).await;
        assert_eq!(world.ledger.unfinished(None, 9).await.unwrap().len(), 1);
        let mut watch = world.ledger.watch(id, failed.revision).await.unwrap();
        while watch.next().await.is_some() {}
        tokio::time::sleep(Duration::from_secs(24 * 3600) + MINUTE).await;
        let closed = world.ledger.get(id).await.unwrap();
        assert_eq!((closed.state, closed.is_open()), (State::Failed, false));
        assert!(world.ledger.unfinished(None, 9).await.unwrap().is_empty());
        let looks = world.provider.looks().len();
        tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
        assert_eq!(world.provider.looks().len(), looks, "nobody asks any more");
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_refused_after_a_long_outage_is_not_yet_dead() {
    let life = |age| match age {
        age if age < MINUTE => pending(),
        age if age < 36 * MINUTE => done_behind_an_outage(31),
        _ => done(),
    };
    let world = World::new(Scripted::like_kling(life)).await;
    let id = world.submit(AtMostOnce).await;
    let (_, took) = world.until(id, State::Succeeded).await;
    assert!((36 * MINUTE..38 * MINUTE).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_refused_for_ten_minutes_loses_the_video() {
    let life = |age| if age < MINUTE { pending() } else { done_behind_an_outage(31) };
    let world = World::new(Scripted::like_kling(life)).await;
    let id = world.submit(AtMostOnce).await;
    let (task, took) = world.until(id, State::Failed).await;
    assert_eq!(task.failure.as_ref().unwrap().kind, FailureKind::ArtifactLost);
    assert!((41 * MINUTE..43 * MINUTE).contains(&took), "{took:?}");
}
