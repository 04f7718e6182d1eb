//! A second, smaller machine to hold the first against: only the state, how often
//! each attempt was sent, how many jobs wait to be followed and whether anything may
//! still happen, with no more memory than these need.

use super::*;
use crate::task::transition::{MISSING_FOR, RECOVERABLE_FOR};

pub(super) struct Reference {
    pub(super) state: State,
    /// How often each attempt was sent.
    pub(super) sends: Vec<u32>,
    /// Whether the answer to each attempt was lost, and its job is not known.
    lost: Vec<bool>,
    /// Whether the last create surely was not taken.
    free: bool,
    cap: usize,
    wish: Option<CancelOutcome>,
    missing: Option<(SystemTime, u32)>,
    deadline: SystemTime,
    until: Option<SystemTime>,
    in_hand: bool,
    job: bool,
    /// Every job that was ever named.
    known: Vec<JobId>,
    /// How many of them were named while there was another.
    waiting: usize,
}

impl Reference {
    pub(super) fn of(task: &Task) -> Self {
        let cap = match task.submission.policy {
            UnknownPolicy::AtMostOnce => 1,
            UnknownPolicy::AtLeastOnce { max_paid_attempts } => max_paid_attempts as usize,
        };
        let (state, deadline) = (task.state, task.deadline);
        let (sends, lost) = (Vec::new(), Vec::new());
        Self {
            state,
            sends,
            lost,
            free: false,
            cap,
            wish: None,
            missing: None,
            deadline,
            until: None,
            in_hand: false,
            job: false,
            known: Vec::new(),
            waiting: 0,
        }
    }

    /// Whether the machine has come to the same.
    pub(super) fn agrees_with(&self, task: &Task, event: &Event) {
        let sends: Vec<u32> = task.attempts.iter().map(|attempt| attempt.sends).collect();
        let machine = (task.state, sends, task.spares.len(), task.is_open());
        let open = !self.state.is_final() || self.until.is_some();
        assert_eq!(machine, (self.state, self.sends.clone(), self.waiting, open), "after {event:?}");
    }

    /// Follows an event; one that is not allowed changes nothing.
    pub(super) fn follow(&mut self, event: &Event, now: SystemTime, timeout: Duration) {
        use {CancelOutcome as C, Event as E, Observation as O, State as S};
        let over = now >= self.deadline;
        let late = self.until.is_some_and(|until| now < until);
        match (self.state, event) {
            (S::Queued, E::CreateStarted) if self.free => self.send_again(),
            (S::Reconciling, E::ResendStarted) => self.send_again(),
            (S::Queued, E::CreateStarted) => self.send_anew(),
            (S::Reconciling, E::CreateStarted) if self.sends.len() < self.cap && self.wish.is_none() => {
                self.send_anew()
            }
            (S::Submitting, E::CreateUnknown { .. }) => self.doubt(),
            (S::Submitting, E::CreateNotSent { .. } | E::CreateThrottled { .. } | E::CreateRefused(_))
                if self.lost.last() == Some(&true) =>
            {
                self.doubt();
            }
            (S::Submitting, E::CreateRefused(_)) => self.fail(now, self.in_doubt()),
            (S::Submitting, E::CreateNotSent { .. } | E::CreateThrottled { .. }) if self.wish.is_some() => {
                self.stop(now)
            }
            (S::Submitting, E::CreateNotSent { .. } | E::CreateThrottled { .. }) => {
                (self.state, self.free) = (S::Queued, true);
            }
            (S::Queued, E::CancelRequested) => self.stop(now),
            (S::Queued, E::DeadlinePassed) if over => self.fail(now, self.in_doubt()),
            (S::Queued, E::ImageRejected(_)) => self.fail(now, self.in_doubt()),
            (_, E::JobFound { attempt, .. }) if !(1..=self.sends.len()).contains(&(*attempt as usize)) => {}
            (_, E::CreateAccepted(_)) if self.sends.is_empty() => {}
            (S::Queued, E::CreateAccepted(_)) => {}
            (S::Queued | S::Submitting | S::Reconciling, E::CreateAccepted(job) | E::JobFound { job, .. }) => {
                if self.state == S::Submitting && self.number(event) != self.sends.len() {
                    self.lost[self.sends.len() - 1] = true;
                }
                self.learn(event, &job.id);
                self.run(now + timeout);
            }
            (S::Failed, E::CreateAccepted(job) | E::JobFound { job, .. })
                if late && !self.job && !self.known.contains(&job.id) =>
            {
                self.learn(event, &job.id);
                self.job = true;
            }
            (_, E::CreateAccepted(job) | E::JobFound { job, .. }) if !self.known.contains(&job.id) => {
                self.waiting = 4.min(self.waiting + usize::from(!self.known.is_empty()));
                self.learn(event, &job.id);
            }
            (S::Reconciling, E::WindowOver) => self.fail(now, true),
            (S::Submitting | S::Reconciling | S::Running, E::CancelRequested) => {
                self.wish.get_or_insert(C::Requested);
            }
            (S::Running, E::Observed(O::Succeeded { .. })) => (self.state, self.missing) = (S::Archiving, None),
            (S::Running, E::Observed(O::Failed { .. })) if self.another() => {}
            (S::Running, E::Observed(O::Failed { .. })) if self.wish == Some(C::AskedUpstream) => self.stop(now),
            (S::Running, E::Observed(O::Failed { .. })) => self.fail(now, self.in_doubt()),
            (S::Running, E::Observed(O::Pending(_))) => self.missing = None,
            (S::Running, E::Observed(O::Missing)) => {
                let (since, answers) = self.missing.map_or((now, 1), |(since, answers)| (since, answers + 1));
                self.missing = Some((since, answers));
                if answers >= 3 && now >= since + MISSING_FOR && !self.another() {
                    self.fail(now, self.in_doubt());
                }
            }
            (S::Running, E::DeadlinePassed) if over => {
                self.fail(now, true);
                self.job = true;
            }
            (S::Running, E::CancelAnswered(C::Confirmed)) if self.wish.is_some() && self.another() => {}
            (S::Running, E::CancelAnswered(C::Confirmed)) if self.wish.is_some() => self.stop(now),
            (S::Running, E::CancelAnswered(C::Requested)) => {}
            (S::Running, E::CancelAnswered(outcome)) if self.wish.is_some() => self.wish = Some(*outcome),
            (S::Archiving, E::ArtifactStored(_)) => self.state = S::Succeeded,
            (S::Archiving, E::CancelRequested) => {
                self.wish.get_or_insert(C::TooLate);
            }
            (S::Archiving, E::ArtifactFailed(_)) => {
                if self.another() {
                    self.state = S::Running;
                } else {
                    self.fail(now, self.in_doubt());
                }
            }
            (S::Failed, E::ArtifactStored(_)) if late => (self.state, self.until) = (S::Succeeded, None),
            (S::Failed, E::ArtifactFailed(_)) if late => self.late_end(),
            (S::Failed, E::Observed(O::Succeeded { .. })) if late && self.job => self.in_hand = true,
            (S::Failed, E::Observed(O::Failed { .. })) if late && self.job && !self.in_hand => self.late_end(),
            (S::Failed, E::DeadlinePassed) if !late => self.until = None,
            _ => {}
        }
    }

