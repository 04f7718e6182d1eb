//! The providers: one contract, an adapter a file, and the registry that opens
//! the right one for each account.

mod account;
pub mod contract;
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
use crate::task::spec::Spec;
use crate::task::state::Job;

pub use self::account::{AccountError, AccountSettings, open};

/// The longest link to a video that is kept, in bytes: what nobody could call is no
/// link, and a task has to fit its rows.
const LONGEST_LINK: usize = 8 * 1024;

/// Tells the time; the clock hands it in.
pub type Now = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The job that a callback named, once the callback is known to belong to an order
/// of this spec; nothing when its id cannot be a job's.
pub fn adopted_job(spec: &Spec, model: &Model, id: &str) -> Option<Job> {
    match model.wire {
        Wire::KlingNew | Wire::KlingLegacy => kling::Kling::job(spec, model, id),
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
    fn every_listed_model_can_be_followed_once_it_is_bought() {
        for model in Catalog::built_in().models() {
            let spec = Spec::new(model.name.clone());
            let job = adopted_job(&spec, model, "11111111-2222-4333-8444-555555555555");
            assert!(job.is_some_and(|job| job.handle.len() <= 1024), "{}", model.name);
            assert_eq!(adopted_job(&spec, model, "../x"), None, "{}", model.name);
        }
    }
}
