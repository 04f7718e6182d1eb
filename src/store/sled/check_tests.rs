//! What fsck, repair and the scrubber find and mend.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::open::Opened;
use super::receipts::folder_in;
use super::repair::MOVING;
use super::tests::{copy, create, open, settings};
use super::write::Batch;
use super::{OpenError, Report, SledStore, StoreSettings, check, repair};
use crate::store::announcement::Told;
use crate::store::contract::{Filter, TaskStore};
use crate::store::envelope::{Kind, seal};
use crate::store::receipts::segments;
use crate::store::rows::{head_key, part_key};
use crate::task::announcement::{Announcement, Topic};
use crate::task::fixture::{self, task};
use crate::task::id::Revision;
use crate::task::state::State;

fn checked(folder: &Path) -> Report {
    check(&settings(folder)).unwrap().report
}

/// Tasks 0 to 4; 1 and 2 are paid for, 2 is large and has ended.
async fn five_tasks() -> TempDir {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    create(&store, 0..2).await;
    let large = task(2).with_prompt_of(9000);
    store.create(Arc::new(large.clone())).await.unwrap();
    create(&store, 3..5).await;
    store.commit(Revision(1), Arc::new(task(1).next().running())).await.unwrap();
    store.commit(Revision(1), Arc::new(large.next().running().succeeded())).await.unwrap();
    store.write_note("callback_key", vec![7; 32]).await.unwrap();
    store.close().await;
    folder
}

/// Changes rows of a store that is open, or was.
fn tamper(folder: &Path, change: impl FnOnce(&super::open::Opened, &mut sled::Batch)) {
    let opened = super::open::Opened::open(&settings(folder), None).unwrap();
    let mut batch = sled::Batch::default();
    change(&opened, &mut batch);
    opened.sync(batch).unwrap();
}

#[tokio::test]
async fn a_store_in_order_is_clean_and_left_alone() {
    let folder = five_tasks().await;
    let report = checked(folder.path());
    assert_eq!((report.tasks, report.receipts), (5, 2));
    assert!(report.findings.is_empty() && report.mended.is_empty(), "{report:?}");
    let repaired = repair(&settings(folder.path())).unwrap();
    assert!(repaired.findings.is_empty() && repaired.aside.is_none(), "{repaired:?}");
}

#[tokio::test]
async fn a_check_beside_a_server_or_without_a_store_does_not_run() {
    let folder = five_tasks().await;
    let store = open(folder.path()).await;
    assert!(matches!(check(&settings(folder.path())).err(), Some(OpenError::InUse { .. })));
    assert!(matches!(repair(&settings(folder.path())).err(), Some(OpenError::InUse { .. })));
    store.close().await;
    let absent = folder.path().join("absent");
    assert!(matches!(check(&settings(&absent)).err(), Some(OpenError::Folder { .. })));
    assert!(!absent.exists());
}

#[tokio::test]
async fn every_sort_of_damage_is_found() {
    let head = head_key(fixture::id(3));
    let orphan = part_key(Kind::SubmissionPart, fixture::id(2), 9);
    type Change = fn(&mut sled::Batch, &[u8], &[u8]);
    let cases: [(&str, Change); 3] = [
        ("checksum", |batch, head, _| batch.insert(head, b"\x01\x03 nothing that fits")),
        ("belongs to no task", |batch, _, orphan| batch.insert(orphan, seal(orphan, b"of nobody").unwrap())),
        ("were noted", |batch, head, _| batch.remove(head)),
    ];
    for (why, change) in cases {
        let folder = five_tasks().await;
        tamper(folder.path(), |_, batch| change(batch, &head, &orphan));
        let findings = checked(folder.path()).findings;
        assert!(findings.iter().any(|finding| finding.contains(why)), "{why}: {findings:?}");
    }
}

#[tokio::test]
async fn unreadable_receipts_are_written_anew() {
    let folder = five_tasks().await;
    let store = open(folder.path()).await;
    // Until a second file is begun: a start looks at the newest one only.
    for number in 10..32 {
        store.create(Arc::new(task(number).with_image_of(500_000).running())).await.unwrap();
    }
    store.close().await;
    let files = segments(&folder_in(folder.path())).unwrap();
    assert_eq!(files.len(), 2);
    fs::write(&files[0].path, vec![0x55; 4096]).unwrap();
    let report = checked(folder.path());
    assert_eq!((report.findings.len(), report.mended.len()), (0, 1), "{report:?}");
    assert!(checked(folder.path()).mended.is_empty());
}

