//! Reads a backup back. The whole file is proved before the first row is written,
//! and compared with what was written at the end. A restore that was cut short
//! leaves a mark, so that nobody serves half a store.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufReader, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use futures::future::try_join_all;

use super::entry::{Entries, Entry, InputPart};
use super::frame::{BadFile, FORMAT};
use super::{BackupError, Summary, at};
use crate::store::StoreSettings;
use crate::store::contract::{Creation, TaskStore, Tombstone};
use crate::store::inputs::{Files, InputError};
use crate::store::sled::{OpenError, SledStore};
use crate::task::announcement::{Announcement, AnnouncementId};
use crate::task::event::Event;
use crate::task::id::{Revision, TaskId};
use crate::task::machine::{self, Applied};
use crate::task::state::State;

/// Lies in a folder as long as a restore into it has not ended well.
const MARK: &str = "unfinished-restore";

/// How many entries are written at once, with one sync for all.
const PAGE: usize = 256;

/// What is known of the time between the backup and the restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Somebody may have gone on with the tasks: one that waited to be bought may
    /// have been bought, and is looked up rather than bought.
    MayBeBought,
    /// Nobody has, as when a store moves to another machine: tasks that waited go
    /// on waiting.
    AsItWas,
}

/// Reads the whole file and says what it holds.
pub fn verify(file: &Path) -> Result<Summary, BackupError> {
    let mut entries = open(file)?;
    while entries.next().map_err(|bad| believe(file, bad))?.is_some() {}
    Ok(entries.found())
}

/// Makes a store of a backup, in a folder that is empty or absent. Needs a tokio
/// runtime.
pub async fn restore(file: &Path, into: &Path, waiting: Waiting) -> Result<Summary, BackupError> {
    let summary = verify(file)?;
    refuse_unless_empty(into)?;
    DirBuilder::new().recursive(true).mode(0o700).create(into).map_err(at(into))?;
    mark(into).map_err(at(into))?;
    let settings = StoreSettings::new(into);
    let store = SledStore::open(&settings).await?;
    let files = Files::of(into);
    let written = write(file, &store, &files, waiting).await;
    store.close().await;
    drop(store);
    written?;
    // Opened again: what is compared has been on the disk.
    let store = SledStore::open(&settings).await?;
    let compared = compare(file, &store, &files, waiting).await;
    store.close().await;
    drop(store);
    compared?;
    unmark(into).map_err(at(into))?;
    Ok(summary)
}

/// Whether a restore into this folder was cut short.
pub(in crate::store) fn is_half_restored(folder: &Path) -> bool {
    folder.join(MARK).exists()
}

/// Says so.
pub(in crate::store) fn name_half_restored(folder: &Path) -> OpenError {
    OpenError::Foreign {
        path: folder.to_owned(),
        reason: "a restore into it was cut short; empty the folder and restore again".to_owned(),
    }
}

async fn write(file: &Path, store: &SledStore, files: &Files, waiting: Waiting) -> Result<(), BackupError> {
    let mut entries = open(file)?;
    let write = |part: InputPart| files.write_part(&part.sha256, part.size, part.offset, &part.data);
    loop {
        let page = page(file, &mut entries, waiting, write)?;
        if page.is_empty() {
            return Ok(());
        }
        // Tombstones and announcements come last in the file, and may be those of tasks
        // before them.
        let (announcements, others): (Vec<_>, Vec<_>) =
            page.into_iter().partition(|entry| matches!(entry, Entry::Announcement(_)));
        let (tombstones, others): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|entry| matches!(entry, Entry::Tombstone(_)));
        for entries in [others, tombstones, announcements] {
            try_join_all(entries.into_iter().map(|entry| put(store, entry))).await?;
        }
    }
}

async fn put(store: &SledStore, entry: Entry) -> Result<(), BackupError> {
    match entry {
        Entry::Note(name, value) => Ok(store.write_note(&name, value).await?),
        Entry::Tombstone(tombstone) => bury(store, tombstone).await,
        Entry::Announcement(announcement) => {
            if has_happened(store, &announcement).await? {
                store.announce(*announcement).await?;
            }
            Ok(())
        }
        // Its parts were written as they were read.
        Entry::Input(_) => Ok(()),
        Entry::Task(task) => {
            let id = task.id;
            match store.create(Arc::new(*task)).await? {
                Creation::Created => Ok(()),
                Creation::Earlier(_) | Creation::Removed(_) => {
                    Err(BackupError::Differs(format!("task {id} is in the backup twice")))
                }
            }
        }
    }
}

/// Whether the restored task has come to what is told.
async fn has_happened(store: &SledStore, announcement: &Announcement) -> Result<bool, BackupError> {
    let task = store.load(announcement.id.task).await?;
    Ok(task.is_some_and(|task| task.revision >= announcement.id.revision))
}

/// Writes a tombstone; of a task that was removed while the backup was made, in its
/// place.
async fn bury(store: &SledStore, tombstone: Tombstone) -> Result<(), BackupError> {
    let Some(task) = store.load(tombstone.task).await? else { return Ok(store.bury(tombstone).await?) };
    match store.remove(task.revision, task.id, tombstone.removed).await? {
        Some(_) => Ok(()),
        None => Err(BackupError::Differs(format!("task {} is open and has a tombstone", task.id))),
    }
}

