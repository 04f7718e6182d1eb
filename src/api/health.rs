//! The standard health service. Written here rather than taken from tonic-health,
//! whose Watch ends with NOT_FOUND for unknown names, where the protocol asks for
//! SERVICE_UNKNOWN on an open stream, and never ends at a shutdown.

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::status;

/// The names that are known: the whole server, and the one service.
const NAMES: [&str; 2] = ["", "videogen.v1.VideoGen"];

/// Says whether the server serves.
#[derive(Clone, Debug)]
pub struct HealthService {
    serving: watch::Receiver<bool>,
    stop: CancellationToken,
}

impl HealthService {
    /// Reports what `serving` says, until `stop`.
    pub fn new(serving: watch::Receiver<bool>, stop: CancellationToken) -> Self {
        Self { serving, stop }
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

fn word(serving: bool) -> ServingStatus {
    if serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}

#[tonic::async_trait]
impl Health for HealthService {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let name = request.get_ref().service.as_str();
        if !NAMES.contains(&name) {
            return Err(status::service_not_found(name));
        }
        Ok(Response::new(answer(word(*self.serving.borrow()))))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let stop = self.stop.clone().cancelled_owned();
        if !NAMES.contains(&request.get_ref().service.as_str()) {
            let unknown = stream::once(async { Ok(answer(ServingStatus::ServiceUnknown)) });
            let end = stream::once(async { Err(status::not_ready(true)) });
            let held = unknown.chain(stream::pending()).take_until(stop).chain(end);
            return Ok(Response::new(held.boxed()));
        }
        let mut serving = self.serving.clone();
        serving.mark_changed();
        // The last word before the end is that nothing is served.
        let end = stream::iter([Ok(answer(ServingStatus::NotServing)), Err(status::not_ready(true))]);
        Ok(Response::new(changes(serving).take_until(stop).chain(end).boxed()))
    }
}

/// The status now and whenever it changes.
fn changes(serving: watch::Receiver<bool>) -> BoxStream<'static, Result<HealthCheckResponse, Status>> {
    stream::unfold(serving, |mut serving| async {
        serving.changed().await.ok()?;
        let now = *serving.borrow_and_update();
        Some((Ok(answer(word(now))), serving))
    })
    .boxed()
}
