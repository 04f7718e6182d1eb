//! What every backend must do, as cases with names. A backend hands in a way to
//! open a store in a folder; opening the same folder again finds what was there.

mod announcements;

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use announcements::*;

use super::contract::{Commit, Creation, Filter, StoreError, TaskStore, Tombstone};
use crate::task::fixture::{self, task};
use crate::task::id::{ModelName, RequestId, Revision, TaskId};
use crate::task::state::{FailureKind, State, Task};

type Store = Arc<dyn TaskStore>;

/// Runs all cases, each in an empty store, all but the last ones with one handle.
pub async fn run(open: impl AsyncFn(&Path) -> Store) {
    macro_rules! cases {
        ($($case:ident),+ $(,)?) => {
            $({
                let folder = TempDir::new().unwrap();
                let store = open(folder.path()).await;
                eprintln!("conformance: {}", stringify!($case));
                $case(&store).await;
                store.close().await;
            })+
        };
    }
    cases!(
        a_created_task_is_loaded_as_it_was,
        what_was_never_created_is_absent,
        a_repeated_request_id_returns_the_first_task,
        a_request_id_is_recalled_with_its_task,
        of_concurrent_creates_with_one_request_id_one_wins,
        an_id_is_never_overwritten_by_a_create,
        a_commit_replaces_what_it_was_computed_from,
        a_commit_from_an_old_revision_is_stale,
        concurrent_committers_get_each_revision_once,
        unfinished_tasks_come_in_pages_oldest_first,
        a_recoverable_failure_is_unfinished,
        open_tasks_are_counted,
        list_returns_what_matches_newest_first,
        list_comes_in_pages,
        queued_before_counts_the_same_account_and_model,
        notes_are_kept,
        a_note_has_a_limit,
        a_large_task_survives_its_changes,
        a_task_beyond_all_limits_is_refused,
        a_removed_task_is_absent_and_its_request_id_refused,
        only_a_closed_task_is_removed_and_only_as_it_was_seen,
        tombstones_come_in_pages_and_are_forgotten,
        a_removal_is_no_damage_to_whoever_reads_meanwhile,
        what_is_to_be_told_is_written_with_its_commit,
        of_updates_that_wait_the_newest_stays,
        announcements_come_in_pages_in_the_order_of_their_telling,
        a_task_is_removed_once_nothing_of_it_waits,
        after_closing_everything_answers_stopped,
    );
    a_reopened_store_has_everything(&open).await;
    a_reopened_store_knows_what_was_removed(&open).await;
    a_reopened_store_knows_what_is_to_be_told(&open).await;
}

async fn create(store: &Store, task: Task) -> Arc<Task> {
    let task = Arc::new(task);
    assert_eq!(store.create(Arc::clone(&task)).await.unwrap(), Creation::Created);
    task
}

async fn commit(store: &Store, task: Task) -> Arc<Task> {
    let expected = Revision(task.revision.0 - 1);
    let task = Arc::new(task);
    assert_eq!(store.commit(expected, Arc::clone(&task)).await.unwrap(), Commit::Committed);
    task
}

fn ids(tasks: &[Arc<Task>]) -> Vec<TaskId> {
    tasks.iter().map(|task| task.id).collect()
}

async fn listed(store: &Store, filter: Filter) -> Vec<TaskId> {
    ids(&store.list(&filter, None, 100).await.unwrap())
}

fn numbered(numbers: impl IntoIterator<Item = u64>) -> Vec<TaskId> {
    numbers.into_iter().map(fixture::id).collect()
}

async fn a_created_task_is_loaded_as_it_was(store: &Store) {
    let task = create(store, task(1).labelled("team", "red").running()).await;
    assert_eq!(store.load(task.id).await.unwrap(), Some(task));
}

async fn what_was_never_created_is_absent(store: &Store) {
    assert_eq!(store.load(fixture::id(1)).await.unwrap(), None);
    assert_eq!(store.commit(Revision(1), Arc::new(task(1).next())).await.unwrap(), Commit::Stale);
    assert_eq!(store.load(fixture::id(1)).await.unwrap(), None);
}

