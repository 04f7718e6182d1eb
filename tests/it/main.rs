//! Through the front door: each test starts the real service on port 0, with the
//! real store in a folder of its own and the simulator for a provider, and speaks
//! gRPC to it.

mod admission;
mod artifacts;
mod callbacks;
mod cancel;
#[path = "../common/mod.rs"]
mod common;
mod disk;
mod download;
mod faults;
mod hosts;
mod house;
mod images;
mod input;
mod jobs;
mod limits;
mod links;
mod list;
mod picture;
mod preflight;
mod process;
mod raw;
mod reflection;
mod retention;
mod story;
mod submit;
mod watch;
mod webhooks;
