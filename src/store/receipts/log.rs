//! The files of the receipts: appended to, synced, begun anew by size, and thrown
//! away when all that they speak of has ended.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use prost::Message;

use super::entry::{Entry, encode, scan};
use super::wire;
use crate::task::id::TaskId;

/// The size beyond which a new file is begun.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// How much is collected before it is written.
const PIECE_BYTES: usize = 1024 * 1024;

/// One file of receipts. Its name tells the first commit and the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct Segment {
    first: u64,
    /// Which store it is of.
    pub(in crate::store) store: u64,
    /// Where it is.
    pub(in crate::store) path: PathBuf,
}

/// The files of a folder, oldest first; none when there is no folder.
pub(in crate::store) fn segments(folder: &Path) -> io::Result<Vec<Segment>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut segments = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".receipts"));
        let Some((first, store)) = name.and_then(|name| name.split_once('-')) else { continue };
        if let (Ok(first), Ok(store)) = (first.parse(), u64::from_str_radix(store, 16)) {
            segments.push(Segment { first, store, path });
        }
    }
    segments.sort();
    Ok(segments)
}

/// Whether a store has left receipts there.
pub(in crate::store) fn has_any(folder: &Path) -> io::Result<bool> {
    Ok(!segments(folder)?.is_empty())
}

/// How the receipts of a store end.
#[derive(Debug, Default)]
pub(in crate::store) struct Tail {
    /// The newest commit all of whose receipts are there; 0 if there is none.
    pub(in crate::store) last: u64,
    /// Whether there is damage in what was looked at, a torn end included.
    pub(in crate::store) damaged: bool,
    /// The newest file, and where its last receipt ends.
    newest: Option<(PathBuf, u64)>,
}

impl Tail {
    /// Looks at the end of a store's receipts; changes nothing. Fails when there
    /// are receipts of another store.
    pub(in crate::store) fn look(folder: &Path, store: u64) -> io::Result<Self> {
        let mut tail = Self::default();
        let segments = segments(folder)?;
        if segments.iter().any(|segment| segment.store != store) {
            return Err(io::Error::other("the receipts are those of another store"));
        }
        for segment in segments.into_iter().rev() {
            let bytes = fs::read(&segment.path)?;
            let found = scan(store, &bytes);
            tail.damaged |= found.damaged > 0;
            tail.newest.get_or_insert((segment.path, found.end as u64));
            if let Some(last) = found.last() {
                tail.last = last;
                break;
            }
        }
        Ok(tail)
    }
}

/// The receipts of a store, open to be appended to.
#[derive(Debug)]
pub(in crate::store) struct ReceiptLog {
    folder: PathBuf,
    store: u64,
    file: Option<File>,
    size: u64,
}

impl ReceiptLog {
    /// Goes on where the receipts end, cutting off a torn end; with damage in the
    /// newest file, in a new one.
    pub(in crate::store) fn open(folder: &Path, store: u64, tail: &Tail) -> io::Result<Self> {
        if !folder.exists() {
            DirBuilder::new().mode(0o700).create(folder)?;
            File::open(folder.parent().unwrap_or(Path::new(".")))?.sync_all()?;
        }
        let mut log = Self { folder: folder.to_owned(), store, file: None, size: 0 };
        if let Some((path, end)) = &tail.newest
            && !tail.damaged
        {
            log.file = Some(OpenOptions::new().append(true).open(path)?);
            log.size = *end;
        } else if let Some((path, end)) = &tail.newest {
            let file = OpenOptions::new().write(true).open(path)?;
            file.set_len(*end)?;
            file.sync_all()?;
        }
        Ok(log)
    }

    /// Where the files are.
    pub(in crate::store) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Appends the receipts of a commit and waits until they are on the disk.
    /// Blocks; after an error there must be no further call.
    pub(in crate::store) fn append(
        &mut self,
        commit: u64,
        count: usize,
        receipts: impl Iterator<Item = io::Result<Vec<u8>>>,
    ) -> io::Result<()> {
        let count = u32::try_from(count).map_err(|_| io::Error::other("too many receipts in one commit"))?;
        let mut piece = Vec::new();
        for (place, receipt) in (0..).zip(receipts) {
            encode(self.store, &Entry { commit, place, count, payload: receipt?.into() }, &mut piece);
            if piece.len() > PIECE_BYTES {
                self.write(commit, &mut piece)?;
            }
        }
        self.write(commit, &mut piece)?;
        self.file(commit)?.sync_data()
    }

    fn write(&mut self, commit: u64, piece: &mut Vec<u8>) -> io::Result<()> {
        self.file(commit)?.write_all(piece)?;
        self.size += piece.len() as u64;
        piece.clear();
        Ok(())
    }

    /// The file to append to, a new one if need be. A commit is in one file.
    fn file(&mut self, commit: u64) -> io::Result<&mut File> {
        if self.file.is_none() {
            let path = self.folder.join(format!("{commit:020}-{:016x}.receipts", self.store));
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
            File::open(&self.folder)?.sync_all()?;
            (self.file, self.size) = (Some(file), 0);
        }
        self.file.as_mut().ok_or_else(|| io::Error::other("no file of receipts"))
    }

    /// Begins a new file with the next commit once this one is large.
    pub(in crate::store) fn rotate(&mut self) {
        if self.size >= SEGMENT_BYTES {
            self.file = None;
        }
    }
}

/// Removes files, all but the newest, that speak only of tasks that have ended.
/// Returns how many went.
pub(in crate::store) fn prune(folder: &Path, open: impl Fn(TaskId) -> bool) -> io::Result<usize> {
    let mut segments = segments(folder)?;
    segments.pop();
    let mut gone = 0;
    for segment in segments {
        let bytes = fs::read(&segment.path)?;
        let speaks_of_open = scan(segment.store, &bytes).entries.iter().any(|entry| {
            let id = wire::Receipt::decode(entry.payload.as_ref())
                .ok()
                .and_then(|receipt| receipt.id.as_ref().try_into().ok());
            id.is_some_and(|id| open(TaskId::from_bytes(id)))
        });
        if !speaks_of_open {
            fs::remove_file(&segment.path)?;
            gone += 1;
        }
    }
    if gone > 0 {
        File::open(folder)?.sync_all()?;
    }
    Ok(gone)
}
