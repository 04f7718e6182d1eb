//! The embedded store. The only folder that names sled, and the place where its
//! rules are kept: one writer, one tree, rows of at most 4 KiB, our own sync
//! before every answer, and a full stop after the first error.

mod announcements;
mod check;
#[cfg(test)]
mod check_tests;
mod committer;
#[cfg(test)]
mod golden;
mod open;
mod receipts;
#[cfg(test)]
mod receipts_tests;
mod repair;
mod scan;
mod schema;
mod scrub;
#[cfg(test)]
mod set_tests;
mod shared;
#[cfg(test)]
mod tests;
mod write;

use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};

pub use self::check::{Checked, Report, check};
pub use self::open::OpenError;
pub use self::repair::{Repaired, repair};

use self::committer::{Change, Verdict};
use self::open::Opened;
use self::shared::{BATCH_LIMIT, Shared};
use super::announcement::Told;
use super::contract::{Commit, Creation, Filter, StoreError, TaskStore, Tombstone};
use super::envelope::{Kind, seal};
use super::index::{Durable, Index, RequestKey};
use super::rows::{Unread, changed_rows, new_rows, read_task};
use super::tombstone::tombstone_row;
use crate::task::announcement::{Announcement, AnnouncementId};
use crate::task::id::{RequestId, Revision, TaskId};
use crate::task::state::Task;

/// How many changes may wait for the committer.
const QUEUE: usize = 4096;

/// The largest note, in bytes.
const NOTE_LIMIT: usize = 1024;

/// The longest name of a note, in bytes.
const NOTE_NAME_LIMIT: usize = 120;

/// How often a task is read again whose rows are of two commits.
const READS: usize = 8;

/// How many tasks one look into the index passes, lest it hold up the committer.
const LOOK: usize = 4096;

/// How often every row is looked at.
const SCRUB_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Where and how tasks are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// The folder, for this store alone; made if absent. On a local disk.
    pub path: PathBuf,
    /// How many MiB of rows sled keeps in memory; the process takes two to three
    /// times as much.
    pub cache_mib: u64,
    /// How often sled flushes by itself, in milliseconds. None, the default: the
    /// store syncs each batch anyway, and a second flusher is one more that can hang.
    pub flush_every_ms: Option<u64>,
    /// How often every row is looked at while the store is in use.
    pub scrub_every: Duration,
}

impl StoreSettings {
    /// The defaults, in that folder.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), cache_mib: 64, flush_every_ms: None, scrub_every: SCRUB_EVERY }
    }
}

/// What the store has done and found since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stats {
    /// Batches written, each with one sync.
    pub batches: u64,
    /// Changes made durable by them.
    pub changes: u64,
    /// Looks at every row that have come to their end.
    pub scrubs: u64,
    /// Damaged rows that they found.
    pub rotten: u64,
    /// Tasks that are set aside because their rows are damaged.
    pub damaged: usize,
}

/// Makes a panic in one of sled's own threads end the process. sled catches such
/// panics and wakes nobody, so that a flush would wait for ever.
pub fn abort_when_its_threads_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        let thread = std::thread::current();
        let own = thread.name().is_some_and(|name| name.starts_with("sled-io") || name.starts_with("log flusher"));
        if own {
            std::process::abort();
        }
    }));
}

/// Keeps tasks in sled.
pub struct SledStore {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Change>,
}

impl SledStore {
    /// Opens or makes the store. Needs a tokio runtime, which the committer lives in.
    pub async fn open(settings: &StoreSettings) -> Result<Arc<Self>, OpenError> {
        Self::open_in(settings.clone(), None).await
    }

    /// A store in a folder of its own that goes when the store goes.
    pub async fn temporary() -> Result<Arc<Self>, OpenError> {
        let folder = TempDir::with_prefix("videogen-store-")
            .map_err(|source| OpenError::Folder { path: std::env::temp_dir(), source })?;
        Self::open_in(StoreSettings { cache_mib: 8, ..StoreSettings::new(folder.path()) }, Some(folder)).await
    }

