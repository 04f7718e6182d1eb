//! The task: its words, its life, its rules. Pure: no async, no I/O, no clock, no
//! randomness; time and jitter come in as arguments.

pub mod announcement;
pub mod backoff;
pub mod event;
#[cfg(test)]
pub mod fixture;
pub mod id;
pub mod machine;
pub mod picture;
pub mod spec;
pub mod state;
pub mod text;
pub mod transition;
