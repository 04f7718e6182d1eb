//! What the providers say and want to hear: their JSON in both directions, their
//! tokens and signatures. Pure: no async, no I/O, no clock, no randomness.

pub mod capability;
pub mod fal;
pub mod fal_history;
pub mod kling;
pub mod kling_legacy;
pub mod kling_new;
pub mod liberal;
pub mod signature;
