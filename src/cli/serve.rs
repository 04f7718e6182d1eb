//! `videogen serve`: the service itself.

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use super::settings::SettingsArgs;
use super::text::say;
use super::trouble::{Outcome, Trouble};
use crate::app::{App, Ended};
use crate::{store, telemetry};

/// Run the service.
///
/// Accounts come from the settings file or the environment. With none of them set, KLINGAI_API_KEY (or KLINGAI_ACCESS_KEY
/// with KLINGAI_SECRET_KEY) makes an account called kling, and FAL_KEY one called fal. Each door is announced as one line,
/// 'listening grpc=ADDRESS', on standard error once it accepts. SIGTERM and Ctrl-C drain: what is under way finishes,
/// streams are told to resume, and the process ends with 0 within server.shutdown_grace. VIDEOGEN_LOG chooses what is
/// logged: error, warn, info, debug.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  FAL_KEY=... videogen serve
  videogen serve --config videogen.toml --grpc-listen 0.0.0.0:50051")]
pub(super) struct ServeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) async fn run(args: ServeArgs) -> Result<Outcome, Trouble> {
    let settings = args.settings.load()?;
    telemetry::log();
    store::abort_when_its_threads_panic();
    // Tasks and videos are nobody else's to read.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let told = told_to_stop().map_err(|error| Trouble::Local(format!("signals: {error}")))?;
    let app = App::start(&settings).await.map_err(|error| Trouble::Local(error.to_string()))?;
    let doors = app.addresses();
    say(&format!("listening grpc={}", doors.grpc));
    say(&format!("listening callback={}", doors.callback));
    say(&format!("listening admin={}", doors.admin));
    match app.run_until(told).await {
        Ended::Drained => Ok(Outcome::Done),
        Ended::GraceOver => Err(Trouble::Local("the grace was over before everything had finished".into())),
        Ended::PartEnded => Err(Trouble::Local("a part of the service ended by itself; the log says which".into())),
        Ended::StoreStopped => Err(Trouble::Local("the store has stopped; start again to recover".into())),
    }
}

/// The first SIGTERM or Ctrl-C. A second one ends the process at once.
pub(super) fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM"),
            _ = interrupt.recv() => info!("SIGINT"),
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(130);
        });
    })
}
