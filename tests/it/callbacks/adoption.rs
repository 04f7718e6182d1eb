//! A create whose answer was lost, and the callback that names its job.

use std::time::Duration;

use pb::{AttemptOutcome, TaskState};
use videogen::api::pb;
use videogen::simulator::{Fault, FaultKind};

use super::{NO_POLLS, SECRET, reachable};
use crate::common::until;
use crate::house::{prompted, quick, request};

/// fal without its history: then nothing else can tell.
const NO_HISTORY: (&str, &str) = ("ACCOUNTS__1__HISTORY_URL", "http://127.0.0.1:9/v1");

#[tokio::test(flavor = "multi_thread")]
async fn a_fal_job_whose_create_was_not_answered_is_adopted_by_its_callback() {
    let mut house = reachable(quick(Duration::from_millis(500)), &[NO_POLLS[0], NO_POLLS[1], NO_HISTORY]).await;
    for fault in ["accept_drop", "accept_html", "accept_error"] {
        let before = house.bought();
        let task = house.submit(prompted("fal/fal-ai/veo3.1", &format!("a kite [sim:{fault}]"))).await;
        let seen = house.follow(&task.id).await;
        let end = seen.last().unwrap();
        assert_eq!(end.state(), TaskState::Succeeded, "{fault}: {:?}", end.failure);
        assert!(seen.iter().any(|task| task.state() == TaskState::Reconciling), "{fault}");
        assert_eq!(house.bought(), before + 1, "{fault}: one create");
        assert_eq!((end.attempts.len(), end.attempts[0].outcome()), (1, AttemptOutcome::Accepted));
        assert_eq!(end.attempts[0].provider_job_id, house.simulator.ledger().last().unwrap().job_id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kling_job_whose_create_was_not_answered_is_looked_up_when_it_calls() {
    for secret in [None, Some(SECRET.to_owned())] {
        let provider =
            videogen::simulator::Settings { kling_webhook_secret: secret, ..quick(Duration::from_millis(300)) };
        let mut house = reachable(provider, &NO_POLLS).await;
        for model in ["kling/kling-3.0", "kling/kling-v2-6"] {
            let before = house.bought();
            let task = house.submit(prompted(model, "a kite [sim:accept_drop]")).await;
            let end = house.finished(&task.id).await;
            assert_eq!(end.state(), TaskState::Succeeded, "{model}: {:?}", end.failure);
            assert_eq!(house.bought(), before + 1, "{model}: one create");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_comes_before_the_creates_answer_is_not_lost() {
    for secret in [None, Some(SECRET.to_owned())] {
        let provider = videogen::simulator::Settings { kling_webhook_secret: secret, ..quick(Duration::ZERO) };
        let mut house = reachable(provider, &NO_POLLS).await;
        for model in ["kling/kling-3.0", "kling/kling-v2-6", "fal/fal-ai/veo3.1"] {
            // It has ended when it calls, and calls once: before its create is answered.
            let prompt = "a kite [sim:callback_early] [sim:callback_missing]";
            let task = house.submit(prompted(model, prompt)).await;
            let end = house.finished(&task.id).await;
            assert_eq!(end.state(), TaskState::Succeeded, "{model}: {:?}", end.failure);
        }
        assert_eq!(house.bought(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_callback_claims_waits_until_the_provider_can_be_asked() {
    let mut house = reachable(quick(Duration::from_millis(300)), &[NO_HISTORY]).await;
    let prompt = "a kite [sim:accept_drop] [sim:poll.error*3]";
    let task = house.submit(prompted("fal/fal-ai/veo3.1", prompt)).await;
    let end = house.finished(&task.id).await;
    assert_eq!(end.state(), TaskState::Succeeded, "{:?}", end.failure);
    assert_eq!((end.attempts.len(), house.bought()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_of_an_attempt_that_was_given_up_is_put_on_record_when_it_calls() {
    let settings = [NO_POLLS[0], NO_POLLS[1], NO_HISTORY, ("SUBMIT__UNKNOWN_WINDOW", "500ms")];
    let mut house = reachable(quick(Duration::from_secs(3)), &settings).await;
    house.simulator.inject(Fault::new(FaultKind::AcceptDrop));
    let task = house
        .try_submit(pb::SubmitRequest {
            unknown_outcome_policy: pb::UnknownOutcomePolicy::AtLeastOnce.into(),
            max_paid_attempts: 2,
            ..request(prompted("fal/fal-ai/veo3.1", "a kite"))
        })
        .await
        .unwrap();
    let known = |task: &pb::Task| task.attempts.iter().filter(|attempt| !attempt.provider_job_id.is_empty()).count();
    let task = house.until(&task.id, |task| known(task) == 2).await;
    let sold: Vec<_> = house.simulator.ledger().into_iter().map(|entry| entry.job_id).collect();
    let recorded: Vec<_> = task.attempts.iter().map(|attempt| attempt.provider_job_id.clone()).collect();
    assert_eq!(recorded, sold, "each attempt with the job that it has bought");
    let end = house.finished(&task.id).await;
    assert_eq!((end.state(), house.bought()), (TaskState::Succeeded, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_had_failed_for_want_of_an_answer_is_turned_around_by_the_callback() {
    let settings = [NO_POLLS[0], NO_POLLS[1], NO_HISTORY, ("SUBMIT__UNKNOWN_WINDOW", "500ms")];
    let mut house = reachable(quick(Duration::from_secs(3)), &settings).await;
    let task = house.submit(prompted("fal/fal-ai/veo3.1", "a kite [sim:accept_drop]")).await;
    let failed = house.finished(&task.id).await;
    assert_eq!(failed.failure.unwrap().kind(), pb::FailureKind::SubmitOutcomeUnknown);
    until("the late video", async || house.get(&task.id).await.state() == TaskState::Succeeded).await;
    assert_eq!(house.bought(), 1);
}
