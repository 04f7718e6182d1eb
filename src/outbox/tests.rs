//! Receivers that are down, slow, gone or strict, over hours that pass in
//! milliseconds; the store is the real one.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Answer, Letter, Outbox, Post, Receivers};
use crate::archive::{Archive, ArchiveSettings};
use crate::clock::Clock;
use crate::ledger::announce::Announcing;
use crate::ledger::{Ledger, Recorded};
use crate::network::Guard;
use crate::store::SledStore;
use crate::task::announcement::{Announcement, Topic};
use crate::task::event::Event;
use crate::task::fixture;
use crate::task::id::{JobId, RequestId, TaskId};
use crate::task::spec::{Submission, Webhook};
use crate::task::state::{Failure, FailureKind, Job, Task};

const SECRET: &str = "whsec_c2VjcmV0LW9mLXRoZS10ZXN0cy1vZi10aGUtb3V0Ym94";
const COMMON: &str = "https://common.example/hook";
const HOUR: Duration = Duration::from_secs(3600);

/// A letter that came, when, and what it was answered.
#[derive(Clone)]
struct Came {
    at: Duration,
    letter: Letter,
    answer: Answer,
}

impl Came {
    fn told(&self) -> serde_json::Value {
        serde_json::from_slice(&self.letter.body).unwrap()
    }

    fn task(&self) -> String {
        self.told()["data"]["id"].as_str().unwrap().to_owned()
    }

    fn revision(&self) -> u64 {
        self.told()["data"]["revision"].as_u64().unwrap()
    }
}

type Seen = Arc<Mutex<Vec<Came>>>;

/// A ledger with an outbox, and all receivers of the world.
struct World {
    store: Arc<SledStore>,
    ledger: Arc<Ledger>,
    clock: Clock,
    came: Seen,
    begun: Instant,
    post: Post,
    _folder: TempDir,
}

/// How a receiver answers, by the letter and the time since the beginning.
type Manner = Arc<dyn Fn(&Letter, Duration) -> (Duration, Answer) + Send + Sync>;

impl World {
    async fn new(manner: impl Fn(&Letter, Duration) -> (Duration, Answer) + Send + Sync + 'static) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = TempDir::new().unwrap();
        let url = format!("file:{}", folder.path().display());
        let guard = Guard::default();
        let archive = Archive::open(&ArchiveSettings { url, ..ArchiveSettings::default() }, guard).unwrap();
        let store = SledStore::temporary().await.unwrap();
        let clock = Clock::simulated(fixture::created(100_000));
        let announcing = Announcing { topics: Topic::ENDS.into(), all: true, ..Announcing::default() };
        let ledger = Ledger::new(store.clone(), Arc::new(archive), clock.clone()).with_announcing(announcing);
        let (came, begun): (Seen, _) = (Arc::default(), Instant::now());
        let manner: Manner = Arc::new(manner);
        let post = post(Arc::clone(&came), begun, manner);
        Self { store, ledger: Arc::new(ledger), clock, came, begun, post, _folder: folder }
    }

    /// An outbox at work, until it is told to stop.
    fn open(&self) -> (CancellationToken, JoinHandle<()>) {
        let receivers =
            Receivers { url: Some(COMMON.parse().unwrap()), secrets: vec![SECRET.into()], ..Receivers::default() };
        let outbox = Outbox::new(Arc::clone(&self.ledger), self.clock.clone(), receivers, Arc::clone(&self.post));
        let stop = CancellationToken::new();
        (stop.clone(), tokio::spawn(outbox.run(stop)))
    }

    /// A task that names its own receiver, or none.
    async fn submit(&self, number: u64, webhook: Option<Webhook>) -> Arc<Task> {
        let submission = Submission {
            request_id: RequestId::new(format!("request-{number}")),
            webhook,
            ..fixture::task(1).submission.as_ref().clone()
        };
        self.ledger.submit(submission).await.unwrap().task
    }

    async fn record(&self, task: &Arc<Task>, event: Event) -> Arc<Task> {
        match self.ledger.record(task, &event).await.unwrap() {
            Recorded::Task(task) => task,
            Recorded::NotAllowed(task) => panic!("not allowed in {:?}", task.state),
        }
    }

    /// A task that is cancelled before anything is bought.
    async fn cancelled(&self, number: u64, webhook: Option<Webhook>) -> TaskId {
        let task = self.submit(number, webhook).await;
        self.record(&task, Event::CancelRequested).await.id
    }

    /// Waits, hours if need be, until nothing waits to be told.
    async fn until_told(&self) {
        while !self.waiting().await.is_empty() {
            sleep(Duration::from_secs(20)).await;
        }
    }

    async fn waiting(&self) -> Vec<Announcement> {
        self.ledger.announcements(Some(false), None, 9999).await.unwrap()
    }

    async fn parked(&self) -> Vec<Announcement> {
        self.ledger.announcements(Some(true), None, 9999).await.unwrap()
    }

    fn came(&self) -> Vec<Came> {
        self.came.lock().unwrap().clone()
    }

