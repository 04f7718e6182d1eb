//! A task whose work ends the process each time: it is made to rest, and the others
//! go on.

use std::time::Duration;

use pb::TaskState;
use videogen::api::pb;

use super::server::Site;
use crate::house::{request, text};

const MODEL: &str = "kling/kling-3.0";

#[tokio::test(flavor = "multi_thread")]
async fn a_poisonous_task_is_quarantined_at_the_third_crash_and_its_neighbour_succeeds() {
    let mut site = Site::new(Duration::from_secs(2)).await;
    site.environment.push(("FAILPOINT_POISON".to_owned(), "poison".to_owned()));
    let mut server = site.start().await;
    let neighbour = server.submit(request(text(MODEL))).await;
    server.until_task(&neighbour.id, |task| task.state() == TaskState::Running).await;
    let mut poison = request(text(MODEL));
    poison.labels.insert("poison".to_owned(), "yes".to_owned());
    // Its answer may come in time or not.
    let _ = server.client.submit(poison).await;
    let mut crashes = vec![server.process.ended().await];
    for _ in 0..2 {
        crashes.push(site.spawn("serve").ended().await);
    }
    assert!(crashes.iter().all(|crash| crash.code.is_none()), "a signal ended each of them: {crashes:?}");

    let mut server = site.start().await;
    server.until_task(&neighbour.id, |task| task.state() == TaskState::Succeeded).await;
    let tasks = server.tasks().await;
    let resting = tasks.iter().find(|task| task.labels.contains_key("poison")).unwrap();
    assert_eq!(resting.state(), TaskState::Queued);
    let told = resting.history.iter().filter(|entry| entry.reason.starts_with("quarantined")).count();
    assert_eq!(told, 1, "{resting:?}");
    assert!(server.log_of(&resting.id).contains("quarantined"));
    // It can still be cancelled, and the server still ends in order.
    let cancelled = server.client.cancel_task(pb::CancelTaskRequest { task_id: resting.id.clone() }).await.unwrap();
    assert_eq!(cancelled.into_inner().task.unwrap().state(), TaskState::Cancelled);
    assert_eq!(server.stop().await.code, Some(0));
}
