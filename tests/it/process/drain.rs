//! SIGTERM: what is under way finishes, streams are told to come back, and the
//! process ends with 0 before its grace is over, whoever holds on to it.

use std::time::{Duration, Instant};

use futures::future::join_all;
use pb::TaskState;
use pb::watch_response::Event;
use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use videogen::api::pb;
use videogen::simulator::{Fault, FaultKind, Moment};

use super::server::{Client, Server, Site, connect};
use crate::house::{request, text, told, within};

/// The grace of the settings.
const GRACE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_server_ends_at_once() {
    let site = Site::new(Duration::from_secs(1)).await;
    let server = site.start().await;
    let begun = Instant::now();
    let ended = server.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(begun.elapsed() < GRACE / 4, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_watches_and_creates_in_flight_do_not_hold_up_the_end() {
    let site = Site::new(Duration::from_secs(3)).await;
    let mut server = site.start().await;
    let mut endless = text("kling/kling-3.0");
    endless.prompt += " [sim:latency=600s]";
    let watched = server.submit(request(endless)).await;
    let watched = server.until_task(&watched.id, |task| task.state() == TaskState::Running).await;
    let watches = open_watches(&server, &watched.id).await;
    let health = open_health(&server).await;
    let reflection = open_reflection(&server).await;

    // Booked at once, answered over seconds.
    site.simulator.inject(Fault::new(FaultKind::Drip).on(Moment::Create).times(3));
    let mut bought = Vec::new();
    for model in ["kling/kling-3.0", "kling/kling-v2-6", "fal/fal-ai/veo3.1"] {
        bought.push(server.submit(request(text(model))).await);
    }
    site.bought_at_least(4).await;
    for task in &bought {
        assert_eq!(server.task(&task.id).await.state(), TaskState::Submitting);
    }

    let begun = Instant::now();
    server.process.terminate();
    for end in join_all(watches.into_iter().map(last_word)).await {
        let (code, reason, _) = told(&end);
        assert_eq!((code, reason.as_str()), (Code::Unavailable, "WATCH_REOPEN"));
    }
    assert!(begun.elapsed() < GRACE / 4, "streams end first: {:?}", begun.elapsed());
    let ended = server.process.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(begun.elapsed() < GRACE, "{:?}", begun.elapsed());
    drop((health, reflection));

    let mut server = site.start().await;
    for task in &bought {
        let end = server.until_task(&task.id, |task| task.state() == TaskState::Succeeded).await;
        let reconciled = end.history.iter().any(|entry| entry.state() == TaskState::Reconciling);
        assert!(!reconciled, "its job was known when the process ended: {:?}", end.history);
    }
    assert_eq!(site.bought().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_is_never_answered_is_left_to_the_next_start() {
    let site = Site::new(Duration::from_secs(1)).await;
    site.edit("\"20s\"", "\"2s\"");
    site.simulator.inject(Fault::new(FaultKind::AcceptHang).on(Moment::Create));
    let mut server = site.start().await;
    let task = server.submit(request(text("kling/kling-3.0"))).await;
    site.bought_at_least(1).await;
    let begun = Instant::now();
    let ended = server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("the grace was over"), "{}", ended.stderr);

    let mut server = site.start().await;
    server.until_task(&task.id, |task| task.state() == TaskState::Succeeded).await;
    assert_eq!(site.bought().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_at_the_next_start_where_it_was_left() {
    let site = Site::new(Duration::from_secs(2)).await;
    let mut server = site.start().await;
    let task = server.submit(request(text("kling/kling-3.0"))).await;
    let running = server.until_task(&task.id, |task| task.state() == TaskState::Running).await;
    assert_eq!(server.stop().await.code, Some(0));

    let mut server = site.start().await;
    let after = pb::WatchRequest { task_id: task.id, after_revision: running.revision, filter: None };
    let mut stream = server.client.watch(after).await.unwrap().into_inner();
    let mut last = running;
    while let Some(message) = within(stream.message()).await.unwrap() {
        let Some(Event::Task(task)) = message.event else { continue };
        assert!(task.revision > last.revision);
        last = task;
    }
    assert_eq!(last.state(), TaskState::Succeeded);
}

/// A thousand watches of one task over five connections, each with its first answer.
async fn open_watches(server: &Server, task_id: &str) -> Vec<Streaming<pb::WatchResponse>> {
    let mut watches = Vec::new();
    for _ in 0..5 {
        let client = connect(server.address).await;
        let opened = join_all((0..200).map(|_| open_watch(client.clone(), task_id.to_owned())));
        watches.extend(within(opened).await);
    }
    watches
}

async fn open_watch(mut client: Client, task_id: String) -> Streaming<pb::WatchResponse> {
    let request = pb::WatchRequest { task_id, ..Default::default() };
    let mut stream = client.watch(request).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert!(matches!(first.event, Some(Event::Task(_))));
    stream
}

/// The status that ends a stream.
async fn last_word(mut stream: Streaming<pb::WatchResponse>) -> tonic::Status {
    loop {
        match within(stream.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the watch ended as if its task had"),
            Err(status) => return status,
        }
    }
}

/// Fifty health watches, held open and never read again.
async fn open_health(server: &Server) -> Vec<Streaming<HealthCheckResponse>> {
    let channel = Channel::from_shared(server.url()).unwrap().connect().await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..50 {
        let request = HealthCheckRequest { service: String::new() };
        let mut stream = HealthClient::new(channel.clone()).watch(request).await.unwrap().into_inner();
        assert_eq!(stream.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        streams.push(stream);
    }
    streams
}

/// A reflection stream whose caller never says that it has no more questions.
async fn open_reflection(server: &Server) -> Streaming<ServerReflectionResponse> {
    let channel = Channel::from_shared(server.url()).unwrap().connect().await.unwrap();
    let question = MessageRequest::ListServices(String::new());
    let first = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let questions = tokio_stream::once(first).chain(tokio_stream::pending());
    let mut answers =
        ServerReflectionClient::new(channel).server_reflection_info(questions).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    answers
}
