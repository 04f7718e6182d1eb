//! Names of things: identifiers that cannot be wrong once they exist.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A task's id: a UUIDv7, so that ids grow with time and sort by creation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(Uuid);

impl TaskId {
    /// Wraps a UUID that the clock made.
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The id as a big-endian number: the key in every ordered index.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// Reads what [`TaskId::to_bytes`] wrote.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The smallest id that a task created at `unix_ms` or later can have.
    pub const fn floor(unix_ms: u64) -> Self {
        Self(Uuid::from_u128((unix_ms as u128) << 80))
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TaskId {
    type Err = InvalidId;

    /// Accepts the hyphenated form only, so that one task has one spelling.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let uuid = Uuid::try_parse(text).map_err(|_| InvalidId)?;
        let id = Self(uuid);
        (id.to_string() == text).then_some(id).ok_or(InvalidId)
    }
}

/// The text is not an identifier of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid id")]
pub struct InvalidId;

/// A task's commit counter, from 1; 0 stands before the first commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Implements the plain text behaviour of an identifier.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Wraps a text that was checked where it came in.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// The caller's own id of a request; one request id, one task.
    RequestId
}
text_id! {
    /// The provider's id of a job.
    JobId
}
text_id! {
    /// The id that we choose and send along with a paid create.
    Marker
}
text_id! {
    /// The name of an account in the settings.
    AccountName
}

impl Marker {
    /// The marker of a task's attempt: the same whenever it is asked for, unique
    /// among all tasks, within 64 of `[A-Za-z0-9_-]`.
    pub fn of(task: TaskId, attempt: u32) -> Self {
        Self(format!("vg-{}-{attempt}", task.0.simple()))
    }

    /// The task that the marker names, if it is one of ours.
    pub fn task(&self) -> Option<TaskId> {
        let (task, _) = self.0.strip_prefix("vg-")?.split_once('-')?;
        Uuid::try_parse(task).ok().map(TaskId)
    }
}

/// A model's full name, `provider/id`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelName(String);

impl ModelName {
    /// Accepts `provider/id` with both parts present.
    pub fn parse(text: &str) -> Option<Self> {
        let (provider, id) = text.split_once('/')?;
        (!provider.is_empty() && !id.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first slash.
    pub fn provider(&self) -> &str {
        self.0.split_once('/').map_or("", |(provider, _)| provider)
    }

    /// The part after the first slash: the provider's own name for the model.
    pub fn id(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, id)| id)
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_of_an_id_is_read() {
        let id = TaskId::new(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "../../etc/passwd", "\0", &id.to_string().to_uppercase(), &id.0.simple().to_string()] {
            let read = text.parse::<TaskId>();
            assert!(read.is_err() || text == id.to_string(), "{text:?}");
        }
    }

    #[test]
    fn ids_sort_by_the_time_of_creation() {
        let id = TaskId::new(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
        assert_eq!(TaskId::from_bytes(id.to_bytes()), id);
        assert_eq!(id.to_bytes()[..2], [0x01, 0x90]);
        let created = 0x0190_0000_0000;
        assert!(TaskId::floor(created) < id && id < TaskId::floor(created + 1));
    }

    #[test]
    fn a_models_name_has_two_parts() {
        let name = ModelName::parse("fal/fal-ai/veo3").expect("it has both");
        assert_eq!((name.provider(), name.id()), ("fal", "fal-ai/veo3"));
        assert_eq!((name.as_str(), name.to_string()), ("fal/fal-ai/veo3", "fal/fal-ai/veo3".to_owned()));
        for text in ["", "/", "fal", "fal/", "/veo3"] {
            assert_eq!(ModelName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_marker_stays_within_what_providers_accept() {
        let task = TaskId::new(Uuid::from_u128(u128::MAX));
        let marker = Marker::of(task, u32::MAX);
        assert_eq!(marker.task(), Some(task));
        assert!(marker.as_str().len() <= 64);
        assert!(marker.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    }
}
