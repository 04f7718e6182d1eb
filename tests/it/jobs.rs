//! A provider that misbehaves after the sale: bad polls fail no task, a file is
//! kept only when it is whole.

use std::time::Duration;

use pb::{FailureKind, TaskState};
use videogen::api::pb;
use videogen::simulator::{self, Fault, FaultKind, Moment};

use crate::house::{House, prompted, quick, text};

const MODELS: [&str; 3] = ["kling/kling-3.0", "kling/kling-v2-6", "fal/fal-ai/veo3.1"];

/// One job of each wire with this directive, at its end.
async fn ends(house: &mut House, directive: &str) -> Vec<pb::Task> {
    let mut tasks = Vec::new();
    for model in MODELS {
        tasks.push(house.submit(prompted(model, &format!("a kite {directive}"))).await);
    }
    let mut ends = Vec::new();
    for task in tasks {
        ends.push(house.finished(&task.id).await);
    }
    ends
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_is_a_failed_task_with_its_reason() {
    let mut house = House::new().await;
    for (directive, kind) in [("[sim:fail]", FailureKind::ProviderFailed), ("[sim:moderation]", FailureKind::Moderated)]
    {
        for end in ends(&mut house, directive).await {
            let failure = end.failure.clone().unwrap_or_default();
            assert_eq!((end.state(), failure.kind()), (TaskState::Failed, kind), "{}: {failure:?}", end.model);
            assert!(!failure.message.is_empty() && failure.recoverable_until.is_none(), "{failure:?}");
            assert_eq!(end.attempts.len(), 1, "a failed generation is not bought again");
        }
    }
    assert_eq!(house.bought(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_that_fail_never_fail_a_task() {
    let mut house = House::new().await;
    for kind in [FaultKind::Error, FaultKind::Drop, FaultKind::Html, FaultKind::Unreadable, FaultKind::RateLimited] {
        house.simulator.inject(Fault::new(kind).on(Moment::Poll).probability(0.2));
        house.simulator.inject(Fault::new(kind).on(Moment::Result).probability(0.2));
    }
    let mut tasks = Vec::new();
    for n in 0..12 {
        tasks.push(house.submit(text(MODELS[n % 3])).await);
    }
    for task in tasks {
        let end = house.finished(&task.id).await;
        assert_eq!(end.state(), TaskState::Succeeded, "{}: {:?}", end.model, end.failure);
    }
    assert_eq!(house.bought(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_words_and_steps_backwards_are_passed_over() {
    let mut house = House::new().await;
    for directive in ["[sim:unknown_status]", "[sim:backwards]", "[sim:latency=900ms][sim:backwards]"] {
        for end in ends(&mut house, directive).await {
            assert_eq!(end.state(), TaskState::Succeeded, "{directive} {}: {:?}", end.model, end.failure);
            let states: Vec<_> = end.history.iter().map(pb::HistoryEntry::state).collect();
            let wanted = [
                TaskState::Queued,
                TaskState::Submitting,
                TaskState::Running,
                TaskState::Archiving,
                TaskState::Succeeded,
            ];
            assert_eq!(states, wanted, "{directive} {}", end.model);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_the_provider_denies_is_not_believed_lost_at_once() {
    let mut house = House::new().await;
    for model in MODELS {
        let task = house.submit(prompted(model, "a kite [sim:lost_job]")).await;
        let running = house.until(&task.id, |task| task.state() == TaskState::Running).await;
        // The first "not found". Two more are counted, and none of those after them changes anything.
        let denied = house.until(&task.id, |task| task.revision > running.revision).await;
        assert_eq!((denied.state(), denied.failure), (TaskState::Running, None), "{model}");
        // A whole job's life of polls later.
        let other = house.submit(text(model)).await;
        house.finished(&other.id).await;
        let now = house.get(&task.id).await;
        assert_eq!(now.state(), TaskState::Running, "{model}");
        assert!(now.revision <= denied.revision + 2, "{model}: {now:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_has_expired_is_replaced_by_a_fresh_one() {
    let mut house = House::new().await;
    for directive in ["[sim:link_expired*1]", "[sim:file_forbidden*1]"] {
        for end in ends(&mut house, directive).await {
            assert_eq!(end.state(), TaskState::Succeeded, "{directive} {}: {:?}", end.model, end.failure);
        }
    }
    assert_eq!(house.bought(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_arrives_spoilt_is_fetched_again_and_kept_whole() {
    let mut house = House::new().await;
    let clean = house.submit(text(MODELS[0])).await;
    let clean = house.finished(&clean.id).await.artifact.unwrap();
    let mut tasks = Vec::new();
    for fault in ["file_truncated", "file_cut", "file_wrong_length", "file_empty", "file_html", "download.error"] {
        // The directive is part of the prompt that is drawn: the files differ in nothing else.
        tasks.push((fault, house.submit(prompted(MODELS[0], &format!("a red kite over dunes [sim:{fault}*1]"))).await));
    }
    for (fault, task) in tasks {
        let end = house.finished(&task.id).await;
        assert_eq!(end.state(), TaskState::Succeeded, "{fault}: {:?}", end.failure);
        let artifact = end.artifact.unwrap();
        assert_eq!((artifact.width, artifact.height, artifact.duration), (clean.width, clean.height, clean.duration));
        let (_, bytes) = house.download(&task.id, 0).await.unwrap();
        assert_eq!(bytes.len() as u64, artifact.size, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_never_is_a_video_is_rejected_and_leaves_nothing() {
    let mut house = House::new().await;
    for fault in ["file_html", "file_truncated", "file_empty"] {
        let task = house.submit(prompted(MODELS[0], &format!("a kite [sim:{fault}]"))).await;
        let end = house.finished(&task.id).await;
        let failure = end.failure.unwrap_or_default();
        assert_eq!(failure.kind(), FailureKind::ArtifactRejected, "{fault}: {failure:?}");
        assert!(failure.maybe_charged, "{fault}");
    }
    let left: Vec<_> = std::fs::read_dir(house.videos()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("mp4")), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_live_a_second_are_enough() {
    let brief =
        simulator::Settings { link_lifetime: Some(Duration::from_secs(1)), ..quick(Duration::from_millis(300)) };
    let mut house = House::with(brief, &[]).await;
    let mut tasks = Vec::new();
    for n in 0..9 {
        tasks.push(house.submit(text(MODELS[n % 3])).await);
    }
    for task in tasks {
        let end = house.finished(&task.id).await;
        assert_eq!(end.state(), TaskState::Succeeded, "{}: {:?}", end.model, end.failure);
    }
}
