//! Chance that can be repeated: the same seed gives the same throws.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Throws from a seed (SplitMix64).
#[derive(Debug)]
pub(crate) struct Dice(AtomicU64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed.wrapping_mul(0xD134_2543_DE82_EF95)))
    }

    /// Dice of their own, for a part that is asked in an order of its own.
    pub(crate) fn fork(&self) -> Self {
        Self::new(self.throw())
    }

    pub(crate) fn throw(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let state = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&self, limit: u64) -> u64 {
        self.throw() % limit.max(1)
    }

    pub(crate) fn chance(&self, of: f64) -> bool {
        (self.throw() >> 11) as f64 / ((1u64 << 53) as f64) < of
    }

    pub(crate) fn up_to(&self, longest: Duration) -> Duration {
        Duration::from_millis(self.below(longest.as_millis() as u64 + 1))
    }
}

/// Says how to replay a seed when its test panics.
pub(crate) struct Replay {
    /// What to filter the tests by.
    pub(crate) test: &'static str,
    pub(crate) seed: u64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { test, seed } = self;
            eprintln!("replay: VIDEOGEN_TORTURE_SEED={seed} VIDEOGEN_TORTURE_COUNT=1 cargo test --lib -- {test}");
        }
    }
}

/// A number from the environment.
pub(crate) fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("it is a number"))
}
