//! The real store for tests on paused time: the clock stands still while it works,
//! and its calls are done one after another, so that a seed gives the same run.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};

use crate::store::SledStore;
use crate::store::contract::{Commit, Creation, Filter, StoreError, TaskStore, Tombstone};
use crate::task::announcement::{Announcement, AnnouncementId};
use crate::task::id::{RequestId, Revision, TaskId};
use crate::task::state::Task;

/// A temporary store.
pub(super) struct Steady {
    store: Arc<SledStore>,
    turn: Mutex<()>,
}

impl Steady {
    pub(super) async fn open() -> Arc<Self> {
        Arc::new(Self { store: SledStore::temporary().await.unwrap(), turn: Mutex::new(()) })
    }

    /// Does it on a blocking thread: paused time does not pass meanwhile.
    async fn calmly<T, F>(&self, work: impl FnOnce(Arc<SledStore>) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let _turn = self.turn.lock().await;
        let store = Arc::clone(&self.store);
        let handle = Handle::current();
        tokio::task::spawn_blocking(move || handle.block_on(work(store))).await.unwrap()
    }
}

#[async_trait]
impl TaskStore for Steady {
    async fn create(&self, task: Arc<Task>) -> Result<Creation, StoreError> {
        self.calmly(move |store| async move { store.create(task).await }).await
    }

    async fn recall(&self, request: &RequestId) -> Result<Option<Creation>, StoreError> {
        let request = request.clone();
        self.calmly(move |store| async move { store.recall(&request).await }).await
    }

    async fn commit_told(
        &self,
        expected: Revision,
        task: Arc<Task>,
        told: Option<Announcement>,
    ) -> Result<Commit, StoreError> {
        self.calmly(move |store| async move { store.commit_told(expected, task, told).await }).await
    }

    async fn announce(&self, announcement: Announcement) -> Result<bool, StoreError> {
        self.calmly(move |store| async move { store.announce(announcement).await }).await
    }

    async fn told(&self, id: AnnouncementId) -> Result<(), StoreError> {
        self.calmly(move |store| async move { store.told(id).await }).await
    }

    async fn announcements_of(&self, task: TaskId) -> Result<Vec<Announcement>, StoreError> {
        self.calmly(move |store| async move { store.announcements_of(task).await }).await
    }

    async fn announcements(
        &self,
        parked: Option<bool>,
        after: Option<AnnouncementId>,
        limit: usize,
    ) -> Result<Vec<Announcement>, StoreError> {
        self.calmly(move |store| async move { store.announcements(parked, after, limit).await }).await
    }

    async fn load(&self, id: TaskId) -> Result<Option<Arc<Task>>, StoreError> {
        self.calmly(move |store| async move { store.load(id).await }).await
    }

    async fn unfinished(&self, after: Option<TaskId>, limit: usize) -> Result<Vec<Arc<Task>>, StoreError> {
        self.calmly(move |store| async move { store.unfinished(after, limit).await }).await
    }

    fn open_tasks(&self) -> usize {
        self.store.open_tasks()
    }

    async fn remove(&self, expected: Revision, id: TaskId, now: SystemTime) -> Result<Option<Tombstone>, StoreError> {
        self.calmly(move |store| async move { store.remove(expected, id, now).await }).await
    }

    async fn bury(&self, tombstone: Tombstone) -> Result<(), StoreError> {
        self.calmly(move |store| async move { store.bury(tombstone).await }).await
    }

    async fn forget(&self, id: TaskId) -> Result<(), StoreError> {
        self.calmly(move |store| async move { store.forget(id).await }).await
    }

    async fn tombstones(&self, after: Option<TaskId>, limit: usize) -> Result<Vec<Tombstone>, StoreError> {
        self.calmly(move |store| async move { store.tombstones(after, limit).await }).await
    }

    fn uses_input(&self, digest: &[u8; 32]) -> bool {
        self.store.uses_input(digest)
    }

    fn damaged_tasks(&self) -> Vec<(TaskId, Option<[u8; 16]>)> {
        self.store.damaged_tasks()
    }

    async fn notes(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.store.notes().await
    }

    async fn list(&self, filter: &Filter, before: Option<TaskId>, limit: usize) -> Result<Vec<Arc<Task>>, StoreError> {
        self.store.list(filter, before, limit).await
    }

    async fn queued_before(&self, task: &Task) -> Result<u32, StoreError> {
        self.store.queued_before(task).await
    }

    async fn read_note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let name = name.to_owned();
        self.calmly(move |store| async move { store.read_note(&name).await }).await
    }

    async fn write_note(&self, name: &str, value: Vec<u8>) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.calmly(move |store| async move { store.write_note(&name, value).await }).await
    }

    fn stopped(&self) -> watch::Receiver<bool> {
        self.store.stopped()
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
