//! Where a request in fal's queue stands: asked for once, or followed as a stream
//! of server-sent events that ends after COMPLETED.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};

use super::super::answer::{Answer, Call, with_type};
use super::super::book::{Ending, Job, Stage};
use super::super::faults::{FaultKind, Moment, Provider, Standard};
use super::super::world::{World, now};
use super::{platform_error, struck_query};

/// How often a stream looks, and after how long without news it sends a comment.
const LOOK: Duration = Duration::from_millis(200);
const KEEPALIVE: u32 = 75;

/// The three links of a request and its id.
pub(super) fn links(job: &Job) -> Value {
    let base = format!("{}/{}/requests/{}", job.origin, job.kind, job.id);
    json!({"request_id": job.id, "response_url": base, "status_url": format!("{base}/status"),
        "cancel_url": format!("{base}/cancel")})
}

/// `GET .../status`.
pub(super) fn answer(world: &Arc<World>, call: &Call, job: &Arc<Job>) -> Answer {
    let fault = world.query_fault(Provider::Fal, Standard::Any, std::slice::from_ref(job));
    if let Some(answer) = struck_query(fault) {
        return answer;
    }
    let stage = job.told_stage(now());
    let status = if stage == Stage::Ended { 200 } else { 202 };
    let document = document(world, job, stage, wants_logs(call));
    let answer = Answer::json(status, &document).with_header("x-fal-request-id", &job.id);
    World::spoil(answer, fault, || platform_error(500, "Internal server error", "internal_error"))
}

fn wants_logs(call: &Call) -> bool {
    matches!(call.query("logs"), Some("1" | "true" | "True"))
}

fn document(world: &World, job: &Job, stage: Stage, logs: bool) -> Value {
    let mut document = links(job);
    let unknown = || world.job_fault(job, Moment::Poll, |kind| kind == FaultKind::UnknownStatus).is_some();
    if stage != Stage::Ended && unknown() {
        document["status"] = json!("WARMING_UP");
        return document;
    }
    match stage {
        Stage::Queued => {
            document["status"] = json!("IN_QUEUE");
            document["queue_position"] = json!(world.book.waiting(&job.kind, Some(job), now()));
        }
        Stage::Running => {
            document["status"] = json!("IN_PROGRESS");
            document["logs"] = if logs { log_lines(job, now()) } else { Value::Null };
        }
        Stage::Ended => completed(&mut document, job, logs),
    }
    document
}

fn completed(document: &mut Value, job: &Job, logs: bool) {
    let end = job.ended_at().unwrap_or(job.created);
    let seconds = end.saturating_sub(job.starts) as f64 / 1_000.0;
    document["status"] = json!("COMPLETED");
    document["logs"] = if logs { log_lines(job, end) } else { Value::Null };
    document["metrics"] = json!({ "inference_time": seconds });
    document["error"] = Value::Null;
    document["error_type"] = Value::Null;
    if let Ending::Failure { message, status, result } = job.ending() {
        // A model's own complaint shows in the result alone; the status says it only for the platform's errors.
        if status != 422 {
            document["error"] = json!(message);
            document["error_type"] = result.get("error_type").cloned().unwrap_or(json!("internal_error"));
        }
    }
}

/// One line for every quarter of the work that is done.
fn log_lines(job: &Job, now: u64) -> Value {
    let whole = job.ends.unwrap_or(job.starts + 60_000).saturating_sub(job.starts).max(1);
    let quarters = (now.saturating_sub(job.starts) * 4 / whole).min(4);
    let line = |step: u64| {
        let at = timestamp(job.starts + whole * step / 4);
        json!({"message": format!("step {step} of 4"), "level": "INFO", "source": "USER", "timestamp": at})
    };
    (0..=quarters).map(line).collect()
}

/// Milliseconds since 1970 in the form `2026-10-01T00:00:00.000Z`.
pub(super) fn timestamp(ms: u64) -> String {
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    // Days to a date of the civil calendar, counted in years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", rest % 1_000)
}

/// `GET .../status/stream`.
pub(super) fn stream(world: &Arc<World>, call: &Call, job: Arc<Job>) -> Answer {
    let fault = world.query_fault(Provider::Fal, Standard::Any, std::slice::from_ref(&job));
    if let Some(answer) = struck_query(fault) {
        return answer;
    }
    let (world, logs) = (Arc::clone(world), wants_logs(call));
    let start = Some((world, job, String::new()));
    let events = stream::unfold(start, move |state| async move {
        let (world, job, last) = state?;
        let (event, stage) = next_event(&world, &job, &last, logs).await?;
        let state = (stage != Stage::Ended).then(|| (world, job, event.clone()));
        let text = if event == last { ":\n\n".to_owned() } else { format!("data: {event}\n\n") };
        Some((Ok::<_, std::io::Error>(Bytes::from(text)), state))
    });
    Answer::Reply(with_type(200, "text/event-stream", Body::from_stream(events)))
}

/// Waits for a document that differs from the last one, or for the time to send a comment.
async fn next_event(world: &Arc<World>, job: &Job, last: &str, logs: bool) -> Option<(String, Stage)> {
    for _ in 0..KEEPALIVE {
        let stage = job.stage(now());
        let event = document(world, job, stage, logs).to_string();
        if event != last {
            return Some((event, stage));
        }
        tokio::select! {
            () = world.shutdown.cancelled() => return None,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    Some((last.to_owned(), job.stage(now()).min(Stage::Running)))
}

#[cfg(test)]
mod tests {
    use super::timestamp;

    #[test]
    fn times_are_written_in_the_civil_calendar() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(1_709_209_845_678), "2024-02-29T12:30:45.678Z");
        assert_eq!(timestamp(1_790_000_000_000), "2026-09-21T14:13:20.000Z");
    }
}
