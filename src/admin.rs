//! The operator's page: metrics in Prometheus' form, and two health pages for
//! whoever cannot speak gRPC. Not for the public.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

/// What the pages show.
#[derive(Clone)]
pub struct Pages {
    /// What was counted.
    pub metrics: PrometheusHandle,
    /// Whether the service serves.
    pub serving: watch::Receiver<bool>,
}

/// `/metrics`, `/livez` (the process answers) and `/readyz` (it serves).
pub fn router(pages: Pages) -> Router {
    Router::new()
        .route("/metrics", get(async |State(pages): State<Pages>| pages.metrics.render()))
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .with_state(pages)
}

async fn ready(State(pages): State<Pages>) -> (StatusCode, &'static str) {
    match *pages.serving.borrow() {
        true => (StatusCode::OK, "serving\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not serving\n"),
    }
}
