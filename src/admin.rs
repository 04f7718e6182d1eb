//! The operator's page: metrics in Prometheus' form, and two health pages for
//! whoever cannot speak gRPC. Not for the public.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

use crate::ledger::admission::Refusal;

/// What the pages show.
#[derive(Clone)]
pub struct Pages {
    /// What was counted.
    pub metrics: PrometheusHandle,
    /// Whether the service serves.
    pub serving: watch::Receiver<bool>,
    /// Why nothing new is taken in, if so.
    pub refusal: watch::Receiver<Option<Refusal>>,
}

/// `/metrics`, `/livez` (the process answers) and `/readyz` (it serves; tasks and
/// videos are served, and this page says so, also while new tasks are refused).
pub fn router(pages: Pages) -> Router {
    Router::new()
        .route("/metrics", get(async |State(pages): State<Pages>| pages.metrics.render()))
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .with_state(pages)
}

async fn ready(State(pages): State<Pages>) -> (StatusCode, String) {
    if !*pages.serving.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "not serving\n".into());
    }
    let refusal = *pages.refusal.borrow();
    let refused = refusal.map(|refusal| format!("new tasks are refused: {}\n", refusal.reason()));
    (StatusCode::OK, format!("serving\n{}", refused.unwrap_or_default()))
}
