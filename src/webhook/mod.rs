//! The HTTP door for provider callbacks. A callback is a hint: it makes its task
//! due now, and what the provider then answers decides. So a forged, doubled or late
//! one costs one poll at most, and a lost one a delay.

mod listen;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::failpoint::failpoint;
use crate::ledger::heard::Claim;
use crate::ledger::{Ledger, LedgerError};
use crate::providers::callback::{CallbackReader, Told};
use crate::task::id::{AccountName, Marker};
use crate::task::state::{Attempt, AttemptOutcome, State as TaskState, Task};
use crate::wire::capability::Capabilities;
use crate::wire::signature::Rejected;

pub use listen::serve;

/// The largest body that is read.
const BODY_LIMIT: usize = 1024 * 1024;
/// How long a caller may take to send it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many callers are heard at once.
const CALLERS: usize = 64;

/// What the door opens to.
#[derive(Clone)]
pub struct Door {
    ledger: Arc<Ledger>,
    capabilities: Capabilities,
    readers: Arc<HashMap<AccountName, CallbackReader>>,
    callers: Arc<Semaphore>,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// The task was made due.
    Due,
    /// It tells nothing that is still wanted: a replay, a stage on the way, a late one.
    Known,
    /// The task was removed.
    Gone,
    /// No address of ours.
    Nowhere,
    /// Not signed as this account's callbacks are.
    Rejected(Rejected),
    /// Too many callers at once.
    Busy,
    /// The body took too long.
    Slow,
    /// The body is too long, or broke off.
    TooLong,
    /// The store did not answer, or the account is not in the settings.
    Unserved,
}

impl Heard {
    fn status(self) -> StatusCode {
        match self {
            Self::Due | Self::Known | Self::Gone => StatusCode::OK,
            Self::Nowhere => StatusCode::NOT_FOUND,
            Self::Rejected(_) => StatusCode::UNAUTHORIZED,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy | Self::Unserved => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The word in the counter.
    fn word(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Known => "known",
            Self::Gone => "gone",
            Self::Nowhere => "nowhere",
            Self::Rejected(reason) => reason.word(),
            Self::Busy => "busy",
            Self::Slow => "slow",
            Self::TooLong => "too_long",
            Self::Unserved => "unserved",
        }
    }
}

impl Door {
    /// Lets callbacks with a capability through to the ledger, once the account that
    /// they are for has read them.
    pub fn new(ledger: Arc<Ledger>, capabilities: Capabilities, readers: HashMap<AccountName, CallbackReader>) -> Self {
        Self { ledger, capabilities, readers: Arc::new(readers), callers: Arc::new(Semaphore::new(CALLERS)) }
    }

    /// `POST /callbacks/{marker}/{capability}`; everything else is not found, and
    /// nothing tells in what way.
    pub fn router(self) -> Router {
        Router::new().fallback(answer).with_state(self)
    }

    async fn hear(&self, method: &Method, path: &str, headers: &HeaderMap, body: Body) -> Heard {
        let Ok(_place) = self.callers.try_acquire() else { return Heard::Busy };
        let Some(marker) = self.addressed(method, path) else { return Heard::Nowhere };
        let Some(id) = marker.task() else { return Heard::Nowhere };
        let task = match self.ledger.get(id).await {
            Ok(task) => task,
            Err(LedgerError::Unknown(_)) => return Heard::Gone,
            Err(_) => return Heard::Unserved,
        };
        let Some(attempt) = task.attempts.iter().find(|attempt| attempt.marker == marker) else { return Heard::Gone };
        let Some(reader) = self.readers.get(&task.submission.account) else { return Heard::Unserved };
        // The body is read to its end, so that the caller sees its delivery succeed.
        let body = match tokio::time::timeout(PATIENCE, axum::body::to_bytes(body, BODY_LIMIT)).await {
            Err(_) => return Heard::Slow,
            Ok(Err(_)) => return Heard::TooLong,
            Ok(Ok(body)) => body,
        };
        match reader.read(headers, &body).await {
            Ok(told) => self.take(&task, attempt, told),
            Err(reason) => {
                warn!(task_id = %id, account = %task.submission.account, %reason, "a callback was turned away");
                Heard::Rejected(reason)
            }
        }
    }

    /// The marker that the call was given an address for.
    fn addressed(&self, method: &Method, path: &str) -> Option<Marker> {
        let (marker, capability) = path.strip_prefix("/callbacks/")?.split_once('/')?;
        let admitted = method == Method::POST && self.capabilities.admits(marker, capability);
        admitted.then(|| Marker::new(marker))
    }

    /// Passes on what is still of use. Nothing is waited for: the answer goes out
    /// before anybody works on it.
    fn take(&self, task: &Task, attempt: &Attempt, told: Told) -> Heard {
        let unanswered = is_unanswered(attempt);
        if told.ended || unanswered {
            self.ledger.heard(task.id);
        }
        if unanswered && !told.jobs.is_empty() {
            self.ledger.claim(task.id, Claim { attempt: attempt.number, jobs: told.jobs });
        }
        if !makes_due(task, attempt, told.ended) {
            return Heard::Known;
        }
        debug!(task_id = %task.id, "a callback makes the task due");
        failpoint!("callback.heard");
        self.ledger.nudge(task.id);
        failpoint!("callback.nudged");
        Heard::Due
    }
}

/// Whether it is not known what job the attempt has bought, if any.
fn is_unanswered(attempt: &Attempt) -> bool {
    attempt.job.is_none() && matches!(attempt.outcome, AttemptOutcome::Pending | AttemptOutcome::Unknown)
}

/// Whether the task wants to be looked at. The end of a job does wherever it is
/// awaited; a stage on the way does only where the create's answer is lost. While the
/// answer may still come, nothing but the end is news.
fn makes_due(task: &Task, attempt: &Attempt, ended: bool) -> bool {
    let lost = attempt.job.is_none() && attempt.outcome == AttemptOutcome::Unknown;
    let awaited = match task.state {
        TaskState::Submitting | TaskState::Reconciling | TaskState::Running => true,
        TaskState::Failed => task.is_open(),
        TaskState::Queued | TaskState::Archiving | TaskState::Succeeded | TaskState::Cancelled => false,
    };
    lost || (ended && awaited)
}

async fn answer(State(door): State<Door>, method: Method, uri: Uri, headers: HeaderMap, body: Body) -> StatusCode {
    let heard = door.hear(&method, uri.path(), &headers, body).await;
    metrics::counter!("videogen_callbacks_total", "outcome" => heard.word()).increment(1);
    heard.status()
}
