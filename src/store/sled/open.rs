//! Opens the database: everything that has to be right before the first row is
//! believed, in the order in which it has to happen.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use tempfile::TempDir;

use super::StoreSettings;
use super::repair::MOVING;
use crate::store::ballast;
use crate::store::contract::StoreError;
use crate::store::receipts::ReceiptLog;
use crate::store::set::SetNote;

/// Held locked as long as the database is open.
pub(super) const LOCK_FILE: &str = "videogen.lock";

/// Written into the database when it is made and never to be changed.
const SEGMENT_BYTES: usize = 512 * 1024;

/// sled writes a snapshot while it opens and breaks if the disk fills up then.
const FREE_BYTES_WANTED: u64 = 64 * 1024 * 1024;

/// What is enough once the ballast had to go: a file system may keep some of its
/// room for root.
const FREE_BYTES_OF_NEED: u64 = FREE_BYTES_WANTED / 2;

/// How often and how long to wait for threads of an earlier handle.
const LOCK_TRIES: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// How long sled may take to replay its log.
const OPEN_LIMIT: Duration = Duration::from_secs(600);

/// What helps when the database is at fault.
const REPAIR: &str = "'videogen fsck' says what is wrong, 'videogen repair --from-receipts' rebuilds the store";

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made, read or written.
    #[error("store folder {path}: {source}")]
    Folder {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("store folder {path} is in use by another process")]
    InUse {
        /// Which one.
        path: PathBuf,
    },
    /// There is too little space to open safely.
    #[error("disk full: store folder {path} has {free_mib} MiB left, at least {wanted_mib} are needed")]
    DiskFull {
        /// Which one.
        path: PathBuf,
        /// What is left.
        free_mib: u64,
        /// What is needed.
        wanted_mib: u64,
    },
    /// It was made by a later version of this program.
    #[error("store folder {path} was made by a newer version (schema {found}, this version knows {known})")]
    Newer {
        /// Which one.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// It holds something else, or its very first note is damaged.
    #[error("store folder {path} is not a readable VideoGen store: {reason}; {REPAIR}")]
    Foreign {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// sled cannot open it.
    #[error("store folder {path} does not open: {reason}; {REPAIR}")]
    Broken {
        /// Which one.
        path: PathBuf,
        /// What sled says.
        reason: String,
    },
    /// It opens, and what it holds is not what was last written to it.
    #[error("store folder {path} does not hold what was written to it: {reason}; {REPAIR}")]
    Inconsistent {
        /// Which one.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
}

/// An open database. The order of the fields is the order of their end: the lock
/// outlives the database, a temporary folder outlives both.
pub(super) struct Opened {
    /// The one tree.
    pub(super) tree: sled::Tree,
    pub(super) db: sled::Db,
    /// Our own handle on the log: errors of a sync are reported per open file, and
    /// sled never asks for them.
    pub(super) log: File,
    set: Mutex<SetNote>,
    receipts: Mutex<Option<ReceiptLog>>,
    _lock: File,
    _folder: Option<TempDir>,
}

impl Opened {
    /// Opens or makes the database in `settings.path`. Blocks.
    pub(super) fn open(settings: &StoreSettings, folder: Option<TempDir>) -> Result<Self, OpenError> {
        let path = settings.path.as_path();
        let in_folder = |source| OpenError::Folder { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(in_folder)?;
        let lock = lock(path)?;
        if path.join(MOVING).exists() {
            return Err(inconsistent(path, "a repair was cut short"));
        }
        wait_for_sled_to_let_go(path)?;
        remove_unfinished_snapshots(path).map_err(in_folder)?;
        check_space(path)?;
        let db = open_sled(settings)?;
        let log = File::open(path.join("db")).map_err(in_folder)?;
        sync_names(path).map_err(in_folder)?;
        let tree = sled::Tree::clone(&db);
        let (set, receipts) = (Mutex::default(), Mutex::default());
        let opened = Self { tree, db, log, set, receipts, _lock: lock, _folder: folder };
        opened.check_schema(path)?;
        Ok(opened)
    }

    /// The temporary folder, if it is one.
    #[cfg(test)]
    pub(super) fn folder(&self) -> Option<PathBuf> {
        self._folder.as_ref().map(|folder| folder.path().to_owned())
    }

    /// Reads a row.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        self.tree.get(key).map_err(|error| StoreError::Stopped(format!("read: {error}")))
    }

    /// What is noted of the set; changed by the one writer.
    pub(super) fn set(&self) -> MutexGuard<'_, SetNote> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The receipts, once they are open.
    pub(super) fn receipts(&self) -> MutexGuard<'_, Option<ReceiptLog>> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn broken(path: &Path, reason: impl ToString) -> OpenError {
    OpenError::Broken { path: path.to_owned(), reason: reason.to_string() }
}

pub(super) fn inconsistent(path: &Path, reason: impl ToString) -> OpenError {
    OpenError::Inconsistent { path: path.to_owned(), reason: reason.to_string() }
}

pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let in_folder = |source| OpenError::Folder { path: path.to_owned(), source };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK_FILE));
    let file = file.map_err(in_folder)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(in_folder(source)),
    }
}

