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
use crate::ledger::admission::Refusal;

/// The names that are known: the whole server, the one service, and the call that
/// may be refused while all others are served.
const NAMES: [&str; 3] = ["", "videogen.v1.VideoGen", SUBMIT];
const SUBMIT: &str = "videogen.v1.VideoGen/Submit";

/// Says whether the server serves, and apart from that whether it takes in new
/// tasks: a full disk must not take reads and downloads out of service.
#[derive(Clone, Debug)]
pub struct HealthService {
    serving: watch::Receiver<bool>,
    refusal: watch::Receiver<Option<Refusal>>,
    stop: CancellationToken,
}

impl HealthService {
    /// Reports what `serving` says, and of Submit what `refusal` says, until `stop`.
    pub fn new(
        serving: watch::Receiver<bool>,
        refusal: watch::Receiver<Option<Refusal>>,
        stop: CancellationToken,
    ) -> Self {
        Self { serving, refusal, stop }
    }

    /// The status of a name; nothing when it is unknown.
    fn status(&mut self, name: &str) -> Option<ServingStatus> {
        let refused = self.refusal.borrow_and_update().is_some() && name == SUBMIT;
        let serving = *self.serving.borrow_and_update() && !refused;
        NAMES.contains(&name).then(|| word(serving))
    }

    /// Waits for a change of anything; false when there will be none.
    async fn changed(&mut self) -> bool {
        tokio::select! {
            changed = self.serving.changed() => changed.is_ok(),
            changed = self.refusal.changed() => changed.is_ok(),
        }
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
        match self.clone().status(name) {
            Some(status) => Ok(Response::new(answer(status))),
            None => Err(status::service_not_found(name)),
        }
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let stop = self.stop.clone().cancelled_owned();
        let name = request.into_inner().service;
        if !NAMES.contains(&name.as_str()) {
            let unknown = stream::once(async { Ok(answer(ServingStatus::ServiceUnknown)) });
            let end = stream::once(async { Err(status::not_ready(true)) });
            let held = unknown.chain(stream::pending()).take_until(stop).chain(end);
            return Ok(Response::new(held.boxed()));
        }
        // The last word before the end is that nothing is served.
        let end = stream::iter([Ok(answer(ServingStatus::NotServing)), Err(status::not_ready(true))]);
        Ok(Response::new(changes(self.clone(), name).take_until(stop).chain(end).boxed()))
    }
}

/// The status of a known name now and whenever it changes.
fn changes(health: HealthService, name: String) -> BoxStream<'static, Result<HealthCheckResponse, Status>> {
    stream::unfold((health, None), move |(mut health, shown)| {
        let name = name.clone();
        async move {
            loop {
                let now = health.status(&name)?;
                if shown != Some(now) {
                    return Some((Ok(answer(now)), (health, Some(now))));
                }
                if !health.changed().await {
                    return None;
                }
            }
        }
    })
    .boxed()
}
