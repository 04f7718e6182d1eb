//! Kling's new standard: the model in the path, one query for all kinds of job.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::answer::{Answer, Call};
use super::super::body::Fields;
use super::super::book::{Ending, Job, Stage};
use super::super::faults::{Provider, Standard};
use super::super::world::{World, now};
use super::{create as sell, document, refuse, standard_body, struck_query, success};

/// The first pieces of the create paths.
pub(super) const KINDS: [&str; 4] = ["text-to-video", "image-to-video", "omni-video", "motion-control"];

/// How many ids one query takes.
const IDS: usize = 20;

/// `POST /{kind}/{model}`.
pub(super) async fn create(world: &Arc<World>, call: &Call, account: &str, kind: &str, model: &str) -> Answer {
    if !standard_body::models(kind).contains(&model) {
        return refuse(1203, &format!("model {model} does not exist or is not enabled"));
    }
    sell(world, call, account, Standard::New, kind, |body| standard_body::check(kind, model, body)).await
}

/// `GET /tasks` by our ids or by the caller's.
pub(super) fn query(world: &World, call: &Call, account: &str) -> Answer {
    let (ids, marked) = match (call.query("task_ids"), call.query("external_task_ids")) {
        (Some(ids), None) => (ids, false),
        (None, Some(ids)) => (ids, true),
        (Some(_), Some(_)) => return refuse(1201, "task_ids and external_task_ids exclude each other"),
        (None, None) => return refuse(1201, "task_ids or external_task_ids is required"),
    };
    let ids: Vec<&str> = ids.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
    if ids.is_empty() || ids.len() > IDS {
        return refuse(1201, &format!("between 1 and {IDS} ids are allowed"));
    }
    let find = |id: &&str| match marked {
        true => world.book.find_marked(account, id),
        false => world.book.find(id).filter(|job| job.account == account),
    };
    let jobs: Vec<Arc<Job>> = ids.iter().filter_map(find).filter(|job| matches!(job.standard, Standard::New)).collect();
    let fault = world.query_fault(Provider::Kling, Standard::New, &jobs);
    if let Some(answer) = struck_query(fault) {
        return answer;
    }
    let now = now();
    let tasks: Vec<Value> = jobs.iter().map(|job| document::task(world, job, job.told_stage(now), now)).collect();
    World::spoil(success(json!(tasks)), fault, || refuse(5000, "internal error"))
}

/// `POST /tasks`: pages through the account's jobs, newest first.
pub(super) fn list(world: &World, call: &Call, account: &str) -> Answer {
    let fault = world.query_fault(Provider::Kling, Standard::New, &[]);
    if let Some(answer) = struck_query(fault) {
        return answer;
    }
    let wanted = match serde_json::from_slice::<Value>(&call.body) {
        Ok(body) => page(world, account, &body),
        Err(_) if call.body.is_empty() => page(world, account, &json!({})),
        Err(_) => Err("request body is not valid JSON".to_owned()),
    };
    let answer = match wanted {
        Ok(data) => success(data),
        Err(wrong) => refuse(1201, &wrong),
    };
    World::spoil(answer, fault, || refuse(5000, "internal error"))
}

fn page(world: &World, account: &str, body: &Value) -> Result<Value, String> {
    let fields = Fields::of(body)?;
    let now = now();
    let since = time(fields, "start_time")?.unwrap_or(now.saturating_sub(30 * 86_400_000));
    let until = time(fields, "end_time")?.unwrap_or(u64::MAX);
    let limit = match fields.integer("limit")?.unwrap_or(100) {
        limit @ 1..=500 => usize::try_from(limit).unwrap_or(500),
        _ => return Err("limit must be between 1 and 500".to_owned()),
    };
    let cursor = fields.text("cursor", 100)?.unwrap_or("").to_owned();
    let statuses = statuses(fields)?;
    let mut jobs = world.book.of_account(account);
    jobs.retain(|job| job.standard == Standard::New && (since..=until).contains(&job.created));
    // Ids are numbers of one length that grow: the cursor is the last id of the page before.
    jobs.retain(|job| cursor.is_empty() || job.id < cursor);
    jobs.retain(|job| statuses.as_ref().is_none_or(|words| words.iter().any(|word| word == plain_status(job, now))));
    let has_more = jobs.len() > limit;
    jobs.truncate(limit);
    let next = if has_more { jobs.last().map_or("", |job| job.id.as_str()) } else { "" };
    let result: Vec<Value> = jobs.iter().map(|job| document::task(world, job, job.told_stage(now), now)).collect();
    Ok(json!({"result": result, "count": result.len(), "next_cursor": next, "has_more": has_more}))
}

fn time(fields: Fields<'_>, name: &str) -> Result<Option<u64>, String> {
    match fields.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => number.as_u64().map(Some).ok_or_else(|| format!("{name} is not a time")),
        Some(Value::String(text)) => text.parse().map(Some).map_err(|_| format!("{name} is not a time")),
        Some(_) => Err(format!("{name} is not a time")),
    }
}

fn statuses(fields: Fields<'_>) -> Result<Option<Vec<String>>, String> {
    for filter in fields.objects("filters", 10)? {
        if filter.choice("key", &["status", "product_type"])? == Some("status") {
            let values = filter.get("values").and_then(Value::as_array).ok_or("values must be an array")?;
            return Ok(Some(values.iter().filter_map(Value::as_str).map(str::to_owned).collect()));
        }
    }
    Ok(None)
}

fn plain_status(job: &Job, now: u64) -> &'static str {
    match (job.stage(now), job.ending()) {
        (Stage::Queued, _) => "submitted",
        (Stage::Running, _) => "processing",
        (Stage::Ended, Ending::Success) => "succeeded",
        (Stage::Ended, Ending::Failure { .. }) => "failed",
    }
}
