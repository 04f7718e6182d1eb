//! The transitions of a task: what each allowed event changes. The table of what
//! is allowed stands in `machine`. Here are the words for a change and those that
//! buy a job; what befalls the job stands in `following`.

mod following;

use std::time::{Duration, SystemTime};

use super::id::{JobId, Marker};
use super::machine::Applied;
use super::spec::UnknownPolicy;
use super::state::{
    Attempt, AttemptOutcome, CancelOutcome, Cancellation, Failure, FailureKind, HISTORY_KEPT, HistoryEntry, Job,
    SPARES_KEPT, State, Task,
};
use super::text::shortened;

/// How long a late video still turns a failed task around.
pub const RECOVERABLE_FOR: Duration = Duration::from_secs(24 * 3600);
/// How long a provider must insist that it does not know a job.
pub const MISSING_FOR: Duration = Duration::from_secs(10 * 60);
/// How many answers in a row must insist on it: a clock that leaps is no evidence.
pub const MISSING_ANSWERS: u32 = 3;

/// What is said of an attempt whose create bought more than one job; their ids follow.
const TAKEN_TWICE: &str = "the create was taken more than once; further jobs:";

/// What is known of a create whose answer was lost for good.
const MAY_BE_BILLED: &str = "the provider may or may not have made and billed a video";

/// Whether one more paid create is allowed after an unknown outcome: the policy
/// says so, and the video is still wanted.
pub fn may_buy_again(task: &Task) -> bool {
    match task.submission.policy {
        UnknownPolicy::AtMostOnce => false,
        UnknownPolicy::AtLeastOnce { max_paid_attempts } => {
            (task.attempts.len() as u32) < max_paid_attempts && !wants_cancel(task)
        }
    }
}

/// Whether the caller's wish to cancel is still to be passed on.
pub(super) fn wants_cancel(task: &Task) -> bool {
    task.cancellation.is_some_and(|cancellation| cancellation.outcome == CancelOutcome::Requested)
}

/// Whether an attempt was given up without an answer: it may have bought a video,
/// whatever becomes of the attempts after it.
fn has_unknown_attempt(task: &Task) -> bool {
    task.attempts.iter().any(|attempt| attempt.outcome == AttemptOutcome::Unknown)
}

/// A task about to change, at a time.
pub(super) struct Step<'a> {
    pub(super) task: &'a Task,
    pub(super) now: SystemTime,
}

