//! Readers of streams, each with bad manners of its own. All of them come back
//! until they have seen the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pb::watch_response::Event;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tonic::{Code, Status, Streaming};
use videogen::api::pb;

use super::judge::{Known, Shown, Stream};
use super::{Doors, LABEL};

/// How long a reader comes back for before that is a failure.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a reader of one task behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Reads to the end.
    Steady,
    /// Stays for up to 10 ms.
    Hasty,
    /// Stays for up to 10 ms and asks for the newest state each time.
    Forgetful,
    /// Reads one state, then nothing for a while.
    Slow,
}

/// What every reader of a case shares.
#[derive(Clone, Debug)]
pub struct Hall {
    /// The way in, while there is one.
    pub doors: watch::Receiver<Option<Doors>>,
    /// Whether it leads through a narrow connection.
    pub narrow: bool,
    /// What they all were shown.
    pub shown: Arc<Shown>,
}

/// What a reader did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Streams that it opened.
    pub streams: u64,
    /// Heartbeats that it heard.
    pub heartbeats: u64,
    /// What it knows in the end, for a reader of one task.
    pub known: Known,
}

impl Hall {
    /// Opens a stream by whatever way leads in; nothing when it is to be tried again.
    async fn open(
        &mut self,
        number: usize,
        request: &pb::WatchRequest,
    ) -> Result<Option<Streaming<pb::WatchResponse>>, Status> {
        let doors = self.doors.borrow_and_update().clone();
        if let Some(doors) = doors {
            let mut client = if self.narrow { doors.narrow_client() } else { doors.client(number) };
            match client.watch(request.clone()).await {
                Ok(stream) => return Ok(Some(stream.into_inner())),
                Err(status) if is_passing(&status) => {}
                Err(status) => return Err(status),
            }
        }
        // Either it has moved, or it was not quite there yet.
        let _ = tokio::time::timeout(Duration::from_millis(50), self.doors.changed()).await;
        Ok(None)
    }
}

/// What a connection that breaks looks like, and what the service says as it ends.
fn is_passing(status: &Status) -> bool {
    let broken = std::error::Error::source(status).is_some();
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Aborted)
        || status.code() == Code::Internal && broken
}

/// Follows one task to its end.
pub async fn follow(
    mut hall: Hall,
    task: String,
    number: usize,
    manner: Manner,
    mut random: StdRng,
) -> Result<Done, String> {
    let wrong = |what: String| format!("{manner:?} reader {number} of {task}: {what}");
    let reading = async {
        let mut done = Done::default();
        while !done.known.ended {
            read_once(&mut hall, &task, number, manner, &mut random, &mut done).await?;
        }
        end_holds(&mut hall, &task, number, done.known).await?;
        Ok(done)
    };
    let read = tokio::time::timeout(PATIENCE, reading).await;
    read.unwrap_or_else(|_| Err("the end did not come".to_owned())).map_err(wrong)
}

/// One stream, for as long as the reader has patience with it.
async fn read_once(
    hall: &mut Hall,
    task: &str,
    number: usize,
    manner: Manner,
    random: &mut StdRng,
    done: &mut Done,
) -> Result<(), String> {
    let after = if manner == Manner::Forgetful { 0 } else { done.known.revision };
    let request = pb::WatchRequest { task_id: task.to_owned(), after_revision: after, filter: None };
    let opened = hall.open(number, &request).await.map_err(|status| status.to_string())?;
    let Some(mut messages) = opened else { return Ok(()) };
    done.streams += 1;
    let hasty = matches!(manner, Manner::Hasty | Manner::Forgetful);
    let leaves = tokio::time::Instant::now() + Duration::from_micros(random.random_range(0..10_000));
    let mut stream = Stream::after(after);
    loop {
        if manner == Manner::Slow {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..1_500))).await;
        }
        let message = match hasty {
            false => messages.message().await,
            true => match tokio::time::timeout_at(leaves, messages.message()).await {
                Ok(message) => message,
                Err(_) => return Ok(()),
            },
        };
        match message {
            Ok(Some(pb::WatchResponse { event: Some(Event::Task(seen)) })) => {
                stream.deliver(&seen, &mut done.known, &hall.shown)?;
            }
            Ok(Some(pb::WatchResponse { event: Some(Event::Heartbeat(beat)) })) => {
                done.heartbeats += 1;
                if beat.revision != stream.cursor() {
                    return Err(format!("a heartbeat of revision {} on {stream:?}", beat.revision));
                }
            }
            Ok(Some(_)) => return Err("an empty message".to_owned()),
            Ok(None) if done.known.ended => return Ok(()),
            Ok(None) => return Err(format!("ended without the final state on {stream:?}")),
            Err(status) if is_passing(&status) => return Ok(()),
            Err(status) => return Err(status.to_string()),
        }
    }
}

