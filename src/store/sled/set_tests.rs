//! What no envelope shows: rows that were lost, resurrected or exchanged while
//! nobody looked.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::open::Opened;
use super::schema::SET_KEY;
use super::tests::{create, open, settings};
use super::{OpenError, SledStore};
use crate::store::contract::{Commit, TaskStore};
use crate::store::envelope::{Kind, seal};
use crate::store::rows::{head_key, part_key};
use crate::store::set::Sums;
use crate::task::fixture::{self, task};
use crate::task::id::Revision;

/// Changes rows behind the back of the note.
fn tamper(folder: &Path, change: impl FnOnce(&Opened, &mut sled::Batch)) {
    let opened = Opened::open(&settings(folder), None).unwrap();
    let mut batch = sled::Batch::default();
    change(&opened, &mut batch);
    opened.sync(batch).unwrap();
}

async fn refused(folder: &Path) -> String {
    let error = SledStore::open(&settings(folder)).await.err().expect("it must not open");
    assert!(matches!(error, OpenError::Inconsistent { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("videogen fsck") && text.contains("videogen repair"), "{text}");
    text
}

async fn five_tasks() -> TempDir {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    create(&store, 0..5).await;
    store.close().await;
    folder
}

#[tokio::test]
async fn the_note_follows_every_change() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    create(&store, 0..20).await;
    let mut long = task(30).with_prompt_of(9000);
    long.history[0].reason = "at length ".repeat(2000);
    store.create(Arc::new(long.clone())).await.unwrap();
    for value in 0..3 {
        store.write_note("typical", vec![value; 9]).await.unwrap();
    }
    // Its overflow rows shrink, vanish and grow again.
    for (revision, times) in [(1, 1000), (2, 1), (3, 3000)] {
        let mut next = long.next();
        next.history[0].reason = "at length ".repeat(times);
        assert_eq!(store.commit(Revision(revision), Arc::new(next.clone())).await.unwrap(), Commit::Committed);
        long = next;
    }
    store.close().await;

    let opened = Opened::open(&settings(folder.path()), None).unwrap();
    let mut found = Sums::default();
    for (key, row) in opened.tree.iter().map(Result::unwrap) {
        found.add(&key, &row);
    }
    assert_eq!(opened.set().sums, found);
    assert_eq!(found.of(Kind::Head as u8).count, 21);
    assert_eq!(found.of(Kind::StatePart as u8).count, 7);
}

#[tokio::test]
async fn a_lost_row_is_noticed() {
    let folder = five_tasks().await;
    tamper(folder.path(), |_, batch| batch.remove(&head_key(fixture::id(3))));
    assert!(refused(folder.path()).await.contains("5 rows of kind 3 were noted and 4 are there"));
}

#[tokio::test]
async fn a_row_that_came_back_from_the_past_is_noticed() {
    let folder = five_tasks().await;
    let key = head_key(fixture::id(3));
    let mut past = None;
    tamper(folder.path(), |opened, _| past = opened.get(&key).unwrap());
    let store = open(folder.path()).await;
    store.commit(Revision(1), Arc::new(task(3).next().running())).await.unwrap();
    store.close().await;
    tamper(folder.path(), |_, batch| batch.insert(&key, past.unwrap()));
    assert!(refused(folder.path()).await.contains("are not the ones that were noted"));
}

#[tokio::test]
async fn a_row_too_many_is_noticed() {
    let folder = five_tasks().await;
    let key = part_key(Kind::StatePart, fixture::id(9), 0);
    tamper(folder.path(), |_, batch| batch.insert(&key, seal(&key, b"of nobody").unwrap()));
    refused(folder.path()).await;
}

#[tokio::test]
async fn a_store_without_its_note_is_refused() {
    let folder = five_tasks().await;
    tamper(folder.path(), |_, batch| batch.remove(SET_KEY));
    assert!(refused(folder.path()).await.contains("missing"));
    let folder = five_tasks().await;
    tamper(folder.path(), |_, batch| batch.insert(SET_KEY, b"nothing"));
    assert!(refused(folder.path()).await.contains("damaged"));
}

#[tokio::test]
async fn a_damaged_note_may_be_replaced() {
    let folder = five_tasks().await;
    let store = open(folder.path()).await;
    store.write_note("typical", vec![1]).await.unwrap();
    store.write_note("other", vec![1]).await.unwrap();
    store.close().await;
    tamper(folder.path(), |_, batch| batch.insert(b"\x02typical", b"damaged"));
    let store = open(folder.path()).await;
    assert_eq!(store.read_note("typical").await.unwrap(), None);
    store.write_note("typical", vec![2]).await.unwrap();
    store.close().await;
    let store = open(folder.path()).await;
    assert_eq!(store.read_note("typical").await.unwrap(), Some(vec![2]));
    assert_eq!(store.read_note("other").await.unwrap(), Some(vec![1]));
    store.close().await;
}
