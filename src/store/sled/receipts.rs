//! Keeps the receipts beside the database. The database is synced first, so that
//! receipts are never ahead of it: one that is tells that the database came back
//! older than itself. They may lag behind it by what nobody was told of, which the
//! database notes; then all receipts that are still of use are written anew.

use std::io;
use std::path::{Path, PathBuf};

use super::open::{OpenError, Opened, broken, inconsistent};
use super::write::Batch;
use crate::store::index::Index;
use crate::store::receipts::{ReceiptLog, Tail, beginning, receipt};
use crate::store::rows::read_task;
use crate::task::id::TaskId;

/// The folder of the receipts in the store's folder.
pub(super) fn folder_in(path: &Path) -> PathBuf {
    path.join("receipts")
}

impl Opened {
    /// Compares the receipts with the database and opens them to be appended to.
    pub(super) fn keep_receipts(&self, path: &Path, index: &Index) -> Result<(), OpenError> {
        let in_folder = |source| OpenError::Folder { path: path.to_owned(), source };
        let set = self.set().clone();
        let folder = folder_in(path);
        let tail = Tail::look(&folder, set.store).map_err(|error| inconsistent(path, error))?;
        if tail.last > set.commit {
            let (last, commit) = (tail.last, set.commit);
            let reason = format!("it is older than its receipts, which know of commit {last} and it only of {commit}");
            return Err(inconsistent(path, reason));
        }
        *self.receipts() = Some(ReceiptLog::open(&folder, set.store, &tail).map_err(in_folder)?);
        if tail.damaged || tail.last < set.receipt {
            tracing::warn!(known = tail.last, noted = set.receipt, "receipts are missing and are written anew");
        }
        if tail.damaged || tail.last < set.receipt || tail.last == 0 {
            self.write_receipts_anew(index).map_err(|reason| broken(path, reason))?;
        }
        Ok(())
    }

    /// Writes the receipt of every open task that something was paid for.
    pub(super) fn write_receipts_anew(&self, index: &Index) -> Result<(), String> {
        let paid: Vec<TaskId> = index.open_and_paid().collect();
        let commit = self.commit(Batch::default(), true)?;
        let read = |id: TaskId| match read_task(id, |key| self.get(key)) {
            Ok((task, _)) => Ok(receipt(&task, true)),
            Err(unread) => Err(io::Error::other(format!("task {id}: {unread:?}"))),
        };
        let receipts = paid.iter().map(|id| read(*id)).chain([Ok(beginning())]);
        self.append_receipts(commit, paid.len() + 1, receipts)
    }

    /// Appends the receipts of a commit that is on the disk, and syncs.
    pub(super) fn append_receipts(
        &self,
        commit: u64,
        count: usize,
        receipts: impl Iterator<Item = io::Result<Vec<u8>>>,
    ) -> Result<(), String> {
        let mut log = self.receipts();
        let log = log.as_mut().ok_or("receipts: not open")?;
        log.append(commit, count, receipts).map_err(|error| format!("receipts: {error}"))?;
        log.rotate();
        Ok(())
    }
}
