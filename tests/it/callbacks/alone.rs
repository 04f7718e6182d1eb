//! Jobs whose end nothing but the callback tells: status queries say that they run
//! until it has left, and the next poll would come minutes later.

use std::time::Duration;

use pb::TaskState;
use videogen::api::pb;

use super::{NO_POLLS, SECRET, reachable};
use crate::house::{prompted, quick};

const JOBS: usize = 9;

/// How long after its callback had left each task was final, in milliseconds, sorted.
async fn delays(model: &str, secret: Option<&str>) -> Vec<i64> {
    let provider = videogen::simulator::Settings {
        kling_webhook_secret: secret.map(str::to_owned),
        // One scene, drawn once: what is measured is ours.
        clips: Some(1),
        ..quick(Duration::from_millis(700))
    };
    let mut house = reachable(provider, &NO_POLLS).await;
    let first = house.submit(prompted(model, "the first")).await.id;
    house.finished(&first).await;
    let mut ids = Vec::new();
    for number in 0..JOBS {
        ids.push(house.submit(prompted(model, &format!("kite {number} [sim:callback_first]"))).await.id);
    }
    let mut ends = Vec::new();
    for id in ids {
        let task = house.finished(&id).await;
        assert_eq!(task.state(), TaskState::Succeeded, "{model}: {:?}", task.failure);
        let ended = task.end_time.unwrap();
        ends.push((
            task.attempts[0].provider_job_id.clone(),
            ended.seconds * 1000 + i64::from(ended.nanos) / 1_000_000,
        ));
    }
    let jobs = house.jobs().await;
    let called_back = |id: &str| jobs.iter().find(|job| job["id"] == *id).unwrap()["called_back"].as_i64().unwrap();
    let mut delays: Vec<i64> = ends.iter().map(|(job, ended)| ended - called_back(job)).collect();
    delays.sort_unstable();
    assert_eq!(house.bought(), JOBS + 1);
    delays
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_final_within_a_second_of_the_only_thing_that_tells_its_end() {
    for (name, model, secret) in [
        ("Kling unsigned", "kling/kling-3.0", None),
        ("Kling signed", "kling/kling-3.0", Some(SECRET)),
        ("Kling legacy, signed", "kling/kling-v2-6", Some(SECRET)),
        ("fal", "fal/fal-ai/veo3.1", None),
    ] {
        let delays = delays(model, secret).await;
        let (median, most) = (delays[JOBS / 2], delays[JOBS - 1]);
        println!("{name}: final {median} ms after the callback, median of {JOBS}; at most {most} ms");
        assert!((0..1000).contains(&median), "{name}: {delays:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_given_out_before_a_restart_still_holds() {
    let mut house = reachable(quick(Duration::from_secs(3)), &NO_POLLS).await;
    let mut ids = Vec::new();
    for model in ["kling/kling-3.0", "kling/kling-v2-6", "fal/fal-ai/veo3.1"] {
        let task = house.submit(prompted(model, "a kite [sim:callback_first]")).await;
        ids.push(house.until(&task.id, |task| task.state() == TaskState::Running).await.id);
    }
    let (_, foundations) = house.drain().await;
    let mut house = foundations.rebuild().await;
    for id in ids {
        let end = house.finished(&id).await;
        assert_eq!(end.state(), TaskState::Succeeded, "{}: {:?}", end.model, end.failure);
    }
    assert_eq!(house.bought(), 3);
}
