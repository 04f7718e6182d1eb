//! Kling's legacy standard: the model in the body, and one path for each kind of
//! job, under which alone the jobs of that kind are found.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::answer::{Answer, Call};
use super::super::book::Job;
use super::super::faults::{Provider, Standard};
use super::super::world::{World, now};
use super::{create as sell, document, legacy_body, refuse, struck_query, success};

/// The kinds of job, as the last piece of their paths.
const KINDS: [&str; 6] =
    ["text2video", "image2video", "multi-image2video", "omni-video", "motion-control", "video-extend"];

/// `POST /v1/videos/{kind}`.
pub(super) async fn create(world: &Arc<World>, call: &Call, account: &str, kind: &str) -> Answer {
    if !KINDS.contains(&kind) {
        return refuse(1203, "resource not found");
    }
    let parent = |id: &str| {
        world
            .book
            .of_account(account)
            .iter()
            .any(|job| job.provider == Provider::Kling && document::output_id(job) == id)
    };
    let discontinued = &world.settings.discontinued;
    sell(world, call, account, Standard::Legacy, kind, |body| legacy_body::check(kind, body, discontinued, parent))
        .await
}

/// `GET /v1/videos/{kind}` and `GET /v1/videos/{kind}/{id}`.
pub(super) fn query(world: &World, call: &Call, account: &str, rest: &[&str]) -> Answer {
    match rest {
        [kind] if KINDS.contains(kind) => list(world, call, account, kind),
        [kind, id] if KINDS.contains(kind) => one(world, account, kind, id),
        _ => refuse(1203, "resource not found"),
    }
}

fn one(world: &World, account: &str, kind: &str, id: &str) -> Answer {
    let own = |job: &Arc<Job>| job.account == account && job.standard == Standard::Legacy && job.kind == kind;
    let job = world.book.find(id).filter(own).or_else(|| world.book.find_marked(account, id).filter(own));
    let fault = world.query_fault(Provider::Kling, Standard::Legacy, job.as_slice());
    if let Some(answer) = struck_query(fault) {
        return answer;
    }
    let Some(job) = job else {
        return refuse(1201, &format!("task {id} not found"));
    };
    let now = now();
    let task = document::task(world, &job, job.told_stage(now), now);
    World::spoil(success(task), fault, || refuse(5000, "internal error"))
}

fn list(world: &World, call: &Call, account: &str, kind: &str) -> Answer {
    let fault = world.query_fault(Provider::Kling, Standard::Legacy, &[]);
    if let Some(answer) = struck_query(fault) {
        return answer;
    }
    let number = |name, default| call.query(name).map_or(Some(default), |text| text.parse::<usize>().ok());
    let (Some(page @ 1..=1_000), Some(size @ 1..=500)) = (number("pageNum", 1), number("pageSize", 30)) else {
        return refuse(1201, "pageNum must be 1 to 1000 and pageSize 1 to 500");
    };
    let now = now();
    let jobs = world.book.of_account(account);
    let kept = jobs.iter().filter(|job| job.standard == Standard::Legacy && job.kind == kind);
    let tasks: Vec<Value> = kept
        .skip((page - 1) * size)
        .take(size)
        .map(|job| document::task(world, job, job.told_stage(now), now))
        .collect();
    World::spoil(success(json!(tasks)), fault, || refuse(5000, "internal error"))
}
