//! Every error as a status, once: the error contract of the public proto. Reasons
//! are stable; messages are for people and give nothing away.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use tracing::error;

use crate::archive::ReadError;
use crate::catalog::{Violation, ViolationKind};
use crate::images::Finding;
use crate::ledger::LedgerError;
use crate::ledger::admission::Refusal;
use crate::store::contract::StoreError;
use crate::task::id::{Revision, TaskId};
use crate::task::state::{State, Task};

/// The domain of every ErrorInfo.
const DOMAIN: &str = "videogen";
/// How many field violations one status carries.
const VIOLATIONS: usize = 20;
/// How many bytes of violations one status carries: many clients take 8 KiB of
/// trailers in all.
const VIOLATION_BYTES: usize = 2400;

/// A status with its ErrorInfo and whatever else it is given.
struct Answer {
    code: Code,
    message: String,
    details: ErrorDetails,
}

impl Answer {
    fn new(code: Code, reason: &str, message: impl Into<String>) -> Self {
        Self::with(code, reason, message, &[])
    }

    fn with(code: Code, reason: &str, message: impl Into<String>, metadata: &[(&str, String)]) -> Self {
        let metadata: HashMap<_, _> = metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, DOMAIN, metadata);
        Self { code, message: message.into(), details }
    }

    fn retry(mut self, after: Duration) -> Self {
        self.details.set_retry_info(Some(after));
        self
    }

    fn resource(mut self, kind: &str, name: &str) -> Self {
        self.details.set_resource_info(kind, name, "", "");
        self
    }

    fn precondition(mut self, kind: &str, subject: &str, description: &str) -> Self {
        self.details.add_precondition_failure_violation(kind, subject, description);
        self
    }

    fn status(self) -> Status {
        Status::with_error_details(self.code, self.message, self.details)
    }
}

/// Wrong fields, all at once. Says PARAM_UNSUPPORTED when every one of them is
/// something that the model does not take.
pub fn fields(violations: &[Violation], model: Option<&str>) -> Status {
    let unsupported = violations.iter().all(|violation| violation.kind == ViolationKind::Unsupported);
    let request_id = violations.iter().any(|violation| violation.field == "request_id");
    let reason = match (request_id, unsupported) {
        (true, _) => "REQUEST_ID_REQUIRED",
        (false, true) => "PARAM_UNSUPPORTED",
        (false, false) => "FIELD_INVALID",
    };
    let metadata: Vec<_> = model.map(|model| ("model", capped(model, 200))).into_iter().collect();
    let message = match violations {
        [only] => format!("{}: {}", capped(&only.field, 120), capped(&only.message, 240)),
        [first, others @ ..] => {
            format!("{}: {} (and {} more)", capped(&first.field, 120), capped(&first.message, 240), others.len())
        }
        [] => "the request is not valid".to_owned(),
    };
    let mut answer = Answer::with(Code::InvalidArgument, reason, message, &metadata);
    let mut room = VIOLATION_BYTES;
    for violation in violations.iter().take(VIOLATIONS) {
        let (field, message) = (capped(&violation.field, 120), capped(&violation.message, 240));
        let Some(left) = room.checked_sub(field.len() + message.len()) else { break };
        room = left;
        answer.details.add_bad_request_violation(field, message);
    }
    answer.status()
}

/// One wrong field.
pub fn field(name: &str, message: &str) -> Status {
    fields(&[Violation { field: name.to_owned(), message: message.to_owned(), kind: ViolationKind::Invalid }], None)
}

/// A page token that this server did not give for this filter.
pub fn page_token() -> Status {
    let mut answer =
        Answer::new(Code::InvalidArgument, "PAGE_TOKEN_INVALID", "page_token was not given for this filter");
    answer.details.add_bad_request_violation("page_token", "must be next_page_token of a page with the same filter");
    answer.status()
}

/// A model that is in no catalog.
pub fn model_unknown(name: &str) -> Status {
    let name = capped(name, 200);
    let message = format!("there is no model {name:?}; ListModels names those that there are");
    Answer::new(Code::NotFound, "MODEL_UNKNOWN", message).resource("model", &name).status()
}

/// A model that no account in the settings can serve.
pub fn not_configured(model: &str, needed: &str) -> Status {
    let message = format!("the settings hold no account that can serve {model}: {needed}");
    Answer::new(Code::FailedPrecondition, "PROVIDER_NOT_CONFIGURED", message)
        .precondition("ACCOUNT", model, needed)
        .status()
}