    fn taken(&self) -> Vec<Came> {
        self.came().into_iter().filter(|came| came.answer == Answer::Taken).collect()
    }
}

fn post(came: Seen, begun: Instant, manner: Manner) -> Post {
    Arc::new(move |letter| {
        let (came, at) = (Arc::clone(&came), begun.elapsed());
        let (takes, answer) = manner(&letter, at);
        async move {
            sleep(takes).await;
            came.lock().unwrap().push(Came { at, letter, answer: answer.clone() });
            answer
        }
        .boxed()
    })
}

fn down() -> Answer {
    Answer::failed("connection refused")
}

fn own(url: &str, updates: bool) -> Option<Webhook> {
    Some(Webhook { url: url.to_owned(), updates })
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_down_for_an_hour_gets_every_event_in_order_and_once() {
    let world = World::new(|_, at| (Duration::ZERO, if at < HOUR { down() } else { Answer::Taken })).await;
    let (stop, outbox) = world.open();
    let mut events = HashSet::new();
    for number in 0..100 {
        let task = world.submit(number, own("https://hooks.example/1", true)).await;
        events.insert((task.id.to_string(), "task.cancelled"));
        let task = world.record(&task, Event::CreateStarted).await;
        let task = world.record(&task, Event::CreateNotSent { reason: "nobody was there".to_owned() }).await;
        world.record(&task, Event::CancelRequested).await;
        sleep(Duration::from_secs(20)).await;
    }
    world.until_told().await;
    assert!(world.parked().await.is_empty());
    assert!(world.begun.elapsed() < HOUR + Duration::from_secs(900), "{:?}", world.begun.elapsed());

    let taken = world.taken();
    let mut last = BTreeMap::new();
    for came in &taken {
        let before = last.insert(came.task(), came.revision());
        assert!(before.is_none_or(|before| before < came.revision()), "the events of a task come in their order");
    }
    let ids: HashSet<_> = taken.iter().map(|came| came.letter.id.clone()).collect();
    assert_eq!(ids.len(), taken.len(), "whoever drops what it has seen sees each once");
    for (task, kind) in events {
        assert!(taken.iter().any(|came| came.task() == task && came.told()["type"] == kind), "{task}");
    }
    // Of 100 tasks over an hour, the tries that failed: no storm.
    let failed = world.came().len() - taken.len();
    assert!(failed < 100 * 20, "{failed} tries");
    stop.cancel();
    outbox.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_try_has_its_own_time_and_the_same_id_and_body_and_writes_nothing() {
    let world = World::new(|_, at| (Duration::ZERO, if at < HOUR { down() } else { Answer::Taken })).await;
    let (stop, outbox) = world.open();
    let task = world.cancelled(1, None).await;
    let written = world.store.stats().changes;
    sleep(HOUR / 2).await;
    assert_eq!(world.store.stats().changes, written);
    let trial = world.ledger.trial(world.waiting().await[0].id).unwrap();
    assert!(trial.tries > 5 && trial.note == "connection refused", "{trial:?}");
    world.until_told().await;
    assert_eq!(world.store.stats().changes, written + 1);
    let came = world.came();
    assert!(came.iter().all(|one| one.letter.id == came[0].letter.id && one.letter.body == came[0].letter.body));
    let times: HashSet<_> = came.iter().map(|one| one.letter.timestamp_s).collect();
    assert_eq!(times.len(), came.len());
    assert_eq!((came[0].task(), came[0].letter.url.as_str()), (task.to_string(), COMMON));
    stop.cancel();
    outbox.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_a_day_it_is_parked_and_may_be_replayed() {
    let world = World::new(|_, at| (Duration::ZERO, if at < 30 * HOUR { down() } else { Answer::Taken })).await;
    let (stop, outbox) = world.open();
    world.cancelled(1, None).await;
    world.until_told().await;
    assert!((24 * HOUR..25 * HOUR).contains(&world.begun.elapsed()), "{:?}", world.begun.elapsed());
    let parked = world.parked().await.remove(0);
    let told = parked.parked.as_ref().unwrap();
    assert_eq!((told.gone, told.note.as_str()), (false, "connection refused"));
    let tries = world.came().len();
    assert!((90..200).contains(&tries), "{tries}");

    // Replayed, it has another day, and needs six hours of it.
    world.ledger.replay(parked.id).await.unwrap();
    world.until_told().await;
    assert!(world.parked().await.is_empty());
    assert_eq!(world.taken()[0].letter.id, parked.id.to_string());
    assert!(world.ledger.replay(parked.id).await.is_err(), "it was told");
    stop.cancel();
    outbox.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_left_at_the_end_is_told_after_the_next_start() {
    let world = World::new(|_, at| (Duration::ZERO, if at < HOUR { down() } else { Answer::Taken })).await;
    let (stop, outbox) = world.open();
    world.cancelled(1, None).await;
    sleep(HOUR / 2).await;
    stop.cancel();
    outbox.await.unwrap();
    sleep(30 * HOUR).await;
    assert!(world.taken().is_empty());
    // Its day is over, and yet it is tried once before it would be parked.
    let (stop, outbox) = world.open();
    world.until_told().await;
    assert_eq!(world.taken().len(), 1);
    stop.cancel();
    outbox.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_gone_is_sent_nothing_more_until_it_is_asked_for() {
    let gone = |letter: &Letter, at| {
        let answer = if letter.url.contains("gone") && at < HOUR { Answer::Gone } else { Answer::Taken };
        (Duration::ZERO, answer)
    };
    let world = World::new(gone).await;
    let (stop, outbox) = world.open();
    let task = world.submit(1, own("https://gone.example/1", true)).await;
    let task = world.record(&task, Event::CreateStarted).await;
    let task = world.record(&task, Event::CreateUnknown { reason: "lost".to_owned() }).await;
    let task = world.record(&task, Event::WindowOver).await;
    world.until_told().await;
    assert_eq!(world.parked().await.len(), 1, "updates are not kept");
    let asked = world.came().len();
    let job = Job { id: JobId::new("late"), handle: String::new() };
    world.record(&task, Event::JobFound { attempt: 1, job }).await;
    world.until_told().await;
    assert_eq!(world.came().len(), asked, "nothing was sent");
    // Another task of another receiver is not concerned.
    world.cancelled(2, None).await;
    world.until_told().await;
    assert_eq!(world.taken().len(), 1);

    sleep(HOUR).await;
    for parked in world.parked().await {
        world.ledger.replay(parked.id).await.unwrap();
    }
    world.until_told().await;
    assert!(world.parked().await.is_empty());
    assert_eq!(world.taken().last().unwrap().told()["type"], "task.failed");
    stop.cancel();
    outbox.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_receiver_of_the_settings_that_is_gone_is_asked_again_by_a_replay() {
    let world = World::new(|_, at| (Duration::ZERO, if at < HOUR { Answer::Gone } else { Answer::Taken })).await;
    let (stop, outbox) = world.open();
    for number in 0..10 {
        world.cancelled(number, None).await;
    }
    world.until_told().await;
    assert_eq!(world.parked().await.len(), 10);
    let asked = world.came().len();
    world.cancelled(10, None).await;
    world.until_told().await;
    assert_eq!((world.came().len(), world.parked().await.len()), (asked, 11));
    sleep(HOUR).await;
    world.ledger.replay(world.parked().await[0].id).await.unwrap();
    world.until_told().await;
    // It answers again, so others are sent again.
    world.cancelled(11, None).await;
    world.until_told().await;
    assert_eq!((world.taken().len(), world.parked().await.len()), (2, 10));
    stop.cancel();
    outbox.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_receiver_does_not_keep_others_waiting() {
    let slow = |letter: &Letter, _| match letter.url.contains("slow") {
        true => (Duration::from_secs(30), Answer::failed("no answer in time")),
        false => (Duration::from_millis(10), Answer::Taken),
    };
    let world = World::new(slow).await;
    for number in 0..500 {
        world.cancelled(number, own("https://slow.example/hook", false)).await;
    }
    for number in 500..600 {
        world.cancelled(number, own("https://quick.example/hook", false)).await;
    }
    let begun = world.begun.elapsed();
    let (stop, outbox) = world.open();
    while world.taken().len() < 100 {
        sleep(Duration::from_millis(10)).await;
    }
    let took = world.begun.elapsed() - begun;
    assert!(took < Duration::from_secs(5), "{took:?}");
    stop.cancel();
    outbox.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_receivers_wish_is_obeyed_within_bounds() {
    let wish = |_: &Letter, at: Duration| {
        let answer = match at < Duration::from_secs(1) {
            true => Answer::Failed { note: "HTTP status 503".to_owned(), retry_after: Some(100 * HOUR) },
            false => Answer::Taken,
        };
        (Duration::ZERO, answer)
    };
    let world = World::new(wish).await;
    let (stop, outbox) = world.open();
    world.cancelled(1, None).await;
    world.until_told().await;
    let came = world.came();
    assert_eq!(came.len(), 2);
    let waited = came[1].at - came[0].at;
    assert!((HOUR..HOUR + Duration::from_secs(2)).contains(&waited), "{waited:?}");
    stop.cancel();
    outbox.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_end_is_told_as_what_it_is_and_updates_only_where_they_are_asked_for() {
    let world = World::new(|_, _| (Duration::ZERO, Answer::Taken)).await;
    let (stop, outbox) = world.open();
    for (number, webhook) in [(1, None), (2, own(COMMON, true))] {
        let task = world.submit(number, webhook).await;
        let task = world.record(&task, Event::CreateStarted).await;
        let failure = Failure::free(FailureKind::Moderated, "not this");
        world.record(&task, Event::CreateRefused(failure)).await;
        world.until_told().await;
    }
    let kinds: Vec<_> = world.taken().iter().map(|came| came.told()["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "task.failed").count(), 2, "{kinds:?}");
    assert!(kinds.len() > 2 && kinds[0] == "task.failed", "{kinds:?}");
    stop.cancel();
    outbox.await.unwrap();
}
