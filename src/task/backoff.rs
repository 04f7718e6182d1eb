//! When to come back. Pure: elapsed time and jitter come in, a delay goes out. No
//! counters are kept: the delay follows from the time that has passed, so a
//! restart continues where the process left off.

use std::time::Duration;

/// The bounds of polling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Polling {
    /// The shortest delay between two polls of a job.
    pub min_interval: Duration,
    /// The longest.
    pub max_interval: Duration,
    /// How much each delay grows over the one before.
    pub factor: f64,
}

impl Default for Polling {
    fn default() -> Self {
        Self { min_interval: Duration::from_secs(2), max_interval: Duration::from_secs(30), factor: 1.5 }
    }
}

/// The part of the typical duration after which the first poll is made: few jobs
/// end before it, and one that does is found soon after.
const FIRST_POLL_SHARE: f64 = 0.5;

impl Polling {
    /// The delay before the next poll of a job that began `elapsed` ago.
    ///
    /// Polls grow dense at half the typical duration; before it only the longest
    /// interval calls for one. From there the delays
    /// grow by `factor` from the shortest to the longest: a geometric row whose
    /// next member is `min + since_first * (factor - 1)`. `jitter` in 0..1 takes
    /// away up to half, never going under the shortest.
    pub fn delay(&self, elapsed: Duration, typical: Duration, jitter: f64) -> Duration {
        let first = self.first_poll(typical);
        if elapsed < first {
            let left = (first - elapsed).min(self.max_interval);
            return left.mul_f64(1.0 - 0.1 * jitter.clamp(0.0, 1.0)).max(self.min_interval);
        }
        let grown = self.min_interval.as_secs_f64() + (elapsed - first).as_secs_f64() * (self.factor - 1.0);
        let capped = grown.min(self.max_interval.as_secs_f64());
        let jittered = capped * (1.0 - 0.5 * jitter.clamp(0.0, 1.0));
        Duration::from_secs_f64(jittered.max(self.min_interval.as_secs_f64()))
    }

    /// How long after its start a job is first asked after.
    pub fn first_poll(&self, typical: Duration) -> Duration {
        typical.mul_f64(FIRST_POLL_SHARE).max(self.min_interval)
    }

    /// The delay after `failures` calls in a row that told nothing: doubling from
    /// the shortest to the longest, with full jitter above the shortest. The
    /// provider's own wish is obeyed, up to ten minutes.
    pub fn after_trouble(&self, failures: u32, wish: Option<Duration>, jitter: f64) -> Duration {
        let grown = self.min_interval.as_secs_f64() * 2f64.powi(failures.min(16) as i32);
        let capped = grown.min(self.max_interval.as_secs_f64());
        let jittered = capped * (1.0 - 0.5 * jitter.clamp(0.0, 1.0));
        let own = Duration::from_secs_f64(jittered).max(self.min_interval);
        wish.map_or(own, |wish| wish.max(own)).min(LONGEST_WISH)
    }
}

/// The longest that a provider can make us wait by `Retry-After`.
const LONGEST_WISH: Duration = Duration::from_secs(600);

/// The longest delay before a create is sent again that surely did not arrive.
const SLOWEST_RESEND: f64 = 300.0;

/// The delay before a create that surely did not arrive is sent again: six quick
/// ones, 0.5 s doubling to 16 s, and then slower ones up to five minutes, with
/// jitter that takes away up to half.
pub fn resend(failures: u32, jitter: f64) -> Duration {
    doubling(failures, SLOWEST_RESEND, jitter)
}

/// The delay before a create is sent again that the provider turned away as one too
/// many: 0.5 s doubling to 30 s, or the provider's own wish.
pub fn turned_away(failures: u32, wish: Option<Duration>, jitter: f64) -> Duration {
    let own = doubling(failures, 30.0, jitter);
    wish.map_or(own, |wish| wish.max(own)).min(LONGEST_WISH)
}

/// How long it is tried to tell a webhook of something.
pub const TELL_FOR: Duration = Duration::from_secs(24 * 3600);

/// The longest that a receiver can make us wait by `Retry-After`.
const LONGEST_RECEIVER_WISH: Duration = Duration::from_secs(3600);

