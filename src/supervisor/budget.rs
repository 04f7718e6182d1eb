//! How often an account may be asked again after trouble. An outage must not turn a
//! thousand tasks into many thousands of requests: only retries are counted here,
//! first requests never are, and a task is kept waiting but never failed.

use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};

/// The most tokens that can be saved up.
const MOST: f64 = 10.0;
/// What an ordinary success earns.
const EARNED: f64 = 0.1;
/// What a retry that succeeds earns: its own token and one more, so that a provider
/// that is back is soon asked at full speed again.
const REGAINED: f64 = 2.0;

/// A bucket of tokens, one a retry.
#[derive(Debug)]
pub struct Budget {
    /// How often a retry is let through without a token.
    trickle: Duration,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    /// When the next retry may go without a token.
    next: Option<Instant>,
}

impl Budget {
    /// A full bucket; once it is empty one retry goes through in each `trickle`.
    pub fn new(trickle: Duration) -> Self {
        Self { trickle, bucket: Mutex::new(Bucket { tokens: MOST, next: None }) }
    }

    /// Lets a retry through, or says after how long to ask again.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        match bucket.next.filter(|next| *next > now) {
            Some(next) => Err(next - now),
            None => {
                bucket.next = Some(now + self.trickle);
                Ok(())
            }
        }
    }

    /// A request was answered; whether it was a retry.
    pub fn succeeded(&self, retried: bool) {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.tokens = MOST.min(bucket.tokens + if retried { REGAINED } else { EARNED });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRICKLE: Duration = Duration::from_secs(30);

    fn drained(now: Instant) -> Budget {
        let budget = Budget::new(TRICKLE);
        (0..10).for_each(|_| assert_eq!(budget.take(now), Ok(())));
        budget
    }

    #[test]
    fn ten_retries_go_at_once_and_then_one_in_each_trickle() {
        let now = Instant::now();
        let budget = drained(now);
        assert_eq!(budget.take(now), Ok(()), "the first of the trickle");
        assert_eq!(budget.take(now + Duration::from_secs(10)), Err(Duration::from_secs(20)));
        assert_eq!(budget.take(now + TRICKLE), Ok(()));
        assert_eq!(budget.take(now + TRICKLE), Err(TRICKLE));
    }

    #[test]
    fn a_retry_that_succeeds_lets_two_more_through_and_ten_first_requests_one() {
        let now = Instant::now();
        let budget = drained(now);
        assert_eq!(budget.take(now), Ok(()));
        budget.succeeded(true);
        assert_eq!([budget.take(now), budget.take(now)], [Ok(()), Ok(())]);
        assert!(budget.take(now).is_err());
        (0..11).for_each(|_| budget.succeeded(false));
        assert_eq!(budget.take(now), Ok(()));
        assert!(budget.take(now).is_err());
    }
}
