//! The life of a task, as two pure functions. [`apply`] gives the next task or
//! says that the event is not allowed here; every state × event cell is written
//! out. [`next`] derives from the stored task what to do now, so that a restart
//! is the normal path and a crash loses no plan.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::event::Event;
use super::id::{Revision, TaskId};
use super::spec::Submission;
use super::state::{HistoryEntry, Progress, State, Task};
use super::transition::{Step, wants_cancel};

/// How long a task may wait for its first create. It costs nothing, so it is
/// long: a batch above the provider's limits must not fail for being a batch.
pub const QUEUE_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// What an event made of a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// The next task, to be committed.
    Next(Box<Task>),
    /// Nothing changed: nothing is to be written.
    Same,
    /// The event is not allowed in this state; the task stays as it is.
    NotAllowed,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Send the first create, once there is a slot.
    Submit,
    /// Find out what became of a create.
    Reconcile,
    /// Ask after the job.
    Poll,
    /// Ask the provider to stop the job.
    Cancel,
    /// Fetch and keep the file.
    Archive,
    /// The time allowed is over.
    Expire,
    /// Nothing, ever.
    Nothing,
}

/// A new task, as Submit stores it.
pub fn accept(id: TaskId, submission: Arc<Submission>, now: SystemTime) -> Task {
    Task {
        id,
        revision: Revision(1),
        state: State::Queued,
        submission,
        job: None,
        spares: Vec::new(),
        progress: Progress::default(),
        output: None,
        artifact: None,
        failure: None,
        attempts: Vec::new(),
        charges: Vec::new(),
        cancellation: None,
        history: vec![HistoryEntry { state: State::Queued, time: now, reason: "accepted".into() }],
        missing_since: None,
        missing_answers: 0,
        created: now,
        updated: now,
        started: None,
        ended: None,
        deadline: now + QUEUE_LIMIT,
    }
}

/// What the stored task wants done.
pub fn next(task: &Task, now: SystemTime) -> Action {
    let over = now >= task.deadline;
    match task.state {
        State::Queued if over => Action::Expire,
        State::Queued => Action::Submit,
        // Whoever finds a task here and is not sending its create knows only
        // that somebody once was: the outcome is unknown.
        State::Submitting | State::Reconciling => Action::Reconcile,
        State::Running if over => Action::Expire,
        State::Running if wants_cancel(task) => Action::Cancel,
        State::Running => Action::Poll,
        State::Archiving => Action::Archive,
        State::Succeeded | State::Cancelled => Action::Nothing,
        State::Failed if task.is_recoverable(now) => match (&task.output, &task.job) {
            (Some(_), _) => Action::Archive,
            (None, Some(_)) => Action::Poll,
            (None, None) => Action::Reconcile,
        },
        // The time to recover it is over, and that is not on record yet.
        State::Failed if task.is_open() => Action::Expire,
        State::Failed => Action::Nothing,
    }
}

