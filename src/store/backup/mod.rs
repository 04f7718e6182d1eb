//! The tasks in one file: made through the store's own contract while it serves,
//! checked as a whole before a byte of it is believed, and read back into an empty
//! folder. Copying the live folder of a database is no backup.

mod entry;
mod frame;
mod restore;
mod save;
mod shelf;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

pub use restore::{Waiting, restore, verify};
pub(super) use restore::{is_half_restored, name_half_restored};
pub use save::save;
pub use shelf::Shelf;

use super::contract::StoreError;
use super::sled::OpenError;

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Summary {
    /// Tasks.
    pub tasks: u64,
    /// Notes.
    pub notes: u64,
    /// Tombstones of removed tasks.
    pub tombstones: u64,
    /// Announcements that are not delivered.
    pub announcements: u64,
    /// Pictures that came with requests.
    pub inputs: u64,
    /// Damaged tasks of the store, which are in it as tombstones at most.
    pub damaged: usize,
}

/// Why there is no backup, or nothing came of one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file system refuses.
    #[error("{path}: {source}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Something else.
    #[error("{path} is no backup of VideoGen")]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// Made by a version that knows more than this one.
    #[error("{path} was made by a newer version (format {found}, this version knows {known})")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Cut off, altered, or never finished.
    #[error("{path} is damaged: {reason}; nothing of it was used")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A backup is read back into an empty folder only.
    #[error("{path} is not empty; a backup is restored into an empty or absent folder only")]
    NotEmpty {
        /// Which folder.
        path: PathBuf,
    },
    /// What was written is not what was read back.
    #[error("the restored store is not what the backup holds: {0}")]
    Differs(String),
    /// One backup is being made already.
    #[error("a backup is being made already")]
    Busy,
    /// The store does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.into();
    |source| BackupError::Io { path, source }
}
