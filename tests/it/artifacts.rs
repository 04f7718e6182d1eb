//! Fetching what was bought from hosts that misbehave: what can be mended is tried
//! again without buying again, and what cannot is said.

use std::time::Duration;

use pb::{FailureKind, TaskState};
use ring::digest::{SHA256, digest};
use videogen::api::pb;

use crate::house::{House, prompted, quick};

const MODELS: [&str; 2] = ["kling/kling-3.0", "fal/fal-ai/veo3.1"];

async fn house(extra: &[(&str, &str)]) -> House {
    House::with(quick(Duration::from_millis(200)), extra).await
}

/// Buys a video of each model whose file has this fault.
async fn bought(house: &mut House, fault: &str) -> Vec<pb::Task> {
    let mut ends = Vec::new();
    for model in MODELS {
        let task = house.submit(prompted(model, &format!("a kite [sim:{fault}]"))).await;
        ends.push(house.finished(&task.id).await);
    }
    assert_eq!(house.bought(), MODELS.len(), "{fault}: each was bought once");
    ends
}

fn files(house: &House) -> usize {
    std::fs::read_dir(house.videos()).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_goes_wrong_once_is_mended_without_buying_again() {
    let faults = [
        "link_expired*1",
        "file_forbidden*1",
        "file_html*1",
        "file_truncated*1",
        "file_cut*1",
        "file_wrong_length*1",
        "file_empty*1",
        "file_endless*1",
        "download.error*1",
        "download.drop*1",
        "download.hang*1",
        "download.drip*1",
    ];
    for fault in faults {
        let limits =
            [("ARCHIVE__MAX_VIDEO", "4MiB"), ("ARCHIVE__IDLE_TIMEOUT", "500ms"), ("ARCHIVE__FETCH_TIMEOUT", "2s")];
        let mut house = house(&limits).await;
        for end in bought(&mut house, fault).await {
            assert_eq!(end.state(), TaskState::Succeeded, "{fault}: {:?}", end.failure);
            let (header, bytes) = house.download(&end.id, 0).await.unwrap();
            let sha256: String = digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(header.artifact.unwrap().sha256, sha256, "{fault}");
        }
        assert_eq!(files(&house), MODELS.len(), "{fault}: nothing unfinished is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_video_however_often_it_is_fetched_is_rejected() {
    for fault in ["file_html", "file_truncated", "file_empty", "file_endless", "file_large=60"] {
        let mut house = house(&[("ARCHIVE__MAX_VIDEO", "4MiB")]).await;
        for end in bought(&mut house, fault).await {
            let failure = end.failure.clone().unwrap_or_default();
            assert_eq!((end.state(), failure.kind()), (TaskState::Failed, FailureKind::ArtifactRejected), "{fault}");
            assert!(failure.maybe_charged, "{fault}: it was paid for");
            let over = failure.message.contains("larger than 4194304 bytes");
            assert_eq!(over, matches!(fault, "file_endless" | "file_large=60"), "{fault}: {}", failure.message);
        }
        assert_eq!(files(&house), 0, "{fault}: nothing of it is kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_60_mb_is_kept() {
    let mut house = house(&[]).await;
    for end in bought(&mut house, "file_large=60").await {
        let artifact = end.artifact.unwrap_or_else(|| panic!("{:?}", end.failure));
        assert!(artifact.size > 60 << 20 && artifact.width > 0 && artifact.frame_rate > 0.0, "{artifact:?}");
        let (_, bytes) = house.download(&end.id, 0).await.unwrap();
        let sha256: String = digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((bytes.len() as u64, sha256), (artifact.size, artifact.sha256));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_or_a_redirect_to_inside_is_not_followed() {
    for fault in ["link_inside", "file_redirect_inside"] {
        let mut house = house(&[]).await;
        for end in bought(&mut house, fault).await {
            let failure = end.failure.clone().unwrap_or_default();
            assert_eq!((end.state(), failure.kind()), (TaskState::Failed, FailureKind::TargetForbidden), "{fault}");
            assert!(failure.maybe_charged && !failure.message.contains("169.254"), "{fault}: {}", failure.message);
        }
        assert_eq!(files(&house), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_wait_the_one_whose_link_ends_first_is_fetched_first() {
    let mut house = house(&[("ARCHIVE__IDLE_TIMEOUT", "10s")]).await;
    // The provider draws a clip when it is first asked for it, which takes a while.
    for model in MODELS {
        let task = house.submit(prompted(model, "a kite")).await;
        house.finished(&task.id).await;
    }
    // Eight downloads from a host that is silent, one after the other.
    for _ in 0..8 {
        let task = house.submit(prompted(MODELS[0], "a kite [sim:download.hang*1]")).await;
        house.until(&task.id, |task| task.state() == TaskState::Archiving).await;
    }
    // Kling's links are good for a month, fal's end sooner.
    let mut waiting = Vec::new();
    for model in MODELS {
        let task = house.submit(prompted(model, "a kite")).await;
        waiting.push(house.until(&task.id, |task| task.state() == TaskState::Archiving).await);
    }
    let kling = house.finished(&waiting[0].id).await;
    let fal = house.finished(&waiting[1].id).await;
    let expiry = |task: &pb::Task| task.artifact.as_ref().unwrap().provider_url_expire_time.unwrap().seconds;
    assert!(expiry(&fal) < expiry(&kling));
    let ends = |task: &pb::Task| task.end_time.map(|time| (time.seconds, time.nanos));
    assert!(ends(&fal) < ends(&kling), "{:?} and {:?}", fal.history, kling.history);
}