/// A request for events where none can be signed.
pub fn webhooks_not_configured() -> Status {
    let needed = "set webhooks.secret: unsigned events are not sent";
    let message = format!("the settings hold no secret to sign events with: {needed}");
    Answer::new(Code::FailedPrecondition, "WEBHOOKS_NOT_CONFIGURED", message)
        .precondition("SETTING", "webhooks.secret", needed)
        .status()
}

/// An event that was told, or never was.
pub fn delivery_not_found(id: &str) -> Status {
    let message = "there is no such delivery: the event was delivered, or never was";
    Answer::new(Code::NotFound, "DELIVERY_NOT_FOUND", message).resource("delivery", &capped(id, 80)).status()
}

/// A task id that no task has.
pub fn task_not_found(id: &str) -> Status {
    let id = capped(id, 64);
    Answer::new(Code::NotFound, "TASK_NOT_FOUND", "there is no such task").resource("task", &id).status()
}

/// A health check of a name that is not served.
pub fn service_not_found(name: &str) -> Status {
    let name = capped(name, 120);
    Answer::new(Code::NotFound, "SERVICE_UNKNOWN", "there is no such service").resource("service", &name).status()
}

/// A cancel of a task that has ended.
pub fn already_finished(task: &Task) -> Status {
    let state = task.state.word();
    let message = format!("the task has ended: {state}");
    Answer::with(Code::FailedPrecondition, "ALREADY_FINISHED", message, &[("state", state.to_owned())]).status()
}

/// The server is not ready to serve, or no longer.
pub fn not_ready(stopping: bool) -> Status {
    let (reason, message) = match stopping {
        true => ("SHUTTING_DOWN", "the server is shutting down"),
        false => ("NOT_READY", "the server is starting"),
    };
    Answer::new(Code::Unavailable, reason, message).retry(Duration::from_secs(1)).status()
}

/// A watch that the server ends: open it again from the last revision.
pub fn watch_reopen(last: Revision, why: &str) -> Status {
    let metadata = [("last_revision", last.0.to_string())];
    Answer::with(Code::Unavailable, "WATCH_REOPEN", why, &metadata).retry(Duration::from_secs(1)).status()
}

/// A watch whose client reads more slowly than tasks change.
pub fn watch_too_slow() -> Status {
    let message = "the client reads too slowly; open the watch again";
    Answer::new(Code::Aborted, "WATCH_REOPEN", message).retry(Duration::from_secs(1)).status()
}

/// The time that the caller allowed is over.
pub fn deadline() -> Status {
    let message =
        "the deadline of the call is over; a Submit may have been accepted: repeat it with the same request_id";
    Answer::new(Code::DeadlineExceeded, "DEADLINE", message).status()
}

