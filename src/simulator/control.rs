//! The door for tests and operators: which faults are in force, which creates
//! were accepted, where each job stands.

use axum::http::Method;
use serde_json::{Value, json};

use super::answer::{Answer, Call};
use super::faults::Fault;
use super::world::{World, now};

/// Answers `/simulator/{what}`.
pub(crate) fn answer(world: &World, call: &Call, what: &str) -> Answer {
    match (&call.method, what) {
        (&Method::POST, "faults") => add(world, call),
        (&Method::GET, "faults") => Answer::json(200, &json!({"faults": world.faults.list()})),
        (&Method::DELETE, "faults") => {
            world.faults.clear();
            Answer::json(200, &json!({"faults": []}))
        }
        (&Method::GET, "ledger") => {
            let creates = world.ledger.entries();
            Answer::json(200, &json!({"count": creates.len(), "creates": creates}))
        }
        (&Method::GET, "jobs") => {
            let now = now();
            let jobs: Vec<Value> = world.book.all().iter().take(10_000).map(|job| job.describe(now)).collect();
            Answer::json(200, &json!({"count": jobs.len(), "jobs": jobs}))
        }
        (&Method::GET, "health") => Answer::json(200, &json!({"status": "ok"})),
        _ => Answer::json(404, &json!({"error": "no such page; try faults, ledger, jobs or health"})),
    }
}

/// Takes one rule, or a list of them.
fn add(world: &World, call: &Call) -> Answer {
    let read = serde_json::from_slice::<Value>(&call.body).and_then(|value| match value {
        Value::Array(_) => serde_json::from_value::<Vec<Fault>>(value),
        one => serde_json::from_value::<Fault>(one).map(|fault| vec![fault]),
    });
    match read {
        Err(error) => Answer::json(400, &json!({"error": error.to_string()})),
        Ok(faults) => {
            let taken = faults.into_iter().all(|fault| world.faults.add(fault));
            let status = if taken { 200 } else { 429 };
            Answer::json(status, &json!({"faults": world.faults.list()}))
        }
    }
}
