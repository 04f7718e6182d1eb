//! Databases of every arrangement there ever was, kept in `tests/golden`: each is
//! copied and opened, and must hold what was put in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::check;
use super::tests::{copy, open, settings};
use crate::store::contract::{Commit, Creation, Filter, TaskStore};
use crate::task::announcement::{Announcement, Parked, Topic};
use crate::task::fixture::{created, task};
use crate::task::state::{FailureKind, State, Task};

/// The arrangement that this version writes.
const NEWEST: &str = "schema-3";

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// A task in each state, and two that are larger than a row; each as it was
/// created and as it was committed last.
fn lives() -> Vec<(Task, Task)> {
    let states = State::ALL.iter().enumerate();
    let mut lives: Vec<_> = states
        .map(|(number, state)| {
            let first = task(number as u64);
            let last = match state {
                State::Queued => first.next(),
                State::Submitting | State::Reconciling => first.next().running().entered(*state, "looked up"),
                State::Running => first.next().running(),
                State::Archiving => first.next().running().entered(*state, "the provider is done"),
                State::Succeeded => first.next().running().succeeded(),
                State::Failed => first.next().running().failed(FailureKind::ProviderFailed),
                State::Cancelled => first.next().entered(*state, "cancelled"),
            };
            (first, last)
        })
        .collect();
    let large = task(20).with_image_of(20_000).with_prompt_of(5000);
    lives.push((large.clone(), large.next().running()));
    let long = task(21).labelled("team", "red");
    let mut told = long.next().running();
    told.history[0].reason = "told at length ".repeat(600);
    lives.push((long, told));
    lives
}

/// What is to be told of them: one waits, one is parked.
fn announcements() -> [Announcement; 2] {
    let lives = lives();
    let of = |state: State, topic| {
        let task = lives.iter().map(|(_, last)| last).find(|task| task.state == state);
        Announcement::of(task.expect("there is one in each state"), topic)
    };
    let parked = Parked { time: created(900), gone: true, note: "HTTP status 410".to_owned() };
    [of(State::Succeeded, Topic::Succeeded), Announcement { parked: Some(parked), ..of(State::Failed, Topic::Failed) }]
}

/// The words by which a task of an older version is told.
fn told(task: &Task) -> (String, State, u64, String, String) {
    let job = task.job.as_ref().map(|job| job.id.as_str().to_owned()).unwrap_or_default();
    (task.id.to_string(), task.state, task.revision.0, job, task.submission.spec.prompt.clone())
}

#[tokio::test]
#[ignore = "makes the database of this version anew"]
async fn make() {
    let folder = goldens().join(NEWEST);
    std::fs::create_dir_all(&folder).unwrap();
    let store = open(&folder).await;
    for (first, last) in lives() {
        let expected = first.revision;
        assert_eq!(store.create(Arc::new(first)).await.unwrap(), Creation::Created);
        assert_eq!(store.commit(expected, Arc::new(last)).await.unwrap(), Commit::Committed);
    }
    store.write_note("callback_key", vec![7; 32]).await.unwrap();
    for announcement in announcements() {
        assert!(store.announce(announcement).await.unwrap());
    }
    store.close().await;
}

#[tokio::test]
async fn every_golden_database_opens_and_holds_what_was_put_in() {
    let mut opened = 0;
    for golden in std::fs::read_dir(goldens()).unwrap() {
        let folder = TempDir::new().unwrap();
        let golden = golden.unwrap();
        let old = ["schema-1", "schema-2"].iter().any(|old| golden.file_name() == *old);
        let announced = if old { Vec::new() } else { announcements().to_vec() };
        copy(&golden.path(), folder.path());
        // The check brings an older one up; then it is clean.
        let report = check(&settings(folder.path())).unwrap().report;
        assert!(report.findings.is_empty() && report.mended.is_empty(), "{report:?}");
        let store = open(folder.path()).await;
        assert_eq!(store.stats().damaged, 0);
        assert_eq!(store.announcements(None, None, 9).await.unwrap(), announced);
        assert_eq!(store.read_note("callback_key").await.unwrap(), Some(vec![7; 32]));
        let mut found: Vec<_> =
            store.list(&Filter::default(), None, 99).await.unwrap().iter().map(|task| told(task)).collect();
        found.reverse();
        assert_eq!(found, lives().iter().map(|(_, last)| told(last)).collect::<Vec<_>>());
        store.close().await;
        opened += 1;
    }
    assert!(opened >= 3);
}
