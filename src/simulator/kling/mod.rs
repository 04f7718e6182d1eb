//! Kling's HTTP API in both of its standards: the envelope, the table of errors
//! and the door; what differs between the standards is in rooms of its own.

pub(super) mod document;
mod legacy;
mod legacy_body;
mod standard;
mod standard_body;

use std::sync::Arc;

use axum::http::Method;
use serde_json::{Value, json};

use super::account::{self, Unwelcome};
use super::answer::{Answer, Call};
use super::body::{Wrong, pictures};
use super::book::{NotSold, Shape};
use super::faults::{FaultKind, Provider, Standard, Strike};
use super::world::{Order, Refusal, World, now, scope};

/// Whether a path belongs to Kling.
pub(super) fn owns(segments: &[&str]) -> bool {
    match segments {
        ["tasks"] => true,
        ["v1", "videos", ..] => true,
        [kind, _] => standard::KINDS.contains(kind),
        _ => false,
    }
}

/// Answers one request.
pub(super) async fn answer(world: &Arc<World>, call: &Call) -> Answer {
    let segments = call.segments();
    let legacy = segments.first() == Some(&"v1");
    let seconds = i64::try_from(now() / 1_000).unwrap_or(i64::MAX);
    let account = match account::kling(call.header("authorization"), legacy, &world.settings, seconds) {
        Ok(account) => account,
        Err(unwelcome) => return unwelcome_answer(unwelcome),
    };
    match (&call.method, segments.as_slice()) {
        (&Method::POST, ["tasks"]) => standard::list(world, call, &account),
        (&Method::GET, ["tasks"]) => standard::query(world, call, &account),
        (&Method::POST, ["v1", "videos", rest @ ..]) => legacy::create(world, call, &account, &rest.join("/")).await,
        (&Method::GET, ["v1", "videos", rest @ ..]) => legacy::query(world, call, &account, rest),
        (&Method::POST, [kind, model]) => standard::create(world, call, &account, kind, model).await,
        _ => refuse(1202, "method not allowed"),
    }
}

/// The envelope around a success.
pub(super) fn success(data: Value) -> Answer {
    Answer::json(200, &json!({"code": 0, "message": "SUCCEED", "request_id": request_id(), "data": data}))
}

/// The envelope around an error, with the HTTP status of the code.
pub(super) fn refuse(code: u32, message: &str) -> Answer {
    let status = match code {
        1000..=1004 => 401,
        1100..=1102 | 1302..=1304 => 429,
        1103 => 403,
        1202 | 1203 => 404,
        5000 => 500,
        5001 => 503,
        5002 => 504,
        _ => 400,
    };
    Answer::json(status, &json!({"code": code, "message": message, "request_id": request_id()}))
}

fn request_id() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}

fn unwelcome_answer(unwelcome: Unwelcome) -> Answer {
    match unwelcome {
        Unwelcome::Missing => refuse(1001, "Authorization is empty"),
        Unwelcome::Invalid => refuse(1002, "Authorization is invalid"),
        Unwelcome::TooEarly => refuse(1003, "Authorization is not yet valid"),
        Unwelcome::Expired => refuse(1004, "Authorization has expired"),
    }
}

/// What the table of errors says about a code.
fn words(code: u32) -> &'static str {
    match code {
        1000..=1002 => "Authorization is invalid",
        1003 => "Authorization is not yet valid",
        1004 => "Authorization has expired",
        1100 => "account is abnormal",
        1101 => "account is in arrears",
        1102 => "account balance not enough",
        1103 => "no permission to access this resource",
        1200 | 1201 => "request parameters are invalid",
        1202 => "method not allowed",
        1203 => "resource not found",
        1300 => "request triggers the platform policy",
        1301 => "request content blocked by the content safety policy",
        1302 => "request rate over limit",
        1303 => "parallel task over resource pack limit",
        1304 => "caller IP is not in the allowlist",
        5001 => "service temporarily unavailable",
        5002 => "internal timeout",
        _ => "internal error",
    }
}

