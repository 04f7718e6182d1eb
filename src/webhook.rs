//! The HTTP door for provider callbacks. A callback is a hint: it makes its task
//! due now, and the poll that follows decides. Nothing in its body is believed, so
//! a forged, doubled or late one costs one poll at most.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use tokio::sync::Semaphore;
use tracing::debug;

use crate::failpoint::failpoint;
use crate::ledger::Ledger;
use crate::task::id::Marker;
use crate::wire::capability::Capabilities;

/// The largest body that is read.
const BODY_LIMIT: usize = 1024 * 1024;
/// How long a caller may take to send it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many callers are heard at once.
const CALLERS: usize = 64;

/// What the door opens to.
#[derive(Clone)]
pub struct Door {
    ledger: Arc<Ledger>,
    capabilities: Capabilities,
    callers: Arc<Semaphore>,
}

impl Door {
    /// Lets callbacks with a capability through to the ledger.
    pub fn new(ledger: Arc<Ledger>, capabilities: Capabilities) -> Self {
        Self { ledger, capabilities, callers: Arc::new(Semaphore::new(CALLERS)) }
    }

    /// `POST /callbacks/{marker}/{capability}`; everything else is not found.
    pub fn router(self) -> Router {
        Router::new()
            .route("/callbacks/{marker}/{capability}", post(hear))
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .with_state(self)
    }
}

async fn hear(State(door): State<Door>, Path((marker, capability)): Path<(String, String)>, body: Body) -> StatusCode {
    let Ok(_place) = door.callers.try_acquire() else { return StatusCode::SERVICE_UNAVAILABLE };
    if !door.capabilities.admits(&marker, &capability) {
        return StatusCode::NOT_FOUND;
    }
    let Some(task) = Marker::new(marker).task() else { return StatusCode::NOT_FOUND };
    // The body is read to its end, so that the caller sees its delivery succeed.
    let read: Result<Result<Bytes, _>, _> =
        tokio::time::timeout(PATIENCE, axum::body::to_bytes(body, BODY_LIMIT)).await;
    match read {
        Err(_) => return StatusCode::REQUEST_TIMEOUT,
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE,
        Ok(Ok(_)) => {}
    }
    debug!(task_id = %task, "a callback makes the task due");
    metrics::counter!("videogen_callbacks_total").increment(1);
    failpoint!("callback.heard");
    door.ledger.nudge(task);
    failpoint!("callback.nudged");
    StatusCode::OK
}
