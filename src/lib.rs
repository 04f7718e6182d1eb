//! VideoGen: a gRPC service that buys a video from a slow, paid provider once,
//! follows it until it is ready, and keeps the file.

pub mod admin;
pub mod api;
pub mod app;
pub mod archive;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
#[cfg(test)]
pub(crate) mod dice;
mod failpoint;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod images;
pub mod ledger;
pub mod network;
pub mod outbox;
pub mod providers;
pub mod simulator;
pub mod store;
pub mod supervisor;
pub mod task;
pub mod telemetry;
pub mod upkeep;
pub mod webhook;
pub mod wire;
