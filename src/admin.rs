//! The operator's page: metrics in Prometheus' form, two health pages for whoever
//! cannot speak gRPC, and the order to make a backup. Not for the public.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;
use tracing::error;

use crate::ledger::admission::Refusal;
use crate::store::backup::{BackupError, Shelf};

/// What the pages show.
#[derive(Clone)]
pub struct Pages {
    /// What was counted.
    pub metrics: PrometheusHandle,
    /// Whether the service serves.
    pub serving: watch::Receiver<bool>,
    /// Why nothing new is taken in, if so.
    pub refusal: watch::Receiver<Option<Refusal>>,
    /// Where backups go, once the store is open and if the settings name a folder.
    pub shelf: Arc<OnceLock<Arc<Shelf>>>,
}

/// `/metrics`, `/livez` (the process answers) and `/readyz` (it serves; tasks and
/// videos are served, and this page says so, also while new tasks are refused);
/// a POST to `/backup` makes a backup in the folder of the settings.
pub fn router(pages: Pages) -> Router {
    Router::new()
        .route("/metrics", get(async |State(pages): State<Pages>| pages.metrics.render()))
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/backup", post(backup))
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

async fn backup(State(pages): State<Pages>, headers: HeaderMap) -> (StatusCode, String) {
    // A browser names the page that made it call; no page has a reason to.
    if headers.contains_key(ORIGIN) {
        return (StatusCode::FORBIDDEN, "not for browsers\n".into());
    }
    let Some(shelf) = pages.shelf.get() else {
        return (StatusCode::NOT_FOUND, "backup.path is not set, or the server is starting\n".into());
    };
    match shelf.make().await {
        Ok((file, found)) => {
            let made = serde_json::json!({ "file": file, "tasks": found.tasks, "damaged": found.damaged });
            (StatusCode::OK, format!("{made}\n"))
        }
        Err(error @ BackupError::Busy) => (StatusCode::CONFLICT, format!("{error}\n")),
        Err(error) => {
            error!(%error, "no backup could be made");
            (StatusCode::INTERNAL_SERVER_ERROR, "the backup could not be made; the log says why\n".into())
        }
    }
}
