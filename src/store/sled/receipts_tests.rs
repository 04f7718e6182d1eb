//! Receipts and database side by side: whatever point a process dies at, both open
//! again; a database older than its receipts does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::open::Opened;
use super::receipts::folder_in;
use super::tests::{copy, create, open, settings};
use super::write::Batch;
use super::{OpenError, SCRUB_EVERY, SledStore};
use crate::store::contract::{Commit, StoreError, TaskStore};
use crate::store::receipts::{Tail, Told, has_any, read_all, segments};
use crate::store::rows::changed_rows;
use crate::task::fixture::{self, task};
use crate::task::id::Revision;
use crate::task::state::{State, Task};

async fn commit(store: &SledStore, task: &Task) {
    let expected = Revision(task.revision.0 - 1);
    assert_eq!(store.commit(expected, Arc::new(task.clone())).await.unwrap(), Commit::Committed);
}

fn told(folder: &Path) -> Told {
    read_all(&folder_in(folder)).unwrap()
}

fn newest_file(folder: &Path) -> PathBuf {
    segments(&folder_in(folder)).unwrap().pop().unwrap().path
}

/// What the receipts tell of a task is what the store holds.
async fn agrees(store: &SledStore, folder: &Path, number: u64) {
    let id = fixture::id(number);
    let stored = store.load(id).await.unwrap().unwrap();
    assert_eq!(told(folder).tasks[&id].task(id).unwrap(), *stored);
}

async fn refused(folder: &Path, why: &str) {
    let error = SledStore::open(&settings(folder)).await.err().expect("it must not open");
    assert!(matches!(error, OpenError::Inconsistent { .. }), "{error}");
    assert!(error.to_string().contains(why), "{error}");
    assert!(error.to_string().contains("videogen repair"), "{error}");
}

#[tokio::test]
async fn money_facts_have_receipts_and_nothing_else_has() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    create(&store, 0..5).await;
    assert!(told(folder.path()).tasks.is_empty());
    let running = task(2).next().running();
    commit(&store, &running).await;
    let length = fs::metadata(newest_file(folder.path())).unwrap().len();
    let mut going = running.next();
    going.progress.percent = Some(50.0);
    commit(&store, &going).await;
    store.write_note("typical", vec![1]).await.unwrap();
    assert_eq!(fs::metadata(newest_file(folder.path())).unwrap().len(), length);
    let done = going.next().entered(State::Archiving, "the provider is done");
    commit(&store, &done).await;
    agrees(&store, folder.path(), 2).await;
    assert_eq!(told(folder.path()).tasks.len(), 1);
    store.close().await;
}

#[tokio::test]
async fn a_kill_between_the_two_syncs_is_made_good() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    create(&store, 0..3).await;
    commit(&store, &task(0).next().running()).await;
    store.close().await;
    // The database has the intent, nobody was told, and there is no receipt of it.
    let opened = Opened::open(&settings(folder.path()), None).unwrap();
    let mut batch = Batch::default();
    for (key, row) in changed_rows(&task(1).next().running(), 0).unwrap().puts {
        batch.insert(key, row);
    }
    opened.commit(batch, true).unwrap();
    drop(opened);
    assert_eq!(told(folder.path()).tasks.len(), 1);

    let store = open(folder.path()).await;
    agrees(&store, folder.path(), 0).await;
    agrees(&store, folder.path(), 1).await;
    store.close().await;
    open(folder.path()).await.close().await;
}

#[tokio::test]
async fn receipts_cut_anywhere_in_the_last_commit_open_and_are_made_good() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    create(&store, 0..3).await;
    commit(&store, &task(0).next().running()).await;
    let before = fs::metadata(newest_file(folder.path())).unwrap().len();
    let (one, two) = (task(1).next().running(), task(2).next().running());
    futures::join!(commit(&store, &one), commit(&store, &two));
    store.close().await;
    let after = fs::metadata(newest_file(folder.path())).unwrap().len();

    for length in (before..=after).step_by(usize::try_from((after - before) / 12).unwrap()) {
        let left = TempDir::new().unwrap();
        copy(folder.path(), left.path());
        fs::File::options().write(true).open(newest_file(left.path())).unwrap().set_len(length).unwrap();
        let store = open(left.path()).await;
        for number in 0..3 {
            agrees(&store, left.path(), number).await;
        }
        store.close().await;
        open(left.path()).await.close().await;
    }
}

#[tokio::test]
async fn a_database_older_than_its_receipts_is_refused() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    create(&store, 0..3).await;
    let copied = TempDir::new().unwrap();
    copy(folder.path(), copied.path());
    commit(&store, &task(1).next().running()).await;
    store.close().await;
    // As a database brought back from a copy, or a disk that lied about a sync.
    fs::remove_dir_all(folder_in(copied.path())).unwrap();
    fs::create_dir(folder_in(copied.path())).unwrap();
    copy(&folder_in(folder.path()), &folder_in(copied.path()));
    refused(copied.path(), "older than its receipts").await;
}

#[tokio::test]
async fn an_empty_database_beside_receipts_is_refused() {
    let folder = TempDir::new().unwrap();
    open(folder.path()).await.close().await;
    assert!(has_any(&folder_in(folder.path())).unwrap());
    for name in fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap()) {
        if name.file_type().unwrap().is_file() {
            fs::remove_file(name.path()).unwrap();
        }
    }
    refused(folder.path(), "the database is empty").await;
}

#[tokio::test]
async fn receipts_of_another_store_are_refused() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    open(folder.path()).await.close().await;
    open(other.path()).await.close().await;
    copy(&folder_in(other.path()), &folder_in(folder.path()));
    refused(folder.path(), "another store").await;
}

#[tokio::test]
async fn lost_receipts_are_written_anew() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    create(&store, 0..3).await;
    commit(&store, &task(1).next().running()).await;
    store.close().await;
    fs::remove_dir_all(folder_in(folder.path())).unwrap();
    let store = open(folder.path()).await;
    agrees(&store, folder.path(), 1).await;
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_receipts_stops_the_store_for_good() {
    let folder = TempDir::new().unwrap();
    let opened = Opened::open(&settings(folder.path()), None).unwrap();
    let index = opened.scan(folder.path()).unwrap();
    opened.keep_receipts(folder.path(), &index).unwrap();
    // The folder of the next file is gone, as on a disk that fails.
    let tail = Tail::default();
    let gone = folder.path().join("gone");
    let log = crate::store::receipts::ReceiptLog::open(&gone, 1, &tail).unwrap();
    fs::remove_dir(&gone).unwrap();
    *opened.receipts() = Some(log);
    let store = SledStore::start_with(opened, index, Duration::from_secs(30), SCRUB_EVERY).unwrap();
    create(&store, 1..2).await;
    let error = store.commit(Revision(1), Arc::new(task(1).next().running())).await.unwrap_err();
    assert!(matches!(&error, StoreError::Stopped(reason) if reason.starts_with("receipts")), "{error}");
    store.stopped().wait_for(|stopped| *stopped).await.unwrap();
    assert!(matches!(store.load(fixture::id(1)).await, Err(StoreError::Stopped(_))));
}
