//! What is sled's alone: leftovers, locks, damage, and the full stop.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tempfile::TempDir;

use super::open::Opened;
use super::{OpenError, SCRUB_EVERY, SledStore, StoreSettings};
use crate::store::contract::{Commit, Creation, Filter, StoreError, TaskStore};
use crate::store::rows::head_key;
use crate::store::{backup, conformance};
use crate::task::fixture::{self, task};
use crate::task::id::Revision;

pub(super) fn settings(path: &Path) -> StoreSettings {
    StoreSettings { cache_mib: 8, ..StoreSettings::new(path) }
}

pub(super) async fn open(path: &Path) -> Arc<SledStore> {
    SledStore::open(&settings(path)).await.unwrap()
}

pub(super) async fn create(store: &SledStore, numbers: std::ops::Range<u64>) {
    for number in numbers {
        assert_eq!(store.create(Arc::new(task(number))).await.unwrap(), Creation::Created);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sled_keeps_the_contract() {
    conformance::run(async |path| open(path).await as Arc<dyn TaskStore>).await;
}

#[tokio::test(start_paused = true)]
async fn sled_keeps_the_contract_while_time_stands_still() {
    conformance::run(async |path| open(path).await as Arc<dyn TaskStore>).await;
}

#[tokio::test(start_paused = true)]
async fn a_temporary_store_leaves_nothing_behind() {
    let store = SledStore::temporary().await.unwrap();
    let path = store.shared.opened().unwrap().folder().unwrap();
    create(&store, 0..3).await;
    assert!(path.exists());
    store.close().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn changes_that_wait_together_share_a_sync() {
    let store = SledStore::temporary().await.unwrap();
    let creates = (0..200).map(|number| store.create(Arc::new(task(number))).boxed_local());
    futures::future::join_all(creates).await;
    let stats = store.stats();
    assert_eq!(stats.changes, 200);
    assert!(stats.batches <= 3, "{stats:?}");
}

#[tokio::test]
async fn two_commits_in_one_batch_are_judged_in_order() {
    let store = SledStore::temporary().await.unwrap();
    create(&store, 1..2).await;
    let (first, second) = (Arc::new(task(1).next()), Arc::new(task(1).next().next()));
    let rival = Arc::new(task(1).next().with_prompt_of(7));
    let answers = futures::join!(
        store.commit(Revision(1), first),
        store.commit(Revision(1), rival),
        store.commit(Revision(2), Arc::clone(&second)),
    );
    assert_eq!(answers.0.unwrap(), Commit::Committed);
    assert_eq!(answers.1.unwrap(), Commit::Stale);
    assert_eq!(answers.2.unwrap(), Commit::Committed);
    assert_eq!(store.load(second.id).await.unwrap(), Some(second));
}

#[tokio::test]
async fn a_commit_that_overtakes_its_create_loses_nothing() {
    let store = SledStore::temporary().await.unwrap();
    let large = Arc::new(task(1).with_prompt_of(8000));
    let (created, commit) =
        futures::join!(store.create(Arc::clone(&large)), store.commit(Revision(1), Arc::new(large.next())));
    assert_eq!((created.unwrap(), commit.unwrap()), (Creation::Created, Commit::Stale));
    assert_eq!(store.load(large.id).await.unwrap(), Some(large));
}

#[tokio::test]
async fn a_half_written_snapshot_is_removed() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    create(&store, 0..3).await;
    store.close().await;
    let leftover = folder.path().join("snap.00000000000FFFFF.generating");
    fs::write(&leftover, b"half").unwrap();
    let store = open(folder.path()).await;
    assert!(!leftover.exists());
    assert!(store.load(fixture::id(2)).await.unwrap().is_some());
    store.close().await;
}

#[tokio::test]
async fn a_folder_in_use_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let error = SledStore::open(&settings(folder.path())).await.err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains(folder.path().to_str().unwrap()));
    store.close().await;
    open(folder.path()).await.close().await;
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused() {
    let folder = TempDir::new().unwrap();
    let opened = Opened::open(&settings(folder.path()), None).unwrap();
    opened.write_schema(99).unwrap();
    drop(opened);
    let error = SledStore::open(&settings(folder.path())).await.err().unwrap();
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
    assert!(error.to_string().contains("made by a newer version"));
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = SledStore::open(&settings(&file.path().join("below"))).await.err().unwrap();
    assert!(matches!(error, OpenError::Folder { .. }), "{error}");
}

#[tokio::test]
async fn a_damaged_task_is_set_aside_and_the_others_are_served() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    create(&store, 0..5).await;
    store.close().await;
    flip_last_byte_of(folder.path(), 2);

    let store = open(folder.path()).await;
    assert_eq!(store.stats().damaged, 1);
    let damaged = |error: StoreError| assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    damaged(store.load(fixture::id(2)).await.unwrap_err());
    damaged(store.commit(Revision(1), Arc::new(task(2).next())).await.unwrap_err());
    // Its request is known still: a repeat does not buy a second video.
    damaged(store.create(Arc::new(task(9).requested_as("request-2"))).await.unwrap_err());
    assert_eq!(store.list(&Filter::default(), None, 9).await.unwrap().len(), 4);
    assert_eq!(store.unfinished(None, 9).await.unwrap().len(), 4);
    store.close().await;
}

