//! A task: where it is in its life and what is known about it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::id::{JobId, Marker, Revision, TaskId};
use super::spec::Submission;

/// The states of design section 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Durable; waits for a slot, a rate or its turn.
    Queued,
    /// The attempt's intent is durable; the paid create may be on the wire.
    Submitting,
    /// The create's outcome is unknown; it is being looked up.
    Reconciling,
    /// The job id is durable.
    Running,
    /// The provider is done; the file is being fetched, checked, stored.
    Archiving,
    /// The artifact is stored and its digest recorded.
    Succeeded,
    /// `failure` says why.
    Failed,
    /// Stopped for certain.
    Cancelled,
}

impl State {
    /// Every state, in the order of a task's life.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Submitting,
        Self::Reconciling,
        Self::Running,
        Self::Archiving,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Whether watchers need not wait for more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The word used in logs, on the command line and in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Submitting => "SUBMITTING",
            Self::Reconciling => "RECONCILING",
            Self::Running => "RUNNING",
            Self::Archiving => "ARCHIVING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// One request for one video, and everything that became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Ours.
    pub id: TaskId,
    /// How many times it was committed.
    pub revision: Revision,
    /// Where it is in its life.
    pub state: State,
    /// What was asked for; never changes.
    pub submission: Arc<Submission>,
    /// The job being followed, once it is known.
    pub job: Option<Job>,
    /// Further jobs that its creates bought, in the order in which they turned up.
    /// They are paid for: the first of them is followed once `job` has failed. At
    /// most [`SPARES_KEPT`].
    pub spares: Vec<Job>,
    /// How far the provider is.
    pub progress: Progress,
    /// What the provider made, before it is archived.
    pub output: Option<Output>,
    /// The stored file.
    pub artifact: Option<Artifact>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Every permission to send a paid create.
    pub attempts: Vec<Attempt>,
    /// What the provider reported to have charged.
    pub charges: Vec<Charge>,
    /// A request to cancel and what became of it.
    pub cancellation: Option<Cancellation>,
    /// The last states entered, oldest first.
    pub history: Vec<HistoryEntry>,
    /// Since when the provider says that it does not know the job.
    pub missing_since: Option<SystemTime>,
    /// How many answers in a row said so; counted no further than it takes.
    pub missing_answers: u32,
    /// When it was accepted.
    pub created: SystemTime,
    /// When it changed last.
    pub updated: SystemTime,
    /// When the first create was sent.
    pub started: Option<SystemTime>,
    /// When it reached a final state.
    pub ended: Option<SystemTime>,
    /// When it fails unless it has ended.
    pub deadline: SystemTime,
}

/// A provider's job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The provider's id.
    pub id: JobId,
    /// What its adapter needs to reach it again; opaque to everybody else. At
    /// most 1 KiB.
    pub handle: String,
}

/// How far the provider is, in its own words.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Progress {
    /// 0 to 100, when the provider gives one.
    pub percent: Option<f64>,
    /// How many jobs are ahead in the provider's queue.
    pub queue_position: Option<u32>,
    /// The last lines of its log, oldest first.
    pub log_lines: Vec<String>,
    /// Its word for the status.
    pub provider_status: String,
}

/// What the provider made.
#[derive(Clone, PartialEq, Eq)]
pub struct Output {
    /// Where to fetch it. A secret: whoever has it has the video.
    pub url: String,
    /// When the link stops working, as far as the provider says.
    pub expires: Option<SystemTime>,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// The stored file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Size in bytes.
    pub size: u64,
    /// Of the bytes.
    pub sha256: [u8; 32],
    /// By the file's own signature.
    pub media: Media,
    /// Pixels; 0 when the container does not tell.
    pub width: u32,
    /// Pixels; 0 when the container does not tell.
    pub height: u32,
    /// Length, when the container tells it.
    pub duration: Option<Duration>,
    /// Frames in 1000 s, on average; 0 when the container does not tell.
    pub frame_rate_milli: u32,
}

/// The containers that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `video/mp4`
    Mp4,
    /// `video/quicktime`
    QuickTime,
    /// `video/webm`
    WebM,
}

impl Media {
    /// The media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Mp4 => "video/mp4",
            Self::QuickTime => "video/quicktime",
            Self::WebM => "video/webm",
        }
    }

    /// The ending of its file name.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::QuickTime => "mov",
            Self::WebM => "webm",
        }
    }
}

/// Why a video could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of thing went wrong.
    pub kind: FailureKind,
    /// The provider's error code.
    pub provider_code: String,
    /// One line, redacted, at most 512 bytes.
    pub message: String,
    /// Whether the provider may have charged for it.
    pub maybe_charged: bool,
    /// Until when a late video still turns the task around. Nothing once that time
    /// is over, and where it never could.
    pub recoverable_until: Option<SystemTime>,
}

