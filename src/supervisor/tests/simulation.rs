//! The whole service on paused time against a fickle provider: each seed is a day of
//! faults, and then peace until everything has come to its end. Afterwards the
//! provider's books are held against what the tasks say.
//!
//! `VIDEOGEN_TORTURE_SEED` is the first seed, `VIDEOGEN_TORTURE_COUNT` how many.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fickle::{Fate, Fickle};
use super::steady::Steady;
use super::{Limits, archive, start};
use crate::clock::Clock;
use crate::dice::{Dice, Replay, setting};
use crate::ledger::{Ledger, Recorded};
use crate::providers::contract::Provider;
use crate::task::event::Event;
use crate::task::fixture;
use crate::task::id::{AccountName, ModelName, RequestId, Revision, TaskId};
use crate::task::machine::{self, Action};
use crate::task::spec::{Spec, Submission, UnknownPolicy};
use crate::task::state::{AttemptOutcome, FailureKind, Job, State, Task};

const HOUR: Duration = Duration::from_secs(3600);
/// How long the provider is fickle.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long after it everything must have ended: a day in the queue, the generation,
/// a day to be recovered.
const PEACE: Duration = Duration::from_secs(60 * 3600);

/// One seed's world.
struct World {
    dice: Dice,
    ledger: Arc<Ledger>,
    provider: Arc<Fickle>,
    clock: Clock,
    folder: TempDir,
    leapt: bool,
    submitted: Vec<(TaskId, RequestId)>,
    watchers: Vec<JoinHandle<(TaskId, u64)>>,
}

/// What a run came to.
#[derive(Debug, Default)]
struct Figures {
    tasks: usize,
    sold: usize,
    requests: u64,
    states: HashMap<&'static str, usize>,
}

impl World {
    async fn new(seed: u64) -> Self {
        let dice = Dice::new(seed);
        let clock = Clock::seeded(SystemTime::UNIX_EPOCH + Duration::from_secs(super::BEGIN_S), dice.throw());
        let folder = tempfile::tempdir().unwrap();
        let store = Steady::open().await;
        let provider = Arc::new(Fickle::new(dice.fork(), folder.path().to_owned(), DAY));
        let ledger = Arc::new(Ledger::new(store, archive(&folder), clock.clone()));
        Self { dice, ledger, provider, clock, folder, leapt: false, submitted: Vec::new(), watchers: Vec::new() }
    }

    async fn submit(&mut self) {
        let policy = match self.dice.below(4) {
            0 => UnknownPolicy::AtLeastOnce { max_paid_attempts: 1 + self.dice.below(3) as u32 },
            _ => UnknownPolicy::AtMostOnce,
        };
        let request_id = RequestId::new(format!("request-{}", self.submitted.len()));
        let submission = Submission {
            request_id: request_id.clone(),
            spec: Spec { prompt: "rain".into(), ..Spec::new(ModelName::parse("kling/kling-3.0").unwrap()) },
            account: AccountName::new("main"),
            generation_timeout: Duration::from_secs(600 + self.dice.below(7200)),
            typical: Duration::from_secs(20 + self.dice.below(300)),
            policy,
            ..fixture::task(1).submission.as_ref().clone()
        };
        let first = self.ledger.submit(submission.clone()).await.unwrap().task.id;
        let again = self.ledger.submit(submission).await.unwrap();
        assert!(again.replayed && again.task.id == first, "I5: the same request, the same task");
        self.submitted.push((first, request_id));
        self.watchers.push(tokio::spawn(follow(Arc::clone(&self.ledger), first)));
    }

    async fn run_supervisor(&self) -> (CancellationToken, JoinHandle<()>) {
        let stop = CancellationToken::new();
        let limits = Limits { parallel: 2 + self.dice.below(20) as usize, per_second: 5.0 };
        let (archive, provider) = (archive(&self.folder), self.provider.clone());
        let running = start(&self.ledger, archive, provider, &self.clock, &stop, limits).await;
        (stop, running)
    }

