use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;
use crate::store::contract::Creation;
use crate::store::{SledStore, StoreSettings};
use crate::task::fixture;
use crate::task::spec::Image;
use crate::task::state::Task;

struct Room {
    folder: TempDir,
    store: Arc<SledStore>,
    inputs: Arc<Inputs>,
}

impl Room {
    async fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap()).await
    }

    async fn on(folder: TempDir) -> Self {
        let store = SledStore::open(&StoreSettings::new(folder.path())).await.unwrap();
        let inputs = Arc::new(Inputs::open(store.clone(), folder.path()).unwrap());
        Self { folder, store, inputs }
    }

    async fn again(self) -> Self {
        self.store.close().await;
        drop((self.store, self.inputs));
        Self::on(self.folder).await
    }

    /// The names of the files there are.
    fn files(&self) -> Vec<String> {
        self.inputs.files.names().unwrap()
    }

    /// Keeps a task's pictures, and stores it unless it is to be lost.
    async fn keep(&self, number: u64, data: &[&'static [u8]], stored: bool) -> Task {
        let mut task = fixture::task(number);
        let mut submission = (*task.submission).clone();
        submission.spec.reference_images = data.iter().map(|data| Image::Data(Bytes::from_static(data))).collect();
        let (submission, pinned) = self.inputs.keep(submission).await.unwrap();
        task.submission = Arc::new(submission);
        if stored {
            assert_eq!(self.store.create(Arc::new(task.clone())).await.unwrap(), Creation::Created);
        }
        self.inputs.settle(pinned).await;
        task
    }

    async fn remove(&self, task: &Task) {
        let mut cancelled = task.clone();
        cancelled.revision = task.revision.next();
        cancelled.state = crate::task::state::State::Cancelled;
        self.store.commit(task.revision, Arc::new(cancelled.clone())).await.unwrap();
        assert!(self.store.remove(cancelled.revision, task.id, task.updated).await.unwrap().is_some());
        self.inputs.release(&task.submission).await;
    }
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n one picture";
const JPEG: &[u8] = b"\xff\xd8\xff another";

#[tokio::test]
async fn what_is_kept_is_there_after_a_restart_and_its_owners_alone() {
    let room = Room::new().await;
    let task = room.keep(1, &[PNG, JPEG, PNG], true).await;
    assert_eq!(room.files().len(), 2, "the same picture is there once");
    let room = room.again().await;
    let stored = room.store.load(task.id).await.unwrap().unwrap();
    assert_eq!(*stored, task);
    let loaded = room.inputs.load(&stored.submission.spec).await.unwrap();
    let data: Vec<_> = loaded.spec.images().map(|(_, image)| image.clone()).collect();
    assert_eq!(data, [PNG, JPEG, PNG].map(|data| Image::Data(Bytes::from_static(data))));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&room.inputs.files.folder), 0o700);
    for name in room.files() {
        assert_eq!(mode(&room.inputs.files.folder.join(name)), 0o600);
    }
}

#[tokio::test]
async fn a_file_goes_with_the_last_task_that_uses_it() {
    let room = Room::new().await;
    let first = room.keep(1, &[PNG], true).await;
    let second = room.keep(2, &[PNG, JPEG], true).await;
    room.remove(&second).await;
    assert_eq!(room.files().len(), 1, "the first still uses it");
    assert!(room.inputs.load(&first.submission.spec).await.is_ok());
    room.remove(&first).await;
    assert_eq!(room.files(), [] as [String; 0]);
    room.keep(3, &[PNG], false).await;
    assert_eq!(room.files(), [] as [String; 0], "its task was never stored");
}

#[tokio::test]
async fn a_file_that_is_about_to_be_used_stays() {
    let room = Room::new().await;
    let first = room.keep(1, &[PNG], true).await;
    let mut submission = (*first.submission).clone();
    submission.spec.reference_images = vec![Image::Data(Bytes::from_static(PNG))];
    let (submission, pinned) = room.inputs.keep(submission).await.unwrap();
    room.remove(&first).await;
    assert!(room.inputs.load(&submission.spec).await.is_ok(), "a submit has it pinned");
    room.inputs.settle(pinned).await;
    assert_eq!(room.files(), [] as [String; 0]);
}

#[tokio::test]
async fn the_start_sweeps_what_a_kill_has_left() {
    let room = Room::new().await;
    room.keep(1, &[PNG], true).await;
    let orphan = describe(JPEG);
    room.inputs.files.write(&orphan, JPEG).unwrap();
    fs::write(room.inputs.files.folder.join(format!("{UNFINISHED}x")), b"half").unwrap();
    fs::write(room.inputs.files.folder.join("notes of the operator"), b"").unwrap();
    let room = room.again().await;
    let mut left = room.files();
    left.sort();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(left[1], "notes of the operator");
}

#[tokio::test]
async fn a_file_that_is_gone_or_altered_is_never_sent() {
    let room = Room::new().await;
    let task = room.keep(1, &[PNG], true).await;
    let [file] = task.submission.spec.files().copied().collect::<Vec<_>>()[..] else { panic!() };
    let place = room.inputs.files.place(&file.sha256);
    let files = Files::of(room.folder.path());
    assert_eq!((files.fault(&file, false), files.fault(&file, true)), (None, None));
    let mut altered = PNG.to_vec();
    altered[12] ^= 1;
    fs::write(&place, &altered).unwrap();
    assert!(matches!(room.inputs.load(&task.submission.spec).await, Err(InputError::Lost)));
    assert_eq!(files.fault(&file, false), None, "its size is right");
    assert!(files.fault(&file, true).is_some());
    room.keep(2, &[PNG], true).await;
    assert!(room.inputs.load(&task.submission.spec).await.is_ok(), "the next request that brings it mends it");
    fs::remove_file(&place).unwrap();
    assert!(matches!(room.inputs.load(&task.submission.spec).await, Err(InputError::Lost)));
    assert!(files.fault(&file, false).is_some());
}
