//! Events that outlive the process: it dies before they are sent, or before it can
//! note that they were taken.

use std::time::Duration;

use pb::TaskState;
use videogen::api::pb;

use super::server::{Server, Site};
use crate::common::child::Process;
use crate::common::receiver::{Receiver, Reply, SECRET};
use crate::common::until;
use crate::house::{request, text};

async fn site(receiver: &Receiver) -> Site {
    let site = Site::new(Duration::from_millis(200)).await;
    let webhooks = format!("[webhooks]\nurl = \"{}\"\nsecret = \"{SECRET}\"\n\n[store]", receiver.url("/"));
    site.edit("[store]", &webhooks);
    site
}

async fn succeeded(server: &mut Server) -> pb::Task {
    let task = server.submit(request(text("kling/kling-3.0"))).await;
    server.until_task(&task.id, |task| task.state() == TaskState::Succeeded).await
}

async fn waiting(server: &Server) -> Vec<pb::WebhookDelivery> {
    let mut client = server.client.clone();
    let request = pb::ListWebhookDeliveriesRequest::default();
    client.list_webhook_deliveries(request).await.unwrap().into_inner().deliveries
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_not_sent_is_sent_after_the_restart() {
    let mut receiver = Receiver::with(|_, before| Reply::Status(if before == 0 { 503 } else { 200 })).await;
    let site = site(&receiver).await;
    let mut server = site.start().await;
    let end = succeeded(&mut server).await;
    receiver.until(1).await;
    server.kill().await;

    let server = site.start().await;
    let events = receiver.until(2).await;
    assert_eq!(events[1].id, format!("evt_{}_{}", end.id, end.revision));
    assert_eq!((&events[0].id, &events[0].body), (&events[1].id, &events[1].body));
    until("the event to be taken out", async || waiting(&server).await.is_empty()).await;
    assert_eq!(server.stop().await.code, Some(0));

    let server = site.start().await;
    assert!(waiting(&server).await.is_empty());
    server.stop().await;
    assert_eq!(receiver.came().len(), 2, "what was taken is not sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_taken_unnoticed_comes_again_under_the_same_id() {
    let late = |_: &str, before| if before == 0 { Reply::Late(Duration::from_secs(600)) } else { Reply::Status(200) };
    let mut receiver = Receiver::with(late).await;
    let site = site(&receiver).await;
    let mut server = site.start().await;
    succeeded(&mut server).await;
    // The receiver has it, and its answer never arrives.
    receiver.until(1).await;
    server.kill().await;

    let server = site.start().await;
    let events = receiver.until(2).await;
    assert_eq!((&events[0].id, &events[0].body), (&events[1].id, &events[1].body));
    until("the event to be taken out", async || waiting(&server).await.is_empty()).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_lists_what_is_parked_and_sends_it_again() {
    let mut receiver = Receiver::with(|_, before| Reply::Status(if before == 0 { 410 } else { 200 })).await;
    let site = site(&receiver).await;
    let mut server = site.start().await;
    let end = succeeded(&mut server).await;
    until("the event to be parked", async || waiting(&server).await.iter().any(|one| one.park_time.is_some())).await;
    let id = format!("evt_{}_{}", end.id, end.revision);
    let url = server.url();
    let run = async |words: &[&str]| {
        let words: Vec<&str> = words.iter().copied().chain(["--server", &url]).collect();
        let ended = Process::spawn(&words, &[]).ended().await;
        (ended.code, ended.stdout)
    };
    let (code, listed) = run(&["webhooks", "list", "--parked", "--json"]).await;
    assert_eq!(code, Some(0));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["deliveries"][0]["id"], id);
    assert_eq!(listed["deliveries"][0]["state"], "PARKED");
    assert_eq!(listed["deliveries"][0]["type"], "task.succeeded");
    let (code, table) = run(&["webhooks", "list"]).await;
    assert!(code == Some(0) && table.contains(&id) && table.contains("410"), "{table}");

    let (code, said) = run(&["webhooks", "replay", &id]).await;
    assert!(code == Some(0) && said.contains("WAITING"), "{said}");
    assert_eq!(receiver.until(2).await[1].id, id);
    until("the event to be taken out", async || waiting(&server).await.is_empty()).await;
    assert_eq!(run(&["webhooks", "replay", &id]).await.0, Some(2));
    assert_eq!(run(&["webhooks", "replay", "--all"]).await.0, Some(0));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_could_not_be_used_are_refused_by_name() {
    for (webhooks, named) in [
        (format!("url = \"https://10.0.0.1/\"\nsecret = \"{SECRET}\""), "webhooks.url"),
        ("url = \"https://hooks.example/\"".to_owned(), "webhooks.secret"),
        ("secret = \"canary-no-secret\"".to_owned(), "webhooks.secret"),
        (format!("secret = \"{SECRET}\"\nprevious_secret = \"canary\""), "webhooks.previous_secret"),
        (format!("previous_secret = \"{SECRET}\""), "webhooks.secret"),
        ("events = [\"task.exploded\"]".to_owned(), "webhooks.events"),
    ] {
        let site = Site::new(Duration::from_millis(200)).await;
        site.edit("[store]", &format!("[webhooks]\n{webhooks}\n\n[store]"));
        let ended = site.start_in_vain().await;
        assert!(matches!(ended.code, Some(1 | 2)), "{:?} {}", ended.code, ended.stderr);
        assert!(ended.stderr.contains(named) && !ended.stderr.contains("canary"), "{}", ended.stderr);
    }
}