    /// One thing happens that is nobody's plan.
    async fn mischief(&mut self, supervisor: &mut (CancellationToken, JoinHandle<()>)) {
        match self.dice.below(100) {
            0..55 => self.submit().await,
            55..70 => {
                if let Some(id) = self.any_task() {
                    self.ledger.cancel(id).await.unwrap();
                }
            }
            70..78 => {
                let id = self.any_task().unwrap_or(TaskId::floor(1));
                if self.dice.chance(0.5) {
                    // Somebody calls, and may be right or not.
                    self.ledger.heard(id);
                }
                self.ledger.nudge(id);
            }
            78..86 => self.callback().await,
            86..90 => {
                let leap = self.dice.below(7_200_000) as i64 - 3_600_000;
                self.clock.leap(leap);
                self.leapt = true;
            }
            _ => {
                // Told to stop, or gone in the middle of whatever it was doing.
                if self.dice.chance(0.5) {
                    supervisor.0.cancel();
                } else {
                    supervisor.1.abort();
                }
                let _ = (&mut supervisor.1).await;
                tokio::time::sleep(self.dice.up_to(HOUR / 2)).await;
                *supervisor = self.run_supervisor().await;
            }
        }
    }

    fn any_task(&self) -> Option<TaskId> {
        let place = self.dice.below(self.submitted.len() as u64) as usize;
        self.submitted.get(place).map(|(id, _)| *id)
    }

    /// A callback names a job that was sold, as the one that names its attempt does.
    async fn callback(&self) {
        let sold = self.provider.sold();
        let Some(sold) = sold.get(self.dice.below(sold.len() as u64) as usize) else { return };
        let marker = crate::task::id::Marker::new(&*sold.marker);
        let task = self.ledger.get(marker.task().unwrap()).await.unwrap();
        let attempt = task.attempts.iter().find(|attempt| attempt.marker == marker).unwrap().number;
        let job = Job { id: sold.id.clone(), handle: sold.marker.clone() };
        let recorded = self.ledger.record(&task, &Event::JobFound { attempt, job }).await.unwrap();
        if let Recorded::Task(task) = recorded {
            self.ledger.nudge(task.id);
        }
    }

    async fn live(&mut self) {
        let mut supervisor = self.run_supervisor().await;
        let begun = Instant::now();
        let events = 20 + self.dice.below(50);
        for _ in 0..events {
            tokio::time::sleep(self.dice.up_to(2 * DAY / events as u32)).await;
            if begun.elapsed() >= DAY {
                break;
            }
            self.mischief(&mut supervisor).await;
            self.check_open().await;
        }
        tokio::time::sleep((DAY + PEACE).saturating_sub(begun.elapsed())).await;
        supervisor.0.cancel();
        let _ = supervisor.1.await;
    }

    /// I8: whatever is open has something to do.
    async fn check_open(&self) {
        for task in self.ledger.unfinished(None, 1000).await.unwrap() {
            assert_ne!(machine::next(&task, self.clock.now()), Action::Nothing, "I8: {task:?}");
        }
    }

    async fn check(&self) -> Figures {
        let mut tasks = Vec::new();
        for (id, request) in &self.submitted {
            let task = self.ledger.get(*id).await.unwrap();
            assert_eq!(task.submission.request_id, *request, "I1");
            tasks.push(task);
        }
        let open = self.ledger.unfinished(None, 1000).await.unwrap();
        assert!(open.is_empty(), "I8: {} never ended: {:?}", open.len(), open[0]);
        self.check_creates(&tasks);
        for task in &tasks {
            self.check_jobs(task);
        }
        let mut states = HashMap::new();
        tasks.iter().for_each(|task| *states.entry(task.state.word()).or_default() += 1);
        Figures { tasks: tasks.len(), sold: self.provider.sold().len(), requests: self.provider.requests(), states }
    }

    /// I2: nothing was sent that could buy a second time without leave.
    fn check_creates(&self, tasks: &[Arc<Task>]) {
        let sent = self.provider.sent();
        let unsafe_one = sent.iter().find(|sent| !sent.safe);
        assert!(unsafe_one.is_none(), "I2: sent again though it might have been taken: {unsafe_one:?}");
        for task in tasks {
            let sold = self.provider.sold().into_iter();
            let bought = sold.filter(|sold| task.attempts.iter().any(|attempt| attempt.marker.as_str() == sold.marker));
            let allowed = match task.submission.policy {
                UnknownPolicy::AtMostOnce => 1,
                UnknownPolicy::AtLeastOnce { max_paid_attempts } => max_paid_attempts as usize,
            };
            assert!(bought.count() <= allowed && task.attempts.len() <= allowed, "I2: {task:?}");
            let own = |attempt: &crate::task::state::Attempt| {
                sent.iter().filter(|sent| sent.marker == attempt.marker.as_str()).count()
            };
            for attempt in &task.attempts {
                assert!(own(attempt) <= attempt.sends as usize, "no create without an intent: {task:?}");
            }
        }
    }