/// As [`struck_before`], for a query: a document that nobody can read is not even made,
/// so that no fault of the job itself is used up by it.
pub(super) fn struck_query(fault: Option<Strike>) -> Option<Answer> {
    match fault {
        Some(Strike { kind: FaultKind::Unreadable, .. }) => Some(Answer::unreadable()),
        other => struck_before(other),
    }
}

/// The answer of a fault that strikes before anything is done, if it is of that sort.
fn struck_before(fault: Option<Strike>) -> Option<Answer> {
    let strike = fault?;
    let coded = |default: u32| {
        let code = strike.code.unwrap_or(default);
        refuse(code, words(code))
    };
    match strike.kind {
        FaultKind::Drop => Some(Answer::Cut),
        FaultKind::Hang => Some(Answer::Hang),
        FaultKind::Html => Some(Answer::edge_page()),
        FaultKind::Error => Some(coded(5001)),
        FaultKind::RateLimited => Some(coded(1302)),
        FaultKind::ParallelLimited => Some(coded(1303)),
        FaultKind::Refuse => Some(coded(1201)),
        _ => None,
    }
}

/// What a checked create body says, the same for both standards.
pub(super) struct Wanted {
    pub(super) prompt: String,
    pub(super) model: String,
    pub(super) shape: Shape,
    pub(super) marker: Option<String>,
    pub(super) callback_url: Option<String>,
    pub(super) watermark: bool,
    pub(super) ignored: Vec<String>,
}

/// Why a body is refused: a code of the table and words for it.
pub(super) struct Flaw(pub(super) u32, pub(super) String);

impl From<Wrong> for Flaw {
    fn from(wrong: Wrong) -> Self {
        Self(1201, wrong)
    }
}

/// Sells one job: the order of events is that of the real API as far as it is known.
pub(super) async fn create(
    world: &Arc<World>,
    call: &Call,
    account: &str,
    standard: Standard,
    kind: &str,
    check: impl FnOnce(&Value) -> Result<Wanted, Flaw>,
) -> Answer {
    let Ok(body) = serde_json::from_slice::<Value>(&call.body) else {
        return refuse(1201, "request body is not valid JSON");
    };
    let checked = check(&body);
    let (prompt, marker) = match &checked {
        Ok(wanted) => (wanted.prompt.as_str(), wanted.marker.as_deref()),
        Err(_) => ("", None),
    };
    let fault = world.create_fault(Provider::Kling, standard, prompt, &scope(account, marker, &call.body));
    if let Some(answer) = struck_before(fault) {
        return answer;
    }
    let wanted = match checked {
        Ok(wanted) => wanted,
        Err(Flaw(code, message)) => return refuse(code, &message),
    };
    let marker = wanted.marker.clone();
    match world.sell(order(world, call, account, standard, kind, wanted), fault).await {
        Ok(job) => {
            let answer = success(document::created(&job));
            let code = fault.and_then(|strike| strike.code).unwrap_or(5000);
            World::spoil(answer, fault, || refuse(code, words(code)))
        }
        Err(Refusal::NotSold(NotSold::Duplicate)) => {
            refuse(1201, &format!("external_task_id {} already exists", marker.unwrap_or_default()))
        }
        Err(Refusal::NotSold(NotSold::Parallel)) => refuse(1303, words(1303)),
        Err(Refusal::Ledger) => refuse(5000, words(5000)),
    }
}

fn order(world: &World, call: &Call, account: &str, standard: Standard, kind: &str, wanted: Wanted) -> Order {
    Order {
        provider: Provider::Kling,
        standard,
        id: world.book.number(now()),
        path: call.path.clone(),
        kind: kind.to_owned(),
        model: wanted.model,
        account: account.to_owned(),
        marker: wanted.marker,
        prompt: wanted.prompt,
        shape: wanted.shape,
        watermark: wanted.watermark,
        origin: call.origin.clone(),
        callback_url: wanted.callback_url,
        input: None,
        ignored: wanted.ignored,
        body_sha256: account::sha256(&call.body),
        pictures: pictures(&call.body),
        flaw: None,
    }
}
