//! Events out: a real receiver on a socket, and what becomes of events that it does
//! not take.

use std::collections::HashSet;
use std::time::Duration;

use tonic::Code;
use videogen::api::pb;

use crate::common::receiver::{Receiver, Reply, SECRET};
use crate::house::{House, quick, request, text, told};

const OLD: &str = "whsec_YW4tb2xkZXItc2VjcmV0LW9mLXRoZS1yZWNlaXZlcnM=";
const MODEL: &str = "kling/kling-v2-6";

/// A house that signs, with a receiver for all tasks.
async fn house(receiver: &Receiver) -> House {
    let url = receiver.url("/common");
    signing(&[("WEBHOOKS__URL", &url)]).await
}

async fn signing(extra: &[(&str, &str)]) -> House {
    let extra = [&[("WEBHOOKS__SECRET", SECRET)], extra].concat();
    House::with(quick(Duration::from_millis(300)), &extra).await
}

fn announced(url: &str, updates: bool) -> pb::SubmitRequest {
    pb::SubmitRequest { webhook: Some(pb::Webhook { url: url.to_owned(), updates }), ..request(text(MODEL)) }
}

async fn deliveries(house: &mut House, parked_only: bool) -> Vec<pb::WebhookDelivery> {
    let request = pb::ListWebhookDeliveriesRequest { parked_only, ..Default::default() };
    house.client.list_webhook_deliveries(request).await.unwrap().into_inner().deliveries
}