    /// I3 and I4: what was sold is attached or explained, and no video is thrown away.
    fn check_jobs(&self, task: &Task) {
        for sold in self.provider.sold() {
            let Some(attempt) = task.attempts.iter().find(|attempt| attempt.marker.as_str() == sold.marker) else {
                continue;
            };
            let explained = attempt.outcome == AttemptOutcome::Unknown;
            assert!(task.has_bought(&sold.id) || explained, "I3: {sold:?} {task:?}");
            let given_up = task.failure.as_ref().is_some_and(|it| it.kind == FailureKind::SubmitOutcomeUnknown);
            let findable = self.provider.abilities().finds_by_marker && given_up && !self.leapt;
            assert!(task.has_bought(&sold.id) || !findable, "I3: it was there to be found: {sold:?} {task:?}");
            let followed = task.job.as_ref().is_some_and(|job| job.id == sold.id);
            let in_time = match task.failure.as_ref().map(|failure| failure.kind) {
                Some(FailureKind::Deadline | FailureKind::SubmitOutcomeUnknown) => {
                    task.ended.is_some_and(|ended| self.at(sold.ends) + 2 * HOUR < ended + DAY)
                }
                // One answer or two that it does not know the job are no evidence.
                Some(FailureKind::ProviderLostJob) => sold.most_denied < 3,
                _ => true,
            };
            // What its caller had stopped makes no video.
            let video = sold.fate == Fate::Video && !sold.stopped;
            if followed && video && in_time && !self.leapt && task.state == State::Failed {
                panic!("I4: a video was there to be had: {sold:?} {task:?}");
            }
        }
        let artifact = task.artifact.is_some();
        assert_eq!(artifact, task.state == State::Succeeded, "I4: {task:?}");
    }

    fn at(&self, moment: Instant) -> SystemTime {
        let now = Instant::now();
        self.clock.now() - now.saturating_duration_since(moment)
    }
}

/// I6 and I9: revisions grow, what is final stays, but for a failure that a late
/// video turns around. Ends with the last revision seen.
async fn follow(ledger: Arc<Ledger>, id: TaskId) -> (TaskId, u64) {
    let begun = Instant::now();
    let mut last: Option<Arc<Task>> = None;
    loop {
        let after = last.as_ref().map_or(Revision(0), |task| task.revision);
        let mut watch = ledger.watch(id, after).await.unwrap();
        while let Ok(Some(task)) = tokio::time::timeout(HOUR, watch.next()).await {
            if let Some(before) = &last {
                assert!(task.revision > before.revision, "I6: {before:?} {task:?}");
                let turned = before.state == State::Failed && task.state == State::Succeeded;
                assert!(!before.state.is_final() || turned || before.state == task.state, "I9: {before:?} {task:?}");
            }
            last = Some(task);
        }
        if begun.elapsed() > DAY + PEACE {
            return (id, last.map_or(0, |task| task.revision.0));
        }
        tokio::time::sleep(HOUR).await;
    }
}

fn simulate(seed: u64) -> Figures {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed).await;
        world.live().await;
        let figures = world.check().await;
        for watcher in std::mem::take(&mut world.watchers) {
            let (id, seen) = watcher.await.unwrap();
            assert_eq!(world.ledger.get(id).await.unwrap().revision.0, seen, "I6: the last one seen is the stored one");
        }
        figures
    })
}

#[test]
fn whatever_the_provider_does_nothing_is_lost_or_bought_twice() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (first, count) = (setting("VIDEOGEN_TORTURE_SEED", 1), setting("VIDEOGEN_TORTURE_COUNT", 4));
    let mut all = Figures::default();
    for seed in first..first + count {
        let _replay = Replay { test: "supervisor::tests::simulation", seed };
        let figures = simulate(seed);
        all.tasks += figures.tasks;
        all.sold += figures.sold;
        all.requests += figures.requests;
        figures.states.into_iter().for_each(|(state, count)| *all.states.entry(state).or_default() += count);
    }
    assert!(all.tasks as u64 >= 5 * count && all.sold as u64 >= 3 * count, "I11: too little happened: {all:?}");
    let years = count as f64 * (DAY + PEACE).as_secs_f64() / (365.25 * DAY.as_secs_f64());
    println!("{count} seeds from {first}, {years:.2} simulated years: {all:?}");
}