async fn compare(file: &Path, store: &SledStore, files: &Files, waiting: Waiting) -> Result<(), BackupError> {
    let mut entries = open(file)?;
    let prove = |part: InputPart| if part.is_last() { files.prove(&part.sha256, part.size) } else { Ok(()) };
    loop {
        let page = page(file, &mut entries, waiting, prove)?;
        if page.is_empty() {
            return Ok(());
        }
        try_join_all(page.into_iter().map(|entry| is_there(store, entry))).await?;
    }
}

async fn is_there(store: &SledStore, entry: Entry) -> Result<(), BackupError> {
    let same = match &entry {
        Entry::Note(name, value) => store.read_note(name).await?.as_ref() == Some(value),
        Entry::Task(task) => match store.recall(&task.submission.request_id).await? {
            Some(Creation::Earlier(restored)) => *restored == **task,
            Some(Creation::Removed(id)) => id == task.id,
            Some(Creation::Created) | None => false,
        },
        Entry::Announcement(announcement) => {
            let AnnouncementId { task, revision } = announcement.id;
            let before = Some(AnnouncementId { task, revision: Revision(revision.0.saturating_sub(1)) });
            let found = store.announcements(None, before, 1).await?;
            !has_happened(store, announcement).await? || found.first() == Some(announcement.as_ref())
        }
        Entry::Input(_) => true,
        Entry::Tombstone(Tombstone { task, .. }) => {
            let before = TaskId::from_bytes(u128::from_be_bytes(task.to_bytes()).wrapping_sub(1).to_be_bytes());
            store.tombstones(Some(before), 1).await?.first().is_some_and(|found| found.task == *task)
        }
    };
    match (same, entry) {
        (true, _) | (false, Entry::Input(_)) => Ok(()),
        (false, Entry::Note(name, _)) => Err(BackupError::Differs(format!("the note {name}"))),
        (false, Entry::Announcement(announcement)) => {
            Err(BackupError::Differs(format!("the announcement {}", announcement.id)))
        }
        (false, Entry::Tombstone(Tombstone { task, .. })) => {
            Err(BackupError::Differs(format!("the tombstone of task {task}")))
        }
        (false, Entry::Task(task)) => Err(BackupError::Differs(format!("task {}", task.id))),
    }
}

/// The next entries. Parts of pictures are large and are handed over one by one.
fn page(
    file: &Path,
    entries: &mut Entries<BufReader<File>>,
    waiting: Waiting,
    each_part: impl Fn(InputPart) -> Result<(), InputError>,
) -> Result<Vec<Entry>, BackupError> {
    let mut page = Vec::new();
    while page.len() < PAGE
        && let Some(entry) = entries.next().map_err(|bad| believe(file, bad))?
    {
        match entry {
            Entry::Input(part) => each_part(part).map_err(|error| BackupError::Differs(error.to_string()))?,
            other => page.push(as_restored(other, waiting, entries.made())),
        }
    }
    Ok(page)
}

/// A task that waited when the backup was made is one whose create may have been
/// sent: its attempt is noted as begun then, and whoever finds it so looks it up.
fn as_restored(entry: Entry, waiting: Waiting, made: SystemTime) -> Entry {
    match entry {
        Entry::Task(task) if task.state == State::Queued && waiting == Waiting::MayBeBought => {
            let begun = made.max(task.updated);
            match machine::apply(&task, &Event::CreateStarted, begun) {
                Applied::Next(begun) => Entry::Task(begun),
                Applied::Same | Applied::NotAllowed => Entry::Task(task),
            }
        }
        other => other,
    }
}

fn open(path: &Path) -> Result<Entries<BufReader<File>>, BackupError> {
    let file = File::open(path).map_err(at(path))?;
    let meta = file.metadata().map_err(at(path))?;
    if !meta.is_file() {
        return Err(BackupError::Foreign { path: path.to_owned() });
    }
    Entries::open(BufReader::new(file), meta.len()).map_err(|bad| believe(path, bad))
}

fn believe(path: &Path, bad: BadFile) -> BackupError {
    let path = path.to_owned();
    match bad {
        BadFile::Foreign => BackupError::Foreign { path },
        BadFile::Newer(found) => BackupError::Newer { path, found, known: FORMAT },
        BadFile::Damaged { .. } => BackupError::Damaged { path, reason: bad.to_string() },
        BadFile::Io(source) => BackupError::Io { path, source },
    }
}

fn refuse_unless_empty(folder: &Path) -> Result<(), BackupError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(BackupError::NotEmpty { path: folder.to_owned() }),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(at(folder)(error)),
    }
}

fn mark(folder: &Path) -> io::Result<()> {
    File::create(folder.join(MARK))?.sync_all()?;
    File::open(folder)?.sync_all()
}

fn unmark(folder: &Path) -> io::Result<()> {
    fs::remove_file(folder.join(MARK))?;
    File::open(folder)?.sync_all()
}
