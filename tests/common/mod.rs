//! What more than one test binary needs: a process under test, and a bound on
//! every wait.

#![allow(dead_code, reason = "each binary uses a part of it")]

pub mod child;
pub mod receiver;

use std::time::Duration;

/// How long any wait in a test may take before it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// The result, or a failure when it does not come in time.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it came in time")
}
