//! What fal's answers mean: to a submit, to a status query, to the fetch of a
//! result, to a cancel.

use serde_json::Value;

use crate::providers::contract::{Created, Trouble};
use crate::providers::http::Answer;
use crate::providers::redact::Redactor;
use crate::providers::{LONGEST_LINK, trouble};
use crate::task::event::Observation;
use crate::task::state::{CancelOutcome, Failure, FailureKind, Output, Progress};
use crate::wire::fal::{ErrorBody, Queued, video_url};
use crate::wire::liberal;

/// How many lines of a model's log are shown, and how long each may be.
const LOG_LINES: usize = 4;
const LOG_LINE_BYTES: usize = 160;

/// The answer to a submit that carries no job id.
pub(super) fn without_job(answer: &Answer, redactor: &Redactor) -> Created {
    let unknown = || Created::Unknown { reason: answer.described(redactor) };
    // A page, not fal: an edge may say anything about a request that went through.
    if answer.is_html() {
        return unknown();
    }
    let error = ErrorBody::read(&answer.body);
    match (answer.status, error) {
        // Refused at the door, whether or not in fal's shape.
        (401..=403, error) => Created::Refused(door(answer, error, redactor)),
        // Only fal's own word says that nothing was made.
        (429, Some(_)) => Created::Throttled { after: answer.retry_after(), reason: answer.described(redactor) },
        (408 | 409 | 425 | 429, _) => unknown(),
        (400..=499, Some(error)) => Created::Refused(failure(&error, FailureKind::ProviderRefused, false, redactor)),
        // Without fal's error body a 4xx is not fal's word.
        _ => unknown(),
    }
}

fn door(answer: &Answer, error: Option<ErrorBody>, redactor: &Redactor) -> Failure {
    let message = error.as_ref().map_or_else(|| answer.described(redactor), |error| redactor.redact(&error.message));
    let said = message.to_lowercase();
    let of_money = ["locked", "balance", "credit", "payment", "exhausted"].iter().any(|word| said.contains(word));
    let kind = if of_money || answer.status == 402 { FailureKind::ProviderFunds } else { FailureKind::ProviderAuth };
    Failure::free(kind, message).with_code(answer.status.to_string())
}

fn failure(error: &ErrorBody, kind: FailureKind, maybe_charged: bool, redactor: &Redactor) -> Failure {
    let kind = if error.moderated { FailureKind::Moderated } else { kind };
    let message = redactor.redact(&error.message);
    let message = if message.is_empty() { "failed without a reason".to_owned() } else { message };
    let code = redactor.capped(&error.kind, 64);
    Failure { maybe_charged, ..Failure::free(kind, message).with_code(code) }
}

/// A job that has not ended, as far as we understand.
pub(super) fn pending(queued: &Queued, redactor: &Redactor) -> Observation {
    let lines = queued.logs.iter().map(|line| redactor.capped(&line.message, LOG_LINE_BYTES));
    let mut log_lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    log_lines.drain(..log_lines.len().saturating_sub(LOG_LINES));
    Observation::Pending(Progress {
        percent: None,
        queue_position: queued.queue_position.and_then(|position| u32::try_from(position).ok()),
        log_lines,
        provider_status: redactor.capped(&queued.status, 64),
    })
}

/// The result of a job that `queued` calls completed.
pub(super) fn result(answer: &Answer, queued: &Queued, redactor: &Redactor) -> Result<Observation, Trouble> {
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    match (answer.status, body) {
        (202, _) => Ok(pending(queued, redactor)),
        (200..=299, Some(body)) => Ok(made(&body, redactor)),
        // The statuses of a caller's trouble or of a busy host say nothing of the job.
        (401 | 403 | 408 | 409 | 425 | 429, _) => Err(answer.trouble(redactor)),
        (404, _) => Ok(reported(queued, redactor).unwrap_or(Observation::Missing)),
        (400..=499, Some(body)) => unmade(answer, &body, queued, redactor),
        (500..=599, body) => broken(answer, body.as_ref(), queued, redactor),
        _ => Err(answer.trouble(redactor)),
    }
}

fn made(body: &Value, redactor: &Redactor) -> Observation {
    if let Some(url) = video_url(body).filter(|url| url.len() <= LONGEST_LINK) {
        let output = Output { url: url.to_owned(), expires: None };
        return Observation::Succeeded { output, charges: Vec::new() };
    }
    let failure = match ErrorBody::of(body) {
        Some(error) => failure(&error, FailureKind::ProviderFailed, true, redactor),
        None => Failure::charged(FailureKind::ProviderFailed, "the result holds no link to a video"),
    };
    Observation::Failed { failure, charges: Vec::new() }
}

fn unmade(answer: &Answer, body: &Value, queued: &Queued, redactor: &Redactor) -> Result<Observation, Trouble> {
    let Some(error) = ErrorBody::of(body) else { return Err(answer.trouble(redactor)) };
    let said = error.message.to_lowercase();
    if answer.status == 400 && (said.contains("in progress") || said.contains("in queue")) {
        return Ok(pending(queued, redactor));
    }
    Ok(failed(failure(&error, FailureKind::ProviderFailed, true, redactor)))
}

/// A 5xx may be the replay of the model's own failure or a hiccup of the host that
/// keeps the result, and then the video is there. It is taken for the former only
/// if the model speaks, or the status query reported the error too.
fn broken(answer: &Answer, body: Option<&Value>, queued: &Queued, redactor: &Redactor) -> Result<Observation, Trouble> {
    match body.and_then(ErrorBody::of) {
        Some(error) if error.from_model || is_reported(queued) => {
            // Not billed by fal's own rule.
            Ok(failed(failure(&error, FailureKind::ProviderFailed, false, redactor)))
        }
        _ => Err(answer.trouble(redactor)),
    }
}

fn is_reported(queued: &Queued) -> bool {
    !queued.error.is_empty() || !queued.error_type.is_empty()
}

/// The failure that the status query reported.
fn reported(queued: &Queued, redactor: &Redactor) -> Option<Observation> {
    let error = is_reported(queued).then(|| ErrorBody {
        kind: queued.error_type.clone(),
        message: queued.error.clone(),
        from_model: false,
        moderated: queued.error_type.contains("content_policy"),
    })?;
    Some(failed(failure(&error, FailureKind::ProviderFailed, true, redactor)))
}

fn failed(failure: Failure) -> Observation {
    Observation::Failed { failure, charges: Vec::new() }
}

/// What became of a request to cancel.
pub(super) fn cancelled(answer: &Answer, redactor: &Redactor) -> Result<CancelOutcome, Trouble> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let word = body.get("status").or_else(|| body.get("detail")).map(liberal::text).unwrap_or_default();
    let word = word.to_uppercase().replace(' ', "_");
    match (answer.status, word.as_str()) {
        (200..=299, "CANCELLATION_REQUESTED") | (202, _) => Ok(CancelOutcome::AskedUpstream),
        (200..=499, word) if word.contains("ALREADY_COMPLETED") => Ok(CancelOutcome::TooLate),
        // An empty or foreign 200 is no proof that it will not run.
        (200, _) if body.is_object() => Ok(CancelOutcome::Confirmed),
        // Purged: it ended long ago. Should fal never have known it, polling says so.
        (404, _) if body.is_object() => Ok(CancelOutcome::TooLate),
        (200..=299, _) => Err(trouble("the answer to a cancel cannot be read")),
        _ => Err(answer.trouble(redactor)),
    }
}
