//! The main job, end to end, on every wire.

use pb::{AttemptOutcome, TaskState};
use ring::digest::{SHA256, digest};
use videogen::api::pb;

use crate::house::{House, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_becomes_a_stored_video_on_every_wire() {
    let mut house = House::new().await;
    for model in ["kling/kling-3.0", "kling/kling-v2-6", "fal/fal-ai/veo3.1"] {
        let task = house.submit(text(model)).await;
        assert_eq!((task.state(), task.revision), (TaskState::Queued, 1));

        let seen = house.follow(&task.id).await;
        let end = seen.last().unwrap();
        assert_eq!(end.state(), TaskState::Succeeded, "{model}: {:?}", end.failure);
        assert!(seen.windows(2).all(|pair| pair[0].revision < pair[1].revision), "{model}");
        assert_eq!(end.attempts.len(), 1);
        assert_eq!(end.attempts[0].outcome(), AttemptOutcome::Accepted);

        let (header, bytes) = house.download(&task.id, 0).await.unwrap();
        let artifact = header.artifact.unwrap();
        assert_eq!(Some(&artifact), end.artifact.as_ref());
        assert_eq!(artifact.size, bytes.len() as u64);
        assert_eq!(artifact.media_type, "video/mp4");
        let sha256: String = digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(artifact.sha256, sha256);
    }
    assert_eq!(house.bought(), 3);
}