#[tokio::test]
async fn a_damaged_task_is_not_bought_again_after_a_restore() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    create(&store, 0..5).await;
    store.close().await;
    flip_last_byte_of(folder.path(), 2);

    let store = open(folder.path()).await;
    let elsewhere = TempDir::new().unwrap();
    let file = elsewhere.path().join("tasks.backup");
    let saved =
        backup::save(store.as_ref(), &crate::store::inputs::Files::of(folder.path()), &file, fixture::created(9))
            .await
            .unwrap();
    assert_eq!((saved.tasks, saved.tombstones, saved.damaged), (4, 1, 1));
    let into = elsewhere.path().join("store");
    backup::restore(&file, &into, backup::Waiting::AsItWas).await.unwrap();
    let restored = open(&into).await;
    let again = restored.create(Arc::new(task(9).requested_as("request-2"))).await.unwrap();
    assert_eq!(again, Creation::Removed(fixture::id(2)));
}

fn flip_last_byte_of(folder: &Path, number: u64) {
    let opened = Opened::open(&settings(folder), None).unwrap();
    let key = head_key(fixture::id(number));
    let mut row = opened.get(&key).unwrap().unwrap().to_vec();
    *row.last_mut().unwrap() ^= 1;
    let mut batch = sled::Batch::default();
    batch.insert(&key, row);
    opened.sync(batch).unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_is_on_disk_without_closing() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    create(&store, 0..50).await;
    store.commit(Revision(1), Arc::new(task(7).next().succeeded())).await.unwrap();

    // What a process that dies now would leave.
    let left = TempDir::new().unwrap();
    copy(folder.path(), left.path());
    let after = open(left.path()).await;
    assert_eq!(after.list(&Filter::default(), None, 99).await.unwrap().len(), 50);
    assert_eq!(after.load(fixture::id(7)).await.unwrap().unwrap().revision, Revision(2));
    after.close().await;
    store.close().await;
}

pub(super) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_sync_stops_the_store_for_good() {
    let folder = TempDir::new().unwrap();
    let mut opened = Opened::open(&settings(folder.path()), None).unwrap();
    let index = opened.scan(folder.path()).unwrap();
    // Cannot be synced: every sync answers EINVAL.
    opened.log = File::open("/dev/null").unwrap();
    let store = SledStore::start_with(opened, index, Duration::from_secs(30), SCRUB_EVERY).unwrap();
    let mut stopped = store.stopped();

    let (one, two) = futures::join!(store.create(Arc::new(task(1))), store.create(Arc::new(task(2))));
    for error in [one.unwrap_err(), two.unwrap_err()] {
        assert!(matches!(&error, StoreError::Stopped(reason) if reason.starts_with("sync")), "{error}");
    }
    stopped.wait_for(|stopped| *stopped).await.unwrap();
    // It is in sled, but nobody sees what was not synced.
    assert!(matches!(store.load(fixture::id(1)).await, Err(StoreError::Stopped(_))));
    store.close().await;
}

#[tokio::test]
async fn a_batch_that_hangs_stops_the_store() {
    let folder = TempDir::new().unwrap();
    let opened = Opened::open(&settings(folder.path()), None).unwrap();
    let index = opened.scan(folder.path()).unwrap();
    let store = SledStore::start_with(opened, index, Duration::from_millis(150), SCRUB_EVERY).unwrap();
    store.shared.pretend_a_batch_hangs();
    store.stopped().wait_for(|stopped| *stopped).await.unwrap();
    let error = store.create(Arc::new(task(1))).await.unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}
