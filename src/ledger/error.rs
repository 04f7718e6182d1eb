//! Why the ledger could not answer: the doors make a status of it, once.

use std::sync::Arc;

use super::admission::Refusal;
use crate::archive::ReadError;
use crate::images::Finding;
use crate::store::contract::StoreError;
use crate::store::inputs::InputError;
use crate::task::announcement::AnnouncementId;
use crate::task::id::{Revision, TaskId};
use crate::task::state::Task;

/// Why the ledger could not answer.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is no such task.
    #[error("there is no task {0}")]
    Unknown(TaskId),
    /// The request id belongs to another request.
    #[error("the request id was used for another request, task {0}")]
    RequestIdReused(TaskId),
    /// The request id belongs to a task that was removed.
    #[error("the request id was used for task {0}, which was removed")]
    RequestIdExpired(TaskId),
    /// Nothing new is taken in now.
    #[error("nothing new is taken in: {}", .0.reason())]
    Refused(Refusal),
    /// The caller has seen a revision that the task has not reached.
    #[error("the task is at revision {}", current.0)]
    RevisionAhead {
        /// Where the task is.
        current: Revision,
    },
    /// There is no file yet, or there will be none.
    #[error("the task has no video")]
    NoArtifact(Arc<Task>),
    /// The wanted range starts behind the end of the file.
    #[error("the file has {size} bytes")]
    OutOfRange {
        /// Bytes in the file.
        size: u64,
    },
    /// The stored file is missing or altered.
    #[error("the video of task {task}: {error}")]
    Damaged {
        /// Whose file.
        task: TaskId,
        /// What is wrong with it.
        error: ReadError,
    },
    /// Files are kept where nobody signs links.
    #[error("files are kept in a folder, to which there are no links")]
    NoLinks,
    /// There is no such announcement any more: it was told, or never was.
    #[error("there is nothing to be told under {0}")]
    NotToBeTold(AnnouncementId),
    /// Too many streams are open.
    #[error("too many watches are open")]
    WatchLimit,
    /// Images of the request cannot be used.
    #[error("images of the request cannot be used")]
    ImagesRefused(Vec<Finding>),
    /// A picture of the request could not be kept.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}
