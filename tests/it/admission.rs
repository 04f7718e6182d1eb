//! Nothing new is taken in while there is no room for it, and everything else is
//! served: repeats, reads, downloads, checks.

use std::time::Duration;

use pb::TaskState;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;
use videogen::api::pb;

use crate::house::{House, prompted, quick, request, text, told, within};

const MODEL: &str = "kling/kling-3.0";
const SUBMIT: &str = "videogen.v1.VideoGen/Submit";

async fn health(house: &House, name: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: name.to_owned() };
    HealthClient::new(house.channel().await).check(request).await.unwrap().into_inner().status()
}

async fn page(house: &House, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("http://{}{path}", house.addresses.admin)).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Expects a refusal with this reason, a quota and a time to come back.
fn refused(status: &Status, reason: &str, subject: &str, after: Duration) {
    assert_eq!(told(status), (Code::ResourceExhausted, reason.to_owned(), vec![]), "{status:?}");
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(after));
    assert_eq!(status.get_details_quota_failure().unwrap().violations[0].subject, subject);
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_reserve_new_tasks_are_refused_and_everything_else_is_served() {
    let mut house = House::new().await;
    let first = request(text(MODEL));
    let task = house.try_submit(first.clone()).await.unwrap();
    assert_eq!(house.finished(&task.id).await.state(), TaskState::Succeeded);
    assert_eq!(health(&house, SUBMIT).await, ServingStatus::Serving);
    assert_eq!(page(&house, "/readyz").await, (200, "serving\n".into()));

    let (_, foundations) = house.drain().await;
    let mut house = foundations.rebuild_with(&[("SUBMIT__DISK_RESERVE", "1000000TiB")]).await;
    let status = house.try_submit(request(prompted(MODEL, "another"))).await.unwrap_err();
    refused(&status, "STORAGE_LOW", "disk", Duration::from_secs(60));

    let again = house.client.submit(first.clone()).await.unwrap();
    assert_eq!(again.metadata().get("videogen-replayed").unwrap(), "true");
    assert_eq!(again.into_inner().task.unwrap().id, task.id);
    let other = pb::SubmitRequest { spec: Some(prompted(MODEL, "another")), ..first.clone() };
    assert_eq!(told(&house.try_submit(other).await.unwrap_err()).1, "REQUEST_ID_REUSED");
    let check = pb::SubmitRequest { validate_only: true, ..request(text(MODEL)) };
    house.try_submit(check).await.unwrap();
    assert_eq!(house.get(&task.id).await.state(), TaskState::Succeeded);
    assert!(!house.download(&task.id, 0).await.unwrap().1.is_empty());
    assert_eq!(house.list(pb::ListTasksRequest::default()).await.unwrap().tasks.len(), 1);

    assert_eq!(health(&house, "").await, ServingStatus::Serving);
    assert_eq!(health(&house, SUBMIT).await, ServingStatus::NotServing);
    assert_eq!(page(&house, "/readyz").await, (200, "serving\nnew tasks are refused: STORAGE_LOW\n".into()));
    let (_, metrics) = page(&house, "/metrics").await;
    assert!(metrics.contains("videogen_submits_refused_total{reason=\"STORAGE_LOW\"} 1"), "{metrics}");
    assert_eq!(house.bought(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_new_tasks_until_one_has_ended() {
    let provider = quick(Duration::from_secs(2));
    let mut house = House::with(provider, &[("SUBMIT__MAX_OPEN_TASKS", "2")]).await;
    let first = request(text(MODEL));
    let task = house.try_submit(first.clone()).await.unwrap();
    house.submit(prompted(MODEL, "the second")).await;
    let third = request(prompted(MODEL, "the third"));
    let status = house.try_submit(third.clone()).await.unwrap_err();
    refused(&status, "QUEUE_FULL", "open_tasks", Duration::from_secs(10));
    assert_eq!(house.try_submit(first).await.unwrap().id, task.id);

    assert_eq!(house.finished(&task.id).await.state(), TaskState::Succeeded);
    let task = house.try_submit(third).await.unwrap();
    assert_eq!(house.finished(&task.id).await.state(), TaskState::Succeeded);
    assert_eq!(house.bought(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_of_submit_follows_the_queue() {
    let provider = quick(Duration::from_secs(3));
    let mut house = House::with(provider, &[("SUBMIT__MAX_OPEN_TASKS", "1")]).await;
    let watched = Request::new(HealthCheckRequest { service: SUBMIT.to_owned() });
    let mut health = HealthClient::new(house.channel().await).watch(watched).await.unwrap().into_inner();
    let mut next = async || within(health.message()).await.unwrap().unwrap().status();
    assert_eq!(next().await, ServingStatus::Serving);
    house.submit(text(MODEL)).await;
    assert_eq!(next().await, ServingStatus::NotServing);
    assert_eq!(next().await, ServingStatus::Serving);
}
