//! A job as Kling writes it down, in queries and in callbacks of both standards.

use serde_json::{Value, json};

use super::super::account::sha256;
use super::super::book::{Ending, Job, Stage};
use super::super::faults::{FaultKind, Standard};
use super::super::file;
use super::super::world::World;

/// The answer to a create.
pub(crate) fn created(job: &Job) -> Value {
    match job.standard {
        Standard::Legacy => json!({
            "task_id": job.id, "task_status": "submitted", "task_info": task_info(job),
            "created_at": job.created, "updated_at": job.created,
        }),
        Standard::New | Standard::Any => json!({
            "id": job.id, "status": "submitted", "create_time": job.created, "update_time": job.created,
            "external_id": job.marker.as_deref().unwrap_or(""),
        }),
    }
}

/// The job at a stage, with a fresh link when it has succeeded.
pub(crate) fn task(world: &World, job: &Job, stage: Stage, now: u64) -> Value {
    match job.standard {
        Standard::Legacy => legacy(world, job, stage, now),
        Standard::New | Standard::Any => new(world, job, stage, now),
    }
}

fn new(world: &World, job: &Job, stage: Stage, now: u64) -> Value {
    let mut task = json!({
        "id": job.id, "status": status(world, job, stage), "message": message(job, stage),
        "create_time": job.created, "update_time": updated(job, stage, now),
        "external_id": job.marker.as_deref().unwrap_or(""), "outputs": [], "billing": [],
    });
    if succeeded(job, stage) {
        let mut output = video(world, job);
        output["type"] = json!("video");
        task["outputs"] = json!([output]);
        task["billing"] = json!([{"charge_type": "unit", "package_type": "video",
            "amount": charge(job), "list_price": "0.7"}]);
    }
    task
}

fn legacy(world: &World, job: &Job, stage: Stage, now: u64) -> Value {
    let mut task = json!({
        "task_id": job.id, "task_status": status(world, job, stage), "task_status_msg": message(job, stage),
        "task_info": task_info(job), "watermark_info": {"enabled": job.watermark},
        "created_at": job.created, "updated_at": updated(job, stage, now),
    });
    if succeeded(job, stage) {
        task["task_result"] = json!({"videos": [video(world, job)]});
        task["final_unit_deduction"] = json!(charge(job));
        task["final_balance_deduction"] = json!({"quota": "0", "list_price": "0"});
    }
    task
}

fn task_info(job: &Job) -> Value {
    match &job.marker {
        Some(marker) => json!({"external_task_id": marker}),
        None => json!({}),
    }
}

fn succeeded(job: &Job, stage: Stage) -> bool {
    stage == Stage::Ended && job.ending() == Ending::Success
}

fn status(world: &World, job: &Job, stage: Stage) -> &'static str {
    let running = matches!(stage, Stage::Queued | Stage::Running);
    let unknown = || world.job_fault(job, super::super::faults::Moment::Poll, |kind| kind == FaultKind::UnknownStatus);
    if running && unknown().is_some() {
        return "rendering_preview";
    }
    match (stage, job.ending(), job.standard) {
        (Stage::Queued, ..) => "submitted",
        (Stage::Running, ..) => "processing",
        (Stage::Ended, Ending::Failure { .. }, _) => "failed",
        (Stage::Ended, Ending::Success, Standard::Legacy) => "succeed",
        (Stage::Ended, Ending::Success, _) => "succeeded",
    }
}

fn message(job: &Job, stage: Stage) -> String {
    match (stage, job.ending()) {
        (Stage::Ended, Ending::Failure { message, .. }) => message,
        _ => String::new(),
    }
}

fn updated(job: &Job, stage: Stage, now: u64) -> u64 {
    match stage {
        Stage::Queued => job.created,
        Stage::Running => now.min(job.ended_at().unwrap_or(now)).max(job.created),
        Stage::Ended => job.ended_at().unwrap_or(now),
    }
}

/// The video in the form that both standards share.
fn video(world: &World, job: &Job) -> Value {
    let link = file::issue(world, job);
    let watermark = if job.watermark { link.clone() } else { String::new() };
    json!({"id": output_id(job), "url": link, "watermark_url": watermark,
        "duration": format!("{}.0", job.shape.seconds)})
}

/// The id of the output, which is not the id of the job.
pub(super) fn output_id(job: &Job) -> String {
    format!("v{}", sha256(job.id.as_bytes()).chars().take(16).collect::<String>())
}

/// What it cost, as text: one unit a second at the least.
fn charge(job: &Job) -> String {
    format!("{}", f64::from(job.shape.seconds) * 0.8)
}
