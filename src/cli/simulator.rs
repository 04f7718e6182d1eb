//! `videogen simulator`: the providers' wire protocols on loopback, for tests
//! that cost nothing.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;

use super::serve::told_to_stop;
use super::text::say;
use super::trouble::{Outcome, Trouble};
use crate::config::parse_duration;
use crate::simulator::{Settings, Simulator};
use crate::telemetry;

/// Run the simulated providers, for tests that cost nothing.
///
/// Speaks Kling's and fal's real wire protocols and keeps its own ledger of every job it accepted. Prints
/// 'listening simulator=ADDRESS' on standard error once it accepts. It misbehaves on request: POST /simulator/faults, or
/// words such as [sim:fail], [sim:accept_drop] and [sim:latency=2s] inside a prompt; GET /simulator/ledger tells what was
/// bought.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  videogen simulator --listen 127.0.0.1:9090 --ledger ledger.jsonl --latency 2s")]
pub(super) struct SimulatorArgs {
    /// Where to listen; port 0 picks one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9090")]
    listen: SocketAddr,

    /// Append every accepted create to this file.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,

    /// How long a job takes [default: 5s to 7s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    latency: Option<Duration>,

    /// The part of status queries that fail, 0 to 1.
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    poll_error_rate: f64,

    /// The shorter side of a clip in pixels; small clips are drawn sooner [default: 360]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(64..=1_080))]
    short_side: Option<u32>,
}

pub(super) async fn run(args: SimulatorArgs) -> Result<Outcome, Trouble> {
    telemetry::log();
    let told = told_to_stop().map_err(|error| Trouble::Local(format!("signals: {error}")))?;
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| Trouble::Local(format!("--listen {}: {error}", args.listen)))?;
    let defaults = Settings::default();
    let settings = Settings {
        ledger: args.ledger,
        latency: args.latency.map_or(defaults.latency, |latency| latency..latency),
        poll_error_rate: args.poll_error_rate.clamp(0.0, 1.0),
        short_side: args.short_side.unwrap_or(defaults.short_side),
        ..Settings::default()
    };
    let simulator = Simulator::start(listener, settings).await.map_err(|error| Trouble::Local(format!("{error}")))?;
    say(&format!("listening simulator={}", simulator.address()));
    told.await;
    simulator.stop().await;
    Ok(Outcome::Done)
}