async fn a_repeated_request_id_returns_the_first_task(store: &Store) {
    create(store, task(1).requested_as("same")).await;
    let newest = commit(store, task(1).requested_as("same").running().next()).await;
    let again = store.create(Arc::new(task(2).requested_as("same"))).await.unwrap();
    assert_eq!(again, Creation::Earlier(newest));
    assert_eq!(store.load(fixture::id(2)).await.unwrap(), None);
}

async fn a_request_id_is_recalled_with_its_task(store: &Store) {
    let known = RequestId::new("known");
    assert_eq!(store.recall(&known).await.unwrap(), None);
    create(store, task(1).requested_as("known")).await;
    let newest = commit(store, task(1).requested_as("known").running().next()).await;
    assert_eq!(store.recall(&known).await.unwrap(), Some(Creation::Earlier(newest)));
    assert_eq!(store.recall(&RequestId::new("unknown")).await.unwrap(), None);
}

async fn of_concurrent_creates_with_one_request_id_one_wins(store: &Store) {
    let creates = (0..50).map(|number| {
        let store = Arc::clone(store);
        tokio::spawn(async move { store.create(Arc::new(task(number).requested_as("same"))).await.unwrap() })
    });
    let mut created = 0;
    let mut earlier = Vec::new();
    for creation in futures::future::join_all(creates).await {
        match creation.unwrap() {
            Creation::Created => created += 1,
            Creation::Earlier(task) => earlier.push(task.id),
            Creation::Removed(id) => panic!("{id} was never removed"),
        }
    }
    assert_eq!((created, earlier.len()), (1, 49));
    assert_eq!(listed(store, Filter::default()).await, vec![earlier[0]]);
    assert!(earlier.iter().all(|id| *id == earlier[0]));
}

async fn an_id_is_never_overwritten_by_a_create(store: &Store) {
    let first = create(store, task(1).requested_as("one")).await;
    let second = store.create(Arc::new(task(1).requested_as("two").with_prompt_of(9))).await.unwrap();
    assert_eq!(second, Creation::Earlier(Arc::clone(&first)));
    assert_eq!(store.load(first.id).await.unwrap(), Some(first));
}

async fn a_commit_replaces_what_it_was_computed_from(store: &Store) {
    create(store, task(1)).await;
    let second = commit(store, task(1).running().next()).await;
    assert_eq!(store.load(second.id).await.unwrap(), Some(Arc::clone(&second)));
    let third = commit(store, second.next().succeeded()).await;
    assert_eq!(store.load(second.id).await.unwrap(), Some(third));
}

async fn a_commit_from_an_old_revision_is_stale(store: &Store) {
    create(store, task(1)).await;
    let winner = commit(store, task(1).running().next()).await;
    let loser = Arc::new(task(1).failed(FailureKind::Deadline).next());
    assert_eq!(store.commit(Revision(1), loser).await.unwrap(), Commit::Stale);
    assert_eq!(store.load(winner.id).await.unwrap(), Some(winner));
}

async fn concurrent_committers_get_each_revision_once(store: &Store) {
    create(store, task(1)).await;
    let committers = (0..100).map(|_| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            loop {
                let task = store.load(fixture::id(1)).await.unwrap().unwrap();
                let next = Arc::new(task.next());
                if store.commit(task.revision, Arc::clone(&next)).await.unwrap() == Commit::Committed {
                    return next.revision.0;
                }
            }
        })
    });
    let mut won: Vec<u64> = futures::future::join_all(committers).await.into_iter().map(Result::unwrap).collect();
    won.sort_unstable();
    assert_eq!(won, (2..=101).collect::<Vec<_>>());
}

