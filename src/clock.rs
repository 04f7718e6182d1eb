//! The one place that asks for the time, for randomness and for new ids. In tests
//! it follows tokio's clock, so that hours pass in milliseconds.

#[cfg(test)]
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::RngExt;
use tokio::time::Instant;
use uuid::{ContextV7, Timestamp, Uuid};

use crate::failpoint::skewed;
use crate::task::id::TaskId;

/// Tells the time in whole milliseconds, which is what the store keeps.
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    System,
    /// A fixed date plus what tokio's clock has moved on since.
    Simulated {
        date: SystemTime,
        from: Instant,
    },
    /// The same with throws that can be repeated, and with leaps.
    #[cfg(test)]
    Seeded {
        date: SystemTime,
        from: Instant,
        dice: Arc<crate::dice::Dice>,
        leapt_ms: Arc<AtomicI64>,
    },
}

impl Clock {
    /// The machine's own time.
    pub fn system() -> Self {
        Self { source: Source::System }
    }

    /// Starts at `date` and goes with tokio's clock, which a test may pause.
    pub fn simulated(date: SystemTime) -> Self {
        Self { source: Source::Simulated { date, from: Instant::now() } }
    }

    /// Like a simulated clock, with jitter that a seed gives.
    #[cfg(test)]
    pub(crate) fn seeded(date: SystemTime, seed: u64) -> Self {
        let dice = Arc::new(crate::dice::Dice::new(seed));
        Self { source: Source::Seeded { date, from: Instant::now(), dice, leapt_ms: Arc::default() } }
    }

    /// Sets a seeded clock forward or back.
    #[cfg(test)]
    pub(crate) fn leap(&self, ms: i64) {
        if let Source::Seeded { leapt_ms, .. } = &self.source {
            leapt_ms.fetch_add(ms, Ordering::Relaxed);
        }
    }

    /// Now.
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the system time")]
    pub fn now(&self) -> SystemTime {
        let now = match &self.source {
            Source::System => skewed(SystemTime::now()),
            Source::Simulated { date, from } => *date + from.elapsed(),
            #[cfg(test)]
            Source::Seeded { date, from, leapt_ms, .. } => {
                let leapt = leapt_ms.load(Ordering::Relaxed);
                let by = Duration::from_millis(leapt.unsigned_abs());
                let now = *date + from.elapsed();
                if leapt < 0 { now - by } else { now + by }
            }
        };
        UNIX_EPOCH + Duration::from_millis(unix_ms(now))
    }

    /// A new task id, greater than every one that this process made before it.
    pub fn task_id(&self) -> TaskId {
        static MADE: Mutex<ContextV7> = Mutex::new(ContextV7::new());
        let ms = unix_ms(self.now());
        let nanos = u32::try_from(ms % 1000 * 1_000_000).unwrap_or(0);
        let made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        TaskId::new(Uuid::new_v7(Timestamp::from_unix(&*made, ms / 1000, nanos)))
    }

    /// A new secret of 256 bits.
    pub fn secret(&self) -> [u8; 32] {
        rand::rng().random()
    }

    /// A random number in 0..1, to spread what would else happen at once.
    pub fn jitter(&self) -> f64 {
        #[cfg(test)]
        if let Source::Seeded { dice, .. } = &self.source {
            return dice.below(1 << 32) as f64 / (1u64 << 32) as f64;
        }
        rand::rng().random()
    }
}

/// Milliseconds since 1970; times before it count as 1970.
pub fn unix_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// How long ago `earlier` was; nothing if it lies ahead.
pub fn since(now: SystemTime, earlier: SystemTime) -> Duration {
    now.duration_since(earlier).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_within_a_millisecond_too() {
        let clock = Clock::system();
        let ids: Vec<_> = (0..10_000).map(|_| clock.task_id()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(ids[0] >= TaskId::floor(unix_ms(clock.now()) - 60_000));
    }
}
