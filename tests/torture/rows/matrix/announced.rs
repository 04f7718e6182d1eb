//! I7: each end of a task is told, at least once, under one id, in order.

use std::collections::HashMap;
use std::time::Duration;

use videogen::api::pb;

use super::SETTLING;
use super::deeds::Stage;
use crate::common::receiver::{Event, Receiver, Reply, SECRET};
use crate::site::Server;

/// A receiver that turns every third try away.
pub async fn receiver() -> Receiver {
    Receiver::with(|_, before| Reply::Status([200, 503, 302][before % 3])).await
}

/// What leads the service there.
pub fn environment(receiver: &Receiver) -> Vec<(String, String)> {
    vec![
        ("VIDEOGEN_WEBHOOKS__URL".to_owned(), receiver.url("/")),
        ("VIDEOGEN_WEBHOOKS__SECRET".to_owned(), SECRET.to_owned()),
    ]
}

/// Starts the service once more, lets it tell what is left, and compares what came
/// with what it holds; how many different events came.
pub async fn all_told(stage: &Stage, receiver: &Receiver) -> Result<u64, String> {
    let mut server = stage.start("").await?;
    let began = tokio::time::Instant::now();
    while !nothing_waits(&mut server).await? {
        if began.elapsed() > SETTLING {
            return Err("I7: events wait that are never taken".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let tasks = server.tasks().await?;
    server.kill().await;
    let came = receiver.came();
    for task in tasks.iter().filter(|task| task.end_time.is_some()) {
        judge(task, &came)?;
    }
    let mut bodies: HashMap<&str, &Event> = HashMap::new();
    for event in &came {
        if bodies.entry(&event.id).or_insert(event).body != event.body {
            return Err(format!("I7: {} was told in two ways", event.id));
        }
    }
    Ok(bodies.len() as u64)
}

async fn nothing_waits(server: &mut Server) -> Result<bool, String> {
    let asked = server.client.list_webhook_deliveries(pb::ListWebhookDeliveriesRequest::default()).await;
    Ok(asked.map_err(|status| format!("the events could not be listed: {status}"))?.into_inner().deliveries.is_empty())
}

/// Whether the receiver has taken the end of a task, and earlier ends before it.
fn judge(task: &pb::Task, came: &[Event]) -> Result<(), String> {
    let state = task.state().as_str_name().replace("TASK_STATE_", "");
    let taken: Vec<_> = came.iter().filter(|event| event.task() == task.id && event.status == 200).collect();
    let told = |event: &&&Event| event.body["data"]["state"] == state.as_str();
    if taken.iter().find(told).is_none() {
        let task = (&task.id, state, task.revision);
        return Err(format!("I7: the end of {task:?} was not told; taken: {taken:?}"));
    }
    let revisions: Vec<_> = taken.iter().map(|event| event.body["data"]["revision"].as_u64()).collect();
    match revisions.is_sorted() {
        true => Ok(()),
        false => Err(format!("I7: {} was told out of order: {revisions:?}", task.id)),
    }
}
