//! CancelTask: what it says is what was achieved, no more.

use std::time::Duration;

use pb::{CancellationOutcome, TaskState};
use tonic::Code;
use tonic_types::StatusExt;
use videogen::api::pb;

use crate::house::{House, prompted, quick, text, told};

fn outcome(task: &pb::Task) -> Option<CancellationOutcome> {
    task.cancellation.as_ref().map(pb::Cancellation::outcome)
}

async fn running(house: &mut House, model: &str, prompt: &str) -> String {
    let task = house.submit(prompted(model, prompt)).await;
    house.until(&task.id, |task| task.state() == TaskState::Running).await.id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_task_is_cancelled_for_certain_and_for_free() {
    let provider = quick(Duration::from_secs(3600));
    let mut house = House::with(provider, &[("ACCOUNTS__0__MAX_PARALLEL", "1")]).await;
    running(&mut house, "kling/kling-3.0", "the one slot").await;
    let waiting = house.submit(text("kling/kling-3.0")).await;

    let cancelled = house.cancel(&waiting.id).await.unwrap();
    assert_eq!(cancelled.state(), TaskState::Cancelled);
    assert_eq!(outcome(&cancelled), Some(CancellationOutcome::Confirmed));
    assert!(cancelled.attempts.is_empty() && cancelled.end_time.is_some());
    assert_eq!(house.finished(&waiting.id).await, cancelled);

    assert_eq!(house.cancel(&waiting.id).await.unwrap(), cancelled, "twice does nothing more");
    assert_eq!(house.bought(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_kling_job_cannot_be_stopped_and_its_video_is_kept() {
    let mut house = House::new().await;
    let id = running(&mut house, "kling/kling-3.0", "a kite [sim:latency=2s]").await;
    let asked = house.cancel(&id).await.unwrap();
    assert!(!matches!(outcome(&asked), None | Some(CancellationOutcome::Confirmed)), "{asked:?}");
    let told = house.until(&id, |task| outcome(task) == Some(CancellationOutcome::NotSupported)).await;
    assert_eq!(told.state(), TaskState::Running);
    let again = house.cancel(&id).await.unwrap();
    assert_eq!(outcome(&again), Some(CancellationOutcome::NotSupported));

    let end = house.finished(&id).await;
    assert_eq!((end.state(), outcome(&end)), (TaskState::Succeeded, Some(CancellationOutcome::NotSupported)));
    assert_eq!(house.bought(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_in_fals_queue_is_cancelled_for_certain() {
    let mut house = House::new().await;
    // It stays in the queue for a tenth of its time.
    let id = running(&mut house, "fal/fal-ai/veo3.1", "a kite [sim:latency=300s]").await;
    house.cancel(&id).await.unwrap();
    let end = house.finished(&id).await;
    assert_eq!((end.state(), outcome(&end)), (TaskState::Cancelled, Some(CancellationOutcome::Confirmed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_at_work_at_fal_is_asked_to_stop() {
    let mut house = House::new().await;
    for (directive, end_state, end_outcome) in [
        ("", TaskState::Cancelled, CancellationOutcome::Confirmed),
        ("[sim:cancel_ignored]", TaskState::Succeeded, CancellationOutcome::TooLate),
    ] {
        let id = running(&mut house, "fal/fal-ai/veo3.1", &format!("a kite [sim:latency=4s] {directive}")).await;
        let works = |task: &pb::Task| task.progress.as_ref().is_some_and(|p| p.provider_status == "IN_PROGRESS");
        house.until(&id, works).await;
        house.cancel(&id).await.unwrap();
        let seen = house.follow(&id).await;
        let end = seen.last().unwrap();
        assert_eq!((end.state(), outcome(end)), (end_state, Some(end_outcome)), "{directive}");
        assert!(
            end.history.iter().all(|entry| entry.state() != TaskState::Failed),
            "a job that was stopped has not failed: {:?}",
            end.history
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_during_an_unknown_create_waits_until_the_job_is_found() {
    let mut house = House::new().await;
    let task = house.submit(prompted("kling/kling-3.0", "a kite [sim:accept_drop]")).await;
    house.until(&task.id, |task| task.state() == TaskState::Reconciling).await;
    let asked = house.cancel(&task.id).await.unwrap();
    assert_eq!((asked.state(), outcome(&asked)), (TaskState::Reconciling, Some(CancellationOutcome::Requested)));
    let end = house.finished(&task.id).await;
    assert_eq!(end.state(), TaskState::Succeeded);
    assert!(!matches!(outcome(&end), None | Some(CancellationOutcome::Requested | CancellationOutcome::Confirmed)));
    assert_eq!(house.bought(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_has_ended_cannot_be_cancelled() {
    let mut house = House::new().await;
    for (prompt, state) in [("a kite", "SUCCEEDED"), ("a kite [sim:fail]", "FAILED")] {
        let task = house.submit(prompted("kling/kling-3.0", prompt)).await;
        let end = house.finished(&task.id).await;
        let refused = house.cancel(&task.id).await.unwrap_err();
        assert_eq!(told(&refused), (Code::FailedPrecondition, "ALREADY_FINISHED".into(), vec![]));
        let info = refused.get_details_error_info().unwrap();
        assert_eq!(info.metadata["state"].to_uppercase(), state);
        assert_eq!(house.get(&task.id).await, end, "and nothing changed");
    }
}
