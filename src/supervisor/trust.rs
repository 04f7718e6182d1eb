//! How far an account's callbacks are relied on. While they come for its jobs, jobs
//! are polled less often; when they stay away, polling is as if there were none. So a
//! callback that is missed costs a delay within [`LONGEST`], and never a task.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};

use crate::task::id::TaskId;

/// Of how many jobs the share is roughly a mean: with this many in a row the balance
/// turns.
const JOBS: f64 = 8.0;
/// How long after a poll has found the end a callback is still no missed one.
const GRACE: Duration = Duration::from_secs(10);
/// How many ends wait for their callback; the oldest are judged early.
const WAITING: usize = 1024;
/// The longest wait between two polls of a job, in longest intervals of polling.
pub const LONGEST: u32 = 4;

/// What is remembered. A restart begins without trust.
#[derive(Debug, Default)]
pub struct Trust(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The share of the last jobs whose end a callback told.
    share: f64,
    /// Ends that a poll found and no callback has told yet.
    untold: VecDeque<(Instant, TaskId)>,
}

impl Inner {
    fn count(&mut self, told: bool) {
        self.share += (f64::from(u8::from(told)) - self.share) / JOBS;
    }

    /// Judges the ends that have waited long enough for their callback.
    fn judge(&mut self, now: Instant, told: impl Fn(TaskId) -> bool) {
        while let Some((at, task)) = self.untold.front().copied()
            && (now >= at + GRACE || self.untold.len() > WAITING)
        {
            self.untold.pop_front();
            self.count(told(task));
        }
    }
}

impl Trust {
    /// A poll has found a job at its end; whether a callback made it look. `told` says
    /// of earlier ones whether their callback has come meanwhile.
    pub fn ended(&self, task: TaskId, called: bool, now: Instant, told: impl Fn(TaskId) -> bool) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match called {
            true => inner.count(true),
            false => inner.untold.push_back((now, task)),
        }
        inner.judge(now, told);
    }

    /// How much the callbacks weigh, 0 to 1: nothing while they come for half of the
    /// jobs or fewer.
    pub fn weight(&self, now: Instant, told: impl Fn(TaskId) -> bool) -> f64 {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.judge(now, told);
        (2.0 * inner.share - 1.0).max(0.0)
    }
}

/// The delay of a poll by this weight of callbacks: from the plain one to the longest.
pub fn thinned(plain: Duration, longest: Duration, weight: f64) -> Duration {
    plain + longest.saturating_sub(plain).mul_f64(weight.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> TaskId {
        TaskId::floor(number)
    }

    fn nothing_told(_: TaskId) -> bool {
        false
    }

    #[test]
    fn six_jobs_that_a_callback_told_begin_the_trust_and_six_untold_ones_end_it() {
        let trust = Trust::default();
        let mut now = Instant::now();
        let mut weights = Vec::new();
        for called in [[true; 6], [false; 6]].concat() {
            trust.ended(id(1), called, now, nothing_told);
            now += GRACE;
            weights.push(trust.weight(now, nothing_told) > 0.0);
        }
        assert_eq!(weights[..6], [false, false, false, false, false, true]);
        assert!(!weights[11], "{weights:?}");
        (0..100).for_each(|_| trust.ended(id(1), true, now, nothing_told));
        assert!(trust.weight(now, nothing_told) > 0.99);
        for _ in 0..6 {
            trust.ended(id(1), false, now, nothing_told);
        }
        assert!(trust.weight(now, nothing_told) > 0.99, "their callbacks may still come");
        assert_eq!(trust.weight(now + GRACE, nothing_told), 0.0);
    }

    #[test]
    fn a_callback_that_comes_after_the_poll_is_none_that_was_missed() {
        let trust = Trust::default();
        let now = Instant::now();
        (0..40).for_each(|number| trust.ended(id(number), false, now, nothing_told));
        assert!(trust.weight(now + GRACE, |_| true) > 0.9);
    }

    #[test]
    fn only_so_many_ends_wait_for_their_callback() {
        let trust = Trust::default();
        let now = Instant::now();
        (0..5000).for_each(|number| trust.ended(id(number), false, now, |_| true));
        assert_eq!(trust.0.lock().unwrap().untold.len(), WAITING);
    }

    #[test]
    fn a_thinned_delay_lies_between_the_plain_and_the_longest() {
        let (plain, longest) = (Duration::from_secs(2), Duration::from_secs(120));
        assert_eq!(thinned(plain, longest, 0.0), plain);
        assert_eq!(thinned(plain, longest, 0.5), Duration::from_secs(61));
        assert_eq!(thinned(plain, longest, 1.0), longest);
        assert_eq!(thinned(Duration::from_secs(300), longest, 1.0), Duration::from_secs(300));
    }
}
