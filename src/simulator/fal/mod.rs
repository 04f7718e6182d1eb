//! fal's queue: submit, status, stream, result and cancel, with its platform's
//! history beside them. Input is judged only after a request has been queued.

mod history;
mod input;
mod status;

use std::sync::Arc;

use axum::http::Method;
use serde_json::{Value, json};

use super::account;
use super::answer::{Answer, Call};
use super::body::pictures;
use super::book::{Ending, Job, Stage};
use super::faults::{FaultKind, Moment, Provider, Standard, Strike};
use super::file;
use super::world::{Order, World, now, scope};

/// Answers one request on the queue's host or the platform's.
pub(super) async fn answer(world: &Arc<World>, call: &Call) -> Answer {
    let Some(account) = account::fal(call.header("authorization"), &world.settings) else {
        return platform_error(401, "Authentication is required to access this application.", "unauthorized");
    };
    let segments = call.segments();
    if let ["v1", "models", "requests", "by-endpoint"] = segments.as_slice() {
        return history::answer(world, call, &account);
    }
    let Some(place) = segments.iter().position(|piece| *piece == "requests") else {
        return match call.method {
            Method::POST if segments.len() >= 2 => submit(world, call, &account, &segments).await,
            Method::POST => platform_error(404, "Application not found", "not_found"),
            _ => platform_error(405, "Method Not Allowed", "method_not_allowed"),
        };
    };
    let (app, rest) = segments.split_at(place);
    if app.len() != app_length(app) {
        // The real queue answers the full id with nothing at all, and its cancel with 405.
        let status = if call.method == Method::PUT { 405 } else { 200 };
        return Answer::Reply(super::answer::with_type(status, "application/json", ""));
    }
    request(world, call, &account, &app.join("/"), &rest[1..]).await
}

/// How many pieces of an id name the app: two, or three within a namespace.
fn app_length(segments: &[&str]) -> usize {
    if matches!(segments.first(), Some(&"workflows" | &"comfy")) { 3 } else { 2 }
}

async fn request(world: &Arc<World>, call: &Call, account: &str, app: &str, rest: &[&str]) -> Answer {
    let job = rest.first().and_then(|id| world.book.find(id));
    let Some(job) = job.filter(|job| job.account == account && job.kind == app) else {
        return match rest {
            [_, "cancel"] => Answer::json(404, &json!({"status": "NOT_FOUND"})),
            _ => platform_error(404, "Request not found", "not_found"),
        };
    };
    match (&call.method, &rest[1..]) {
        (&Method::GET, ["status"]) => status::answer(world, call, &job),
        (&Method::GET, ["status", "stream"]) => status::stream(world, call, job),
        (&Method::GET, [] | ["response"]) => result(world, &job),
        (&Method::PUT, ["cancel"]) => cancel(world, &job),
        _ => platform_error(405, "Method Not Allowed", "method_not_allowed"),
    }
}

async fn submit(world: &Arc<World>, call: &Call, account: &str, segments: &[&str]) -> Answer {
    let Ok(body) = serde_json::from_slice::<Value>(&call.body) else {
        return platform_error(400, "Request body is not valid JSON", "bad_request");
    };
    let most = call.query("fal_max_queue_length").map(str::parse::<usize>);
    let app = segments[..app_length(segments).min(segments.len())].join("/");
    match most {
        Some(Err(_)) => return platform_error(422, "fal_max_queue_length must be an integer", "bad_request"),
        Some(Ok(most)) if world.book.waiting(&app, None, now()) > most => {
            return platform_error(429, "The queue is longer than fal_max_queue_length", "queue_too_long");
        }
        _ => {}
    }
    let model = segments.join("/");
    let prompt = input::prompt(&body);
    let fault = world.create_fault(Provider::Fal, Standard::Any, &prompt, &scope(account, None, &call.body));
    if let Some(answer) = struck_before(fault) {
        return answer;
    }
    let order = order(call, account, app, &model, prompt, body);
    let Ok(job) = world.sell(order, fault).await else {
        return platform_error(500, "Internal server error", "internal_error");
    };
    let mut data = status::links(&job);
    data["status"] = json!("IN_QUEUE");
    data["queue_position"] = json!(world.book.waiting(&job.kind, Some(&job), now()));
    data["gateway_request_id"] = json!(job.id);
    data["logs"] = Value::Null;
    data["metrics"] = json!({});
    let answer = Answer::json(200, &data).with_header("x-fal-request-id", &job.id);
    World::spoil(answer, fault, || platform_error(500, "Internal server error", "internal_error"))
}

