//! Puts the house together, opens its doors, and closes it in order. Nobody below
//! imports this.

mod doors;
mod parts;

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::api::health::HealthService;
use crate::api::{House, Service};
use crate::config::Settings;
use crate::failpoint::failpoint;
use crate::ledger::admission::Admission;
use crate::store::contract::TaskStore;
use crate::supervisor::Supervisor;
use crate::upkeep::backups;
use crate::{admin, telemetry};

pub use doors::Addresses;
pub(crate) use parts::archive_settings;

/// How long the doors wait, once their own streams have ended, for streams that
/// others hold open.
const LINGER: Duration = Duration::from_secs(2);

/// Why the service could not start. Every message names the setting to mend.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

/// Why the service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to, and everything was finished or put by.
    Drained,
    /// It was told to, and the grace was over before everything had finished.
    GraceOver,
    /// The store has stopped; the next start recovers.
    StoreStopped,
    /// A door, the supervisor, the upkeep or the outbox ended by itself, which is a fault; the rest was
    /// drained.
    PartEnded,
}

/// The running service.
pub struct App {
    addresses: Addresses,
    grace: Duration,
    store: Arc<dyn TaskStore>,
    serving: watch::Sender<bool>,
    /// Ends streams and refuses what is new.
    closing: CancellationToken,
    /// Stops the supervisor, the upkeep and the outbox.
    resting: CancellationToken,
    writes: TaskTracker,
    doors: JoinSet<()>,
    /// The supervisor, the upkeep and the outbox.
    workers: JoinSet<()>,
}

impl App {
    /// Binds the doors, opens the store, resumes what was left open, and serves.
    pub async fn start(settings: &Settings) -> Result<Self, StartError> {
        let (serving, served) = watch::channel(false);
        let closing = CancellationToken::new();
        let resting = CancellationToken::new();
        let writes = TaskTracker::new();
        let mut doors = JoinSet::new();

        let bound = doors::Bound::bind(&settings.server).await?;
        let addresses = bound.addresses;
        let service = Service::new(closing.clone(), writes.clone());
        let admission = Arc::new(Admission::new(settings.submit.max_open_tasks as usize));
        let health = HealthService::new(served.clone(), admission.shown(), closing.clone());
        doors::open_grpc(bound.grpc, service.clone(), health, closing.clone(), &mut doors)?;
        let shelf = Arc::new(OnceLock::new());
        let (metrics, refusal) = (telemetry::metrics(), admission.shown());
        let pages = admin::Pages { metrics, serving: served, refusal, shelf: Arc::clone(&shelf) };
        doors::open_admin(bound.admin, pages, closing.clone(), &mut doors);

        let parts = parts::assemble(settings, admission).await?;
        failpoint!("start.opened");
        let started = Supervisor::start(parts.supervisor, resting.clone()).await;
        let running = started.map_err(|error| StartError(format!("store.path: {error}")))?;
        failpoint!("start.resumed");
        let mut workers = JoinSet::new();
        workers.spawn(running.run());
        workers.spawn(parts.room.run(resting.clone()));
        workers.spawn(parts.remover.run(resting.clone()));
        workers.spawn(parts.outbox.run(resting.clone()));
        if let Some(own) = parts.shelf {
            if let Some(every) = settings.backup.every {
                workers.spawn(backups::run(Arc::clone(&own), every, resting.clone()));
            }
            // The door finds it from here on.
            let _ = shelf.set(own);
        }
        doors::open_callbacks(bound.callback, parts.door, closing.clone(), &mut doors);
        service.open(House {
            ledger: parts.ledger,
            catalog: parts.catalog,
            accounts: parts.accounts,
            guard: parts.guard,
            clock: parts.clock,
            webhooks: parts.webhooks,
        });
        serving.send_replace(true);
        info!(version = env!("CARGO_PKG_VERSION"), accounts = settings.accounts.len(), "serving");
        if settings.accounts.is_empty() {
            warn!("the settings hold no account: nothing can be bought");
        }
        let grace = settings.server.shutdown_grace;
        Ok(Self { addresses, grace, store: parts.store, serving, closing, resting, writes, doors, workers })
    }

    /// Where the doors are.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves until told to stop, or until the store stops.
    pub async fn run_until(mut self, told: impl Future<Output = ()>) -> Ended {
        let stopped = self.store.stopped();
        tokio::select! {
            () = told => self.drain().await,
            () = turned_true(stopped) => {
                // What is not on disk must not be said: no goodbyes either.
                self.serving.send_replace(false);
                error!("the store has stopped; the process ends so that its next start recovers");
                Ended::StoreStopped
            }
            Some(ended) = self.workers.join_next() => {
                error!(?ended, "the supervisor, the upkeep or the outbox has ended by itself");
                self.drain().await;
                Ended::PartEnded
            }
            Some(ended) = self.doors.join_next() => {
                error!(?ended, "a door has closed by itself");
                self.drain().await;
                Ended::PartEnded
            }
        }
    }

    /// Not serving, then nothing new, then what is under way finishes, then the
    /// streams have ended, then the store is synced.
    async fn drain(mut self) -> Ended {
        failpoint!("drain.begun");
        let deadline = Instant::now() + self.grace;
        info!(grace_s = self.grace.as_secs_f64(), "draining");
        self.serving.send_replace(false);
        self.closing.cancel();
        self.resting.cancel();
        self.writes.close();
        let finished = timeout_at(deadline, async {
            self.writes.wait().await;
            while self.workers.join_next().await.is_some() {}
        });
        let in_time = finished.await.is_ok();
        if !in_time {
            warn!("the grace is over; creates still under way will be looked up at the next start");
        }
        let doors_until = deadline.min(Instant::now() + LINGER);
        if timeout_at(doors_until, async { while self.doors.join_next().await.is_some() {} }).await.is_err() {
            info!("closing connections that others hold open");
        }
        self.doors.shutdown().await;
        self.workers.shutdown().await;
        failpoint!("drain.finished");
        self.store.close().await;
        if *self.store.stopped().borrow() {
            return Ended::StoreStopped;
        }
        info!("drained");
        if in_time { Ended::Drained } else { Ended::GraceOver }
    }
}

/// Waits until it is true; for ever if nobody can make it so any more.
async fn turned_true(mut flag: watch::Receiver<bool>) {
    if flag.wait_for(|flag| *flag).await.is_err() {
        std::future::pending().await
    }
}
