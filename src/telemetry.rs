//! Logs and counters of this process. `VIDEOGEN_LOG` chooses what is logged, in the
//! form of tracing's EnvFilter; the default is `info`.

use std::io::IsTerminal;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Sends logs to standard error: lines for a terminal, JSON for everybody else. A
/// second call changes nothing.
pub fn log() {
    let filter = EnvFilter::try_from_env("VIDEOGEN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Somebody, such as a test, may have set a subscriber; theirs stays.
    let _ = match std::io::stderr().is_terminal() {
        true => lines.with_target(false).try_init(),
        false => lines.json().flatten_event(true).with_span_list(false).try_init(),
    };
}

/// Counts from now on. There is one recorder a process; every caller gets it.
pub fn metrics() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER
        .get_or_init(|| {
            let recorder = PrometheusBuilder::new().build_recorder();
            let handle = recorder.handle();
            // Another recorder may be in place; then ours stays empty.
            let _ = metrics::set_global_recorder(recorder);
            handle
        })
        .clone()
}