/// sled's threads keep its own lock a moment longer than its handle lives. With our
/// lock in hand, nobody else can be holding that one.
fn wait_for_sled_to_let_go(path: &Path) -> Result<(), OpenError> {
    let Ok(log) = File::open(path.join("db")) else {
        return Ok(());
    };
    for _ in 0..LOCK_TRIES {
        match log.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(source)) => return Err(OpenError::Folder { path: path.to_owned(), source }),
        }
    }
    Err(OpenError::InUse { path: path.to_owned() })
}

/// A start that was killed leaves half a snapshot, which sled would take for the
/// newest one and refuse for ever. Nothing refers to it before its rename.
fn remove_unfinished_snapshots(path: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            tracing::warn!(file = %name, "removing the unfinished snapshot of a start that was cut short");
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn check_space(path: &Path) -> Result<(), OpenError> {
    let in_folder = |source| OpenError::Folder { path: path.to_owned(), source };
    let mut free = ballast::free_bytes(path).map_err(in_folder)?;
    let mut wanted = FREE_BYTES_WANTED;
    if free < wanted && ballast::release(path).map_err(in_folder)? {
        tracing::warn!(free, "the disk is full; the ballast was thrown out so that the store can open");
        free = ballast::free_bytes(path).map_err(in_folder)?;
        wanted = FREE_BYTES_OF_NEED;
    }
    if free >= wanted {
        return Ok(());
    }
    Err(OpenError::DiskFull { path: path.to_owned(), free_mib: free >> 20, wanted_mib: wanted >> 20 })
}

/// In a thread of its own: sled panics on some damaged files, and may wait for ever.
pub(super) fn open_sled(settings: &StoreSettings) -> Result<sled::Db, OpenError> {
    let path = settings.path.as_path();
    let config = sled::Config::new()
        .path(path)
        .mode(sled::Mode::LowSpace)
        .segment_size(SEGMENT_BYTES)
        .use_compression(false)
        .cache_capacity(settings.cache_mib.saturating_mul(1024 * 1024))
        .flush_every_ms(settings.flush_every_ms);
    let (answer, answered) = mpsc::channel();
    let open = move || {
        let opened = std::panic::catch_unwind(AssertUnwindSafe(|| config.open()));
        // Nobody waits any more after the time limit.
        let _ = answer.send(opened);
    };
    std::thread::Builder::new().name("store-open".to_owned()).spawn(open).map_err(|error| broken(path, error))?;
    match answered.recv_timeout(OPEN_LIMIT) {
        Ok(Ok(Ok(db))) => Ok(db),
        Ok(Ok(Err(error))) => Err(broken(path, error)),
        Ok(Err(_panic)) => Err(broken(path, "sled panicked; the log is damaged")),
        Err(_) => Err(broken(path, format!("sled did not come back in {} s", OPEN_LIMIT.as_secs()))),
    }
}

/// Makes the names of the files durable, which sled leaves to chance: without
/// them a power cut takes a brand-new database as a whole.
fn sync_names(path: &Path) -> std::io::Result<()> {
    File::open(path.join("conf"))?.sync_all()?;
    File::open(path.join("db"))?.sync_all()?;
    File::open(path)?.sync_all()?;
    match path.canonicalize()?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
