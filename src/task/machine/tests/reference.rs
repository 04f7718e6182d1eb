//! A second, smaller machine to hold the first against: only the state and how
//! often each attempt was sent, with no more memory than these need.

use super::*;
use crate::task::transition::{MISSING_FOR, RECOVERABLE_FOR};

pub(super) struct Reference {
    pub(super) state: State,
    /// How often each attempt was sent.
    pub(super) sends: Vec<u32>,
    /// Whether an answer to each attempt was ever lost.
    lost: Vec<bool>,
    /// Whether the last create surely was not taken.
    free: bool,
    cap: usize,
    wish: Option<CancelOutcome>,
    missing: Option<SystemTime>,
    deadline: SystemTime,
    until: Option<SystemTime>,
    in_hand: bool,
    job: bool,
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
        }
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
            (S::Submitting, E::CreateRefused(_)) => self.fail(now, self.lost.contains(&true)),
            (S::Submitting, E::CreateNotSent { .. } | E::CreateThrottled { .. }) if self.wish.is_some() => {
                self.stop(now)
            }
            (S::Submitting, E::CreateNotSent { .. } | E::CreateThrottled { .. }) => {
                (self.state, self.free) = (S::Queued, true);
            }
            (S::Queued, E::CancelRequested) => self.stop(now),
            (S::Queued, E::DeadlinePassed) if over => self.fail(now, self.lost.contains(&true)),
            (S::Submitting | S::Reconciling, E::CreateAccepted(_)) => self.run(now + timeout),
            (S::Queued | S::Submitting | S::Reconciling, E::JobFound { attempt, .. })
                if (1..=self.sends.len()).contains(&(*attempt as usize)) =>
            {
                self.run(now + timeout);
            }
            (S::Reconciling, E::WindowOver) => self.fail(now, true),
            (S::Submitting | S::Reconciling | S::Running, E::CancelRequested) => {
                self.wish.get_or_insert(C::Requested);
            }
            (S::Running, E::Observed(O::Succeeded { .. })) => self.state = S::Archiving,
            (S::Running, E::Observed(O::Failed { .. })) if self.wish == Some(C::AskedUpstream) => {
                self.state = S::Cancelled;
            }
            (S::Running, E::Observed(O::Failed { .. })) => self.fail(now, false),
            (S::Running, E::Observed(O::Pending(_))) => self.missing = None,
            (S::Running, E::Observed(O::Missing)) => {
                let since = *self.missing.get_or_insert(now);
                if now >= since + MISSING_FOR {
                    self.fail(now, false);
                }
            }
            (S::Running, E::DeadlinePassed) if over => self.fail(now, true),
            (S::Running, E::CancelAnswered(C::Confirmed)) if self.wish.is_some() => self.state = S::Cancelled,
            (S::Running, E::CancelAnswered(C::Requested)) => {}
            (S::Running, E::CancelAnswered(outcome)) if self.wish.is_some() => self.wish = Some(*outcome),
            (S::Archiving, E::ArtifactStored(_)) => self.state = S::Succeeded,
            (S::Archiving, E::ArtifactFailed(_)) => self.fail(now, false),
            (S::Failed, E::CreateAccepted(_)) if late => self.job = true,
            (S::Failed, E::JobFound { attempt, .. })
                if late && (1..=self.sends.len()).contains(&(*attempt as usize)) =>
            {
                self.job = true;
            }
            (S::Failed, E::ArtifactStored(_)) if late => self.state = S::Succeeded,
            (S::Failed, E::ArtifactFailed(_)) if late => self.until = None,
            (S::Failed, E::Observed(O::Succeeded { .. })) if late && self.job => self.in_hand = true,
            (S::Failed, E::Observed(O::Failed { .. })) if late && self.job && !self.in_hand => self.until = None,
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

    fn run(&mut self, deadline: SystemTime) {
        (self.state, self.deadline, self.job) = (State::Running, deadline, true);
    }

    /// Nothing more is sent: certain, unless an answer was lost.
    fn stop(&mut self, now: SystemTime) {
        if self.lost.contains(&true) {
            return self.fail(now, true);
        }
        self.state = State::Cancelled;
    }

    fn fail(&mut self, now: SystemTime, recoverable: bool) {
        self.state = State::Failed;
        self.until = recoverable.then_some(now + RECOVERABLE_FOR);
    }
}