impl Failure {
    /// A failure that nothing was charged for and that stays.
    pub fn free(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            provider_code: String::new(),
            message: message.into(),
            maybe_charged: false,
            recoverable_until: None,
        }
    }

    /// A failure that may have cost money and that stays.
    pub fn charged(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { maybe_charged: true, ..Self::free(kind, message) }
    }

    /// The same failure with the provider's code.
    pub fn with_code(self, code: impl Into<String>) -> Self {
        Self { provider_code: code.into(), ..self }
    }
}

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The provider refused the request.
    ProviderRefused,
    /// Its content rules refused request or result.
    Moderated,
    /// It did not accept credentials or permissions.
    ProviderAuth,
    /// The account has no funds.
    ProviderFunds,
    /// It accepted the job and failed to make the video.
    ProviderFailed,
    /// It no longer knows a job that it had accepted.
    ProviderLostJob,
    /// The create's answer was lost, and looking it up settled nothing.
    SubmitOutcomeUnknown,
    /// The file could not be had before its link expired.
    ArtifactLost,
    /// What was fetched is not an intact video.
    ArtifactRejected,
    /// A link led to an address that we do not call.
    TargetForbidden,
    /// The time allowed was over.
    Deadline,
    /// An image of the request cannot be used; nothing was bought.
    ImageRejected,
}

impl FailureKind {
    /// The word used wherever tasks are written as JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ProviderRefused => "PROVIDER_REFUSED",
            Self::Moderated => "MODERATED",
            Self::ProviderAuth => "PROVIDER_AUTH",
            Self::ProviderFunds => "PROVIDER_FUNDS",
            Self::ProviderFailed => "PROVIDER_FAILED",
            Self::ProviderLostJob => "PROVIDER_LOST_JOB",
            Self::SubmitOutcomeUnknown => "SUBMIT_OUTCOME_UNKNOWN",
            Self::ArtifactLost => "ARTIFACT_LOST",
            Self::ArtifactRejected => "ARTIFACT_REJECTED",
            Self::TargetForbidden => "TARGET_FORBIDDEN",
            Self::Deadline => "DEADLINE",
            Self::ImageRejected => "IMAGE_REJECTED",
        }
    }
}

/// How a paid create ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// It may be on the wire.
    Pending,
    /// The provider took it.
    Accepted,
    /// The provider refused it.
    Refused,
    /// Surely not taken.
    NotSent,
    /// Nobody knows.
    Unknown,
}

/// One permission to send a paid create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// Sent along, to find the job by.
    pub marker: Marker,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// How many times the create was sent under this marker.
    pub sends: u32,
    /// When the intent was stored.
    pub started: SystemTime,
    /// When the last create under this marker was begun.
    pub sent: SystemTime,
    /// When the outcome was stored.
    pub ended: Option<SystemTime>,
    /// When its outcome was first unknown: the start of the look-up window.
    pub unknown_since: Option<SystemTime>,
    /// The job that it bought.
    pub job: Option<JobId>,
    /// What is known about the outcome, for people.
    pub note: String,
}

impl Attempt {
    /// Whether this job is on record as bought by it.
    pub fn has_bought(&self, job: &JobId) -> bool {
        let named = || self.note.split([' ', ',']).any(|word| word == job.as_str());
        self.job.as_ref() == Some(job) || self.job.is_some() && named()
    }
}

/// Something the provider reported to have charged, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The amount as written.
    pub amount: String,
    /// Unit or currency.
    pub unit: String,
    /// What for.
    pub description: String,
}

/// A request to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancellation {
    /// What became of it.
    pub outcome: CancelOutcome,
    /// When it was asked for.
    pub requested: SystemTime,
}

/// What a request to cancel achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// Stored as a wish.
    Requested,
    /// Cancelled for certain.
    Confirmed,
    /// The provider was asked; it may still complete and bill.
    AskedUpstream,
    /// The provider cannot cancel; the job goes on and is billed.
    NotSupported,
    /// The job had already ended, or the task failed before the provider could be
    /// told.
    TooLate,
}

impl CancelOutcome {
    /// The word used wherever tasks are written as JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Requested => "REQUESTED",
            Self::Confirmed => "CONFIRMED",
            Self::AskedUpstream => "ASKED_UPSTREAM",
            Self::NotSupported => "NOT_SUPPORTED",
            Self::TooLate => "TOO_LATE",
        }
    }
}

/// One step of a task's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The state entered.
    pub state: State,
    /// When.
    pub time: SystemTime,
    /// Why, for people.
    pub reason: String,
}

/// How many jobs are kept beside the one that is followed.
pub const SPARES_KEPT: usize = 4;

/// How many history entries are kept.
pub const HISTORY_KEPT: usize = 32;

impl Task {
    /// The attempt in force.
    pub fn attempt(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// Until when a late video still turns the failed task around.
    pub fn recoverable_until(&self) -> Option<SystemTime> {
        self.failure.as_ref().and_then(|failure| failure.recoverable_until)
    }

    /// Whether a late video still turns the failed task around.
    pub fn is_recoverable(&self, now: SystemTime) -> bool {
        self.recoverable_until().is_some_and(|until| now < until)
    }

    /// Whether a job is on record that one of its creates bought.
    pub fn has_bought(&self, job: &JobId) -> bool {
        self.job.iter().chain(&self.spares).any(|known| known.id == *job)
            || self.attempts.iter().any(|attempt| attempt.has_bought(job))
    }

    /// Whether anything may still happen to it: it is not final, or a late video
    /// may turn it around.
    pub fn is_open(&self) -> bool {
        !self.state.is_final() || self.recoverable_until().is_some()
    }
}

#[cfg(test)]
mod tests;