    fn send_again(&mut self) {
        *self.sends.last_mut().expect("there is an attempt to send again") += 1;
        self.state = State::Submitting;
    }

    fn send_anew(&mut self) {
        self.sends.push(1);
        self.lost.push(false);
        self.state = State::Submitting;
    }

    fn doubt(&mut self) {
        *self.lost.last_mut().expect("a create was sent") = true;
        self.state = State::Reconciling;
    }

    /// Which attempt the event tells of; an answer is the last one's.
    fn number(&self, event: &Event) -> usize {
        if let Event::JobFound { attempt, .. } = event { *attempt as usize } else { self.sends.len() }
    }

    /// A job that was not known, and so what became of its attempt.
    fn learn(&mut self, event: &Event, job: &JobId) {
        let number = self.number(event);
        self.lost[number - 1] = false;
        self.known.push(job.clone());
    }

    fn in_doubt(&self) -> bool {
        self.lost.contains(&true)
    }

    /// Turns to a job that waits, if there is one. The wish to cancel begins anew.
    fn another(&mut self) -> bool {
        if self.waiting == 0 {
            return false;
        }
        self.waiting -= 1;
        (self.missing, self.in_hand) = (None, false);
        if self.wish.is_some_and(|wish| wish != CancelOutcome::NotSupported) {
            self.wish = Some(CancelOutcome::Requested);
        }
        true
    }

    fn late_end(&mut self) {
        if self.another() {
            return;
        }
        if self.in_doubt() && self.job {
            (self.job, self.in_hand) = (false, false);
        } else {
            self.until = None;
        }
    }

    fn run(&mut self, deadline: SystemTime) {
        (self.state, self.deadline, self.job) = (State::Running, deadline, true);
    }

    /// Nothing more is sent: certain, unless an answer was lost.
    fn stop(&mut self, now: SystemTime) {
        if self.in_doubt() {
            return self.fail(now, true);
        }
        self.state = State::Cancelled;
    }

    fn fail(&mut self, now: SystemTime, recoverable: bool) {
        (self.state, self.job, self.in_hand) = (State::Failed, false, false);
        self.until = recoverable.then_some(now + RECOVERABLE_FOR);
    }
}
