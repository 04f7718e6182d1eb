//! Follows one task to its end, across broken connections: each new stream begins
//! after the last revision that was seen.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tonic::{Status, Streaming};

use crate::api::pb;
use crate::api::pb::watch_response::Event;

use super::client::{Client, Outage, SILENCE};
use super::progress::Progress;
use super::summary::is_final;
use super::text::escape;
use super::trouble::Trouble;

/// How often the moving line moves.
const TICK: Duration = Duration::from_millis(250);

/// Follows until the final state and answers with it.
pub(super) async fn follow(
    client: &Client,
    task_id: &str,
    after_revision: u64,
    mut outage: Outage,
    progress: &mut Progress,
) -> Result<pb::Task, Trouble> {
    let mut after_revision = after_revision;
    loop {
        let broken = match follow_once(client, task_id, &mut after_revision, &mut outage, progress).await {
            Ok(task) => return Ok(task),
            Err(Trouble::Status(status)) => *status,
            Err(trouble) => return Err(trouble),
        };
        wait(&mut outage, broken, progress).await?;
    }
}

/// Waits out a broken stream and says so.
pub(super) async fn wait(outage: &mut Outage, status: Status, progress: &Progress) -> Result<(), Trouble> {
    let words = match outage.was_reached() {
        true => format!("connection lost ({}); resuming", escape(status.message())),
        false => format!("no answer yet ({}); trying again", escape(status.message())),
    };
    let first = outage.is_new();
    let waited = outage.wait(status).await;
    if waited.is_ok() && first {
        progress.note(&words);
    }
    waited
}

/// One stream: to the final state, or to a status that tells how it broke.
async fn follow_once(
    client: &Client,
    task_id: &str,
    after_revision: &mut u64,
    outage: &mut Outage,
    progress: &mut Progress,
) -> Result<pb::Task, Trouble> {
    let request = pb::WatchRequest { task_id: task_id.to_owned(), after_revision: *after_revision, filter: None };
    let mut stream = open(client, request).await?;
    while let Some(event) = next(&mut stream, progress).await? {
        outage.over();
        let Some(task) = newer_task(event, *after_revision) else { continue };
        *after_revision = task.revision;
        progress.show(&task)?;
        if is_final(&task) {
            return Ok(task);
        }
    }
    ended(client, task_id, progress).await
}

/// Opens a stream; the server answers at once or is taken for gone.
pub(super) async fn open(client: &Client, request: pb::WatchRequest) -> Result<Streaming<pb::WatchResponse>, Status> {
    let mut stub = client.stub();
    let late = |_| Status::deadline_exceeded("the server did not answer in time");
    let answer = tokio::time::timeout(SILENCE, stub.watch(request)).await.map_err(late)??;
    Ok(answer.into_inner())
}

/// The next event; meanwhile the moving line moves. A server that breaks its
/// promise of heartbeats is taken for gone.
pub(super) async fn next(
    stream: &mut Streaming<pb::WatchResponse>,
    progress: &Progress,
) -> Result<Option<Event>, Status> {
    let silent = Instant::now() + SILENCE;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            message = stream.message() => return Ok(message?.map(|message| {
                // An event of a later version still is a sign of life.
                message.event.unwrap_or(Event::Heartbeat(pb::Heartbeat::default()))
            })),
            () = sleep_until(silent) => return Err(Status::unavailable("the server fell silent")),
            _ = ticks.tick() => progress.tick(),
        }
    }
}

fn newer_task(event: Event, after_revision: u64) -> Option<pb::Task> {
    match event {
        Event::Task(task) if task.revision > after_revision => Some(task),
        Event::Task(_) | Event::Heartbeat(_) => None,
    }
}

/// The stream ended well without a final state: either the caller had it already,
/// or the server went away politely.
async fn ended(client: &Client, task_id: &str, progress: &mut Progress) -> Result<pb::Task, Trouble> {
    let request = pb::GetTaskRequest { task_id: task_id.to_owned() };
    let answer = client.once(async |mut stub| stub.get_task(request.clone()).await).await?.into_inner();
    match answer.task.filter(is_final) {
        Some(task) => {
            progress.show(&task)?;
            Ok(task)
        }
        None => Err(Status::unavailable("the stream ended early").into()),
    }
}

/// Waits for the work, or for the user to press Ctrl-C.
pub(super) async fn until_interrupted<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        Ok(()) = tokio::signal::ctrl_c() => None,
    }
}
