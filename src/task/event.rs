//! What can happen to a task. A step of the supervisor, a cancel call or an
//! archived file records exactly one of these.

use super::state::{Artifact, CancelOutcome, Charge, Failure, Job, Output, Progress};

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A paid create is about to be sent: the intent, stored before the first byte.
    CreateStarted,
    /// The same create is about to be sent again under the same marker, to a
    /// provider that refuses duplicates.
    ResendStarted,
    /// The provider took the create.
    CreateAccepted(Job),
    /// The create surely never reached the provider.
    CreateNotSent {
        /// For people.
        reason: String,
    },
    /// The provider turned the create away as one too many; nothing was made.
    CreateThrottled {
        /// For people.
        reason: String,
    },
    /// The provider refused the create.
    CreateRefused(Failure),
    /// Nobody knows whether the provider took the create.
    CreateUnknown {
        /// For people.
        reason: String,
    },
    /// A look-up or a callback found the job of an attempt.
    JobFound {
        /// The attempt that bought it.
        attempt: u32,
        /// The job.
        job: Job,
    },
    /// The look-up window is over and the policy allows no further create.
    WindowOver,
    /// A poll told something about the job.
    Observed(Observation),
    /// The time allowed is over; after a failure, the time to recover it.
    DeadlinePassed,
    /// An image of the request cannot be used; nothing was bought.
    ImageRejected(Failure),
    /// It rests for a reason that people are told once: its account is held, or it
    /// is quarantined.
    Held {
        /// For people.
        reason: String,
    },
    /// The caller wants it stopped.
    CancelRequested,
    /// What asking the provider to cancel achieved.
    CancelAnswered(CancelOutcome),
    /// The file is stored.
    ArtifactStored(Artifact),
    /// The file cannot be had, or is not an intact video.
    ArtifactFailed(Failure),
}

/// What a poll, or a callback that was confirmed by one, told about a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// The provider is still at it, or says nothing that we understand.
    Pending(Progress),
    /// It is done.
    Succeeded {
        /// What it made.
        output: Output,
        /// What it reported to have charged.
        charges: Vec<Charge>,
    },
    /// It gave up.
    Failed {
        /// Why.
        failure: Failure,
        /// What it reported to have charged all the same.
        charges: Vec<Charge>,
    },
    /// It does not know the job.
    Missing,
}
