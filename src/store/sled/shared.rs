//! What callers, committer and watchdog share: the database, the index of what is
//! durable, and whether the store still lives.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, Weak, mpsc};
use std::time::Duration;

use tokio::sync::watch;

use super::Stats;
use super::committer::Effect;
use super::open::Opened;
use super::scrub::scrub_at_times;
use super::write::Batch;
use crate::store::contract::StoreError;
use crate::store::index::Index;
use crate::task::id::{Revision, TaskId};

/// How long one batch may take before the store stops.
pub(super) const BATCH_LIMIT: Duration = Duration::from_secs(30);

/// How often the watchdog looks while a batch may take its limit: every quarter of a second.
const LOOKS: u32 = 120;

pub(super) struct Shared {
    index: RwLock<Index>,
    database: Mutex<Option<Arc<Opened>>>,
    ended: OnceLock<String>,
    stopped: watch::Sender<bool>,
    /// Counts publications; changes too when the store ends, to wake all readers.
    published: watch::Sender<u64>,
    /// The number of the batch being written, 0 between batches.
    in_flight: AtomicU64,
    batches: AtomicU64,
    changes: AtomicU64,
    /// Looks at every row, and damaged rows that they found.
    pub(super) scrubs: AtomicU64,
    pub(super) rotten: AtomicU64,
    /// The scrubber sleeps on the other end.
    _scrubber: Mutex<mpsc::Sender<()>>,
    /// The watchdog sleeps on the other end: it wakes at once when this is dropped.
    _watchdog: Mutex<mpsc::Sender<()>>,
}

impl Shared {
    pub(super) fn new(
        opened: Opened,
        index: Index,
        batch_limit: Duration,
        scrub_every: Duration,
    ) -> std::io::Result<Arc<Self>> {
        let (scrubber, scrubber_dropped) = mpsc::channel();
        let (watchdog, dropped) = mpsc::channel();
        let shared = Arc::new(Self {
            index: RwLock::new(index),
            database: Mutex::new(Some(Arc::new(opened))),
            ended: OnceLock::new(),
            stopped: watch::Sender::new(false),
            published: watch::Sender::new(0),
            in_flight: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            scrubs: AtomicU64::new(0),
            rotten: AtomicU64::new(0),
            _scrubber: Mutex::new(scrubber),
            _watchdog: Mutex::new(watchdog),
        });
        let weak = Arc::downgrade(&shared);
        let watch = move || watch_over(&weak, &dropped, batch_limit);
        std::thread::Builder::new().name("store-watchdog".to_owned()).spawn(watch)?;
        let weak = Arc::downgrade(&shared);
        let scrub = move || scrub_at_times(&weak, &scrubber_dropped, scrub_every);
        std::thread::Builder::new().name("store-scrubber".to_owned()).spawn(scrub)?;
        Ok(shared)
    }