/// The task after the event, by state and event. The cells stand in the order of
/// a task's life.
pub fn apply(task: &Task, event: &Event, now: SystemTime) -> Applied {
    use Event as E;
    use State as S;
    // A clock that was set back does not turn back the task's.
    let now = now.max(task.updated);
    let step = Step { task, now };
    match (task.state, event) {
        // Judged again on a newer state, the limit may have moved.
        (S::Queued | S::Running, E::DeadlinePassed) if now < task.deadline => Applied::NotAllowed,

        (S::Queued, E::CreateStarted) => step.create_started(),
        (S::Queued, E::DeadlinePassed) => step.deadline_in_queue(),
        (S::Queued, E::ImageRejected(failure)) => step.image_rejected(failure),
        (S::Queued, E::CancelRequested) => step.cancel_in_queue(),

        (S::Submitting | S::Reconciling, E::CreateAccepted(job)) => step.running(job, "the provider took the create"),
        (S::Submitting, E::CreateNotSent { reason }) => step.back_to_queue(reason),
        (S::Submitting, E::CreateThrottled { reason }) => step.back_to_queue(reason),
        (S::Submitting, E::CreateRefused(failure)) => step.refused(failure),
        (S::Submitting, E::CreateUnknown { reason }) => step.unknown(reason),

        (S::Reconciling, E::ResendStarted) => step.resend_started(),
        (S::Reconciling, E::CreateStarted) => step.create_started(),
        (S::Reconciling, E::WindowOver) => step.window_over(),
        // A job in hand is never bought again, nor dropped.
        (S::Queued | S::Submitting | S::Reconciling, E::JobFound { attempt, job }) => step.found(*attempt, job),
        (S::Submitting | S::Reconciling | S::Running, E::CancelRequested) => step.wish_to_cancel(),

        (S::Running, E::Observed(observation)) => step.observed_running(observation),
        (S::Running, E::CancelAnswered(outcome)) => step.cancel_answered(*outcome),
        (S::Running, E::DeadlinePassed) => step.deadline_while_running(),
        (S::Running | S::Archiving | S::Succeeded | S::Cancelled, E::JobFound { attempt, job }) => {
            step.note_job(*attempt, job)
        }
        (S::Running | S::Archiving | S::Succeeded | S::Cancelled, E::CreateAccepted(job)) => {
            step.note_job(step.last_number(), job)
        }

        (S::Archiving, E::Observed(observation)) => step.observed_archiving(observation),
        (S::Archiving, E::ArtifactStored(artifact)) => step.succeeded(artifact.clone()),
        (S::Archiving, E::ArtifactFailed(failure)) => step.unkept(failure),
        (S::Archiving, E::CancelRequested) => step.too_late_to_cancel(),

        // A failed task that may still be recovered is followed on.
        (S::Failed, E::Observed(observation)) => step.observed_failed(observation),
        (S::Failed, E::JobFound { attempt, job }) => step.found_after_failure(*attempt, job),
        (S::Failed, E::CreateAccepted(job)) => step.found_after_failure(step.last_number(), job),
        (S::Failed, E::ArtifactStored(artifact)) if task.is_recoverable(now) => step.succeeded(artifact.clone()),
        (S::Failed, E::ArtifactFailed(failure)) if task.is_recoverable(now) => step.fail_again(failure),
        (S::Failed, E::DeadlinePassed) if task.is_open() && !task.is_recoverable(now) => step.close(),

        (S::Queued | S::Submitting | S::Reconciling | S::Running | S::Archiving, E::Held { reason }) => {
            step.held(reason)
        }
        (S::Failed, E::Held { reason }) if task.is_open() => step.held(reason),

        // Final is sticky: a late word about the job is heard and ignored.
        (S::Succeeded | S::Cancelled, E::Observed(_)) => Applied::Same,
        (S::Cancelled, E::CancelRequested) => Applied::Same,

        (
            S::Queued,
            E::ResendStarted
            | E::CreateAccepted(_)
            | E::CreateNotSent { .. }
            | E::CreateThrottled { .. }
            | E::CreateRefused(_)
            | E::CreateUnknown { .. }
            | E::WindowOver
            | E::Observed(_)
            | E::CancelAnswered(_)
            | E::ArtifactStored(_)
            | E::ArtifactFailed(_),
        )
        | (
            S::Submitting,
            E::CreateStarted
            | E::ResendStarted
            | E::WindowOver
            | E::Observed(_)
            | E::DeadlinePassed
            | E::CancelAnswered(_)
            | E::ArtifactStored(_)
            | E::ArtifactFailed(_)
            | E::ImageRejected(_),
        )
        | (
            S::Reconciling,
            E::CreateNotSent { .. }
            | E::CreateThrottled { .. }
            | E::CreateRefused(_)
            | E::CreateUnknown { .. }
            | E::Observed(_)
            | E::DeadlinePassed
            | E::CancelAnswered(_)
            | E::ArtifactStored(_)
            | E::ArtifactFailed(_)
            | E::ImageRejected(_),
        )
        | (
            S::Running,
            E::CreateStarted
            | E::ResendStarted
            | E::CreateNotSent { .. }
            | E::CreateThrottled { .. }
            | E::CreateRefused(_)
            | E::CreateUnknown { .. }
            | E::WindowOver
            | E::ArtifactStored(_)
            | E::ArtifactFailed(_)
            | E::ImageRejected(_),
        )
        | (
            S::Archiving,
            E::CreateStarted
            | E::ResendStarted
            | E::CreateNotSent { .. }
            | E::CreateThrottled { .. }
            | E::CreateRefused(_)
            | E::CreateUnknown { .. }
            | E::WindowOver
            | E::DeadlinePassed
            | E::CancelAnswered(_)
            | E::ImageRejected(_),
        )
        | (
            S::Succeeded | S::Cancelled,
            E::CreateStarted
            | E::ResendStarted
            | E::CreateNotSent { .. }
            | E::CreateThrottled { .. }
            | E::CreateRefused(_)
            | E::CreateUnknown { .. }
            | E::WindowOver
            | E::DeadlinePassed
            | E::Held { .. }
            | E::CancelAnswered(_)
            | E::ArtifactStored(_)
            | E::ArtifactFailed(_)
            | E::ImageRejected(_),
        )
        | (S::Succeeded, E::CancelRequested)
        | (
            S::Failed,
            E::CreateStarted
            | E::ResendStarted
            | E::CreateNotSent { .. }
            | E::CreateThrottled { .. }
            | E::CreateRefused(_)
            | E::CreateUnknown { .. }
            | E::WindowOver
            | E::DeadlinePassed
            | E::Held { .. }
            | E::CancelRequested
            | E::CancelAnswered(_)
            | E::ArtifactStored(_)
            | E::ArtifactFailed(_)
            | E::ImageRejected(_),
        ) => Applied::NotAllowed,
    }
}

#[cfg(test)]
mod tests;
