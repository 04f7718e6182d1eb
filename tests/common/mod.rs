//! What more than one test binary needs: a process under test, and a bound on
//! every wait.

#![allow(dead_code, reason = "each binary uses a part of it")]

pub mod child;
pub mod receiver;

use std::time::Duration;

/// How long any wait in a test may take before it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// Waits for something that nobody announces.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// The result, or a failure when it does not come in time.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it came in time")
}
