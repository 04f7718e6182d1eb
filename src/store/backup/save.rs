//! Makes a backup of a store that may be serving. Each task in it is as one commit
//! left it; two tasks may be of different moments, which no task minds.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use tracing::warn;

use super::entry::{InputPart, write_header, write_input, write_note, write_task, write_told, write_tombstone};
use super::frame::Writer;
use super::{BackupError, Summary, at};
use crate::store::contract::{Filter, TaskStore, Tombstone};
use crate::store::inputs::Files;
use crate::task::id::TaskId;
use crate::task::spec::StoredImage;

/// How an unfinished file is called.
pub(super) const UNFINISHED: &str = ".videogen-backup-";

/// How many tasks are in memory at a time.
const PAGE: usize = 256;

/// How much of a picture is in one record.
const PART: usize = 1 << 20;

/// Writes every task with its pictures, note, tombstone and announcement into a new file, which its owner alone can read. The
/// file appears when it is whole and on the disk, or not at all.
pub async fn save(store: &dyn TaskStore, files: &Files, to: &Path, now: SystemTime) -> Result<Summary, BackupError> {
    let folder = folder_of(to);
    let unfinished = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&folder).map_err(at(&folder))?;
    let file = unfinished.as_file().try_clone().map_err(at(to))?;
    let summary = write(store, files, tokio::fs::File::from_std(file), to, now).await?;
    let to = to.to_owned();
    let named = tokio::task::spawn_blocking(move || name(unfinished, &to, &folder));
    named.await.unwrap_or_else(|error| Err(at("the backup")(std::io::Error::other(error))))?;
    Ok(summary)
}

/// A backup that is being written, section by section.
struct Saving<'a> {
    store: &'a dyn TaskStore,
    file: tokio::fs::File,
    to: &'a Path,
    writer: Writer,
    summary: Summary,
}

impl Saving<'_> {
    /// Writes out what has been put together so far.
    async fn flush(&mut self) -> Result<(), BackupError> {
        self.file.write_all(&self.writer.take()).await.map_err(at(self.to))
    }

    async fn notes(&mut self) -> Result<(), BackupError> {
        for (name, value) in self.store.notes().await? {
            write_note(&mut self.writer, name, value);
            self.summary.notes += 1;
        }
        Ok(())
    }

    /// Writes every task; returns the pictures that they use, each once.
    async fn tasks(&mut self) -> Result<BTreeMap<[u8; 32], StoredImage>, BackupError> {
        let (mut before, mut inputs) = (None, BTreeMap::new());
        loop {
            let page = self.store.list(&Filter::default(), before, PAGE).await?;
            let Some(last) = page.last() else { return Ok(inputs) };
            before = Some(last.id);
            page.iter().for_each(|task| write_task(&mut self.writer, task));
            let used = page.iter().flat_map(|task| task.submission.spec.files());
            inputs.extend(used.map(|input| (input.sha256, *input)));
            self.summary.tasks += page.len() as u64;
            self.flush().await?;
        }
    }

    async fn picture(&mut self, files: &Files, input: StoredImage) -> Result<(), BackupError> {
        let own = files.clone();
        let read = tokio::task::spawn_blocking(move || own.read(&input)).await;
        match read.unwrap_or_else(|panic| Err(std::io::Error::other(panic).into())) {
            Ok(data) => {
                write_parts(&mut self.writer, &input, &data);
                self.summary.inputs += 1;
                self.flush().await
            }
            // Its task was removed meanwhile, or cannot do without it: then the check of
            // the restored store says so.
            Err(error) => {
                warn!(%error, "a picture of a request is not in the backup");
                Ok(())
            }
        }
    }

    async fn tombstones(&mut self) -> Result<(), BackupError> {
        let mut after = None;
        loop {
            let page = self.store.tombstones(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.task);
            page.iter().for_each(|tombstone| write_tombstone(&mut self.writer, tombstone));
            self.summary.tombstones += page.len() as u64;
            self.flush().await?;
        }
    }

    /// A task that cannot be read is not in the backup, but a repeat of its request
    /// must not buy it again.
    fn damaged(&mut self, damaged: Vec<(TaskId, Option<[u8; 16]>)>, now: SystemTime) {
        self.summary.damaged = damaged.len();
        for (task, request) in damaged {
            let Some(request) = request else { continue };
            write_tombstone(&mut self.writer, &Tombstone { task, request, removed: now, has_file: false });
            self.summary.tombstones += 1;
        }
    }

    async fn announcements(&mut self) -> Result<(), BackupError> {
        let mut after = None;
        loop {
            let page = self.store.announcements(None, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            page.iter().for_each(|announcement| write_told(&mut self.writer, announcement));
            self.summary.announcements += page.len() as u64;
            self.flush().await?;
        }
    }
}

async fn write(
    store: &dyn TaskStore,
    files: &Files,
    file: tokio::fs::File,
    to: &Path,
    now: SystemTime,
) -> Result<Summary, BackupError> {
    let damaged = store.damaged_tasks();
    let mut saving = Saving { store, file, to, writer: Writer::new(), summary: Summary::default() };
    write_header(&mut saving.writer, now);
    saving.notes().await?;
    for input in saving.tasks().await?.into_values() {
        saving.picture(files, input).await?;
    }
    // After the tasks: one that is removed meanwhile is found here at the latest.
    saving.tombstones().await?;
    saving.damaged(damaged, now);
    // Last: one whose task is not in the backup, or is older in it, tells of what the
    // restored task has not come to, and is left out by the restore.
    saving.announcements().await?;
    saving.writer.trailer(&saving.summary);
    saving.flush().await?;
    saving.file.sync_all().await.map_err(at(to))?;
    Ok(saving.summary)
}

fn write_parts(into: &mut Writer, input: &StoredImage, data: &Bytes) {
    for (number, part) in data.chunks(PART).enumerate() {
        let offset = (number * PART) as u64;
        let data = data.slice_ref(part);
        write_input(into, InputPart { sha256: input.sha256, size: input.size, offset, data });
    }
}

/// Gives the finished file its name, durably. What is there is never replaced.
fn name(unfinished: NamedTempFile, to: &Path, folder: &Path) -> Result<(), BackupError> {
    unfinished.persist_noclobber(to).map_err(|error| at(to)(error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
