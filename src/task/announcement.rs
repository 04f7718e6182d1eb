//! What is told to webhooks: which change of a task is told as what, and what of
//! the task is told. Prompts, images and links are not: whoever may know them asks
//! for the task.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use super::id::{InvalidId, JobId, Revision, TaskId};
use super::state::{Artifact, Cancellation, Failure, State, Task};
use super::text::shortened;

/// What an id begins with.
const PREFIX: &str = "evt_";

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// The task has succeeded.
    Succeeded,
    /// The task has failed.
    Failed,
    /// The task was cancelled.
    Cancelled,
    /// The task had failed, and its video turned up.
    Recovered,
    /// Anything else has changed.
    Updated,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 5] = [Self::Succeeded, Self::Failed, Self::Cancelled, Self::Recovered, Self::Updated];

    /// The topics that are told unless somebody asks for others.
    pub const ENDS: [Self; 4] = [Self::Succeeded, Self::Failed, Self::Cancelled, Self::Recovered];

    /// The word by which receivers know it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "task.succeeded",
            Self::Failed => "task.failed",
            Self::Cancelled => "task.cancelled",
            Self::Recovered => "task.recovered",
            Self::Updated => "task.updated",
        }
    }

    /// What the change from one revision to the next is told as.
    pub fn of(before: &Task, after: &Task) -> Self {
        match (before.state, after.state) {
            (before, after) if before == after => Self::Updated,
            (State::Failed, State::Succeeded) => Self::Recovered,
            (_, State::Succeeded) => Self::Succeeded,
            (_, State::Failed) => Self::Failed,
            (_, State::Cancelled) => Self::Cancelled,
            _ => Self::Updated,
        }
    }
}

/// Names an announcement: the same however often it is sent. Those of one task sort
/// in the order in which they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnnouncementId {
    /// Whose change is told.
    pub task: TaskId,
    /// The revision that the change led to.
    pub revision: Revision,
}

impl fmt::Display for AnnouncementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_{}", self.task, self.revision.0)
    }
}

impl FromStr for AnnouncementId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (task, revision) = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or(InvalidId)?;
        let id = Self { task: task.parse()?, revision: Revision(revision.parse().map_err(|_| InvalidId)?) };
        (id.to_string() == text).then_some(id).ok_or(InvalidId)
    }
}

/// A change of a task that is still to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Announcement {
    /// Which one.
    pub id: AnnouncementId,
    /// What is told.
    pub topic: Topic,
    /// When the revision was committed.
    pub time: SystemTime,
    /// The task at that revision.
    pub shown: Shown,
    /// When somebody asked for it to be sent once more.
    pub replayed: Option<SystemTime>,
    /// Set once it is not sent any more.
    pub parked: Option<Parked>,
}

/// What of a changing task is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Where it is in its life.
    pub state: State,
    /// The provider's id of the job.
    pub job: Option<JobId>,
    /// How far the provider is, 0 to 100.
    pub percent: Option<f64>,
    /// The stored file.
    pub artifact: Option<Artifact>,
    /// Why it failed; its texts are bounded.
    pub failure: Option<Failure>,
    /// A request to cancel.
    pub cancellation: Option<Cancellation>,
    /// When the first create was sent.
    pub started: Option<SystemTime>,
    /// When it reached a final state.
    pub ended: Option<SystemTime>,
}

/// An announcement that is not sent any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Since when.
    pub time: SystemTime,
    /// Whether the receiver said that it is gone for good; else its time was over.
    pub gone: bool,
    /// How the last try ended, for people: one line of at most 200 bytes.
    pub note: String,
}

impl Announcement {
    /// What is to be told of the last change of a task.
    pub fn of(task: &Task, topic: Topic) -> Self {
        let id = AnnouncementId { task: task.id, revision: task.revision };
        Self { id, topic, time: task.updated, shown: Shown::of(task), replayed: None, parked: None }
    }

    /// Since when it is tried.
    pub fn since(&self) -> SystemTime {
        self.replayed.unwrap_or(self.time)
    }
}

impl Shown {
    fn of(task: &Task) -> Self {
        let bounded = |failure: &Failure| Failure {
            provider_code: shortened(&failure.provider_code, 120),
            message: shortened(&failure.message, 512),
            ..failure.clone()
        };
        Self {
            state: task.state,
            job: task.job.as_ref().map(|job| JobId::new(shortened(job.id.as_str(), 256))),
            percent: task.progress.percent,
            artifact: task.artifact.clone(),
            failure: task.failure.as_ref().map(bounded),
            cancellation: task.cancellation,
            started: task.started,
            ended: task.ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::fixture::task;
    use crate::task::state::FailureKind;

    #[test]
    fn each_change_has_its_topic() {
        let running = task(1).running();
        let failed = running.clone().failed(FailureKind::Deadline);
        let cases = [
            (task(1), running.clone(), Topic::Updated),
            (running.clone(), running.next(), Topic::Updated),
            (running.clone(), running.clone().succeeded(), Topic::Succeeded),
            (running.clone(), failed.clone(), Topic::Failed),
            (failed.clone(), failed.next(), Topic::Updated),
            (failed.clone(), failed.succeeded(), Topic::Recovered),
            (task(1), task(1).entered(State::Cancelled, "cancelled"), Topic::Cancelled),
        ];
        for (before, after, topic) in cases {
            assert_eq!(Topic::of(&before, &after), topic, "{:?} to {:?}", before.state, after.state);
        }
    }

    #[test]
    fn each_topic_has_the_word_that_receivers_know() {
        let words = ["task.succeeded", "task.failed", "task.cancelled", "task.recovered", "task.updated"];
        assert_eq!(Topic::ALL.map(Topic::word), words);
    }

    #[test]
    fn long_texts_of_others_are_cut_at_a_characters_edge() {
        let mut failed = task(1).running().failed(FailureKind::ProviderFailed);
        let failure = failed.failure.as_mut().expect("it has failed");
        (failure.provider_code, failure.message) = ("code".repeat(50), format!("a{}", "é".repeat(300)));
        let told = Announcement::of(&failed, Topic::Failed);
        let failure = told.shown.failure.clone().expect("it has failed");
        assert_eq!(failure.provider_code, "code".repeat(30));
        assert_eq!(failure.message, format!("a{}", "é".repeat(255)));
        assert_eq!(failure.kind, FailureKind::ProviderFailed);
    }

    #[test]
    fn what_is_told_once_more_is_tried_from_then_on() {
        let told = Announcement::of(&task(1), Topic::Updated);
        assert_eq!(told.since(), told.time);
        let replayed = told.time + std::time::Duration::from_secs(9);
        assert_eq!(Announcement { replayed: Some(replayed), ..told }.since(), replayed);
    }

    #[test]
    fn an_id_is_read_as_it_was_written_and_has_one_spelling() {
        let id = Announcement::of(&task(3).next(), Topic::Updated).id;
        assert_eq!(id.to_string().parse(), Ok(id));
        let text = id.to_string();
        for other in ["", "evt_", &text[4..], &format!("{text} "), &text.replace("_2", "_02"), &text.to_uppercase()] {
            assert_eq!(other.parse::<AnnouncementId>(), Err(InvalidId), "{other}");
        }
    }
}
