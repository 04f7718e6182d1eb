//! Places where the process can be made to die, fail or wait, for the torture of
//! `tests/torture`. Only with the cargo feature `failpoints`: otherwise the macro
//! is nothing at all, and no name of a point is in the binary.
//!
//! `FAILPOINTS` is a list such as `job.judged=kill;archive.publish=error*2`: a
//! point, what happens there (`kill`, `kill(MS)` after so many milliseconds,
//! `error`, `delay(MS)`), `@N` for the N-th time it is reached, `*N` for how often.
//! `FAILPOINT_HASTE` divides the waits for an unknown outcome, `FAILPOINT_SKEW_S`
//! sets the wall clock ahead or back.

use std::time::Duration;

#[cfg(feature = "failpoints")]
use armed::number;
#[cfg(feature = "failpoints")]
pub(crate) use armed::reached;

/// A point by name; its parts are joined by dots. With an error after `=>`, the
/// function returns it where the point is to fail.
#[cfg(feature = "failpoints")]
macro_rules! failpoint {
    ($($part:expr),+ $(=> $error:expr)?) => {
        #[allow(unused_variables, reason = "not every place can fail")]
        let fails = crate::failpoint::reached(&[$($part),+]);
        $(if fails {
            return Err($error);
        })?
    };
}
#[cfg(not(feature = "failpoints"))]
macro_rules! failpoint {
    ($($part:expr),+ $(=> $error:expr)?) => {};
}
pub(crate) use failpoint;

/// How much sooner an outcome that is unknown is looked up again: 1 in any build
/// that is shipped. The torture cannot wait minutes in each of a thousand cases.
pub(crate) fn haste() -> u32 {
    #[cfg(feature = "failpoints")]
    return number("FAILPOINT_HASTE").and_then(|haste| u32::try_from(haste).ok()).unwrap_or(1).max(1);
    #[cfg(not(feature = "failpoints"))]
    1
}

/// A wait, shortened by [`haste`].
pub(crate) fn hastened(wait: Duration) -> Duration {
    wait / haste()
}

/// Ends the process if the task carries the label that `FAILPOINT_POISON` names: for
/// the test of the quarantine. Nothing in a release build.
#[cfg(debug_assertions)]
pub(crate) fn poisoned(labels: &std::collections::BTreeMap<String, String>) {
    if std::env::var("FAILPOINT_POISON").is_ok_and(|label| labels.contains_key(&label)) {
        std::process::abort();
    }
}

/// The wall clock, set wrong where that is asked for.
pub(crate) fn skewed(now: std::time::SystemTime) -> std::time::SystemTime {
    #[cfg(feature = "failpoints")]
    if let Some(skew) = number("FAILPOINT_SKEW_S") {
        let by = Duration::from_secs(skew.unsigned_abs());
        return if skew < 0 { now - by } else { now + by };
    }
    now
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::collections::HashMap;
    use std::sync::{LazyLock, Mutex, PoisonError};
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    /// What is to happen at a point, from which time on and how often.
    struct Trap {
        action: Action,
        from: u32,
        times: u32,
        reached: u32,
    }

    #[derive(Clone, Copy)]
    enum Action {
        Kill(Duration),
        Error,
        Delay(Duration),
    }

    static TRAPS: LazyLock<Mutex<HashMap<String, Trap>>> = LazyLock::new(|| {
        let text = std::env::var("FAILPOINTS").unwrap_or_default();
        let traps = text.split(';').filter(|trap| !trap.is_empty()).map(|trap| match read(trap) {
            Some(trap) => trap,
            // A trap that is never sprung would let a test pass that did nothing.
            None => panic!("no such failpoint: {trap}"),
        });
        Mutex::new(traps.collect())
    });

    /// Does what is to be done here. True when the place is to fail.
    pub(crate) fn reached(parts: &[&str]) -> bool {
        let mut traps = TRAPS.lock().unwrap_or_else(PoisonError::into_inner);
        if traps.is_empty() {
            return false;
        }
        let name = parts.join(".");
        let Some(trap) = traps.get_mut(&name) else { return false };
        trap.reached += 1;
        if trap.reached < trap.from || trap.reached - trap.from >= trap.times {
            return false;
        }
        let action = trap.action;
        drop(traps);
        eprintln!("failpoint {name}");
        match action {
            Action::Kill(Duration::ZERO) => die(),
            Action::Kill(after) => drop(std::thread::spawn(move || {
                std::thread::sleep(after);
                die();
            })),
            // Holds up its thread, as a slow disk would.
            Action::Delay(time) => std::thread::sleep(time),
            Action::Error => return true,
        }
        false
    }

    /// As kill -9 does: nothing is unwound, flushed or said.
    fn die() {
        let _ = kill_process(getpid(), Signal::KILL);
        std::thread::park();
    }

    /// `POINT=ACTION[(MS)][@N][*N]`.
    fn read(text: &str) -> Option<(String, Trap)> {
        let (name, action) = text.split_once('=')?;
        let (action, times) = action.split_once('*').unwrap_or((action, "1"));
        let (action, from) = action.split_once('@').unwrap_or((action, "1"));
        let (word, ms) = action.strip_suffix(')').and_then(|action| action.split_once('(')).unwrap_or((action, "0"));
        let time = Duration::from_millis(ms.parse().ok()?);
        let action = match word {
            "kill" => Action::Kill(time),
            "error" => Action::Error,
            "delay" => Action::Delay(time),
            _ => return None,
        };
        let trap = Trap { action, from: from.parse().ok()?, times: times.parse().ok()?, reached: 0 };
        Some((name.to_owned(), trap))
    }

    /// A number from the environment.
    pub(super) fn number(name: &str) -> Option<i64> {
        std::env::var(name).ok()?.parse().ok()
    }
}