    pub(super) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn database(&self) -> MutexGuard<'_, Option<Arc<Opened>>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            batches: self.batches.load(Ordering::Relaxed),
            changes: self.changes.load(Ordering::Relaxed),
            scrubs: self.scrubs.load(Ordering::Relaxed),
            rotten: self.rotten.load(Ordering::Relaxed),
            damaged: self.index().damaged().count(),
        }
    }

    pub(super) fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.subscribe()
    }

    /// Why nothing is answered any more, as an error.
    pub(super) fn why_stopped(&self) -> StoreError {
        StoreError::Stopped(self.ended.get().map_or("it is ending", String::as_str).to_owned())
    }

    /// The database, while the store lives: one that failed still serves reads,
    /// and they would show what is not durable.
    pub(super) fn opened(&self) -> Result<Arc<Opened>, StoreError> {
        if self.ended.get().is_some() {
            return Err(self.why_stopped());
        }
        self.database().clone().ok_or_else(|| self.why_stopped())
    }

    /// Writes and syncs a batch in a blocking thread. Does not wait for it any
    /// more once the watchdog has stopped the store.
    pub(super) async fn sync(&self, batch: Batch, receipts: Vec<Vec<u8>>) -> Result<(), String> {
        let opened = self.opened().map_err(|error| error.to_string())?;
        let mut stopped = self.stopped();
        self.in_flight.store(self.batches.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Release);
        let written = tokio::task::spawn_blocking(move || opened.write(batch, receipts));
        let result = tokio::select! {
            written = written => written.unwrap_or_else(|error| Err(format!("write: {error}"))),
            _ = stopped.wait_for(|stopped| *stopped) => Err("stopped by the watchdog".to_owned()),
        };
        self.in_flight.store(0, Ordering::Release);
        result
    }

    /// As a batch that never comes back would leave it.
    #[cfg(test)]
    pub(super) fn pretend_a_batch_hangs(&self) {
        self.in_flight.store(u64::MAX, Ordering::Release);
    }

    /// Lets readers know which tasks are about to go: rows that they miss from here
    /// on are no damage.
    pub(super) fn announce(&self, effects: &[Effect]) {
        let leaving = |effect: &Effect| match effect {
            Effect::Bury(tombstone) => Some(tombstone.task),
            _ => None,
        };
        let leaving: Vec<_> = effects.iter().filter_map(leaving).collect();
        if !leaving.is_empty() {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            leaving.into_iter().for_each(|id| index.leave(id));
        }
    }

    /// Lets everybody see what a synced batch has changed.
    pub(super) fn publish(&self, effects: Vec<Effect>) {
        self.changes.fetch_add(effects.len() as u64, Ordering::Relaxed);
        {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            for effect in effects {
                match effect {
                    Effect::Task(task, parts) => index.put(&task, parts),
                    Effect::Note(name, value) => index.put_note(name, value),
                    Effect::Bury(tombstone) => index.bury(tombstone),
                    Effect::Forget(id) => index.forget(id),
                    Effect::Announce(id, mark) => index.announce(id, mark),
                    Effect::Told(id) => index.told(id),
                }
            }
        }
        self.published.send_modify(|number| *number += 1);
    }

    /// Waits until that revision of a task is durable.
    pub(super) async fn durable(&self, id: TaskId, revision: Revision) -> Result<(), StoreError> {
        let mut published = self.published.subscribe();
        loop {
            if self.ended.get().is_some() {
                return Err(self.why_stopped());
            }
            // One that is known no more was removed since it was read.
            if self.index().durable(id).is_none_or(|durable| durable.revision >= revision) {
                return Ok(());
            }
            // The sender lives as long as we do.
            let _ = published.changed().await;
        }
    }

    /// Whether a task whose rows were missed has been removed. Waits while it is
    /// being removed.
    pub(super) async fn is_gone(&self, id: TaskId) -> Result<bool, StoreError> {
        let mut published = self.published.subscribe();
        loop {
            if self.ended.get().is_some() {
                return Err(self.why_stopped());
            }
            {
                let index = self.index();
                if index.durable(id).is_none() {
                    return Ok(true);
                }
                if !index.is_leaving(id) {
                    return Ok(false);
                }
            }
            // The sender lives as long as we do.
            let _ = published.changed().await;
        }
    }

    /// Stops for good after an error. The first reason stays.
    pub(super) fn stop(&self, reason: &str) {
        if self.ended.get().is_none() {
            tracing::error!(reason, "the store stops: nothing is acknowledged until the next start");
        }
        self.end(reason);
        // Never dropped from here on: sled would flush and sync once more, and after
        // a failed sync a second one may claim a success that is none.
        std::mem::forget(self.database().take());
        self.stopped.send_replace(true);
    }

    /// From here on every call answers Stopped.
    pub(super) fn end(&self, reason: &str) {
        // Only the first reason is kept.
        let _ = self.ended.set(reason.to_owned());
        self.published.send_modify(|number| *number += 1);
    }

    /// Lets go of the database, in a blocking thread since sled flushes once more.
    /// It panics when that fails: then the store has not ended well, though what was
    /// acknowledged was synced before.
    pub(super) async fn release(&self) {
        let database = self.database().take();
        // If the runtime is ending it is dropped where it is.
        let released = tokio::task::spawn_blocking(move || drop(database)).await;
        if released.is_err_and(|error| error.is_panic()) {
            tracing::error!("the database could not be written out at its end; the next start recovers");
            self.stopped.send_replace(true);
        }
    }
}

/// Stops the store when a batch hangs. A plain thread with real time: it must look
/// even when no timer of the runtime fires, and not fire in a test's paused time.
fn watch_over(shared: &Weak<Shared>, dropped: &mpsc::Receiver<()>, limit: Duration) {
    let mut seen = (0, 0);
    while dropped.recv_timeout(limit / LOOKS) == Err(mpsc::RecvTimeoutError::Timeout) {
        let Some(shared) = shared.upgrade() else { return };
        let number = shared.in_flight.load(Ordering::Acquire);
        seen = if number != 0 && seen.0 == number { (number, seen.1 + 1) } else { (number, 0) };
        if seen.1 == 1 {
            prod(&shared);
        }
        if seen.1 >= LOOKS {
            shared.stop(&format!("a batch took longer than {} s", limit.as_secs()));
            return;
        }
    }
}

/// Wakes a batch whose write has failed. On one of its paths sled notes such a
/// failure and tells nobody, so that the flush waits for ever; a second flush finds
/// the note, fails, and wakes every waiter. It syncs nothing: that is the batch's own.
fn prod(shared: &Shared) {
    let Ok(opened) = shared.opened() else { return };
    let flush = move || drop(opened.db.flush());
    // In a thread of its own: on a disk that is merely slow it waits like the batch.
    if let Err(error) = std::thread::Builder::new().name("store-prod".to_owned()).spawn(flush) {
        tracing::warn!(%error, "a slow batch could not be looked after");
    }
}