async fn unfinished_tasks_come_in_pages_oldest_first(store: &Store) {
    for number in 0..10 {
        create(store, task(number)).await;
    }
    commit(store, task(3).next().succeeded()).await;
    commit(store, task(7).next().failed(FailureKind::Moderated)).await;
    let first = store.unfinished(None, 5).await.unwrap();
    assert_eq!(ids(&first), numbered([0, 1, 2, 4, 5]));
    let second = store.unfinished(Some(fixture::id(5)), 5).await.unwrap();
    assert_eq!(ids(&second), numbered([6, 8, 9]));
    assert!(store.unfinished(Some(fixture::id(9)), 5).await.unwrap().is_empty());
}

async fn a_recoverable_failure_is_unfinished(store: &Store) {
    create(store, task(1)).await;
    let mut failed = task(1).next().failed(FailureKind::Deadline);
    let until = failed.deadline;
    failed.failure.as_mut().unwrap().recoverable_until = Some(until);
    let failed = commit(store, failed).await;
    assert_eq!(store.unfinished(None, 5).await.unwrap(), [Arc::clone(&failed)]);
    let mut given_up = failed.next();
    given_up.failure.as_mut().unwrap().recoverable_until = None;
    commit(store, given_up).await;
    assert!(store.unfinished(None, 5).await.unwrap().is_empty());
}

async fn open_tasks_are_counted(store: &Store) {
    assert_eq!(store.open_tasks(), 0);
    for number in 0..3 {
        create(store, task(number)).await;
    }
    assert_eq!(store.open_tasks(), 3);
    commit(store, task(1).next().succeeded()).await;
    assert_eq!(store.open_tasks(), 2);
}

async fn list_returns_what_matches_newest_first(store: &Store) {
    create(store, task(0).labelled("team", "red").labelled("shot", "1")).await;
    create(store, task(1).labelled("team", "blue")).await;
    create(store, task(2).labelled("team", "red").for_model("fal/veo3")).await;
    create(store, task(3)).await;
    commit(store, task(3).running().next()).await;

    let all = Filter::default();
    let states = |states: &[State]| Filter { states: states.to_vec(), ..all.clone() };
    let labels = |pairs: &[(&str, &str)]| Filter {
        labels: pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        ..all.clone()
    };
    assert_eq!(listed(store, all.clone()).await, numbered([3, 2, 1, 0]));
    assert_eq!(listed(store, states(&[State::Running])).await, numbered([3]));
    assert_eq!(listed(store, states(&[State::Running, State::Queued])).await, numbered([3, 2, 1, 0]));
    assert_eq!(listed(store, states(&[State::Failed])).await, numbered([]));
    assert_eq!(listed(store, labels(&[("team", "red")])).await, numbered([2, 0]));
    assert_eq!(listed(store, labels(&[("team", "red"), ("shot", "1")])).await, numbered([0]));
    assert_eq!(listed(store, labels(&[("team", "green")])).await, numbered([]));
    let veo = Filter { model: ModelName::parse("fal/veo3"), ..all.clone() };
    assert_eq!(listed(store, veo).await, numbered([2]));
    let from = Filter { created_from: Some(fixture::created(1)), ..all.clone() };
    assert_eq!(listed(store, from.clone()).await, numbered([3, 2, 1]));
    let between = Filter { created_before: Some(fixture::created(3)), ..from };
    assert_eq!(listed(store, between).await, numbered([2, 1]));
}

async fn list_comes_in_pages(store: &Store) {
    for number in 0..25 {
        create(store, task(number).labelled("odd", if number % 2 == 1 { "yes" } else { "no" })).await;
    }
    let filter = Filter { labels: [("odd".to_owned(), "yes".to_owned())].into(), ..Filter::default() };
    let (mut before, mut seen) = (None, Vec::new());
    loop {
        let page = store.list(&filter, before, 5).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        seen.extend(ids(&page));
    }
    assert_eq!(seen, numbered((0..25).rev().filter(|number| number % 2 == 1)));
}

