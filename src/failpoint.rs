//! Places where the process can be made to die, fail or wait, for the torture of
//! `tests/torture`. Only with the cargo feature `failpoints`: otherwise the macro
//! is nothing at all, and no name of a point is in the binary.

use std::time::Duration;

/// How much sooner an outcome that is unknown is looked up again: 1 in any build
/// that is shipped. The torture cannot wait minutes in each of a thousand cases.
#[cfg(not(feature = "failpoints"))]
pub(crate) const fn haste() -> u32 {
    1
}

/// How much sooner an outcome that is unknown is looked up again, from
/// `FAILPOINT_HASTE`.
#[cfg(feature = "failpoints")]
pub(crate) fn haste() -> u32 {
    use std::sync::LazyLock;
    static HASTE: LazyLock<u32> =
        LazyLock::new(|| std::env::var("FAILPOINT_HASTE").ok().and_then(|text| text.parse().ok()).unwrap_or(1).max(1));
    *HASTE
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
