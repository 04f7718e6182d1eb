//! Starting again after an end that was not clean: half a snapshot in the store's
//! folder, a create whose answer nobody heard.

use std::time::Duration;

use pb::TaskState;
use videogen::api::pb;
use videogen::simulator::{Fault, FaultKind, Moment};

use super::server::Site;
use crate::house::{request, text};

#[tokio::test(flavor = "multi_thread")]
async fn half_a_snapshot_is_removed_and_every_task_is_there() {
    let site = Site::new(Duration::from_secs(1)).await;
    let mut server = site.start().await;
    let task = server.submit(request(text("kling/kling-3.0"))).await;
    server.kill().await;
    // sled takes the snapshot with the highest number for the newest one.
    let leftover = site.path("store/snap.FFFFFFFFFFFFFFF0.generating");
    std::fs::write(&leftover, b"half a snapshot").unwrap();

    let mut server = site.start().await;
    assert!(!leftover.exists());
    let end = server.until_task(&task.id, |task| task.state() == TaskState::Succeeded).await;
    assert_eq!(end.request_id, task.request_id);
    assert_eq!(server.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_whose_answer_was_lost_with_the_process_is_found_and_not_repeated() {
    let site = Site::new(Duration::from_secs(1)).await;
    site.simulator.inject(Fault::new(FaultKind::AcceptHang).on(Moment::Create).times(3));
    let mut server = site.start().await;
    let mut tasks = Vec::new();
    for model in ["kling/kling-3.0", "kling/kling-v2-6", "fal/fal-ai/veo3.1"] {
        tasks.push(server.submit(request(text(model))).await);
    }
    site.bought_at_least(3).await;
    for task in &tasks {
        assert_eq!(server.task(&task.id).await.state(), TaskState::Submitting);
    }
    server.kill().await;

    let mut server = site.start().await;
    for task in &tasks {
        let end = server.until_task(&task.id, |task| task.state() == TaskState::Succeeded).await;
        assert_eq!((end.attempts.len(), end.attempts[0].sends), (1, 1), "{end:?}");
        assert!(end.history.iter().any(|entry| entry.state() == TaskState::Reconciling), "{:?}", end.history);
    }
    assert_eq!(site.bought().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_fal_may_have_taken_is_not_repeated_after_a_kill() {
    let site = Site::new(Duration::from_secs(1)).await;
    site.edit("[polling]", "[submit]\nunknown_window = \"4s\"\n\n[polling]");
    site.simulator.inject(Fault::new(FaultKind::AcceptHang).on(Moment::Create));
    site.simulator.inject(Fault::new(FaultKind::Refuse).on(Moment::History).times(u32::MAX));
    let mut server = site.start().await;
    let task = server.submit(request(text("fal/fal-ai/veo3.1"))).await;
    site.bought_at_least(1).await;
    server.kill().await;

    let mut server = site.start().await;
    let end = server.until_task(&task.id, |task| task.state() == TaskState::Failed).await;
    let failure = end.failure.unwrap();
    assert_eq!(failure.kind(), pb::FailureKind::SubmitOutcomeUnknown);
    assert!(failure.maybe_charged);
    assert_eq!(site.bought().len(), 1);
}