async fn queued_before_counts_the_same_account_and_model(store: &Store) {
    for number in 0..6 {
        create(store, task(number)).await;
    }
    create(store, task(6).for_model("fal/veo3")).await;
    create(store, task(7).for_account("second")).await;
    create(store, task(8)).await;
    assert_eq!(store.queued_before(&task(0)).await.unwrap(), 0);
    assert_eq!(store.queued_before(&task(5)).await.unwrap(), 5);
    assert_eq!(store.queued_before(&task(6).for_model("fal/veo3")).await.unwrap(), 0);
    assert_eq!(store.queued_before(&task(8)).await.unwrap(), 6);
    assert_eq!(store.queued_before(&task(9)).await.unwrap(), 7);
    commit(store, task(2).running().next()).await;
    assert_eq!(store.queued_before(&task(8)).await.unwrap(), 5);
    assert_eq!(store.queued_before(&task(2)).await.unwrap(), 2);
    assert_eq!(store.queued_before(&task(9).for_account("unknown")).await.unwrap(), 0);
}

async fn notes_are_kept(store: &Store) {
    assert_eq!(store.read_note("typical/kling").await.unwrap(), None);
    store.write_note("typical/kling", b"180".to_vec()).await.unwrap();
    store.write_note("typical/kling", b"175".to_vec()).await.unwrap();
    store.write_note("", Vec::new()).await.unwrap();
    assert_eq!(store.read_note("typical/kling").await.unwrap(), Some(b"175".to_vec()));
    assert_eq!(store.read_note("").await.unwrap(), Some(Vec::new()));
    let all = [("".to_owned(), Vec::new()), ("typical/kling".to_owned(), b"175".to_vec())];
    assert_eq!(store.notes().await.unwrap(), all);
}

async fn a_note_has_a_limit(store: &Store) {
    store.write_note("large", vec![1; 1024]).await.unwrap();
    assert!(matches!(store.write_note("large", vec![2; 1025]).await, Err(StoreError::TooLarge)));
    assert_eq!(store.read_note("large").await.unwrap(), Some(vec![1; 1024]));
}

async fn a_large_task_survives_its_changes(store: &Store) {
    let mut newest = create(store, task(1).with_image_of(60 * 1024).with_prompt_of(8192)).await;
    assert_eq!(store.load(newest.id).await.unwrap(), Some(Arc::clone(&newest)));
    // The state grows over several rows and shrinks again.
    for reason_bytes in [3000, 20_000, 9000, 10] {
        let mut next = newest.next();
        next.history[0].reason = "x".repeat(reason_bytes);
        newest = commit(store, next).await;
        assert_eq!(store.load(newest.id).await.unwrap(), Some(Arc::clone(&newest)));
    }
}

async fn a_task_beyond_all_limits_is_refused(store: &Store) {
    let huge = Arc::new(task(1).with_image_of(8 * 1024 * 1024));
    assert!(matches!(store.create(huge).await, Err(StoreError::TooLarge)));
    assert_eq!(store.load(fixture::id(1)).await.unwrap(), None);
    create(store, task(1)).await;
}

async fn remove(store: &Store, task: &Task) -> Option<Tombstone> {
    store.remove(task.revision, task.id, fixture::created(1_000_000)).await.unwrap()
}

async fn tombstones(store: &Store) -> Vec<Tombstone> {
    store.tombstones(None, 100).await.unwrap()
}

async fn a_removed_task_is_absent_and_its_request_id_refused(store: &Store) {
    // Over many rows of both kinds.
    let mut large = task(1).with_image_of(60 * 1024).succeeded();
    large.history[0].reason = "x".repeat(20_000);
    let gone = create(store, large).await;
    let stays = create(store, task(2)).await;
    let tombstone = remove(store, &gone).await.unwrap();
    assert_eq!((tombstone.task, tombstone.removed, tombstone.has_file), (gone.id, fixture::created(1_000_000), true));

    assert_eq!(store.load(gone.id).await.unwrap(), None);
    assert_eq!(listed(store, Filter::default()).await, numbered([2]));
    assert_eq!(remove(store, &gone).await, None, "it is gone already");
    assert_eq!(store.commit(gone.revision, Arc::new(gone.next())).await.unwrap(), Commit::Stale);
    let refused = Creation::Removed(gone.id);
    assert_eq!(store.recall(&gone.submission.request_id).await.unwrap(), Some(refused.clone()));
    let again = task(3).requested_as(gone.submission.request_id.as_str());
    assert_eq!(store.create(Arc::new(again)).await.unwrap(), refused);
    let same_id = task(1).requested_as("another");
    assert_eq!(store.create(Arc::new(same_id)).await.unwrap(), refused, "no id is given twice");
    assert_eq!(store.load(stays.id).await.unwrap(), Some(stays));
    assert_eq!(tombstones(store).await, [tombstone]);
}

