//! The jobs that were sold and where each of them stands. Nothing runs in the
//! background: a job's state follows from the time that has passed.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::directive::Wish;
use super::faults::{FaultKind, Provider, Standard, Strike};

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Queued,
    Running,
    Ended,
}

/// How a job ends, decided when it is sold.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ending {
    Success,
    /// The failure in words, and fal's result with its HTTP status.
    Failure {
        message: String,
        status: u16,
        result: Value,
    },
}

/// The picture's shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    pub(crate) seconds: u32,
    /// As in the request: `16:9`, `9:16`, `1:1`; anything else is drawn as 16:9.
    pub(crate) aspect_ratio: String,
}

/// One job.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) provider: Provider,
    pub(crate) standard: Standard,
    /// Kling: the kind of job, which is its create path. fal: owner and app.
    pub(crate) kind: String,
    pub(crate) model: String,
    pub(crate) account: String,
    pub(crate) marker: Option<String>,
    pub(crate) prompt: String,
    pub(crate) shape: Shape,
    pub(crate) watermark: bool,
    pub(crate) origin: String,
    pub(crate) callback_url: Option<String>,
    /// The request's own document, for fal's history; absent where nothing shows it.
    pub(crate) input: Option<Value>,
    /// Fields that the real API would have passed over.
    pub(crate) ignored: Vec<String>,
    pub(crate) created: u64,
    pub(crate) starts: u64,
    /// When it ends; absent when it never does.
    pub(crate) ends: Option<u64>,
    pub(crate) ending: Ending,
    /// What its prompt asked for.
    pub(crate) wishes: Vec<Wish>,
    /// What goes wrong with the job itself.
    pub(crate) strikes: Vec<Strike>,
    /// When it was cancelled; 0 means never.
    pub(crate) cancelled: AtomicU64,
    /// When its final callback left first; 0 means never.
    pub(crate) called_back: AtomicU64,
    /// How often it was asked about; drives the status that goes backwards.
    pub(crate) queries: AtomicU32,
}

impl Job {
    /// Where the job stands.
    pub(crate) fn stage(&self, now: u64) -> Stage {
        let ended = self.ended_at().is_some_and(|end| now >= end);
        if ended {
            Stage::Ended
        } else if now < self.starts {
            Stage::Queued
        } else {
            Stage::Running
        }
    }

    /// When the job ended or will, a cancel included.
    pub(crate) fn ended_at(&self) -> Option<u64> {
        let cancelled = self.cancelled_at();
        match (cancelled, self.ends) {
            (Some(cancelled), Some(end)) => Some(cancelled.min(end)),
            (cancelled, end) => cancelled.or(end),
        }
    }

    fn cancelled_at(&self) -> Option<u64> {
        Some(self.cancelled.load(Ordering::Acquire)).filter(|at| *at > 0)
    }

    fn called_back(&self) -> Option<u64> {
        Some(self.called_back.load(Ordering::Acquire)).filter(|at| *at > 0)
    }

    /// The final callback leaves now.
    pub(crate) fn call_back(&self, now: u64) {
        let _ = self.called_back.compare_exchange(0, now.max(1), Ordering::AcqRel, Ordering::Acquire);
    }

    /// How the job ended, once it has.
    pub(crate) fn ending(&self) -> Ending {
        if self.cancelled_at().is_some_and(|at| self.ends.is_none_or(|end| at < end)) {
            let message = "Request was cancelled by the client".to_owned();
            let result = json!({"detail": message, "error_type": "client_cancelled"});
            return Ending::Failure { message, status: 499, result };
        }
        self.ending.clone()
    }

