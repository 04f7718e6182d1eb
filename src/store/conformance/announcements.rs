//! What is to be told of tasks: written with them, gone when it is told.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::{Store, create, remove};
use crate::store::contract::Commit;
use crate::task::announcement::{Announcement, AnnouncementId, Parked, Topic};
use crate::task::fixture::{self, task};
use crate::task::state::Task;

async fn commit_told(store: &Store, before: &Task, after: Task, topic: Topic) -> (Arc<Task>, Announcement) {
    let (told, after) = (Announcement::of(&after, topic), Arc::new(after));
    let committed = store.commit_told(before.revision, Arc::clone(&after), Some(told.clone())).await.unwrap();
    assert_eq!(committed, Commit::Committed);
    (after, told)
}

async fn waiting(store: &Store) -> Vec<Announcement> {
    store.announcements(Some(false), None, 99).await.unwrap()
}

fn parked(announcement: &Announcement) -> Announcement {
    let parked = Parked { time: fixture::created(900), gone: false, note: "HTTP status 500".to_owned() };
    Announcement { parked: Some(parked), ..announcement.clone() }
}

pub(super) async fn what_is_to_be_told_is_written_with_its_commit(store: &Store) {
    let first = create(store, task(1)).await;
    let (second, update) = commit_told(store, &first, first.next().running(), Topic::Updated).await;
    let (third, end) = commit_told(store, &second, second.next().succeeded(), Topic::Succeeded).await;
    assert_eq!(waiting(store).await, [update.clone(), end.clone()]);
    assert_eq!(store.load(third.id).await.unwrap(), Some(third));
    // What was not committed is not told.
    let late = Announcement::of(&second, Topic::Failed);
    let stale = store.commit_told(first.revision, Arc::clone(&second), Some(late)).await.unwrap();
    assert_eq!((stale, waiting(store).await), (Commit::Stale, vec![update.clone(), end.clone()]));
    for _ in 0..2 {
        store.told(update.id).await.unwrap();
        assert_eq!(waiting(store).await, std::slice::from_ref(&end));
    }
}

pub(super) async fn of_updates_that_wait_the_newest_stays(store: &Store) {
    let first = create(store, task(1)).await;
    let (second, _) = commit_told(store, &first, first.next().running(), Topic::Updated).await;
    let (third, failed) = commit_told(store, &second, second.next(), Topic::Failed).await;
    let (fourth, update) = commit_told(store, &third, third.next(), Topic::Updated).await;
    assert_eq!(waiting(store).await, [failed.clone(), update.clone()]);
    store.announce(parked(&update)).await.unwrap();
    let (_, newest) = commit_told(store, &fourth, fourth.next(), Topic::Updated).await;
    assert_eq!(waiting(store).await, [failed, newest]);
    assert_eq!(store.announcements(Some(true), None, 9).await.unwrap(), [parked(&update)], "it waits no more");
}

pub(super) async fn announcements_come_in_pages_in_the_order_of_their_telling(store: &Store) {
    let mut told = Vec::new();
    for number in 0..3 {
        let first = create(store, task(number)).await;
        let (second, failed) = commit_told(store, &first, first.next(), Topic::Failed).await;
        told.extend([failed, commit_told(store, &second, second.next(), Topic::Recovered).await.1]);
    }
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store.announcements(None, after, 4).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        found.extend(page);
    }
    assert_eq!(found, told);
    assert!(store.announce(parked(&told[2])).await.unwrap());
    assert_eq!(store.announcements_of(told[2].id.task).await.unwrap(), [parked(&told[2]), told[3].clone()]);
    assert_eq!(waiting(store).await.len(), 5);
    assert_eq!(store.announcements(Some(true), None, 9).await.unwrap(), [parked(&told[2])]);
    assert_eq!(store.announcements(None, None, 9).await.unwrap().len(), 6);
}

pub(super) async fn a_task_is_removed_once_nothing_of_it_waits(store: &Store) {
    let first = create(store, task(1)).await;
    let (ended, end) = commit_told(store, &first, first.next().succeeded(), Topic::Succeeded).await;
    assert_eq!(remove(store, &ended).await, None);
    assert!(store.announce(parked(&end)).await.unwrap());
    assert!(remove(store, &ended).await.is_some());
    assert!(store.announcements(None, None, 9).await.unwrap().is_empty());
    assert!(!store.announce(end).await.unwrap(), "its task is gone");
    let nobody = AnnouncementId { task: fixture::id(7), revision: ended.revision };
    store.told(nobody).await.unwrap();
}

pub(super) async fn a_reopened_store_knows_what_is_to_be_told(open: &impl AsyncFn(&Path) -> Store) {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let first = create(&store, task(1)).await;
    let (second, failed) = commit_told(&store, &first, first.next(), Topic::Failed).await;
    let (_, recovered) = commit_told(&store, &second, second.next(), Topic::Recovered).await;
    store.announce(parked(&failed)).await.unwrap();
    store.close().await;
    drop(store);

    let store = open(folder.path()).await;
    assert_eq!(waiting(&store).await, [recovered]);
    assert_eq!(store.announcements(Some(true), None, 9).await.unwrap(), [parked(&failed)]);
    store.close().await;
}