    async fn open_in(settings: StoreSettings, folder: Option<TempDir>) -> Result<Arc<Self>, OpenError> {
        let path = settings.path.clone();
        let opening = tokio::task::spawn_blocking(move || {
            let opened = Opened::open(&settings, folder)?;
            // Not dropped while a panic goes by: sled would flush, and panic again.
            let opened = ManuallyDrop::new(opened);
            let index = opened.scan(&settings.path).and_then(|index| {
                opened.keep_receipts(&settings.path, &index)?;
                Ok(index)
            });
            Self::start(&settings, ManuallyDrop::into_inner(opened), index?)
        });
        match opening.await {
            Ok(result) => result,
            Err(error) => Err(OpenError::Broken { path, reason: error.to_string() }),
        }
    }

    /// Starts committer and watchdog over an open database.
    fn start(settings: &StoreSettings, opened: Opened, index: Index) -> Result<Arc<Self>, OpenError> {
        Self::start_with(opened, index, BATCH_LIMIT, settings.scrub_every)
            .map_err(|error| OpenError::Broken { path: settings.path.clone(), reason: error.to_string() })
    }

    fn start_with(
        opened: Opened,
        index: Index,
        batch_limit: Duration,
        scrub_every: Duration,
    ) -> std::io::Result<Arc<Self>> {
        let shared = Shared::new(opened, index, batch_limit, scrub_every)?;
        let (queue, changes) = mpsc::channel(QUEUE);
        // Its end is told through `stopped`, also when it panics; nothing to join.
        tokio::spawn(committer::run(Arc::clone(&shared), changes));
        Ok(Arc::new(Self { shared, queue }))
    }

    /// Counts since the store was opened.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// The tasks whose rows are damaged, with the reason.
    pub fn damaged(&self) -> Vec<(TaskId, String)> {
        self.shared.index().damaged().map(|(id, reason)| (id, reason.to_owned())).collect()
    }

