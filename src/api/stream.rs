//! The two streams: Watch and DownloadVideo. Both end by themselves when the
//! process drains, and say how to go on.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{House, pb, status};
use crate::archive::ReadError;
use crate::ledger::watch::{FilterWatch, TaskWatch};
use crate::task::id::{Revision, TaskId};
use crate::task::state::Task;

/// Silence on a Watch never lasts longer than 15 s.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long a Watch lives before its client is asked to open it again, so that
/// connections can be moved between servers.
const WATCH_LIFE: Duration = Duration::from_secs(30 * 60);
/// How many tasks of the first picture are read at a time.
const PAGE: usize = 100;

/// What a Watch carries.
type Messages = BoxStream<'static, Result<pb::WatchResponse, Status>>;

/// What every watch works with.
pub struct Watcher {
    house: Arc<OnceLock<House>>,
    stop: CancellationToken,
    until: Instant,
    beat: Instant,
}

impl Watcher {
    /// A watch that begins now.
    pub fn new(house: Arc<OnceLock<House>>, stop: CancellationToken) -> Self {
        let now = Instant::now();
        let jitter = house.get().map_or(0.0, |house| house.clock.jitter());
        Self { house, stop, until: now + WATCH_LIFE.mul_f64(0.8 + 0.2 * jitter), beat: now + HEARTBEAT }
    }

    /// One task, to its end.
    pub fn one(self, watch: TaskWatch) -> Messages {
        let state = Some((self, watch));
        stream::unfold(state, |state| async {
            let (mut watcher, mut watch) = state?;
            match watcher.next(watch.next()).await {
                Next::Item(task) => {
                    let task = task?;
                    let message = watcher.message(&task).await;
                    Some((Ok(message), Some((watcher, watch))))
                }
                Next::Beat => {
                    let message = watcher.heartbeat(watch.seen());
                    Some((Ok(message), Some((watcher, watch))))
                }
                Next::End(why) => Some((Err(status::watch_reopen(watch.seen(), why)), None)),
            }
        })
        .boxed()
    }

    /// Every task that matches: those that do now, then every change.
    pub fn matching(self, watch: FilterWatch) -> Messages {
        let state = Some(Following { watcher: self, watch, picture: Picture::default() });
        stream::unfold(state, |state| async {
            let mut following = state?;
            match following.next().await {
                Ok(message) => Some((Ok(message), Some(following))),
                Err(status) => Some((Err(status), None)),
            }
        })
        .boxed()
    }

    /// Whatever comes first: a change, the time for a heartbeat, or the end.
    async fn next<T>(&self, change: impl Future<Output = T>) -> Next<T> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Next::End("the server is shutting down; resume elsewhere or again"),
            () = sleep_until(self.until) => Next::End("the watch has lived long enough; open it again"),
            item = change => Next::Item(item),
            () = sleep_until(self.beat) => Next::Beat,
        }
    }

    async fn message(&mut self, task: &Task) -> pb::WatchResponse {
        self.beat = Instant::now() + HEARTBEAT;
        let task = match self.house.get() {
            Some(house) => house.show(task).await,
            None => pb::Task::default(),
        };
        pb::WatchResponse { event: Some(pb::watch_response::Event::Task(task)) }
    }

    fn heartbeat(&mut self, revision: Revision) -> pb::WatchResponse {
        self.beat = Instant::now() + HEARTBEAT;
        let time = self.house.get().map(|house| house.clock.now().into());
        let heartbeat = pb::Heartbeat { revision: revision.0, time };
        pb::WatchResponse { event: Some(pb::watch_response::Event::Heartbeat(heartbeat)) }
    }
}

/// What a watch has to do next.
enum Next<T> {
    Item(T),
    Beat,
    End(&'static str),
}

/// A watch of many tasks.
struct Following {
    watcher: Watcher,
    watch: FilterWatch,
    picture: Picture,
}

/// The first picture: the tasks that match when the watch begins, read page by
/// page. Changes that come meanwhile wait in the watch; the revisions shown here
/// keep an older one of them from being sent afterwards.
#[derive(Default)]
struct Picture {
    waiting: Vec<Arc<Task>>,
    before: Option<TaskId>,
    complete: bool,
    shown: HashMap<TaskId, Revision>,
}

impl Following {
    async fn next(&mut self) -> Result<pb::WatchResponse, Status> {
        loop {
            if let Some(task) = self.next_of_picture().await? {
                self.picture.shown.insert(task.id, task.revision);
                return Ok(self.watcher.message(&task).await);
            }
            match self.watcher.next(self.watch.next()).await {
                Next::Item(Ok(task)) => {
                    let stale = self.picture.shown.remove(&task.id).is_some_and(|shown| shown >= task.revision);
                    if !stale {
                        return Ok(self.watcher.message(&task).await);
                    }
                }
                Next::Item(Err(_)) => return Err(status::watch_too_slow()),
                Next::Beat => return Ok(self.watcher.heartbeat(Revision(0))),
                Next::End(why) => return Err(status::watch_reopen(Revision(0), why)),
            }
        }
    }

    async fn next_of_picture(&mut self) -> Result<Option<Arc<Task>>, Status> {
        if self.watcher.stop.is_cancelled() {
            return Ok(None);
        }
        if self.picture.waiting.is_empty() && !self.picture.complete {
            let Some(house) = self.watcher.house.get() else { return Ok(None) };
            let page = house.ledger.list(self.watch.filter(), self.picture.before, PAGE).await;
            let mut page = page.map_err(|error| status::ledger(&error))?;
            self.picture.complete = page.len() < PAGE;
            self.picture.before = page.last().map(|task| task.id);
            page.reverse();
            self.picture.waiting = page;
        }
        Ok(self.picture.waiting.pop())
    }
}

/// The header of a task's file, then the bytes.
pub fn download(
    task: TaskId,
    header: pb::DownloadHeader,
    bytes: BoxStream<'static, Result<Bytes, ReadError>>,
    stop: CancellationToken,
) -> BoxStream<'static, Result<pb::DownloadVideoResponse, Status>> {
    let header = pb::DownloadVideoResponse { part: Some(pb::download_video_response::Part::Header(header)) };
    let chunks = bytes.map(move |chunk| match chunk {
        Ok(chunk) => Ok(pb::DownloadVideoResponse { part: Some(pb::download_video_response::Part::Chunk(chunk)) }),
        Err(error) => Err(status::read(task, &error)),
    });
    let cut = stream::once(async move { stop.cancelled_owned().await }).map(|()| Err(status::not_ready(true)));
    let body = stream::select(chunks.map(Some).chain(stream::once(async { None })), cut.map(Some));
    stream::once(async { Ok(header) }).chain(ended_by_none(body)).boxed()
}

/// Ends a stream at its first `None`, or after its first error.
fn ended_by_none<T: Send + 'static>(
    items: impl futures::Stream<Item = Option<Result<T, Status>>> + Send + 'static,
) -> BoxStream<'static, Result<T, Status>> {
    let state = Some(Box::pin(items));
    stream::unfold(state, |state| async {
        let mut items = state?;
        let item = items.next().await.flatten()?;
        let rest = item.is_ok().then_some(items);
        Some((item, rest))
    })
    .boxed()
}

#[cfg(test)]
mod tests;