async fn only_a_closed_task_is_removed_and_only_as_it_was_seen(store: &Store) {
    let queued = create(store, task(1)).await;
    let mut recoverable = task(2).failed(FailureKind::Deadline);
    recoverable.failure.as_mut().unwrap().recoverable_until = Some(fixture::created(9));
    let recoverable = create(store, recoverable).await;
    for open in [&queued, &recoverable] {
        assert_eq!(remove(store, open).await, None);
        assert!(store.load(open.id).await.unwrap().is_some());
    }
    let ended = commit(store, queued.next().succeeded()).await;
    assert_eq!(remove(store, &queued).await, None, "it has moved on");
    assert!(remove(store, &ended).await.is_some());
    assert_eq!((ids(&store.unfinished(None, 9).await.unwrap()), store.open_tasks()), (numbered([2]), 1));
}

async fn tombstones_come_in_pages_and_are_forgotten(store: &Store) {
    for number in 0..5 {
        let task = create(store, task(number).succeeded()).await;
        remove(store, &task).await.unwrap();
    }
    let first = store.tombstones(None, 3).await.unwrap();
    let second = store.tombstones(Some(first[2].task), 3).await.unwrap();
    let tasks: Vec<_> = first.iter().chain(&second).map(|tombstone| tombstone.task).collect();
    assert_eq!(tasks, numbered(0..5));

    let without_file = Tombstone { has_file: false, ..first[1] };
    store.bury(without_file).await.unwrap();
    store.bury(without_file).await.unwrap();
    assert_eq!(tombstones(store).await[1], without_file);
    store.forget(fixture::id(0)).await.unwrap();
    store.forget(fixture::id(0)).await.unwrap();
    assert_eq!(tombstones(store).await.len(), 4);
    // The id of the request is free again, and nobody else's is.
    create(store, task(10).requested_as("request-0")).await;
    assert_eq!(store.recall(&RequestId::new("request-1")).await.unwrap(), Some(Creation::Removed(fixture::id(1))));

    let there = create(store, task(11)).await;
    assert!(store.bury(Tombstone { task: there.id, ..without_file }).await.is_err(), "never over a task");
    assert_eq!(store.load(there.id).await.unwrap(), Some(there));
}

