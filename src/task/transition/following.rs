//! The transitions of a task whose job is known: what observations, cancels and
//! the archive change. How the job came to be is the parent's.

use super::{MAY_BE_BILLED, MISSING_ANSWERS, MISSING_FOR, RECOVERABLE_FOR, Step, has_unknown_attempt};
use crate::task::event::Observation;
use crate::task::machine::Applied;
use crate::task::state::{Artifact, CancelOutcome, Charge, Failure, FailureKind, Output, Progress, State, Task};

impl Step<'_> {
    pub(in crate::task) fn observed_running(&self, observation: &Observation) -> Applied {
        match observation {
            Observation::Pending(progress) if *progress == self.task.progress && self.task.missing_since.is_none() => {
                Applied::Same
            }
            Observation::Pending(progress) => self.edited(|task| {
                task.progress = progress.clone();
                found_again(task);
            }),
            Observation::Succeeded { output, charges } => self.archiving(output, charges),
            Observation::Failed { failure, charges } => self.job_failed(failure, charges),
            Observation::Missing => self.missing(),
        }
    }

    fn archiving(&self, output: &Output, charges: &[Charge]) -> Applied {
        self.entered(State::Archiving, "the provider is done", |task| {
            task.output = Some(output.clone());
            take_charges(task, charges);
            found_again(task);
            outrun_cancel(task);
        })
    }

    /// A job that fails after the provider was asked to stop it has been stopped.
    fn job_failed(&self, failure: &Failure, charges: &[Charge]) -> Applied {
        if self.has_spare() {
            return self.follow_spare(&failure.message, charges);
        }
        let asked = self.task.cancellation.is_some_and(|wish| wish.outcome == CancelOutcome::AskedUpstream);
        if asked && !has_unknown_attempt(self.task) {
            return self.entered(State::Cancelled, "the provider stopped the job", |task| {
                task.cancellation = self.cancellation(CancelOutcome::Confirmed);
                take_charges(task, charges);
            });
        }
        self.no_video(failure, charges)
    }

    /// The job that was followed gives no video, and no other one is known. Where
    /// the answer to another create was lost, that one may have bought one: it is
    /// looked for as long as such a task is.
    fn no_video(&self, failure: &Failure, charges: &[Charge]) -> Applied {
        let failure = match has_unknown_attempt(self.task) {
            false => failure.clone(),
            true => Failure {
                kind: FailureKind::SubmitOutcomeUnknown,
                message: format!("{}; the answer to another create was lost: {MAY_BE_BILLED}", failure.message),
                maybe_charged: true,
                recoverable_until: Some(self.now + RECOVERABLE_FOR),
                ..failure.clone()
            },
        };
        self.entered(State::Failed, &failure.message.clone(), |task| {
            if failure.recoverable_until.is_some() {
                leave_job(task);
            }
            task.failure = Some(failure);
            take_charges(task, charges);
        })
    }

    /// One "not found" is not believed: providers answer it for jobs that they
    /// have. Only one that lasts is, and that is given often enough.
    fn missing(&self) -> Applied {
        let answers = (self.task.missing_answers + 1).min(MISSING_ANSWERS);
        let since = self.task.missing_since.unwrap_or(self.now);
        if answers < MISSING_ANSWERS || self.now < since + MISSING_FOR {
            if answers == self.task.missing_answers {
                return Applied::Same;
            }
            return self.edited(|task| (task.missing_since, task.missing_answers) = (Some(since), answers));
        }
        let message = "the provider no longer knows the job that it had accepted";
        if self.has_spare() {
            return self.follow_spare(message, &[]);
        }
        self.no_video(&Failure::charged(FailureKind::ProviderLostJob, message), &[])
    }

    fn has_spare(&self) -> bool {
        !self.task.spares.is_empty()
    }

    /// The job that was followed gives no video, and another one was paid for: that
    /// one is followed. A wish to cancel is passed on to it too.
    fn follow_spare(&self, reason: &str, charges: &[Charge]) -> Applied {
        self.entered(State::Running, &format!("another job that was bought is followed: {reason}"), |task| {
            take_charges(task, charges);
            take_spare(task);
            if task.cancellation.is_some_and(|wish| wish.outcome != CancelOutcome::NotSupported) {
                task.cancellation = self.cancellation(CancelOutcome::Requested);
            }
        })
    }

    /// The file of the job cannot be had.
    pub(in crate::task) fn unkept(&self, failure: &Failure) -> Applied {
        if self.has_spare() {
            return self.follow_spare(&failure.message, &[]);
        }
        self.no_video(failure, &[])
    }

    pub(in crate::task) fn deadline_while_running(&self) -> Applied {
        self.fail(Failure {
            recoverable_until: Some(self.now + RECOVERABLE_FOR),
            ..Failure::charged(FailureKind::Deadline, "the provider did not finish within the generation timeout")
        })
    }

    pub(in crate::task) fn cancel_answered(&self, outcome: CancelOutcome) -> Applied {
        let Some(wish) = self.task.cancellation else { return Applied::NotAllowed };
        match outcome {
            CancelOutcome::Confirmed if self.has_spare() => self.follow_spare("the provider cancelled the job", &[]),
            CancelOutcome::Confirmed if has_unknown_attempt(self.task) => {
                let stopped = "the provider cancelled the job before it ran";
                self.no_video(&Failure::charged(FailureKind::SubmitOutcomeUnknown, stopped), &[])
            }
            CancelOutcome::Confirmed => self.cancelled("the provider cancelled the job before it ran"),
            CancelOutcome::Requested => Applied::Same,
            CancelOutcome::AskedUpstream | CancelOutcome::NotSupported | CancelOutcome::TooLate => {
                if wish.outcome == outcome {
                    return Applied::Same;
                }
                self.edited(|task| task.cancellation = self.cancellation(outcome))
            }
        }
    }

    pub(in crate::task) fn wish_to_cancel(&self) -> Applied {
        match self.task.cancellation {
            Some(_) => Applied::Same,
            None => self.edited(|task| task.cancellation = self.cancellation(CancelOutcome::Requested)),
        }
    }

    pub(in crate::task) fn too_late_to_cancel(&self) -> Applied {
        match self.task.cancellation {
            Some(_) => Applied::Same,
            None => self.edited(|task| task.cancellation = self.cancellation(CancelOutcome::TooLate)),
        }
    }

    /// While the file is fetched only a fresh link matters.
    pub(in crate::task) fn observed_archiving(&self, observation: &Observation) -> Applied {
        match observation {
            Observation::Succeeded { output, charges } if Some(output) != self.task.output.as_ref() => {
                self.edited(|task| {
                    task.output = Some(output.clone());
                    take_charges(task, charges);
                })
            }
            Observation::Succeeded { .. }
            | Observation::Pending(_)
            | Observation::Failed { .. }
            | Observation::Missing => Applied::Same,
        }
    }

    /// A failed task that may be recovered takes the late video, and gives up for
    /// good when the provider does.
    pub(in crate::task) fn observed_failed(&self, observation: &Observation) -> Applied {
        match observation {
            _ if !self.task.is_recoverable(self.now) || self.task.job.is_none() => Applied::Same,
            Observation::Succeeded { output, .. } if Some(output) == self.task.output.as_ref() => Applied::Same,
            Observation::Succeeded { output, charges } => self.edited(|task| {
                task.output = Some(output.clone());
                take_charges(task, charges);
            }),
            // The video is there and is being fetched: the job goes backwards.
            Observation::Failed { .. } if self.task.output.is_some() => Applied::Same,
            Observation::Failed { charges, .. } if self.has_spare() => self.edited(|task| {
                take_charges(task, charges);
                take_spare(task);
            }),
            Observation::Failed { charges, .. } if has_unknown_attempt(self.task) => self.edited(|task| {
                take_charges(task, charges);
                leave_job(task);
            }),
            Observation::Failed { failure, charges } => self.edited(|task| {
                take_charges(task, charges);
                if let Some(known) = &mut task.failure {
                    known.recoverable_until = None;
                    known.maybe_charged = failure.maybe_charged;
                }
            }),
            Observation::Pending(_) | Observation::Missing => Applied::Same,
        }
    }

    pub(in crate::task) fn succeeded(&self, artifact: Artifact) -> Applied {
        self.entered(State::Succeeded, "the video is stored", |task| {
            task.artifact = Some(artifact);
            task.failure = None;
            outrun_cancel(task);
        })
    }

    pub(in crate::task) fn fail(&self, failure: Failure) -> Applied {
        self.entered(State::Failed, &failure.message.clone(), |task| task.failure = Some(failure))
    }

    /// The late video of a failed task could not be kept: the failure stays, and
    /// now for good, unless another create may have bought one.
    pub(in crate::task) fn fail_again(&self, failure: &Failure) -> Applied {
        if self.has_spare() {
            return self.edited(take_spare);
        }
        if has_unknown_attempt(self.task) && self.task.job.is_some() {
            return self.edited(leave_job);
        }
        self.edited(|task| {
            task.output = None;
            task.failure = Some(failure.clone());
        })
    }

    /// The time to recover the task is over: the failure stays for good.
    pub(in crate::task) fn close(&self) -> Applied {
        self.edited(|task| {
            task.output = None;
            if let Some(failure) = &mut task.failure {
                failure.recoverable_until = None;
            }
        })
    }
}

/// The first of the further jobs is the one that is followed from now on.
fn take_spare(task: &mut Task) {
    task.job = Some(task.spares.remove(0));
    task.progress = Progress::default();
    task.output = None;
    found_again(task);
}

/// Nothing more is hoped for from the job.
fn leave_job(task: &mut Task) {
    task.job = None;
    task.progress = Progress::default();
    task.output = None;
    found_again(task);
}

/// The provider knows the job, or is not asked after it any more.
fn found_again(task: &mut Task) {
    task.missing_since = None;
    task.missing_answers = 0;
}

/// The video is there: a wish to cancel that is still open came too late.
fn outrun_cancel(task: &mut Task) {
    if let Some(cancellation) = &mut task.cancellation
        && matches!(cancellation.outcome, CancelOutcome::Requested | CancelOutcome::AskedUpstream)
    {
        cancellation.outcome = CancelOutcome::TooLate;
    }
}

/// Takes over what the provider reports to have charged. A report without any
/// does not take back an earlier one.
fn take_charges(task: &mut Task, charges: &[Charge]) {
    if !charges.is_empty() {
        task.charges = charges.to_vec();
    }
}