#[tokio::test]
async fn what_is_damaged_comes_back_from_the_receipts() {
    let folder = five_tasks().await;
    tamper(folder.path(), |_, batch| {
        batch.insert(&head_key(fixture::id(1)), b"rotten");
        batch.remove(&head_key(fixture::id(4)));
    });
    let repaired = repair(&settings(folder.path())).unwrap();
    assert_eq!((repaired.tasks, repaired.from_receipts, repaired.lost.len()), (4, 1, 0));
    assert!(repaired.aside.unwrap().join("db").exists());
    assert!(checked(folder.path()).findings.is_empty());
    let store = open(folder.path()).await;
    assert_eq!(*store.load(fixture::id(1)).await.unwrap().unwrap(), task(1).next().running());
    assert_eq!(store.load(fixture::id(2)).await.unwrap().unwrap().state, State::Succeeded);
    assert_eq!(store.read_note("callback_key").await.unwrap(), Some(vec![7; 32]));
    store.close().await;
}

#[tokio::test]
async fn a_store_without_a_database_comes_back_as_far_as_it_was_paid_for() {
    let folder = five_tasks().await;
    fs::write(folder.path().join("db"), b"not a database").unwrap();
    for entry in fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let error = SledStore::open(&settings(folder.path())).await.err().expect("it must not open");
    assert!(error.to_string().contains("videogen repair"), "{error}");
    let repaired = repair(&settings(folder.path())).unwrap();
    assert_eq!((repaired.tasks, repaired.from_receipts), (2, 2));
    let store = open(folder.path()).await;
    assert_eq!(*store.load(fixture::id(1)).await.unwrap().unwrap(), task(1).next().running());
    store.close().await;
}

#[tokio::test]
async fn a_repair_that_was_cut_short_is_finished_by_the_next() {
    let folder = five_tasks().await;
    let whole = TempDir::new().unwrap();
    copy(folder.path(), whole.path());
    // As after the new store was made: it is complete, the old one is still in place.
    copy(whole.path(), &folder.path().join("repair-new"));
    fs::write(folder.path().join("db"), b"not a database").unwrap();
    fs::write(folder.path().join(MOVING), b"").unwrap();
    let error = SledStore::open(&settings(folder.path())).await.err().expect("it must not open");
    assert!(error.to_string().contains("cut short"), "{error}");
    assert!(repair(&settings(folder.path())).unwrap().aside.unwrap().join("db").exists());
    let store = open(folder.path()).await;
    assert_eq!(store.list(&Filter::default(), None, 9).await.unwrap().len(), 5);
    store.close().await;
}

#[tokio::test]
async fn rot_is_found_while_the_store_is_in_use() {
    let folder = five_tasks().await;
    let often = StoreSettings { scrub_every: Duration::from_millis(20), ..settings(folder.path()) };
    let store = SledStore::open(&often).await.unwrap();
    let mut batch = sled::Batch::default();
    batch.insert(&head_key(fixture::id(3)), b"rotten");
    store.shared.opened().unwrap().sync(batch).unwrap();
    while store.stats().rotten == 0 || store.stats().scrubs == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    store.close().await;
}

#[tokio::test]
async fn what_is_to_be_told_of_nobody_is_found_and_does_not_outlive_a_repair() {
    let folder = five_tasks().await;
    let store = open(folder.path()).await;
    let known = Announcement::of(&store.load(fixture::id(1)).await.unwrap().unwrap(), Topic::Updated);
    assert!(store.announce(known.clone()).await.unwrap());
    store.close().await;
    drop(store);
    assert!(checked(folder.path()).findings.is_empty());

    let opened = Opened::open(&settings(folder.path()), None).unwrap();
    let Told { row: (key, row), .. } = Told::new(&Announcement::of(&task(77), Topic::Failed)).unwrap();
    let mut batch = Batch::default();
    batch.insert(key, row);
    opened.write(batch, Vec::new()).unwrap();
    drop(opened);
    let findings = checked(folder.path()).findings;
    assert!(matches!(&findings[..], [only] if only.contains("belongs to no task")), "{findings:?}");
    assert_eq!(repair(&settings(folder.path())).unwrap().tasks, 5);
    let store = open(folder.path()).await;
    assert_eq!(store.announcements(None, None, 9).await.unwrap(), [known]);
    store.close().await;
}
