//! The providers: one contract, an adapter a file, and the registry that opens
//! the right one for each account.

mod account;
pub mod callback;
pub mod contract;
mod echo;
pub mod fal;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzzing;
pub mod http;
mod input;
pub mod kling;
#[cfg(test)]
mod outcomes;
pub mod redact;
#[cfg(test)]
mod scripted;

use std::sync::Arc;
use std::time::SystemTime;

use self::contract::Trouble;
use crate::catalog::{Model, Wire};
use crate::task::state::Job;

pub use self::account::{AccountError, AccountSettings, callback_reader, open};
pub use self::echo::without_words;

/// The longest link to a video that is kept, in bytes: what nobody could call is no
/// link, and a task has to fit its rows.
const LONGEST_LINK: usize = 8 * 1024;

/// Tells the time; the clock hands it in.
pub type Now = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The job that a callback named, to be asked after before anybody believes in it;
/// nothing when its id cannot be a job's, and for Kling's, which are looked up by our
/// marker.
pub fn claimed_job(model: &Model, id: &str) -> Option<Job> {
    match model.wire {
        Wire::KlingNew | Wire::KlingLegacy => None,
        Wire::FalQueue(_) => fal::Fal::job(model, id),
    }
}

fn trouble(reason: &str) -> Trouble {
    Trouble { reason: reason.to_owned(), retry_after: None, denied: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn every_model_of_fals_can_be_followed_once_a_callback_has_named_its_job() {
        for model in Catalog::built_in().models() {
            let job = claimed_job(model, "11111111-2222-4333-8444-555555555555");
            assert_eq!(job.is_some(), matches!(model.wire, Wire::FalQueue(_)), "{}", model.name);
            assert!(job.is_none_or(|job| job.handle.len() <= 1024), "{}", model.name);
            assert_eq!(claimed_job(model, "../x"), None, "{}", model.name);
        }
    }
}
