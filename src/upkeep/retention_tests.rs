//! A removal that ends at each of its steps, and what the next pass makes of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::{Remover, Retention};
use crate::archive::{Archive, ArchiveSettings};
use crate::clock::Clock;
use crate::ledger::{Ledger, LedgerError};
use crate::network::Guard;
use crate::store::contract::{TaskStore, Tombstone};
use crate::store::{SledStore, StoreSettings};
use crate::task::fixture::{self, task};
use crate::task::id::TaskId;
use crate::task::state::{FailureKind, Task};

const DAY: Duration = Duration::from_secs(86_400);

/// A store and an archive in a folder, which may be opened again.
struct World {
    store: Arc<SledStore>,
    ledger: Arc<Ledger>,
    folder: TempDir,
}

impl World {
    async fn open(folder: TempDir, now: SystemTime) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = SledStore::open(&StoreSettings::new(folder.path().join("store"))).await.unwrap();
        let url = format!("file:{}", folder.path().join("videos").display());
        let nowhere: [&str; 0] = [];
        let guard = Guard::new(&nowhere).unwrap();
        let archive = Archive::open(&ArchiveSettings { url, ..ArchiveSettings::default() }, guard);
        let archive = Arc::new(archive.unwrap());
        let ledger = Arc::new(Ledger::new(store.clone(), archive, Clock::simulated(now)));
        Self { store, ledger, folder }
    }

    /// With these tasks and a file for each.
    async fn with(tasks: &[Task]) -> Self {
        let world = Self::open(TempDir::new().unwrap(), fixture::created(0)).await;
        for task in tasks {
            world.store.create(Arc::new(task.clone())).await.unwrap();
            std::fs::write(world.file(task.id), "a video").unwrap();
        }
        world
    }

    /// Ends as a kill would, and begins again at that time.
    async fn again(self, now: SystemTime) -> Self {
        self.store.close().await;
        drop((self.store, self.ledger));
        Self::open(self.folder, now).await
    }

    fn file(&self, id: TaskId) -> std::path::PathBuf {
        self.folder.path().join(format!("videos/{id}.mp4"))
    }

    async fn pass(&self, now: SystemTime, tasks: Option<Duration>) {
        let retention = Retention { tasks, request_ids: 400 * DAY };
        Remover::new(Arc::clone(&self.ledger), Clock::simulated(now), retention).pass().await.unwrap();
    }

    async fn tombstones(&self) -> Vec<Tombstone> {
        self.store.tombstones(None, 99).await.unwrap()
    }

    /// Whether nothing of the task is left but a tombstone that is done with.
    async fn is_removed(&self, task: &Task) {
        assert!(matches!(self.ledger.get(task.id).await, Err(LedgerError::Unknown(_))));
        assert!(!self.file(task.id).exists());
        let repeated = self.ledger.submit(task.submission.as_ref().clone()).await;
        assert!(matches!(repeated, Err(LedgerError::RequestIdExpired(id)) if id == task.id), "{repeated:?}");
        let left = self.tombstones().await;
        assert!(left.iter().any(|tombstone| tombstone.task == task.id && !tombstone.has_file), "{left:?}");
    }
}

/// After the task has been kept for a day.
fn due() -> SystemTime {
    fixture::created(0) + 2 * DAY
}

#[tokio::test]
async fn a_removal_that_ends_after_any_of_its_steps_is_finished_by_the_next_pass() {
    for steps in 0..=3 {
        let done = task(1).succeeded();
        let world = World::with(std::slice::from_ref(&done)).await;
        let mut tombstone = None;
        if steps >= 1 {
            tombstone = world.ledger.remove(&done).await.unwrap();
            assert!(world.file(done.id).exists());
        }
        if steps >= 2 {
            std::fs::remove_file(world.file(done.id)).unwrap();
        }
        if steps >= 3 {
            assert!(world.ledger.remove_file(tombstone.unwrap()).await.unwrap());
        }
        let world = world.again(due()).await;
        assert_eq!(world.ledger.get(done.id).await.is_ok(), steps == 0);
        for _ in 0..2 {
            world.pass(due(), Some(DAY)).await;
            world.is_removed(&done).await;
        }
        let world = world.again(due()).await;
        world.is_removed(&done).await;
    }
}

#[tokio::test]
async fn only_what_is_closed_and_old_goes() {
    let mut recoverable = task(3).failed(FailureKind::Deadline);
    recoverable.failure.as_mut().unwrap().recoverable_until = Some(due() + DAY);
    let mut late = task(4).succeeded();
    late.ended = Some(due());
    let tasks = [task(1).succeeded(), task(2).failed(FailureKind::Moderated), recoverable, late, task(5).running()];
    let world = World::with(&tasks).await;
    world.pass(due(), None).await;
    assert!(world.tombstones().await.is_empty(), "for ever, unless said otherwise");
    world.pass(due(), Some(DAY)).await;
    for gone in &tasks[..2] {
        world.is_removed(gone).await;
    }
    for stays in &tasks[2..] {
        assert_eq!(*world.ledger.get(stays.id).await.unwrap(), *stays);
        assert!(world.file(stays.id).exists());
    }
}

#[tokio::test]
async fn a_request_id_is_refused_for_as_long_as_was_said_and_then_forgotten() {
    let done = task(1).succeeded();
    let world = World::with(std::slice::from_ref(&done)).await.again(due()).await;
    world.pass(due(), Some(DAY)).await;
    world.pass(due() + 399 * DAY, None).await;
    world.is_removed(&done).await;
    world.pass(due() + 401 * DAY, None).await;
    assert!(world.tombstones().await.is_empty());
    assert!(!world.ledger.submit(done.submission.as_ref().clone()).await.unwrap().replayed);
}

#[tokio::test]
async fn a_file_that_cannot_be_removed_keeps_its_tombstone() {
    let done = task(1).succeeded();
    let world = World::with(std::slice::from_ref(&done)).await.again(due()).await;
    // No file, and not to be removed like one.
    std::fs::remove_file(world.file(done.id)).unwrap();
    std::fs::create_dir_all(world.file(done.id).join("in the way")).unwrap();
    world.pass(due(), Some(DAY)).await;
    world.pass(due() + 1000 * DAY, None).await;
    assert!(world.tombstones().await[0].has_file, "not forgotten before its file is gone");
    std::fs::remove_dir_all(world.file(done.id)).unwrap();
    world.pass(due() + 1000 * DAY, None).await;
    assert!(world.tombstones().await.is_empty());
}