/// A message above the limit, as gRPC's status document wants it said.
pub fn too_large(message: &str) -> Status {
    Answer::new(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", capped(message, 240)).status()
}

/// More large requests than are taken in at once.
pub fn too_many_large() -> Status {
    let message = "too many requests with large images are coming in; images by link need no turn";
    let mut answer = Answer::new(Code::ResourceExhausted, "LARGE_REQUESTS", message);
    answer.details.add_quota_failure_violation("large_requests", message);
    answer.retry(Duration::from_secs(1)).status()
}

/// A large request that does not come in.
pub fn too_slow_a_request() -> Status {
    Answer::new(Code::DeadlineExceeded, "DEADLINE", "a large request must come in within 60 s").status()
}

/// Something that cannot happen has happened. The log knows more by the incident.
pub fn bug(incident: &str) -> Status {
    let metadata = [("incident", incident.to_owned())];
    Answer::with(Code::Internal, "BUG", format!("internal error, incident {incident}"), &metadata).status()
}

/// Whatever the ledger could not do.
pub fn ledger(error: &LedgerError) -> Status {
    match error {
        LedgerError::Unknown(id) => task_not_found(&id.to_string()),
        LedgerError::RequestIdReused(id) => {
            let message = "request_id was used for another request; a new video needs a new request_id";
            Answer::new(Code::AlreadyExists, "REQUEST_ID_REUSED", message).resource("task", &id.to_string()).status()
        }
        LedgerError::RequestIdExpired(id) => {
            let message = "the task of this request_id was removed; a new request_id buys a new video";
            Answer::new(Code::FailedPrecondition, "REQUEST_ID_EXPIRED", message)
                .precondition("REQUEST_ID", &id.to_string(), message)
                .status()
        }
        LedgerError::Refused(refusal) => refused(*refusal),
        LedgerError::RevisionAhead { current } => {
            let message = format!("after_revision is ahead of the task, which is at {}", current.0);
            let metadata = [("current", current.0.to_string())];
            Answer::with(Code::OutOfRange, "REVISION_AHEAD", message, &metadata).status()
        }
        LedgerError::NoArtifact(task) => no_artifact(task),
        LedgerError::OutOfRange { size } => range(&format!("the file has {size} bytes")),
        LedgerError::Damaged { task, error } => read(*task, error),
        LedgerError::NoLinks => {
            let message = "this server keeps videos in a folder, to which there are no links: use DownloadVideo";
            Answer::new(Code::FailedPrecondition, "LINKS_UNSUPPORTED", message)
                .precondition("ARCHIVE", "archive.url", "must name a bucket")
                .status()
        }
        LedgerError::NotToBeTold(id) => delivery_not_found(&id.to_string()),
        LedgerError::WatchLimit => {
            let mut answer = Answer::new(Code::ResourceExhausted, "WATCH_LIMIT", "too many watches are open");
            answer.details.add_quota_failure_violation("watches", "too many are open");
            answer.retry(Duration::from_secs(5)).status()
        }
        LedgerError::ImagesRefused(findings) => {
            let violation = |Finding { field, message }: &Finding| Violation {
                field: field.clone(),
                message: message.clone(),
                kind: ViolationKind::Invalid,
            };
            fields(&findings.iter().map(violation).collect::<Vec<_>>(), None)
        }
        LedgerError::Input(error) => {
            error!(%error, "an image could not be kept");
            Answer::new(Code::Unavailable, "STORE_FAILED", "an image of the request cannot be stored now")
                .retry(Duration::from_secs(5))
                .status()
        }
        LedgerError::Store(error) => store(error),
    }
}

/// A request that would be a new task, while none is taken in.
fn refused(refusal: Refusal) -> Status {
    let (subject, message, after_s) = match refusal {
        Refusal::StorageLow(_) => ("disk", "the free disk is kept for videos that are already bought", 60),
        Refusal::QueueFull { .. } => ("open_tasks", "as many tasks are open as may be", 10),
    };
    let mut answer = Answer::new(Code::ResourceExhausted, refusal.reason(), message);
    answer.details.add_quota_failure_violation(subject, message);
    answer.retry(Duration::from_secs(after_s)).status()
}

/// Why a task's stored file cannot be read.
pub fn read(task: TaskId, failure: &ReadError) -> Status {
    error!(task_id = %task, %failure, "a stored video could not be read");
    match failure {
        ReadError::BehindEnd => range("the offset lies behind the end of the file"),
        ReadError::Damaged => Answer::new(Code::DataLoss, "ARTIFACT_DAMAGED", "the stored file is missing or altered")
            .resource("artifact", "")
            .status(),
        ReadError::Storage(_) => Answer::new(Code::Unavailable, "STORE_FAILED", "the archive cannot be read now")
            .retry(Duration::from_secs(5))
            .status(),
    }
}

fn range(message: &str) -> Status {
    let mut answer = Answer::new(Code::OutOfRange, "RANGE_INVALID", message);
    answer.details.add_bad_request_violation("offset", message);
    answer.status()
}

fn store(failure: &StoreError) -> Status {
    error!(%failure, "the store could not answer");
    match failure {
        StoreError::Stopped(_) => Answer::new(Code::Unavailable, "STORE_FAILED", "the store has stopped")
            .retry(Duration::from_secs(5))
            .status(),
        StoreError::Damaged { id, .. } => Answer::new(Code::DataLoss, "TASK_DAMAGED", "the stored task is damaged")
            .resource("task", &id.to_string())
            .status(),
        StoreError::TooLarge => field("spec", "the request is too large to be stored"),
    }
}

fn no_artifact(task: &Task) -> Status {
    let state = task.state.word();
    if task.state.is_final() && task.state != State::Succeeded {
        let message = format!("the task ended without a video: {state}");
        return Answer::with(Code::FailedPrecondition, "NO_ARTIFACT", message, &[("state", state.to_owned())]).status();
    }
    Answer::new(Code::FailedPrecondition, "TASK_NOT_FINISHED", format!("the task is {state}"))
        .precondition("STATE", &task.id.to_string(), "the task must have SUCCEEDED")
        .retry(Duration::from_secs(5))
        .status()
}

/// The text without control characters, cut at a character's edge.
fn capped(text: &str, limit: usize) -> String {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
