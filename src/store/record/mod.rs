//! Task to stored form and back. Every field is named in both directions, so that
//! a new one asks to be handled; bad data is an answer, never a panic.

mod announcement;
mod state;
mod submission;
mod words;

use std::time::{Duration, SystemTime};

pub(super) use announcement::{read_announcement, write_announcement};
pub(super) use state::{read_state, write_state};
pub(super) use submission::{read_submission, write_submission};

/// The generated messages.
#[allow(clippy::all, clippy::pedantic, missing_docs, reason = "generated")]
pub(super) mod wire {
    include!(concat!(env!("OUT_DIR"), "/videogen.store.v1.rs"));
}

/// What is wrong with stored bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRecord {
    /// Not what the schema says.
    #[error("not readable: {0}")]
    Unreadable(#[from] prost::DecodeError),
    /// A number that stands for no word known here.
    #[error("unknown {0}: {1}")]
    UnknownWord(&'static str, i32),
    /// Something that is always written is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A value that cannot be right.
    #[error("{0} is not valid")]
    Invalid(&'static str),
}

fn to_ms(time: SystemTime) -> i64 {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => ms(after),
        Err(before) => -ms(before.duration()),
    }
}

fn from_ms(ms: i64) -> Result<SystemTime, BadRecord> {
    let distance = Duration::from_millis(ms.unsigned_abs());
    let time = if ms < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    time.ok_or(BadRecord::Invalid("a time"))
}

fn from_optional_ms(ms: Option<i64>) -> Result<Option<SystemTime>, BadRecord> {
    ms.map(from_ms).transpose()
}

fn duration_to_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn digest(bytes: &[u8], name: &'static str) -> Result<[u8; 32], BadRecord> {
    bytes.try_into().map_err(|_| BadRecord::Invalid(name))
}
