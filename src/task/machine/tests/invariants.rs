//! What holds for every task at every moment, and for every change of one. The
//! properties and the walk ask here; a panic names what was broken.

use super::*;
use crate::task::id::Marker;
use crate::task::machine::{Action, next};
use crate::task::state::{Attempt, AttemptOutcome, HISTORY_KEPT};

/// What is true of a task, however it came about.
pub(super) fn check(task: &Task, now: SystemTime) {
    check_end(task);
    check_attempts(task);
    assert_eq!(task.history.last().map(|entry| entry.state), Some(task.state), "history tells the state");
    assert!(task.history.len() <= HISTORY_KEPT, "history is bounded");
    assert!(task.history.is_sorted_by_key(|entry| entry.time), "history is in order");
    if matches!(task.state, State::Running | State::Archiving) {
        assert!(task.job.is_some(), "what runs has a job");
    }
    if task.state == State::Archiving {
        assert!(task.output.is_some(), "what is fetched has a link");
    }
    let something = next(task, now) != Action::Nothing;
    assert_eq!(something, task.is_open(), "there is something to do exactly while it is open");
    let over = task.state == State::Failed && task.is_open() && !task.is_recoverable(now);
    assert!(!over || next(task, now) == Action::Expire, "what can no longer be recovered is closed");
}

fn check_end(task: &Task) {
    assert_eq!(task.ended.is_some(), task.state.is_final(), "what has ended says when");
    assert_eq!(task.artifact.is_some(), task.state == State::Succeeded, "SUCCEEDED is to have the video");
    assert_eq!(task.failure.is_some(), task.state == State::Failed, "FAILED says why");
    let confirmed = task.cancellation.is_some_and(|wish| wish.outcome == CancelOutcome::Confirmed);
    assert_eq!(confirmed, task.state == State::Cancelled, "CANCELLED is certain");
    let open_wish = task.cancellation.is_some_and(|wish| wish.outcome == CancelOutcome::Requested);
    assert!(!open_wish || !task.state.is_final(), "a wish to cancel has its answer when the task has ended");
    if let Some(failure) = &task.failure {
        let late = matches!(failure.kind, FailureKind::Deadline | FailureKind::SubmitOutcomeUnknown);
        assert!(late || failure.recoverable_until.is_none(), "only these two are recovered");
        let unknown = task.attempts.iter().any(|attempt| attempt.outcome == AttemptOutcome::Unknown);
        assert!(failure.maybe_charged || !unknown, "a create that may have been billed is not called free");
    }
}

fn check_attempts(task: &Task) {
    let cap = match task.submission.policy {
        UnknownPolicy::AtMostOnce => 1,
        UnknownPolicy::AtLeastOnce { max_paid_attempts } => max_paid_attempts as usize,
    };
    assert!(task.attempts.len() <= cap, "the policy caps the attempts");
    for (place, attempt) in task.attempts.iter().enumerate() {
        let Attempt { number, marker, outcome, sends, job, .. } = attempt;
        assert_eq!(*number as usize, place + 1, "attempts are numbered from one");
        assert_eq!(*marker, Marker::of(task.id, *number), "the marker follows from task and number");
        assert!(*sends >= 1, "an attempt was sent");
        assert_eq!(job.is_some(), *outcome == AttemptOutcome::Accepted, "accepted is to have a job");
        let last = *number as usize == task.attempts.len();
        let on_the_wire = last && task.state == State::Submitting;
        assert_eq!(*outcome == AttemptOutcome::Pending, on_the_wire, "only a create on the wire is pending");
    }
    if task.state == State::Reconciling {
        let since = task.attempt().and_then(|attempt| attempt.unknown_since);
        assert!(since.is_some(), "the look-up window has a start");
    }
    if let Some(job) = &task.job {
        assert!(task.attempts.iter().any(|attempt| attempt.has_bought(&job.id)), "an attempt bought the job");
    }
    for spare in &task.spares {
        assert!(task.attempts.iter().any(|attempt| attempt.has_bought(&spare.id)), "an attempt bought the spare");
        assert!(task.job.is_none() || task.job.as_ref() != Some(spare), "a spare is another job");
    }
    let gave_up = matches!(task.state, State::Succeeded | State::Failed | State::Cancelled);
    assert!(gave_up || task.job.is_some() || task.spares.is_empty(), "there is no spare without a job");
}

/// What is true of every change of a task.
pub(super) fn check_change(before: &Task, event: &Event, after: &Task) {
    assert_eq!(after.revision, before.revision.next(), "a change is one revision");
    assert!(after.updated >= before.updated, "time goes forward");
    assert_eq!((after.id, after.created), (before.id, before.created));
    assert!(Arc::ptr_eq(&after.submission, &before.submission), "what was asked for stays");
    let unmarked = Task { revision: before.revision, updated: before.updated, ..after.clone() };
    assert!(unmarked != *before, "what changed nothing is not written");

    let turned_around = before.state == State::Failed && after.state == State::Succeeded;
    assert!(!before.state.is_final() || after.state == before.state || turned_around, "final is final");
    let spare = before.spares.first().filter(|_| after.spares.len() < before.spares.len());
    let stays = after.job == before.job && after.spares.len() >= before.spares.len();
    let left = after.job.is_none() && after.output.is_none() && spare.is_none() && after.is_open();
    assert!(
        before.job.is_none() || stays || after.job.as_ref() == spare || left,
        "the job stays, unless a spare takes its place or another create may have bought one"
    );
    let unknown = after.attempts.iter().any(|attempt| attempt.outcome == AttemptOutcome::Unknown);
    assert!(
        !given_up(before, after) || !unknown || after.is_open(),
        "no task gives up while a create is unaccounted for"
    );
    assert!(!given_up(before, after) || after.spares.is_empty(), "no task gives up while another job was paid for");
    assert!(before.charges.is_empty() || !after.charges.is_empty(), "charges stay");
    let began = before.job.is_none() && after.state == State::Running;
    assert!(began || after.deadline == before.deadline, "the limit moves when the job begins, and only then");
    if let (Some(earlier), Some(later)) = (before.cancellation, after.cancellation) {
        assert_eq!(earlier.requested, later.requested, "a wish keeps its date");
    }
    check_sends(before, event, after);
}

/// Whether the task has ended without a video, and for good.
fn given_up(before: &Task, after: &Task) -> bool {
    let ended = before.state != after.state && !before.state.is_final();
    ended && matches!(after.state, State::Failed | State::Cancelled) && !after.is_open()
}

fn check_sends(before: &Task, event: &Event, after: &Task) {
    let sends = |task: &Task| task.attempts.iter().map(|attempt| attempt.sends).sum::<u32>();
    let sending = matches!(event, Event::CreateStarted | Event::ResendStarted);
    assert_eq!(sends(after), sends(before) + u32::from(sending), "one permission, one create");
    assert_eq!(sending, before.state != State::Submitting && after.state == State::Submitting);
    if sending {
        let bought = before.attempts.iter().any(|attempt| attempt.job.is_some());
        assert!(!bought && before.job.is_none(), "what is bought is not bought again");
    }
    for (earlier, later) in before.attempts.iter().zip(&after.attempts) {
        assert_eq!(earlier.marker, later.marker, "a marker stays");
        assert!(earlier.job.is_none() || earlier.job == later.job, "a job id is never lost");
        assert!(earlier.unknown_since.is_none() || earlier.unknown_since == later.unknown_since);
    }
    assert!(after.attempts.len() >= before.attempts.len(), "attempts stay on record");
}
