//! Removing tasks that were kept long enough, in an order that survives a crash
//! anywhere: first the record, then the file, then that the file is gone.

use tracing::{info, warn};

use super::{Ledger, LedgerError};
use crate::failpoint::failpoint;
use crate::store::contract::Tombstone;
use crate::task::id::TaskId;
use crate::task::state::Task;

impl Ledger {
    /// Removes a task that is closed, unless it has changed: from here on it is
    /// unknown and its request id is refused. Its file is still there.
    pub async fn remove(&self, task: &Task) -> Result<Option<Tombstone>, LedgerError> {
        let removed = self.store.remove(task.revision, task.id, self.clock.now()).await?;
        if removed.is_some() {
            failpoint!("retention.removed");
            if let Some(inputs) = &self.inputs {
                inputs.release(&task.submission).await;
            }
            info!(task_id = %task.id, "removed");
        }
        Ok(removed)
    }

    /// Removes the file of a removed task, and notes that it is gone; false when it
    /// cannot be removed now.
    pub async fn remove_file(&self, tombstone: Tombstone) -> Result<bool, LedgerError> {
        if let Err(error) = self.archive.delete(tombstone.task).await {
            warn!(task_id = %tombstone.task, %error, "the file of a removed task cannot be removed now");
            return Ok(false);
        }
        failpoint!("retention.deleted");
        self.store.bury(Tombstone { has_file: false, ..tombstone }).await?;
        Ok(true)
    }

    /// Forgets a removed task: its request id may be used again.
    pub async fn forget(&self, id: TaskId) -> Result<(), LedgerError> {
        Ok(self.store.forget(id).await?)
    }

    /// What is left of removed tasks, by their ids, after `after`.
    pub async fn tombstones(&self, after: Option<TaskId>, limit: usize) -> Result<Vec<Tombstone>, LedgerError> {
        Ok(self.store.tombstones(after, limit).await?)
    }
}
