//! The machine's tests share these words: a [`Life`] is a task and its clock, and
//! tells a story event by event. The tests proper stand one idea a file below.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Applied, accept, apply};
use crate::task::event::{Event, Observation};
use crate::task::fixture;
use crate::task::id::JobId;
use crate::task::spec::UnknownPolicy;
use crate::task::state::{
    Artifact, CancelOutcome, Charge, Failure, FailureKind, Job, Media, Output, Progress, State, Task,
};

mod invariants;
mod properties;
mod random;
mod reference;
mod stories;
mod table;
mod texts;
mod walk;

const ONCE: UnknownPolicy = UnknownPolicy::AtMostOnce;
const TWICE: UnknownPolicy = UnknownPolicy::AtLeastOnce { max_paid_attempts: 2 };

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A task and the time in which it lives.
#[derive(Clone, Debug)]
struct Life {
    task: Task,
    now: SystemTime,
}

impl Life {
    /// A task as Submit stores it.
    fn begin(policy: UnknownPolicy) -> Self {
        let mut submission = fixture::task(1).submission;
        Arc::make_mut(&mut submission).policy = policy;
        let now = fixture::created(1);
        Self { task: accept(fixture::id(1), submission, now), now }
    }

    /// What the event would make of the task a second from now.
    fn judged(&self, event: &Event) -> Applied {
        apply(&self.task, event, self.now + SECOND)
    }

    /// A second later the event happens, and changes the task.
    fn then(self, event: Event) -> Self {
        let now = self.now + SECOND;
        match apply(&self.task, &event, now) {
            Applied::Next(task) => Self { task: *task, now },
            other => panic!("{event:?} in {:?} was {other:?}", self.task.state),
        }
    }

    /// Time passes.
    fn after(self, time: Duration) -> Self {
        Self { now: self.now + time, ..self }
    }

    /// Time passes until the task's own limit.
    fn at_deadline(self) -> Self {
        Self { now: self.now.max(self.task.deadline), ..self }
    }

    /// Time passes until a failure can no longer be recovered, if there is one.
    fn past_recovery(self) -> Self {
        let until = self.task.recoverable_until();
        let life = self.at_deadline();
        Self { now: until.map_or(life.now, |until| life.now.max(until)), ..life }
    }

    fn sent(self) -> Self {
        self.then(Event::CreateStarted)
    }

    fn lost(self) -> Self {
        self.then(unknown())
    }

    fn cancel(self) -> Self {
        self.then(Event::CancelRequested)
    }

    fn running(self) -> Self {
        self.sent().then(accepted("a"))
    }

    fn archiving(self) -> Self {
        self.running().then(done("link"))
    }

    fn cancellation(&self) -> Option<CancelOutcome> {
        self.task.cancellation.map(|cancellation| cancellation.outcome)
    }

    fn failure(&self) -> &Failure {
        self.task.failure.as_ref().expect("it has failed")
    }

    fn is(&self, state: State) -> bool {
        self.task.state == state
    }
}

fn job(id: &str) -> Job {
    Job { id: JobId::new(id), handle: String::new() }
}

fn accepted(id: &str) -> Event {
    Event::CreateAccepted(job(id))
}

fn not_sent() -> Event {
    Event::CreateNotSent { reason: "connection refused".into() }
}

fn throttled() -> Event {
    Event::CreateThrottled { reason: "too many at once".into() }
}

fn refused() -> Event {
    Event::CreateRefused(Failure::free(FailureKind::ProviderRefused, "no such duration"))
}

fn unknown() -> Event {
    Event::CreateUnknown { reason: "the answer was lost".into() }
}

fn found(attempt: u32, id: &str) -> Event {
    Event::JobFound { attempt, job: job(id) }
}

fn pending(word: &str) -> Event {
    Event::Observed(Observation::Pending(Progress { provider_status: word.into(), ..Progress::default() }))
}

fn done(link: &str) -> Event {
    let output = Output { url: format!("https://files.example/{link}"), expires: None };
    Event::Observed(Observation::Succeeded { output, charges: vec![charge("1")] })
}

fn gave_up() -> Event {
    let failure = Failure::charged(FailureKind::ProviderFailed, "the model fell over");
    Event::Observed(Observation::Failed { failure, charges: Vec::new() })
}

fn missing() -> Event {
    Event::Observed(Observation::Missing)
}

fn answered(outcome: CancelOutcome) -> Event {
    Event::CancelAnswered(outcome)
}

fn stored() -> Event {
    let sha256 = [7; 32];
    let (media, width, height, duration, frame_rate_milli) = (Media::Mp4, 0, 0, None, 0);
    Event::ArtifactStored(Artifact { size: 9, sha256, media, width, height, duration, frame_rate_milli })
}

fn unkept() -> Event {
    Event::ArtifactFailed(Failure::charged(FailureKind::ArtifactLost, "the link is dead"))
}

fn held() -> Event {
    Event::Held { reason: "the account is held".into() }
}

fn bad_image() -> Event {
    Event::ImageRejected(Failure::free(FailureKind::ImageRejected, "spec.start_image: it is gone"))
}

fn charge(amount: &str) -> Charge {
    Charge { amount: amount.into(), unit: "unit".into(), description: String::new() }
}
