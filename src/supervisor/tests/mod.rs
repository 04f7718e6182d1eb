//! Hours in milliseconds: the supervisor on paused time, with the real ledger,
//! the real store and a provider that does as it is told.

mod callbacks;
mod fickle;
mod held;
mod provider;
mod simulation;
mod steady;
mod stories;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{AccountParts, Parts, Supervisor};
use crate::archive::{Archive, ArchiveSettings, FetchError};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::network::Guard;
use crate::providers::contract::Provider;
use crate::store::SledStore;
use crate::task::backoff::Polling;
use crate::task::fixture;
use crate::task::id::{AccountName, ModelName, RequestId, Revision, TaskId};
use crate::task::spec::{Spec, Submission, UnknownPolicy};
use crate::task::state::{State, Task};
use provider::Scripted;

/// The window in which an unknown create is looked up.
const WINDOW: Duration = Duration::from_secs(3600);
/// What the model of these tests typically takes.
const TYPICAL: Duration = Duration::from_secs(120);

/// When simulated time begins, in seconds since 1970.
const BEGIN_S: u64 = 1_795_000_000;

/// What an account may do at once.
#[derive(Clone, Copy)]
struct Limits {
    parallel: usize,
    per_second: f64,
}

const TIGHT: Limits = Limits { parallel: 2, per_second: 5.0 };

/// A supervisor at work on simulated time.
struct World {
    ledger: Arc<Ledger>,
    store: Arc<SledStore>,
    provider: Arc<Scripted>,
    clock: Clock,
    folder: TempDir,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl World {
    /// A world around this provider, two jobs and five requests a second at once.
    async fn new(provider: Scripted) -> Self {
        Self::with(provider, TIGHT).await
    }

    /// A world whose account has these limits.
    async fn with(provider: Scripted, limits: Limits) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = Clock::simulated(SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN_S));
        let folder = tempfile::tempdir().unwrap();
        let store = SledStore::temporary().await.unwrap();
        let archive = archive(&folder);
        let provider = Arc::new(provider.keeping_files_in(folder.path()));
        let ledger = Arc::new(Ledger::new(store.clone(), Arc::clone(&archive), clock.clone()));
        let stop = CancellationToken::new();
        let running = start(&ledger, archive, provider.clone(), &clock, &stop, limits).await;
        Self { ledger, store, provider, clock, folder, stop, running }
    }

    /// Submits a request with this policy.
    async fn submit(&self, policy: UnknownPolicy) -> TaskId {
        let model = ModelName::parse("kling/kling-3.0").unwrap();
        let submission = Submission {
            request_id: RequestId::new(self.clock.task_id().to_string()),
            spec: Spec { prompt: "a lighthouse".into(), ..Spec::new(model) },
            account: AccountName::new("main"),
            generation_timeout: Duration::from_secs(1800),
            typical: TYPICAL,
            policy,
            ..fixture::task(1).submission.as_ref().clone()
        };
        self.ledger.submit(submission).await.unwrap().task.id
    }

    /// Waits until the task is in this state, and says how long that took.
    async fn until(&self, id: TaskId, state: State) -> (Arc<Task>, Duration) {
        let begun = Instant::now();
        let mut after = Revision(0);
        loop {
            let mut watch = self.ledger.watch(id, after).await.unwrap();
            while let Some(task) = watch.next().await {
                if task.state == state {
                    return (task, begun.elapsed());
                }
                after = task.revision;
            }
            // Final, but not yet what is waited for: a failed task may be recovered.
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(begun.elapsed() < Duration::from_secs(48 * 3600), "{state:?} was never reached");
        }
    }

    /// Stops the supervisor and starts another one on the same store.
    async fn restart(mut self) -> Self {
        self.stop.cancel();
        self.running.await.unwrap();
        let archive = archive(&self.folder);
        self.stop = CancellationToken::new();
        self.running = start(&self.ledger, archive, self.provider.clone(), &self.clock, &self.stop, TIGHT).await;
        self
    }
}

fn archive(folder: &TempDir) -> Arc<Archive> {
    let url = format!("file:{}", folder.path().display());
    let settings = ArchiveSettings { url, reserve_bytes: 0, ..ArchiveSettings::default() };
    Arc::new(Archive::open(&settings, Guard::default()).unwrap())
}

/// What a fetch of a link of the simulation comes to: sockets do not go with paused
/// time, and a good file is where the archive looks first.
pub(super) fn scripted_fetch(url: &str, now: SystemTime) -> Option<FetchError> {
    let kind = url.strip_prefix("https://cdn.example/")?.split('/').next()?;
    if let Some(minutes) = kind.strip_prefix("down-for-minutes-") {
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN_S + 60 * minutes.parse::<u64>().ok()?);
        let down = || FetchError::Transient { reason: "down".into(), retry_after: None };
        return Some(if now < until { down() } else { FetchError::LinkExpired { status: 403 } });
    }
    match kind {
        "expired" => Some(FetchError::LinkExpired { status: 403 }),
        "rejected" => Some(FetchError::Rejected("a page".into())),
        _ => None,
    }
}

async fn start(
    ledger: &Arc<Ledger>,
    archive: Arc<Archive>,
    provider: Arc<dyn Provider>,
    clock: &Clock,
    stop: &CancellationToken,
    limits: Limits,
) -> JoinHandle<()> {
    let parts = Parts {
        ledger: Arc::clone(ledger),
        archive,
        inputs: None,
        images: None,
        image_patience: Duration::from_secs(3600),
        catalog: Arc::new(Catalog::built_in()),
        accounts: vec![AccountParts {
            name: AccountName::new("main"),
            provider,
            max_parallel: limits.parallel,
            requests_per_second: limits.per_second,
        }],
        polling: Polling::default(),
        unknown_window: WINDOW,
        callbacks: None,
        in_hand: None,
        quarantine: Duration::from_secs(3600),
        clock: clock.clone(),
    };
    tokio::spawn(Supervisor::start(parts, stop.clone()).await.unwrap().run())
}