fn order(call: &Call, account: &str, app: String, model: &str, prompt: String, body: Value) -> Order {
    let flaw = input::check(model, &body).map(|detail| Ending::Failure {
        message: "Unexpected status code: 422".into(),
        status: 422,
        result: json!({ "detail": detail }),
    });
    Order {
        provider: Provider::Fal,
        standard: Standard::Any,
        id: uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string(),
        path: call.path.clone(),
        kind: app,
        model: model.to_owned(),
        account: account.to_owned(),
        marker: None,
        prompt,
        shape: input::shape(&body),
        watermark: false,
        origin: call.origin.clone(),
        callback_url: call.query("fal_webhook").filter(|url| !url.is_empty()).map(str::to_owned),
        input: (call.header("x-fal-store-io") != Some("0") && call.body.len() <= 64 * 1_024).then_some(body),
        ignored: Vec::new(),
        body_sha256: account::sha256(&call.body),
        pictures: pictures(&call.body),
        flaw,
    }
}

/// As [`struck_before`], for a query: a document that nobody can read is not even made,
/// so that no fault of the job itself is used up by it.
fn struck_query(fault: Option<Strike>) -> Option<Answer> {
    match fault {
        Some(Strike { kind: FaultKind::Unreadable, .. }) => Some(Answer::unreadable()),
        other => struck_before(other),
    }
}

/// The answer of a fault that strikes before anything is done, if it is of that sort.
fn struck_before(fault: Option<Strike>) -> Option<Answer> {
    let strike = fault?;
    match strike.kind {
        FaultKind::Drop => Some(Answer::Cut),
        FaultKind::Hang => Some(Answer::Hang),
        FaultKind::Html => Some(Answer::edge_page()),
        FaultKind::Error => Some(platform_error(503, "Runner could not be scheduled", "runner_scheduling_failure")),
        FaultKind::RateLimited => Some(platform_error(429, "Too many requests", "rate_limited")),
        FaultKind::ParallelLimited => {
            Some(platform_error(429, "Too many concurrent requests", "concurrent_requests_limit"))
        }
        FaultKind::Refuse => {
            let status = strike.code.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
            Some(platform_error(status.unwrap_or(403), "User is locked. Reason: Exhausted balance.", "forbidden"))
        }
        _ => None,
    }
}

/// The result: the model's output as it is, or the error that ended the request.
fn result(world: &Arc<World>, job: &Job) -> Answer {
    let spoils = |kind: FaultKind| kind.spoils_answer();
    let fault = world.job_fault(job, Moment::Result, spoils);
    if let Some(answer) = struck_query(fault) {
        return answer;
    }
    if job.stage(now()) != Stage::Ended {
        return Answer::json(400, &json!({"detail": "Request is still in progress"}))
            .with_header("x-fal-request-id", &job.id);
    }
    let answer = match job.ending() {
        Ending::Success => Answer::json(200, &output(world, job)),
        Ending::Failure { status, result, .. } => {
            Answer::json(status, &result).with_header("x-fal-retryable", if status >= 500 { "true" } else { "false" })
        }
    };
    let answer = answer.with_header("x-fal-request-id", &job.id);
    World::spoil(answer, fault, || platform_error(500, "Internal server error", "internal_error"))
}

fn output(world: &World, job: &Job) -> Value {
    json!({"video": {"url": file::issue(world, job), "content_type": "video/mp4", "file_name": "output.mp4"}})
}

fn cancel(world: &World, job: &Job) -> Answer {
    let fault = world.job_fault(job, Moment::Cancel, FaultKind::spoils_answer);
    if let Some(answer) = struck_query(fault) {
        return answer;
    }
    let now = now();
    let (status, word) = match job.stage(now) {
        Stage::Ended => (400, "ALREADY_COMPLETED"),
        Stage::Queued => {
            job.cancel(now);
            (200, "OK")
        }
        Stage::Running => {
            if job.suffers(FaultKind::CancelIgnored).is_none() {
                job.cancel(now);
            }
            (202, "CANCELLATION_REQUESTED")
        }
    };
    let answer = Answer::json(status, &json!({"status": word}));
    World::spoil(answer, fault, || platform_error(500, "Internal server error", "internal_error"))
}

/// The document of a webhook at the end of a request.
pub(super) fn webhook(world: &World, job: &Job) -> Value {
    let mut document = json!({"request_id": job.id, "gateway_request_id": job.id});
    match job.ending() {
        Ending::Success => {
            document["status"] = json!("OK");
            document["payload"] = output(world, job);
        }
        Ending::Failure { message, result, .. } => {
            document["status"] = json!("ERROR");
            document["error"] = json!(message);
            document["payload"] = result;
        }
    }
    document
}

/// An error of the platform, which is not one of the model.
fn platform_error(status: u16, detail: &str, error_type: &str) -> Answer {
    Answer::json(status, &json!({"detail": detail, "error_type": error_type}))
        .with_header("x-fal-error-type", error_type)
        .with_header("x-fal-request-id", &uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string())
}