async fn a_removal_is_no_damage_to_whoever_reads_meanwhile(store: &Store) {
    let mut tasks = Vec::new();
    for number in 0..40 {
        let image = if number % 2 == 0 { 9000 } else { 10 };
        tasks.push(create(store, task(number).with_image_of(image).succeeded()).await);
    }
    let readers = (0..4).map(|_| {
        let (store, tasks) = (Arc::clone(store), tasks.clone());
        tokio::spawn(async move {
            while !store.list(&Filter::default(), None, 100).await.unwrap().is_empty() {
                for task in &tasks {
                    let found = store.load(task.id).await.unwrap();
                    assert!(found.is_none() || found.as_ref() == Some(task));
                    let again = store.create(Arc::clone(task)).await.unwrap();
                    assert!(matches!(again, Creation::Earlier(_) | Creation::Removed(_)), "{again:?}");
                }
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for task in &tasks {
        assert!(remove(store, task).await.is_some());
    }
    for reader in readers {
        reader.await.unwrap();
    }
    assert_eq!(tombstones(store).await.len(), 40);
}

async fn after_closing_everything_answers_stopped(store: &Store) {
    create(store, task(1)).await;
    store.close().await;
    let stopped = |error: StoreError| assert!(matches!(error, StoreError::Stopped(_)), "{error}");
    stopped(store.create(Arc::new(task(2))).await.unwrap_err());
    stopped(store.recall(&RequestId::new("request-1")).await.unwrap_err());
    stopped(store.commit(Revision(1), Arc::new(task(1).next())).await.unwrap_err());
    stopped(store.load(fixture::id(1)).await.unwrap_err());
    stopped(store.unfinished(None, 1).await.unwrap_err());
    stopped(store.remove(Revision(1), fixture::id(1), fixture::created(1)).await.unwrap_err());
    stopped(store.forget(fixture::id(1)).await.unwrap_err());
    stopped(store.tombstones(None, 1).await.unwrap_err());
    stopped(store.list(&Filter::default(), None, 1).await.unwrap_err());
    stopped(store.queued_before(&task(1)).await.unwrap_err());
    stopped(store.read_note("").await.unwrap_err());
    stopped(store.notes().await.unwrap_err());
    stopped(store.announcements(None, None, 1).await.unwrap_err());
    stopped(store.write_note("", Vec::new()).await.unwrap_err());
    assert!(!*store.stopped().borrow(), "closing is not an error");
    store.close().await;
}

async fn a_reopened_store_has_everything(open: &impl AsyncFn(&Path) -> Store) {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let small = create(&store, task(1).labelled("team", "red")).await;
    let large = create(&store, task(2).with_image_of(60 * 1024)).await;
    create(&store, task(3)).await;
    let ended = commit(&store, task(3).next().succeeded()).await;
    store.write_note("typical/kling", b"180".to_vec()).await.unwrap();
    store.close().await;
    drop(store);

    let store = open(folder.path()).await;
    for task in [&small, &large, &ended] {
        assert_eq!(store.load(task.id).await.unwrap().as_ref(), Some(task));
    }
    assert_eq!(ids(&store.unfinished(None, 9).await.unwrap()), numbered([1, 2]));
    assert_eq!(listed(&store, Filter::default()).await, numbered([3, 2, 1]));
    let red = Filter { labels: [("team".to_owned(), "red".to_owned())].into(), ..Filter::default() };
    assert_eq!(listed(&store, red).await, numbered([1]));
    assert_eq!(store.queued_before(&large).await.unwrap(), 1);
    assert_eq!(store.read_note("typical/kling").await.unwrap(), Some(b"180".to_vec()));
    let again = store.create(Arc::new(task(9).requested_as("request-2"))).await.unwrap();
    assert_eq!(again, Creation::Earlier(large));
    let next = commit(&store, ended.next()).await;
    assert_eq!(store.load(next.id).await.unwrap(), Some(next));
    store.close().await;
}

async fn a_reopened_store_knows_what_was_removed(open: &impl AsyncFn(&Path) -> Store) {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let large = create(&store, task(1).with_image_of(60 * 1024).succeeded()).await;
    let small = create(&store, task(2).succeeded()).await;
    let forgotten = create(&store, task(3).succeeded()).await;
    for task in [&large, &small, &forgotten] {
        remove(&store, task).await.unwrap();
    }
    store.bury(Tombstone { has_file: false, ..tombstones(&store).await[1] }).await.unwrap();
    store.forget(forgotten.id).await.unwrap();
    let before = tombstones(&store).await;
    store.close().await;
    drop(store);

    let store = open(folder.path()).await;
    assert_eq!(tombstones(&store).await, before);
    assert_eq!(before.iter().map(|tombstone| tombstone.has_file).collect::<Vec<_>>(), [true, false]);
    assert!(listed(&store, Filter::default()).await.is_empty());
    for task in [&large, &small] {
        let again = store.create(Arc::new(Task { id: fixture::id(9), ..(**task).clone() })).await.unwrap();
        assert_eq!(again, Creation::Removed(task.id));
    }
    create(&store, task(9).requested_as(forgotten.submission.request_id.as_str())).await;
    store.close().await;
}