/// The delay before a webhook is told again: 2 s doubling to 15 minutes with jitter
/// that takes away up to half, or the receiver's own wish, up to an hour.
pub fn tell_again(failures: u32, wish: Option<Duration>, jitter: f64) -> Duration {
    let own = doubling(failures.saturating_add(2), 900.0, jitter);
    wish.map_or(own, |wish| wish.clamp(own, LONGEST_RECEIVER_WISH))
}

fn doubling(failures: u32, most: f64, jitter: f64) -> Duration {
    let grown = (0.5 * 2f64.powi(failures.min(16) as i32)).min(most);
    Duration::from_secs_f64(grown * (1.0 - 0.5 * jitter.clamp(0.0, 1.0)))
}

/// When a create of unknown outcome is looked up, counted from the moment it was
/// sent. How long a new job stays invisible is documented nowhere.
pub const LOOK_UPS: [Duration; 4] =
    [Duration::from_secs(2), Duration::from_secs(7), Duration::from_secs(22), Duration::from_secs(82)];

/// What to do about an unknown outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookUp {
    /// Too early: look after this long.
    Wait(Duration),
    /// Look now, and come back after this long if nothing is found.
    Look(Duration),
    /// Look now; if nothing is found the same create may be sent again, to a
    /// provider that refuses duplicates.
    LookThenResend,
}

