//! Where tasks are kept: one contract, a backend a folder. The index and the rows
//! are shared by backends that keep bytes; only `sled/` names sled.

mod announcement;
pub mod backup;
pub mod ballast;
pub mod contract;
mod envelope;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod index;
pub mod inputs;
mod receipts;
mod record;
mod rows;
mod set;
mod sled;
mod tombstone;

#[cfg(test)]
mod conformance;

use std::sync::Arc;

pub use self::sled::{
    Checked, OpenError, Repaired, Report, SledStore, Stats, StoreSettings, abort_when_its_threads_panic, check, repair,
};

/// Opens the store that the settings name. Needs a tokio runtime.
pub async fn open(settings: &StoreSettings) -> Result<Arc<SledStore>, OpenError> {
    if backup::is_half_restored(&settings.path) {
        return Err(backup::name_half_restored(&settings.path));
    }
    SledStore::open(settings).await
}