    /// Hands a change to the committer and waits for what became of it.
    async fn change<T>(&self, change: impl FnOnce(oneshot::Sender<T>) -> Change) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(change(answer)).await.map_err(|_| self.shared.why_stopped())?;
        answered.await.map_err(|_| self.shared.why_stopped())
    }

    /// Reads tasks in one go, in a blocking thread; then waits until what was read
    /// is durable, for sled shows what it has not synced. Damaged ones are answers,
    /// removed ones are left out.
    async fn read(&self, ids: Vec<TaskId>) -> Result<Vec<Result<Task, StoreError>>, StoreError> {
        let opened = self.shared.opened()?;
        let reading = tokio::task::spawn_blocking(move || ids.into_iter().map(|id| read_one(&opened, id)).collect());
        let read: Vec<Result<Task, StoreError>> = reading.await.map_err(|error| self.failed_read(&error))?;
        let mut tasks = Vec::with_capacity(read.len());
        for task in read {
            match &task {
                Ok(task) => self.shared.durable(task.id, task.revision).await?,
                Err(StoreError::Damaged { id, .. }) if self.shared.is_gone(*id).await? => continue,
                Err(StoreError::Damaged { id, reason }) => {
                    tracing::error!(task_id = %id, reason, "a task is damaged");
                }
                Err(error) => self.shared.stop(&error.to_string()),
            }
            tasks.push(task);
        }
        Ok(tasks)
    }

    /// A panic of sled is an error like any other: full stop.
    fn failed_read(&self, error: &tokio::task::JoinError) -> StoreError {
        let reason = format!("read: {error}");
        if error.is_panic() {
            self.shared.stop(&reason);
        }
        StoreError::Stopped(reason)
    }

    /// Reads tasks for a page: a damaged one was reported and leaves a gap.
    async fn read_page(&self, ids: Vec<TaskId>) -> Result<Vec<Arc<Task>>, StoreError> {
        let mut page = Vec::with_capacity(ids.len());
        for task in self.read(ids).await? {
            match task {
                Ok(task) => page.push(Arc::new(task)),
                Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(page)
    }

    /// What is durable of a task that was not set aside.
    fn undamaged(&self, id: TaskId) -> Result<Option<Durable>, StoreError> {
        let index = self.shared.index();
        match index.damage(id) {
            Some(reason) => Err(StoreError::Damaged { id, reason: reason.to_owned() }),
            None => Ok(index.durable(id)),
        }
    }

    /// What is there of a task whose request id is repeated; nothing when it has
    /// just been forgotten.
    async fn earlier(&self, id: TaskId) -> Result<Option<Creation>, StoreError> {
        let task = self.load(id).await?.map(Creation::Earlier);
        Ok(task.or_else(|| self.shared.index().is_buried(id).then_some(Creation::Removed(id))))
    }

    fn alive(&self) -> Result<(), StoreError> {
        self.shared.opened().map(drop)
    }
}

fn read_one(opened: &Opened, id: TaskId) -> Result<Task, StoreError> {
    for _ in 0..READS {
        match read_task(id, |key| opened.get(key)) {
            Ok((task, _)) => return Ok(task),
            Err(Unread::Torn) => {}
            Err(Unread::Absent) => return Err(StoreError::Damaged { id, reason: "its row has vanished".to_owned() }),
            Err(Unread::Damaged(reason)) => return Err(StoreError::Damaged { id, reason }),
            Err(Unread::Failed(error)) => return Err(error),
        }
    }
    Err(StoreError::Damaged { id, reason: "its rows do not fit together".to_owned() })
}

#[async_trait]
impl TaskStore for SledStore {
    async fn create(&self, task: Arc<Task>) -> Result<Creation, StoreError> {
        self.alive()?;
        let request = RequestKey::of(&task.submission.request_id);
        loop {
            let (task, rows) = (Arc::clone(&task), new_rows(&task)?);
            match self.change(|answer| Change::Create { task, request, rows, answer }).await?? {
                Verdict::Created => return Ok(Creation::Created),
                Verdict::Earlier(id) => {
                    if let Some(creation) = self.earlier(id).await? {
                        return Ok(creation);
                    }
                }
            }
        }
    }

    async fn recall(&self, request: &RequestId) -> Result<Option<Creation>, StoreError> {
        self.alive()?;
        let earlier = self.shared.index().request(&RequestKey::of(request));
        match earlier {
            Some(id) => self.earlier(id).await,
            None => Ok(None),
        }
    }

    async fn commit_told(
        &self,
        expected: Revision,
        task: Arc<Task>,
        told: Option<Announcement>,
    ) -> Result<Commit, StoreError> {
        self.alive()?;
        if task.revision != expected.next() {
            let reason = format!("revision {} cannot follow {}", task.revision.0, expected.0);
            return Err(StoreError::Damaged { id: task.id, reason });
        }
        let Some(durable) = self.undamaged(task.id)? else {
            return Ok(Commit::Stale);
        };
        // Where the submission is never changes, so it may be asked for beforehand.
        let rows = changed_rows(&task, durable.parts.submission)?;
        let told = told.as_ref().map(Told::new).transpose()?;
        self.change(|answer| Change::Commit { expected, task, rows, told, answer }).await?
    }

    async fn announce(&self, announcement: Announcement) -> Result<bool, StoreError> {
        self.alive()?;
        let told = Told::new(&announcement)?;
        let written = self.change(|answer| Change::Announce { told, answer }).await??;
        Ok(written == Commit::Committed)
    }

    async fn told(&self, id: AnnouncementId) -> Result<(), StoreError> {
        self.alive()?;
        self.change(|answer| Change::Told { id, answer }).await?
    }

    async fn announcements_of(&self, task: TaskId) -> Result<Vec<Announcement>, StoreError> {
        self.alive()?;
        let ids: Vec<_> = self.shared.index().announcements_of(task).map(|(id, _)| id).collect();
        if ids.is_empty() { Ok(Vec::new()) } else { self.read_announcements(ids).await }
    }

    async fn announcements(
        &self,
        parked: Option<bool>,
        after: Option<AnnouncementId>,
        limit: usize,
    ) -> Result<Vec<Announcement>, StoreError> {
        self.announcements_after(parked, after, limit).await
    }

    async fn remove(&self, expected: Revision, id: TaskId, now: SystemTime) -> Result<Option<Tombstone>, StoreError> {
        // A revision never changes, so whether it is open may be asked beforehand.
        let task = self.load(id).await?.filter(|task| task.revision == expected && !task.is_open());
        let Some(task) = task else { return Ok(None) };
        let RequestKey(request) = RequestKey::of(&task.submission.request_id);
        let tombstone = Tombstone { task: id, request, removed: now, has_file: true };
        let (expected, row) = (Some(expected), tombstone_row(&tombstone)?);
        let removed = self.change(|answer| Change::Bury { expected, tombstone, row, answer }).await??;
        Ok((removed == Commit::Committed).then_some(tombstone))
    }

    async fn bury(&self, tombstone: Tombstone) -> Result<(), StoreError> {
        self.alive()?;
        let (expected, row) = (None, tombstone_row(&tombstone)?);
        match self.change(|answer| Change::Bury { expected, tombstone, row, answer }).await?? {
            Commit::Committed => Ok(()),
            Commit::Stale => {
                Err(StoreError::Damaged { id: tombstone.task, reason: "it has a tombstone and is there".to_owned() })
            }
        }
    }

    async fn forget(&self, id: TaskId) -> Result<(), StoreError> {
        self.alive()?;
        self.change(|answer| Change::Forget { id, answer }).await?
    }

    async fn tombstones(&self, after: Option<TaskId>, limit: usize) -> Result<Vec<Tombstone>, StoreError> {
        self.alive()?;
        Ok(self.shared.index().tombstones_after(after, limit))
    }

    async fn load(&self, id: TaskId) -> Result<Option<Arc<Task>>, StoreError> {
        self.alive()?;
        if self.undamaged(id)?.is_none() {
            return Ok(None);
        }
        self.read(vec![id]).await?.pop().transpose().map(|task| task.map(Arc::new))
    }

    async fn unfinished(&self, after: Option<TaskId>, limit: usize) -> Result<Vec<Arc<Task>>, StoreError> {
        let mut after = after;
        loop {
            self.alive()?;
            let ids = self.shared.index().open_after(after, limit);
            let Some(last) = ids.last().copied() else {
                return Ok(Vec::new());
            };
            let mut page = self.read_page(ids).await?;
            page.retain(|task| task.is_open());
            // An empty page means the end, so one of mere gaps is passed over.
            if !page.is_empty() {
                return Ok(page);
            }
            after = Some(last);
        }
    }

    fn open_tasks(&self) -> usize {
        self.shared.index().open_tasks()
    }

    fn damaged_tasks(&self) -> Vec<(TaskId, Option<[u8; 16]>)> {
        self.shared.index().damaged_requests()
    }

    fn uses_input(&self, digest: &[u8; 32]) -> bool {
        self.shared.index().uses_input(digest)
    }

    async fn list(&self, filter: &Filter, before: Option<TaskId>, limit: usize) -> Result<Vec<Arc<Task>>, StoreError> {
        let mut before = before;
        let mut page = Vec::new();
        while page.len() < limit {
            self.alive()?;
            let (ids, last) = self.shared.index().matching(filter, before, LOOK, limit - page.len());
            if last.is_none() {
                break;
            }
            before = last;
            if ids.is_empty() {
                tokio::task::yield_now().await;
                continue;
            }
            page.extend(self.read_page(ids).await?.into_iter().filter(|task| filter.matches(task)));
        }
        Ok(page)
    }

    async fn queued_before(&self, task: &Task) -> Result<u32, StoreError> {
        self.alive()?;
        Ok(self.shared.index().queued_before(task))
    }

    async fn read_note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.alive()?;
        Ok(self.shared.index().note(name).map(<[u8]>::to_vec))
    }

    async fn notes(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.alive()?;
        Ok(self.shared.index().notes())
    }

    async fn write_note(&self, name: &str, value: Vec<u8>) -> Result<(), StoreError> {
        self.alive()?;
        if name.len() > NOTE_NAME_LIMIT || value.len() > NOTE_LIMIT {
            return Err(StoreError::TooLarge);
        }
        let key = [&[Kind::Note as u8], name.as_bytes()].concat();
        let row = seal(&key, &value)?;
        let name = name.to_owned();
        self.change(|answer| Change::Note { name, value, row: (key, row), answer }).await?
    }

    fn stopped(&self) -> watch::Receiver<bool> {
        self.shared.stopped()
    }

    async fn close(&self) {
        // An error says that it has ended already.
        let _ = self.change(|answer| Change::Close { answer }).await;
    }
}