impl Step<'_> {
    /// The task with one more revision, changed by `edit`.
    fn edited(&self, edit: impl FnOnce(&mut Task)) -> Applied {
        let mut task = self.task.clone();
        task.revision = task.revision.next();
        task.updated = self.now;
        edit(&mut task);
        Applied::Next(Box::new(task))
    }

    /// The task in another state, changed by `edit`.
    fn entered(&self, state: State, reason: &str, edit: impl FnOnce(&mut Task)) -> Applied {
        self.edited(|task| {
            task.state = state;
            task.ended = state.is_final().then_some(self.now);
            self.tell(task, reason);
            edit(task);
            if state == State::Failed && wants_cancel(task) {
                task.cancellation = self.cancellation(CancelOutcome::TooLate);
            }
        })
    }

    /// Adds a line to the task's history.
    fn tell(&self, task: &mut Task, reason: &str) {
        task.history.push(HistoryEntry { state: task.state, time: self.now, reason: shortened(reason, 120) });
        if task.history.len() > HISTORY_KEPT {
            task.history.remove(0);
        }
    }

    /// The task rests, and says why: once, however often it is held up.
    pub(super) fn held(&self, reason: &str) -> Applied {
        let told = self.task.history.last().is_some_and(|entry| entry.reason == shortened(reason, 120));
        if told { Applied::Same } else { self.edited(|task| self.tell(task, reason)) }
    }

    /// Stores the intent to buy. A create that surely never arrived is sent again
    /// under the same attempt; after an unknown one, a new attempt begins, if the
    /// policy allows it.
    pub(super) fn create_started(&self) -> Applied {
        if self.task.state == State::Reconciling && !may_buy_again(self.task) {
            return Applied::NotAllowed;
        }
        let reused = self.task.attempt().is_some_and(|attempt| attempt.outcome == AttemptOutcome::NotSent);
        if reused {
            return self.send_again("sending the create again; the last one never arrived");
        }
        let number = self.task.attempts.len() as u32 + 1;
        self.entered(State::Submitting, "sending the create", |task| {
            task.started.get_or_insert(self.now);
            task.attempts.push(Attempt {
                number,
                marker: Marker::of(task.id, number),
                outcome: AttemptOutcome::Pending,
                sends: 1,
                started: self.now,
                sent: self.now,
                ended: None,
                unknown_since: None,
                job: None,
                note: String::new(),
            });
        })
    }

    pub(super) fn resend_started(&self) -> Applied {
        match self.task.attempt() {
            Some(_) => self.send_again("sending the same create again; the provider refuses duplicates"),
            None => Applied::NotAllowed,
        }
    }

    fn send_again(&self, reason: &str) -> Applied {
        self.entered(State::Submitting, reason, |task| {
            if let Some(attempt) = task.attempts.last_mut() {
                attempt.outcome = AttemptOutcome::Pending;
                attempt.sends += 1;
                attempt.sent = self.now;
                attempt.ended = None;
            }
        })
    }

    /// Records how the last attempt ended.
    fn settle(&self, task: &mut Task, outcome: AttemptOutcome, note: &str) {
        if let Some(attempt) = task.attempts.last_mut() {
            attempt.outcome = outcome;
            attempt.ended = Some(self.now);
            attempt.note = shortened(note, 200);
        }
    }

    pub(super) fn running(&self, job: &Job, reason: &str) -> Applied {
        self.entered(State::Running, reason, |task| {
            self.settle(task, AttemptOutcome::Accepted, "");
            if let Some(attempt) = task.attempts.last_mut() {
                attempt.job = Some(job.id.clone());
            }
            task.job = Some(job.clone());
            task.deadline = self.now + task.submission.generation_timeout;
        })
    }

    /// Nothing was made. A wish to cancel that came meanwhile is fulfilled for free,
    /// unless an earlier create under this marker is still unaccounted for.
    pub(super) fn back_to_queue(&self, reason: &str) -> Applied {
        if self.task.attempt().is_some_and(|attempt| attempt.unknown_since.is_some()) {
            return self.unknown(reason);
        }
        if wants_cancel(self.task) && has_unknown_attempt(self.task) {
            return self.outcome_unknown(|task| self.settle(task, AttemptOutcome::NotSent, reason));
        }
        if wants_cancel(self.task) {
            return self.entered(State::Cancelled, "cancelled; the create had not been taken", |task| {
                self.settle(task, AttemptOutcome::NotSent, reason);
                task.cancellation = self.cancellation(CancelOutcome::Confirmed);
            });
        }
        self.entered(State::Queued, reason, |task| self.settle(task, AttemptOutcome::NotSent, reason))
    }

    /// A refusal settles the attempt, unless an earlier create under its marker is
    /// unaccounted for: the refusal of the second says nothing of the first.
    pub(super) fn refused(&self, failure: &Failure) -> Applied {
        if self.task.attempt().is_some_and(|attempt| attempt.unknown_since.is_some()) {
            return self.unknown(&failure.message);
        }
        if has_unknown_attempt(self.task) {
            return self.outcome_unknown(|task| self.settle(task, AttemptOutcome::Refused, &failure.message));
        }
        self.entered(State::Failed, &failure.message, |task| {
            self.settle(task, AttemptOutcome::Refused, &failure.message);
            task.failure = Some(failure.clone());
        })
    }

    pub(super) fn unknown(&self, reason: &str) -> Applied {
        self.entered(State::Reconciling, reason, |task| {
            self.settle(task, AttemptOutcome::Unknown, reason);
            if let Some(attempt) = task.attempts.last_mut() {
                attempt.unknown_since.get_or_insert(self.now);
            }
        })
    }

    pub(super) fn window_over(&self) -> Applied {
        self.outcome_unknown(|_| {})
    }

    /// Nothing more is bought while a create is unaccounted for: its video may
    /// still turn up.
    fn outcome_unknown(&self, edit: impl FnOnce(&mut Task)) -> Applied {
        let message = format!("the answer to the create was lost and looking it up settled nothing: {MAY_BE_BILLED}");
        self.entered(State::Failed, &message.clone(), |task| {
            edit(task);
            task.failure = Some(Failure {
                recoverable_until: Some(self.now + RECOVERABLE_FOR),
                ..Failure::charged(FailureKind::SubmitOutcomeUnknown, message)
            });
        })
    }

    pub(super) fn deadline_in_queue(&self) -> Applied {
        if has_unknown_attempt(self.task) {
            return self.outcome_unknown(|_| {});
        }
        let message = match self.task.history.last() {
            Some(entry) if self.task.history.len() > 1 => {
                format!("its turn did not come in time; nothing was bought; at last: {}", entry.reason)
            }
            _ => "no slot became free in time; nothing was bought".to_owned(),
        };
        self.fail(Failure::free(FailureKind::Deadline, message))
    }

    /// Nothing is bought; a create that is unaccounted for keeps its chance.
    pub(super) fn image_rejected(&self, failure: &Failure) -> Applied {
        if has_unknown_attempt(self.task) {
            return self.outcome_unknown(|_| {});
        }
        self.fail(failure.clone())
    }

    pub(super) fn cancel_in_queue(&self) -> Applied {
        if has_unknown_attempt(self.task) {
            return self.outcome_unknown(|task| task.cancellation = self.cancellation(CancelOutcome::Requested));
        }
        self.cancelled("cancelled before anything was bought")
    }

    /// The number of the attempt in force; 0 before the first.
    pub(super) fn last_number(&self) -> u32 {
        self.task.attempt().map_or(0, |attempt| attempt.number)
    }

    /// A look-up found the job of an attempt while none was known.
    pub(super) fn found(&self, number: u32, job: &Job) -> Applied {
        if !self.task.attempts.iter().any(|attempt| attempt.number == number) {
            return Applied::NotAllowed;
        }
        self.entered(State::Running, "the job was found at the provider", |task| {
            // A later create that is still on its way has no answer yet.
            if task.attempt().is_some_and(|last| last.outcome == AttemptOutcome::Pending && last.number != number) {
                self.settle(task, AttemptOutcome::Unknown, "the job of an earlier attempt was found meanwhile");
            }
            adopt(task, number, &job.id, self.now);
            task.job = Some(job.clone());
            task.deadline = self.now + task.submission.generation_timeout;
        })
    }

    /// A job turned up for a task that needs none: it is on record with its attempt.
    /// Where there is a job already, money was spent twice; the first one is
    /// followed, and the second is kept for the case that the first fails.
    pub(super) fn note_job(&self, number: u32, job: &Job) -> Applied {
        if !self.task.attempts.iter().any(|attempt| attempt.number == number) {
            return Applied::NotAllowed;
        }
        if self.task.has_bought(&job.id) {
            return Applied::Same;
        }
        self.edited(|task| {
            let second = task.attempts.iter().any(|attempt| attempt.job.is_some());
            if second && task.spares.len() < SPARES_KEPT {
                task.spares.push(job.clone());
            }
            enter_job(task, number, &job.id, self.now);
        })
    }

    pub(super) fn found_after_failure(&self, number: u32, job: &Job) -> Applied {
        let known = self.task.attempts.iter().any(|attempt| attempt.number == number);
        let followed = self.task.job.is_some() || self.task.has_bought(&job.id);
        if !known || !self.task.is_recoverable(self.now) || followed {
            return self.note_job(number, job);
        }
        self.edited(|task| {
            enter_job(task, number, &job.id, self.now);
            task.job = Some(job.clone());
        })
    }

    fn cancelled(&self, reason: &str) -> Applied {
        self.entered(State::Cancelled, reason, |task| task.cancellation = self.cancellation(CancelOutcome::Confirmed))
    }

    /// The wish with this outcome, dated by when it was first made.
    fn cancellation(&self, outcome: CancelOutcome) -> Option<Cancellation> {
        let requested = self.task.cancellation.map_or(self.now, |wish| wish.requested);
        Some(Cancellation { outcome, requested })
    }
}

/// Records the job of an attempt, or that its create bought one more.
fn enter_job(task: &mut Task, number: u32, job: &JobId, now: SystemTime) {
    match task.attempts.iter_mut().find(|attempt| attempt.number == number) {
        Some(attempt) if attempt.job.is_some() => {
            let told = if attempt.note.starts_with(TAKEN_TWICE) { &attempt.note } else { TAKEN_TWICE };
            attempt.note = shortened(&format!("{told} {job}"), 200);
        }
        _ => adopt(task, number, job, now),
    }
}

/// Records the job of an attempt.
fn adopt(task: &mut Task, number: u32, job: &JobId, now: SystemTime) {
    if let Some(attempt) = task.attempts.iter_mut().find(|attempt| attempt.number == number) {
        attempt.outcome = AttemptOutcome::Accepted;
        attempt.ended = Some(now);
        attempt.job = Some(job.clone());
    }
}