/// Waits until so many events wait or are parked.
async fn until_listed(house: &mut House, parked_only: bool, count: usize) -> Vec<pb::WebhookDelivery> {
    crate::common::within(async {
        loop {
            let listed = deliveries(house, parked_only).await;
            if listed.len() == count {
                return listed;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_task_is_told_once_and_signed_with_both_secrets() {
    let mut receiver = Receiver::new().await;
    let url = receiver.url("/common?token=1");
    let mut house = signing(&[("WEBHOOKS__URL", &url), ("WEBHOOKS__PREVIOUS_SECRET", OLD)]).await;
    let task = house.submit(text(MODEL)).await;
    let end = house.finished(&task.id).await;
    let event = receiver.until(1).await.remove(0);
    assert_eq!((event.kind(), event.task(), event.signatures), ("task.succeeded", task.id.as_str(), 2));
    assert_eq!(event.path, "/common?token=1");
    assert_eq!(event.id, format!("evt_{}_{}", task.id, end.revision));

    let data = &event.body["data"];
    let artifact = end.artifact.as_ref().unwrap();
    assert_eq!(data["artifact"]["sha256"], artifact.sha256);
    assert_eq!(data["artifact"]["size"], artifact.size);
    assert_eq!(data["state"], "SUCCEEDED");
    assert_eq!(data["request_id"], end.request_id);
    assert_eq!(data["provider_job_id"], end.provider_job_id);
    assert_eq!(data["update_time"], end.update_time.unwrap().to_string());
    assert_eq!(event.body["timestamp"], data["update_time"]);
    let all = event.body.to_string();
    assert!(!all.contains("red kite") && !all.contains("http"), "neither prompt nor link: {all}");
    until_listed(&mut house, false, 0).await;
    house.drain().await;
    assert_eq!(receiver.came().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_names_its_own_receiver_and_what_it_is_told() {
    let mut receiver = Receiver::new().await;
    let mut house = house(&receiver).await;
    let task = house.try_submit(announced(&receiver.url("/own"), true)).await.unwrap();
    house.finished(&task.id).await;
    let events = receiver.until_any(|event| event.kind() == "task.succeeded").await;
    assert!(events.iter().all(|event| event.path == "/own"));
    assert!(events.iter().any(|event| event.kind() == "task.updated"));
    let revisions: Vec<_> = events.iter().map(|event| event.body["data"]["revision"].as_u64().unwrap()).collect();
    assert!(revisions.is_sorted_by(|one, two| one < two), "{revisions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_and_cancelled_are_told_and_an_account_has_its_own_receiver() {
    let mut receiver = Receiver::new().await;
    let (common, own) = (receiver.url("/common"), receiver.url("/of-fal"));
    let mut house = signing(&[("WEBHOOKS__URL", &common), ("ACCOUNTS__1__ANNOUNCE_URL", &own)]).await;
    let failed = house.submit(crate::house::prompted(MODEL, "[sim:fail]")).await;
    let end = house.finished(&failed.id).await;
    let event = receiver.until(1).await.remove(0);
    assert_eq!((event.kind(), event.task(), event.path.as_str()), ("task.failed", failed.id.as_str(), "/common"));
    let kind = end.failure.unwrap().kind().as_str_name().replace("FAILURE_KIND_", "");
    assert_eq!(event.body["data"]["failure"]["kind"], kind);

    let cancelled = house.submit(crate::house::prompted("fal/fal-ai/veo3.1", "a kite [sim:latency=300s]")).await;
    house.until(&cancelled.id, |task| task.state() == pb::TaskState::Running).await;
    house.cancel(&cancelled.id).await.unwrap();
    let end = house.finished(&cancelled.id).await;
    let event = receiver.until(2).await.remove(1);
    assert_eq!((event.kind(), event.path.as_str()), ("task.cancelled", "/of-fal"));
    let outcome = end.cancellation.unwrap().outcome().as_str_name().replace("CANCELLATION_OUTCOME_", "");
    assert_eq!(event.body["data"]["cancellation"]["outcome"], outcome);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_sent_again_under_its_id_until_it_is_taken() {
    let mut receiver = Receiver::with(|_, before| Reply::Status(if before < 2 { 500 } else { 200 })).await;
    let mut house = house(&receiver).await;
    let task = house.submit(text(MODEL)).await;
    house.finished(&task.id).await;
    receiver.until(1).await;
    let waiting = until_listed(&mut house, false, 1).await.remove(0);
    assert_eq!(waiting.state(), pb::WebhookDeliveryState::Waiting);
    let events = receiver.until(3).await;
    assert_eq!(events.iter().map(|event| event.id.as_str()).collect::<HashSet<_>>().len(), 1);
    assert_eq!(events[0].body, events[2].body);
    until_listed(&mut house, false, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_left_alone_until_a_replay() {
    let mut receiver = Receiver::with(|_, before| Reply::Status(if before == 0 { 410 } else { 200 })).await;
    let mut house = house(&receiver).await;
    let task = house.submit(text(MODEL)).await;
    house.finished(&task.id).await;
    let parked = until_listed(&mut house, true, 1).await.remove(0);
    assert_eq!((parked.state(), parked.task_id.as_str()), (pb::WebhookDeliveryState::Parked, task.id.as_str()));
    assert!(parked.last_error.contains("410") && parked.park_time.is_some());
    assert_eq!(parked.r#type, "task.succeeded");
    let second = house.submit(text(MODEL)).await;
    house.finished(&second.id).await;
    until_listed(&mut house, true, 2).await;
    assert_eq!(receiver.came().len(), 1);

    let replay = pb::ReplayWebhookDeliveryRequest { id: parked.id.clone() };
    let waits = house.client.replay_webhook_delivery(replay.clone()).await.unwrap().into_inner().delivery.unwrap();
    assert_eq!(waits.state(), pb::WebhookDeliveryState::Waiting);
    assert_eq!(receiver.until(2).await[1].id, parked.id);
    until_listed(&mut house, false, 1).await;
    let error = house.client.replay_webhook_delivery(replay).await.unwrap_err();
    assert_eq!(told(&error), (Code::NotFound, "DELIVERY_NOT_FOUND".to_owned(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let inside = Receiver::new().await;
    let elsewhere = inside.url("/inside");
    let mut receiver = Receiver::with(move |_, _| Reply::Elsewhere(elsewhere.clone())).await;
    let mut house = house(&receiver).await;
    let task = house.submit(text(MODEL)).await;
    house.finished(&task.id).await;
    receiver.until(2).await;
    let waiting = deliveries(&mut house, false).await.remove(0);
    assert!(waiting.last_error.contains("302") && waiting.tries > 0, "{waiting:?}");
    assert!(inside.came().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_receiver_keeps_neither_others_nor_the_drain_waiting() {
    let slow = Receiver::with(|_, _| Reply::Late(Duration::from_secs(600))).await;
    let mut quick = Receiver::new().await;
    let mut house = signing(&[]).await;
    let mut tasks = Vec::new();
    for number in 0..20 {
        let url = if number < 12 { slow.url("/") } else { quick.url("/") };
        tasks.push(house.try_submit(announced(&url, false)).await.unwrap().id);
    }
    assert_eq!(quick.until(8).await.len(), 8);
    for id in &tasks {
        house.finished(id).await;
    }
    let (ended, foundations) = house.drain().await;
    assert_eq!(ended, videogen::app::Ended::Drained);
    // What was cut off or never begun is told by the next one, under the same ids.
    let before: HashSet<String> = slow.came().into_iter().map(|event| event.id).collect();
    let mut slow = slow;
    let count = slow.came().len();
    let _house = foundations.rebuild().await;
    let again = slow.until(count + 8).await.split_off(count);
    assert!(again.iter().any(|event| before.contains(&event.id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_nobody_is_told_and_a_request_for_it_is_refused() {
    let mut house = House::new().await;
    let error = house.try_submit(announced("https://hooks.example/1", false)).await.unwrap_err();
    assert_eq!(told(&error), (Code::FailedPrecondition, "WEBHOOKS_NOT_CONFIGURED".to_owned(), Vec::new()));
    let error = house.try_submit(announced("https://10.0.0.1/", false)).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(house.is_untouched().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_judged_by_the_address_that_it_leads_to_when_it_is_called() {
    // The name passes at Submit, because some addresses inside are allowed; the one that
    // it leads to when the event is sent is not.
    let receiver = Receiver::new().await;
    let url = format!("http://localhost:{}/", receiver.address.port());
    let mut house = signing(&[("NETWORK__ALLOW", "127.0.0.2")]).await;
    let task = house.try_submit(announced(&url, false)).await.unwrap();
    let end = house.finished(&task.id).await;
    assert_eq!(end.failure.unwrap().kind(), pb::FailureKind::TargetForbidden, "the result's link leads inside too");
    let waiting = crate::common::within(async {
        loop {
            let waiting = until_listed(&mut house, false, 1).await.remove(0);
            if waiting.tries > 1 {
                return waiting;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let waiting = waiting.await;
    assert_eq!((waiting.task_id, waiting.r#type.as_str()), (task.id, "task.failed"));
    assert_eq!(waiting.last_error, "not called: the host name leads to no public address");
    assert!(receiver.came().is_empty());
}