/// Who has seen the end is shown nothing more, and who asks for later is told so.
async fn end_holds(hall: &mut Hall, task: &str, number: usize, known: Known) -> Result<(), String> {
    for after in [known.revision, known.revision + 1 + number as u64] {
        let request = pb::WatchRequest { task_id: task.to_owned(), after_revision: after, filter: None };
        let opened = loop {
            match hall.open(number, &request).await {
                Ok(None) => {}
                Ok(Some(stream)) => break Ok(stream),
                Err(status) => break Err(status),
            }
        };
        match opened {
            Ok(mut stream) if after == known.revision => match stream.message().await {
                Ok(None) => {}
                Err(status) if is_passing(&status) => {}
                other => return Err(format!("resumed from its end and was shown {other:?}")),
            },
            Err(status) if after > known.revision && status.code() == Code::OutOfRange => {}
            Ok(_) => return Err(format!("resumed from {after}, ahead of {known:?}")),
            Err(status) => return Err(format!("asked for what follows {after}: {status}")),
        }
    }
    Ok(())
}

/// Follows every task of a label until it has seen the end of each. `pause` holds it
/// before every message; `stopped` holds it before its second one, until it is told
/// which tasks there are.
pub async fn follow_all(
    mut hall: Hall,
    label: &'static str,
    tasks: Vec<String>,
    number: usize,
    pause: Duration,
    mut stopped: Option<watch::Receiver<Vec<String>>>,
) -> Result<Done, String> {
    let wrong = |what: String| format!("reader {number} of all {label}: {what}");
    let reading = async {
        let labels = [(LABEL.to_owned(), label.to_owned())].into();
        let filter = Some(pb::TaskFilter { labels, ..Default::default() });
        let request = pb::WatchRequest { filter, ..Default::default() };
        let mut done = Done::default();
        let mut known: HashMap<String, Known> = tasks.into_iter().map(|task| (task, Known::default())).collect();
        while !known.values().all(|known| known.ended) {
            let opened = hall.open(number, &request).await.map_err(|status| status.to_string())?;
            let Some(mut messages) = opened else { continue };
            done.streams += 1;
            let mut streams: HashMap<String, Stream> = HashMap::new();
            while !known.values().all(|known| known.ended) {
                if let Some(stopped) = stopped.as_mut().filter(|_| !streams.is_empty()) {
                    let all = stopped.wait_for(|all| !all.is_empty()).await.map_err(|_| "never told to go on")?;
                    all.iter().for_each(|task| _ = known.entry(task.clone()).or_default());
                }
                tokio::time::sleep(pause).await;
                match messages.message().await {
                    Ok(Some(pb::WatchResponse { event: Some(Event::Task(seen)) })) => {
                        let stream = streams.entry(seen.id.clone()).or_insert(Stream::after(0));
                        stream.deliver(&seen, known.entry(seen.id.clone()).or_default(), &hall.shown)?;
                    }
                    Ok(Some(pb::WatchResponse { event: Some(Event::Heartbeat(_)) })) => done.heartbeats += 1,
                    Ok(Some(_)) => return Err("an empty message".to_owned()),
                    Ok(None) => return Err("a watch of many ended by itself".to_owned()),
                    Err(status) if is_passing(&status) => break,
                    Err(status) => return Err(status.to_string()),
                }
            }
        }
        Ok(done)
    };
    let read = tokio::time::timeout(PATIENCE, reading).await;
    read.unwrap_or_else(|_| Err("the end of every task did not come".to_owned())).map_err(wrong)
}