    /// Stops the job now; false when it had been stopped or had ended.
    pub(crate) fn cancel(&self, now: u64) -> bool {
        self.stage(now) != Stage::Ended
            && self.cancelled.compare_exchange(0, now.max(1), Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(crate) fn suffers(&self, kind: FaultKind) -> Option<Strike> {
        self.strikes.iter().find(|strike| strike.kind == kind).copied()
    }

    /// The stage as it is told, which goes back now and then if the job suffers from that.
    pub(crate) fn told_stage(&self, now: u64) -> Stage {
        let stage = self.stage(now);
        let turn = self.queries.fetch_add(1, Ordering::Relaxed);
        let untold = self.suffers(FaultKind::CallbackFirst).is_some() && self.called_back().is_none();
        match stage {
            Stage::Ended if untold => Stage::Running,
            _ if self.suffers(FaultKind::Backwards).is_none() || turn.is_multiple_of(2) => stage,
            Stage::Ended => Stage::Running,
            Stage::Queued | Stage::Running => Stage::Queued,
        }
    }

    /// The job as the control door shows it.
    pub(crate) fn describe(&self, now: u64) -> Value {
        let strikes: Vec<_> = self.strikes.iter().map(|strike| strike.kind).collect();
        let ending = match self.ending() {
            Ending::Success => "success".to_owned(),
            Ending::Failure { message, .. } => message,
        };
        json!({
            "id": self.id, "provider": self.provider, "standard": self.standard, "kind": self.kind,
            "model": self.model, "account": self.account, "marker": self.marker,
            "stage": match self.stage(now) { Stage::Queued => "queued", Stage::Running => "running", Stage::Ended => "ended" },
            "ending": ending, "seconds": self.shape.seconds, "aspect_ratio": self.shape.aspect_ratio,
            "created": self.created, "ends": self.ends, "faults": strikes, "ignored_fields": self.ignored,
            "queries": self.queries.load(Ordering::Relaxed), "called_back": self.called_back(),
            "callback_url": self.callback_url,
        })
    }
}

/// Why a job was not sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotSold {
    /// The account has used this marker before.
    Duplicate,
    /// The account has as many unfinished jobs of this model as it may.
    Parallel,
}

/// All jobs.
#[derive(Default)]
pub(crate) struct Book {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    jobs: HashMap<String, Arc<Job>>,
    order: VecDeque<String>,
    markers: HashMap<(String, String), String>,
    active: HashMap<(String, String), Vec<Arc<Job>>>,
    last_number: u64,
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Changes are small and ordered so that a panic elsewhere harms no other job.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number of nineteen digits that no other job has: Kling's form of an id.
    pub(crate) fn number(&self, now: u64) -> String {
        let mut inner = self.lock();
        let drawn = now * 1_000_000 + rand::random_range(0..1_000_000_u64);
        inner.last_number = drawn.max(inner.last_number + 1);
        inner.last_number.to_string()
    }

    /// Sells a job, unless its marker was used or the account is at its limit.
    pub(crate) fn sell(&self, job: Job, parallel: Option<usize>, kept: usize) -> Result<Arc<Job>, NotSold> {
        let mut inner = self.lock();
        let marker = job.marker.clone().map(|marker| (job.account.clone(), marker));
        if marker.as_ref().is_some_and(|marker| inner.markers.contains_key(marker)) {
            return Err(NotSold::Duplicate);
        }
        let job = Arc::new(job);
        if let Some(limit) = parallel {
            let active = inner.active.entry((job.account.clone(), job.model.clone())).or_default();
            active.retain(|other| other.stage(job.created) != Stage::Ended);
            if active.len() >= limit {
                return Err(NotSold::Parallel);
            }
            active.push(Arc::clone(&job));
        }
        if let Some(marker) = marker {
            inner.markers.insert(marker, job.id.clone());
        }
        inner.order.push_back(job.id.clone());
        inner.jobs.insert(job.id.clone(), Arc::clone(&job));
        while inner.order.len() > kept.max(1) {
            inner.forget_oldest();
        }
        Ok(job)
    }

    /// The job of this id, unless it is lost.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Job>> {
        self.lock().jobs.get(id).filter(|job| job.suffers(FaultKind::LostJob).is_none()).cloned()
    }

    /// The job that an account bought under this marker, unless it is lost.
    pub(crate) fn find_marked(&self, account: &str, marker: &str) -> Option<Arc<Job>> {
        let id = self.lock().markers.get(&(account.to_owned(), marker.to_owned())).cloned()?;
        self.find(&id)
    }

    /// Every job, newest first.
    pub(crate) fn all(&self) -> Vec<Arc<Job>> {
        let inner = self.lock();
        inner.order.iter().rev().filter_map(|id| inner.jobs.get(id)).cloned().collect()
    }

    /// The jobs of one account, newest first, lost ones left out.
    pub(crate) fn of_account(&self, account: &str) -> Vec<Arc<Job>> {
        let mut jobs = self.all();
        jobs.retain(|job| job.account == account && job.suffers(FaultKind::LostJob).is_none());
        jobs
    }

    /// How many jobs of a kind wait among the newest thousand; with a job, only those in front of it.
    pub(crate) fn waiting(&self, kind: &str, job: Option<&Job>, now: u64) -> usize {
        let inner = self.lock();
        let recent = inner.order.iter().rev().take(1_000).filter_map(|id| inner.jobs.get(id));
        let waiting = recent.filter(|other| other.kind == kind && other.stage(now) == Stage::Queued);
        waiting.filter(|other| job.is_none_or(|job| (other.created, &other.id) < (job.created, &job.id))).count()
    }
}

impl Inner {
    fn forget_oldest(&mut self) {
        let Some(job) = self.order.pop_front().and_then(|id| self.jobs.remove(&id)) else { return };
        if let Some(marker) = &job.marker {
            self.markers.remove(&(job.account.clone(), marker.clone()));
        }
    }
}
