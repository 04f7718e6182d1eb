//! The passing of time on a watch: hours in milliseconds, without sockets.

use tempfile::TempDir;
use tonic::Code;
use tonic_types::StatusExt;

use super::*;
use crate::api::accounts::Accounts;
use crate::archive::{Archive, ArchiveSettings};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::network::Guard;
use crate::store::SledStore;
use crate::store::contract::Filter;
use crate::task::event::Event;
use crate::task::fixture;
use pb::watch_response::Event as Sent;

/// A house with one task in it.
struct Stage {
    house: Arc<OnceLock<House>>,
    stop: CancellationToken,
    task: Arc<Task>,
    _folder: TempDir,
}

impl Stage {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file:{}", folder.path().display());
        let guard = Guard::default();
        let archive = Archive::open(&ArchiveSettings { url, ..ArchiveSettings::default() }, guard.clone()).unwrap();
        let clock = Clock::simulated(fixture::created(0));
        let store = SledStore::temporary().await.unwrap();
        let ledger = Arc::new(Ledger::new(store, Arc::new(archive), clock.clone()));
        let task = ledger.submit((*fixture::task(1).submission).clone()).await.unwrap().task;
        let (catalog, accounts) = (Arc::new(Catalog::built_in()), Accounts::default());
        let house = OnceLock::from(House { ledger, catalog, accounts, guard, clock, webhooks: false });
        Self { house: Arc::new(house), stop: CancellationToken::new(), task, _folder: folder }
    }

    fn ledger(&self) -> &Ledger {
        &self.house.get().unwrap().ledger
    }

    async fn watch(&self) -> Messages {
        let watch = self.ledger().watch(self.task.id, Revision(0)).await.unwrap();
        Watcher::new(Arc::clone(&self.house), self.stop.clone()).one(watch)
    }

    fn follow(&self) -> Messages {
        let watch = self.ledger().watch_matching(Filter::default()).unwrap();
        Watcher::new(Arc::clone(&self.house), self.stop.clone()).matching(watch)
    }
}

/// The next message, the revision that it carries, and how long it took.
async fn next(messages: &mut Messages) -> (&'static str, u64, Duration) {
    let begun = Instant::now();
    let (what, revision) = match messages.next().await.unwrap().unwrap().event.unwrap() {
        Sent::Task(task) => ("task", task.revision),
        Sent::Heartbeat(heartbeat) => ("heartbeat", heartbeat.revision),
    };
    (what, revision, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_heartbeats_that_carry_what_was_delivered() {
    let stage = Stage::new().await;
    let mut messages = stage.watch().await;
    let (what, revision, _) = next(&mut messages).await;
    assert_eq!((what, revision), ("task", 1));
    for _ in 0..3 {
        let (what, revision, silence) = next(&mut messages).await;
        assert_eq!((what, revision), ("heartbeat", 1));
        assert!(silence <= Duration::from_secs(15), "{silence:?}");
    }
    stage.ledger().record(&stage.task, &Event::CreateStarted).await.unwrap();
    let (what, revision, silence) = next(&mut messages).await;
    assert_eq!((what, revision), ("task", 2), "the change comes before the next heartbeat");
    assert!(silence < Duration::from_secs(1), "{silence:?}");
    let (what, revision, _) = next(&mut messages).await;
    assert_eq!((what, revision), ("heartbeat", 2));
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_of_many_tasks_carries_no_cursor() {
    let stage = Stage::new().await;
    let mut messages = stage.follow();
    let (what, revision, _) = next(&mut messages).await;
    assert_eq!((what, revision), ("task", 1));
    let (what, revision, silence) = next(&mut messages).await;
    assert_eq!((what, revision), ("heartbeat", 0));
    assert!(silence <= Duration::from_secs(15), "{silence:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_asked_to_open_again_after_half_an_hour_at_most() {
    let stage = Stage::new().await;
    let begun = Instant::now();
    let mut messages = stage.watch().await;
    let end = loop {
        if let Err(end) = messages.next().await.unwrap() {
            break end;
        }
    };
    assert!((Duration::from_secs(20 * 60)..=WATCH_LIFE).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    let info = end.get_details_error_info().unwrap();
    assert_eq!((end.code(), info.reason.as_str()), (Code::Unavailable, "WATCH_REOPEN"));
    assert_eq!(info.metadata["last_revision"], "1");
    assert!(messages.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_a_watch_at_once_even_one_that_has_much_to_say() {
    let stage = Stage::new().await;
    let mut one = stage.watch().await;
    let mut many = stage.follow();
    next(&mut one).await;
    stage.stop.cancel();
    for messages in [&mut one, &mut many] {
        let end = messages.next().await.unwrap().unwrap_err();
        assert_eq!(end.get_details_error_info().unwrap().reason, "WATCH_REOPEN");
        assert!(messages.next().await.is_none());
    }
}
