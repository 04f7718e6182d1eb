//! The platform's history of requests by endpoint. It lists what has ended: a
//! look-up after a lost answer has to wait for that.

use serde_json::{Value, json};

use super::super::answer::{Answer, Call};
use super::super::book::{Ending, Job, Stage};
use super::super::faults::{Moment, Provider, Standard};
use super::super::world::{World, now};
use super::status::timestamp;
use super::{output, platform_error, struck_query};

/// `GET /v1/models/requests/by-endpoint`.
pub(super) fn answer(world: &World, call: &Call, account: &str) -> Answer {
    let fault = world.faults.strike(Provider::Fal, Standard::Any, Moment::History, |kind| kind.spoils_answer());
    if let Some(answer) = struck_query(fault) {
        return answer;
    }
    let Some(endpoint) = call.query("endpoint_id") else {
        return platform_error(422, "endpoint_id is required", "validation_error");
    };
    let limit = call.query("limit").map_or(Ok(50), str::parse::<usize>);
    let Ok(limit @ 1..=100) = limit else {
        return platform_error(422, "limit must be between 1 and 100", "validation_error");
    };
    let skip: usize = call.query("cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
    let payloads = call.query.iter().any(|(key, value)| key == "expand" && value.contains("payloads"));
    let now = now();
    let bound = |name: &str| call.query(name).map(|text| text.trim_end_matches('Z'));
    let (start, end) = (bound("start").unwrap_or(""), bound("end").unwrap_or("9999"));
    let mut jobs = world.book.of_account(account);
    // By the end of each, the last one first, as the real history does.
    jobs.sort_by_key(|job| std::cmp::Reverse(job.ended_at()));
    jobs.retain(|job| job.provider == Provider::Fal && job.model == endpoint && job.stage(now) == Stage::Ended);
    // Times of one form sort as text; a bare date or second is a prefix and sorts before
    // the times within it. The end is exclusive.
    jobs.retain(|job| (start..end).contains(&timestamp(job.created).as_str()));
    jobs.retain(|job| call.query("status").is_none_or(|wanted| wanted == outcome(job).1));
    let more = jobs.len() > skip.saturating_add(limit);
    let items: Vec<Value> = jobs.iter().skip(skip).take(limit).map(|job| item(world, job, payloads)).collect();
    let next = if more { json!((skip + limit).to_string()) } else { Value::Null };
    Answer::json(200, &json!({"items": items, "next_cursor": next, "has_more": more}))
}

/// The HTTP status of the result and the word for it.
fn outcome(job: &Job) -> (u16, &'static str) {
    match job.ending() {
        Ending::Success => (200, "success"),
        Ending::Failure { status: status @ 500.., .. } => (status, "error"),
        Ending::Failure { status, .. } => (status, "user_error"),
    }
}

fn item(world: &World, job: &Job, payloads: bool) -> Value {
    let end = job.ended_at().unwrap_or(job.created);
    let mut item = json!({
        "request_id": job.id, "endpoint_id": job.model, "sent_at": timestamp(job.created),
        "started_at": timestamp(job.starts), "ended_at": timestamp(end), "status_code": outcome(job).0,
        "duration": end.saturating_sub(job.starts) as f64 / 1_000.0,
    });
    if payloads {
        item["json_input"] = job.input.clone().unwrap_or(Value::Null);
        item["json_output"] = match job.ending() {
            Ending::Success => output(world, job),
            Ending::Failure { result, .. } => result,
        };
    }
    item
}