/// The place in the row of look-ups of a create that was sent `since` ago.
pub fn look_up(since: Duration) -> LookUp {
    if since < LOOK_UPS[0] {
        return LookUp::Wait(LOOK_UPS[0] - since);
    }
    match LOOK_UPS.iter().find(|at| **at > since) {
        Some(later) => LookUp::Look(*later - since),
        None => LookUp::LookThenResend,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLLING: Polling =
        Polling { min_interval: Duration::from_secs(2), max_interval: Duration::from_secs(30), factor: 1.5 };

    #[test]
    fn delays_grow_by_the_factor_from_the_first_poll_to_the_cap() {
        let typical = Duration::from_secs(60);
        let mut at = POLLING.first_poll(typical);
        let mut delays = Vec::new();
        for _ in 0..10 {
            let delay = POLLING.delay(at, typical, 0.0);
            delays.push(delay.as_secs_f64());
            at += delay;
        }
        assert_eq!(delays[..4], [2.0, 3.0, 4.5, 6.75]);
        assert_eq!(delays[8..], [30.0, 30.0]);
    }

    fn polling() -> impl Strategy<Value = Polling> {
        (0..10_000u64, 0..60_000u64, 1.0..4.0).prop_map(|(shortest, more, factor)| Polling {
            min_interval: Duration::from_millis(shortest),
            max_interval: Duration::from_millis(shortest + more),
            factor,
        })
    }

    proptest! {
        #[test]
        fn no_delay_is_shorter_than_the_shortest_or_longer_than_the_longest(
            polling in polling(), elapsed in 0..100_000_000u64, typical in 0..600_000u64, jitter in 0.0..=1.0,
        ) {
            let (elapsed, typical) = (Duration::from_millis(elapsed), Duration::from_millis(typical));
            let delay = polling.delay(elapsed, typical, jitter);
            prop_assert!(polling.min_interval <= delay && delay <= polling.max_interval);
        }

        #[test]
        fn trouble_and_wishes_stay_within_bounds(
            polling in polling(), failures: u32, wish in prop::option::of(0..u64::MAX), jitter in 0.0..=1.0,
        ) {
            let wish = wish.map(Duration::from_secs);
            let delay = polling.after_trouble(failures, wish, jitter);
            prop_assert!(polling.min_interval <= delay && delay <= LONGEST_WISH);
            let again = turned_away(failures, wish, jitter);
            prop_assert!(Duration::from_millis(250) <= again && again <= LONGEST_WISH);
            if wish.is_none() {
                prop_assert!(delay <= polling.max_interval && again <= Duration::from_secs(30));
            }
            let again = tell_again(failures, wish, jitter);
            prop_assert!(Duration::from_secs(1) <= again && again <= LONGEST_RECEIVER_WISH);
            prop_assert!(wish.is_some() || again <= Duration::from_secs(900));
            let again = resend(failures, jitter);
            prop_assert!(Duration::from_millis(250) <= again && again <= Duration::from_secs(300));
        }

        #[test]
        fn a_look_up_never_waits_past_the_next_of_its_row(since in 0..200_000u64) {
            let since = Duration::from_millis(since);
            match look_up(since) {
                LookUp::Wait(wait) => prop_assert_eq!(since + wait, LOOK_UPS[0]),
                LookUp::Look(wait) => prop_assert!(LOOK_UPS.contains(&(since + wait)) && !wait.is_zero()),
                LookUp::LookThenResend => prop_assert!(since >= LOOK_UPS[3]),
            }
        }
    }

    #[test]
    fn the_first_poll_stands_at_half_the_typical_duration_or_the_longest_interval() {
        for (typical, first) in [(20, 10), (58, 29), (100, 30), (1, 2)] {
            let delay = POLLING.delay(Duration::ZERO, Duration::from_secs(typical), 0.0);
            assert_eq!(delay, Duration::from_secs(first), "{typical}");
        }
    }

    #[test]
    fn the_first_poll_comes_nearer_as_time_passes_and_jitters_by_a_tenth() {
        let typical = Duration::from_secs(40);
        let cases = [(8.0, 0.0, 12.0), (8.0, 0.5, 11.4), (8.0, 1.0, 10.8), (18.5, 0.0, 2.0), (20.0, 1.0, 2.0)];
        for (elapsed, jitter, seconds) in cases {
            let delay = POLLING.delay(Duration::from_secs_f64(elapsed), typical, jitter);
            assert_eq!(delay, Duration::from_secs_f64(seconds), "{elapsed} {jitter}");
        }
    }

    /// A delay by its jitter.
    type Jittered = fn(f64) -> Duration;

    #[test]
    fn jitter_takes_away_up_to_half_and_keeps_the_shortest() {
        let rows: [(Jittered, [f64; 3]); 4] = [
            (|jitter| POLLING.delay(Duration::from_secs(46), Duration::from_secs(60), jitter), [10.0, 7.5, 5.0]),
            (|jitter| POLLING.after_trouble(3, None, jitter), [16.0, 12.0, 8.0]),
            (|jitter| turned_away(4, None, jitter), [8.0, 6.0, 4.0]),
            (|jitter| tell_again(2, None, jitter), [8.0, 6.0, 4.0]),
        ];
        for (n, (delay, seconds)) in rows.into_iter().enumerate() {
            assert_eq!([0.0, 0.5, 1.0].map(|jitter| delay(jitter).as_secs_f64()), seconds, "row {n}");
        }
        assert_eq!(POLLING.after_trouble(0, None, 1.0), POLLING.min_interval);
        assert_eq!(POLLING.after_trouble(4, None, 0.0), POLLING.max_interval);
    }

    #[test]
    fn a_receiver_is_told_for_a_day_and_waited_for_an_hour_at_most() {
        assert_eq!(TELL_FOR.as_secs(), 86_400);
        let wish = |seconds| tell_again(0, Some(Duration::from_secs(seconds)), 0.0).as_secs();
        assert_eq!([0, 60, 7200].map(wish), [2, 60, 3600]);
        assert_eq!([0, 1, 8, 30].map(|failures| tell_again(failures, None, 0.0).as_secs()), [2, 4, 512, 900]);
    }

    #[test]
    fn a_providers_wish_is_obeyed_within_reason() {
        let wish = Some(Duration::from_secs(45));
        assert_eq!(POLLING.after_trouble(1, wish, 0.5), Duration::from_secs(45));
        assert_eq!(POLLING.after_trouble(1, Some(Duration::from_secs(9999)), 0.5), LONGEST_WISH);
        assert!(turned_away(30, None, 0.0) <= Duration::from_secs(30));
    }

    #[test]
    fn a_create_that_did_not_arrive_has_six_quick_resends_and_then_slower_ones() {
        let delays: Vec<f64> = (0..12).map(|failures| resend(failures, 0.0).as_secs_f64()).collect();
        assert_eq!(delays[..6], [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]);
        assert_eq!(delays[6..], [32.0, 64.0, 128.0, 256.0, 300.0, 300.0]);
    }

    #[test]
    fn an_unknown_create_is_looked_up_four_times_before_it_may_be_sent_again() {
        let mut since = Duration::ZERO;
        let mut looks = 0;
        loop {
            match look_up(since) {
                LookUp::Wait(wait) => since += wait,
                LookUp::Look(wait) => {
                    looks += 1;
                    since += wait;
                }
                LookUp::LookThenResend => break,
            }
        }
        assert_eq!((looks, since), (3, LOOK_UPS[3]));
    }
}
