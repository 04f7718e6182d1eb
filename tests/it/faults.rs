//! A provider that misbehaves around the paid create: nothing is bought twice, and
//! what cannot be known is said.

use std::collections::HashSet;
use std::time::Duration;

use pb::{AttemptOutcome, FailureKind, TaskState, UnknownOutcomePolicy};
use videogen::api::pb;
use videogen::simulator::{self, Fault, FaultKind, Moment};

use crate::house::{House, prompted, quick, request, within};

const KLING: [&str; 2] = ["kling/kling-3.0", "kling/kling-v2-6"];
const FAL: &str = "fal/fal-ai/veo3.1";

fn went_through(task: &pb::Task, state: TaskState) -> bool {
    task.history.iter().any(|entry| entry.state() == state)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_of_klings_is_looked_up_and_never_bought_again() {
    let mut house = House::new().await;
    let mut tasks = Vec::new();
    for model in KLING {
        for fault in ["accept_drop", "accept_error", "accept_html", "unreadable"] {
            tasks.push((fault, house.submit(prompted(model, &format!("a kite [sim:{fault}]"))).await));
        }
    }
    for (fault, task) in &tasks {
        let end = house.finished(&task.id).await;
        assert_eq!(end.state(), TaskState::Succeeded, "{fault}: {:?}", end.failure);
        assert!(went_through(&end, TaskState::Reconciling), "{fault}: {:?}", end.history);
        let [attempt] = end.attempts.as_slice() else { panic!("{fault}: {:?}", end.attempts) };
        assert_eq!((attempt.outcome(), attempt.sends), (AttemptOutcome::Accepted, 1), "{fault}");
        let sold = house.simulator.ledger().into_iter().filter(|entry| entry.marker.as_ref() == Some(&attempt.marker));
        let jobs: Vec<_> = sold.map(|entry| entry.job_id).collect();
        assert_eq!(jobs, [end.provider_job_id.as_str()], "{fault}");
    }
    assert_eq!(house.bought(), tasks.len());
}

/// fal's history answers no one.
fn close_history(house: &House) {
    house.simulator.inject(Fault::new(FaultKind::Refuse).on(Moment::History).times(u32::MAX));
}

fn is_unknown_failure(task: &pb::Task) -> bool {
    let kind = task.failure.as_ref().map(pb::Failure::kind);
    task.state() == TaskState::Failed && kind == Some(FailureKind::SubmitOutcomeUnknown)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_of_fals_is_found_in_its_history_and_never_bought_again() {
    let mut house = House::new().await;
    let mut tasks = Vec::new();
    for fault in ["accept_drop", "accept_error", "accept_html", "unreadable"] {
        // The same words each time: the seed alone tells the inputs apart.
        house.simulator.inject(Fault::new(serde_json::from_value(fault.into()).unwrap()));
        let task = house.submit(prompted(FAL, "a kite")).await;
        tasks.push((fault, house.until(&task.id, |task| task.state() == TaskState::Reconciling).await));
    }
    // A job that ends badly is found too, and its failure is its own.
    let failing = house.submit(prompted(FAL, "a kite [sim:accept_drop] [sim:fail]")).await;
    for (fault, task) in &tasks {
        let end = house.finished(&task.id).await;
        assert_eq!(end.state(), TaskState::Succeeded, "{fault}: {:?}", end.failure);
        let [attempt] = end.attempts.as_slice() else { panic!("{fault}: {:?}", end.attempts) };
        assert_eq!((attempt.outcome(), attempt.sends), (AttemptOutcome::Accepted, 1), "{fault}");
    }
    let end = house.finished(&failing.id).await;
    assert_eq!((end.state(), end.failure.unwrap().kind()), (TaskState::Failed, FailureKind::ProviderFailed));
    let ids: HashSet<_> = house.simulator.ledger().into_iter().map(|entry| entry.job_id).collect();
    assert_eq!(ids.len(), 5, "each was bought once");
    for (fault, task) in &tasks {
        assert!(ids.contains(&house.get(&task.id).await.provider_job_id), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_history_does_not_tell_stays_unknown_until_it_does() {
    let provider = quick(Duration::from_millis(300));
    let mut house = House::with(provider, &[("SUBMIT__UNKNOWN_WINDOW", "3s")]).await;
    close_history(&house);
    let task = house.submit(prompted(FAL, "a kite [sim:accept_drop]")).await;
    // Anybody may have chosen this seed: even an open history proves nothing.
    let theirs = pb::Spec { seed: Some(7), ..prompted(FAL, "a kite [sim:accept_drop]") };
    let theirs = house.submit(theirs).await;
    for id in [&task.id, &theirs.id] {
        let end = house.finished(id).await;
        assert!(is_unknown_failure(&end), "{end:?}");
        let failure = end.failure.unwrap();
        assert!(failure.maybe_charged && failure.recoverable_until.is_some(), "{failure:?}");
        assert_eq!((end.attempts.len(), end.attempts[0].outcome()), (1, AttemptOutcome::Unknown));
    }
    assert_eq!(house.bought(), 2);

    house.simulator.clear_faults();
    let mut house = house.drain().await.1.rebuild().await;
    let found = within(async {
        // No watch waits for a failed task to turn around.
        loop {
            let task = house.get(&task.id).await;
            if task.state() == TaskState::Succeeded {
                return task;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let found = found.await;
    assert_eq!((found.attempts.len(), found.attempts[0].outcome()), (1, AttemptOutcome::Accepted));
    assert!(is_unknown_failure(&house.get(&theirs.id).await));
    assert_eq!(house.bought(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_allows_a_second_purchase_gets_one_and_both_are_on_record() {
    let provider = quick(Duration::from_millis(300));
    let mut house = House::with(provider, &[("SUBMIT__UNKNOWN_WINDOW", "2s")]).await;
    close_history(&house);
    house.simulator.inject(Fault::new(FaultKind::AcceptDrop));
    let mut asked = request(prompted(FAL, "a kite"));
    asked.unknown_outcome_policy = UnknownOutcomePolicy::AtLeastOnce.into();
    asked.max_paid_attempts = 2;
    let task = house.try_submit(asked).await.unwrap();
    let end = house.finished(&task.id).await;
    assert_eq!(end.state(), TaskState::Succeeded, "{:?}", end.failure);
    let outcomes: Vec<_> = end.attempts.iter().map(pb::Attempt::outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::Unknown, AttemptOutcome::Accepted]);
    assert_ne!(end.attempts[0].marker, end.attempts[1].marker);
    assert_eq!(house.bought(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_for_the_whole_window_looks_before_it_buys_again() {
    for model in [KLING[0], FAL] {
        let provider = quick(Duration::from_millis(300));
        let mut house = House::with(provider, &[("SUBMIT__UNKNOWN_WINDOW", "1s")]).await;
        let mut asked = request(prompted(model, "a kite [sim:accept_drop]"));
        asked.unknown_outcome_policy = UnknownOutcomePolicy::AtLeastOnce.into();
        asked.max_paid_attempts = 2;
        let task = house.try_submit(asked).await.unwrap();
        house.until(&task.id, |task| task.state() == TaskState::Reconciling).await;
        let foundations = house.drain().await.1;
        // What is waited for is that time passes.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let mut house = foundations.rebuild().await;
        let end = house.finished(&task.id).await;
        assert_eq!((end.state(), end.attempts.len()), (TaskState::Succeeded, 1), "{model}: {end:?}");
        assert_eq!(house.bought(), 1, "{model}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_create_waits_in_the_queue_and_is_bought_once() {
    let mut house = House::new().await;
    for model in KLING {
        for fault in ["rate_limited", "parallel_limited"] {
            let before = house.bought();
            let task = house.submit(prompted(model, &format!("a kite [sim:{fault}*2]"))).await;
            let end = house.finished(&task.id).await;
            assert_eq!(end.state(), TaskState::Succeeded, "{model} {fault}: {:?}", end.failure);
            let queued = end.history.iter().filter(|entry| entry.state() == TaskState::Queued).count();
            assert_eq!((queued, end.attempts.len(), end.attempts[0].sends), (3, 1, 3), "{model} {fault}");
            assert_eq!(house.bought() - before, 1, "{model} {fault}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_after_a_throttle_is_a_refusal() {
    for model in KLING {
        // Its own house: an account without money is held from then on.
        let mut house = House::new().await;
        let prompt = "a kite [sim:rate_limited*1] [sim:create.refuse=1102]";
        let task = house.submit(prompted(model, prompt)).await;
        let end = house.finished(&task.id).await;
        assert_eq!(end.failure.unwrap().kind(), FailureKind::ProviderFunds, "{model}");
        assert_eq!(house.bought(), 0, "{model}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_create_fails_with_the_providers_reason_and_costs_nothing() {
    for (model, code, kind) in [
        (KLING[0], 1201, FailureKind::ProviderRefused),
        (KLING[0], 1301, FailureKind::Moderated),
        (KLING[1], 1301, FailureKind::Moderated),
        (KLING[0], 1102, FailureKind::ProviderFunds),
        (KLING[1], 1101, FailureKind::ProviderFunds),
        (KLING[0], 1002, FailureKind::ProviderAuth),
        (KLING[1], 1103, FailureKind::ProviderAuth),
        // The simulator's words for any status: the balance is exhausted.
        (FAL, 403, FailureKind::ProviderFunds),
    ] {
        let mut house = House::new().await;
        let task = house.submit(prompted(model, &format!("a kite [sim:refuse={code}]"))).await;
        let end = house.finished(&task.id).await;
        let failure = end.failure.clone().unwrap_or_default();
        assert_eq!((end.state(), failure.kind()), (TaskState::Failed, kind), "{model} {code}: {end:?}");
        assert!(!failure.maybe_charged && failure.recoverable_until.is_none(), "{model} {code}: {failure:?}");
        assert!(end.charges.is_empty());
        assert_eq!(end.attempts[0].outcome(), AttemptOutcome::Refused, "{model} {code}");
        if model != FAL {
            assert_eq!(failure.provider_code, code.to_string(), "{model}");
        }
        assert!(!failure.message.is_empty() && failure.message.len() <= 512, "{model} {code}");
        assert_eq!(house.bought(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_provider_refuses_fails_the_task_and_is_not_repeated_to_the_caller() {
    let keys = ["kling-key-of-the-test", "fal-key-of-the-test"];
    let locked =
        simulator::Settings { refused_keys: keys.map(str::to_owned).into(), ..quick(Duration::from_millis(300)) };
    let mut house = House::with(locked, &[]).await;
    for model in [KLING[0], FAL] {
        let task = house.submit(prompted(model, "a kite")).await;
        let end = house.finished(&task.id).await;
        let failure = end.failure.clone().unwrap_or_default();
        assert_eq!((end.state(), failure.kind()), (TaskState::Failed, FailureKind::ProviderAuth), "{model}");
        assert!(!failure.maybe_charged, "{model}");
        let told = format!("{end:?}");
        assert!(keys.iter().all(|key| !told.contains(key)), "{told}");
    }
    // The account is held now: whoever comes next waits, and is told so.
    let held = house.submit(prompted(KLING[1], "a kite")).await;
    let held = house.until(&held.id, |task| task.history.iter().any(|entry| entry.reason.contains("held"))).await;
    assert_eq!(held.state(), TaskState::Queued);
    assert!(held.warnings.iter().any(|warning| warning.field == "account"), "{held:?}");
    assert_eq!(house.bought(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_answers_for_the_provider_leaves_the_outcome_unknown() {
    let mut house = House::new().await;
    // Nothing was booked, but nobody can tell: it must not be sent again at once.
    for fault in ["html", "drop"] {
        let task = house.submit(prompted(KLING[0], &format!("a kite [sim:{fault}]"))).await;
        let unknown = house.until(&task.id, |task| task.state() == TaskState::Reconciling).await;
        assert_eq!((unknown.attempts.len(), unknown.attempts[0].sends), (1, 1), "{fault}");
    }
    assert_eq!(house.bought(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_survives_a_restart_and_is_found_afterwards() {
    let mut house = House::new().await;
    let task = house.submit(prompted(KLING[0], "a kite [sim:accept_drop]")).await;
    house.until(&task.id, |task| task.state() == TaskState::Reconciling).await;
    let mut house = house.drain().await.1.rebuild().await;
    assert_eq!(house.finished(&task.id).await.state(), TaskState::Succeeded);
    assert_eq!(house.bought(), 1);
}
