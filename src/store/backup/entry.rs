//! What the records say: tasks, notes and tombstones to records and back.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prost::Message;

use super::Summary;
use super::frame::{BadFile, Kind, Reader, Writer};
use crate::clock::unix_ms;
use crate::store::contract::Tombstone;
use crate::store::inputs::Digest;
use crate::store::record::{
    read_announcement, read_state, read_submission, wire, write_announcement, write_state, write_submission,
};
use crate::store::tombstone;
use crate::task::announcement::Announcement;
use crate::task::id::{Revision, TaskId};
use crate::task::state::Task;

/// Larger than any picture that comes with a request.
const LARGEST_INPUT: u64 = 1 << 30;

/// One thing that a backup holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Entry {
    Task(Box<Task>),
    Note(String, Vec<u8>),
    Tombstone(Tombstone),
    Announcement(Box<Announcement>),
    Input(InputPart),
}

/// A part of a picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct InputPart {
    /// The picture's digest, which names its file.
    pub(super) sha256: Digest,
    /// Its size.
    pub(super) size: u64,
    /// Where the part begins.
    pub(super) offset: u64,
    /// The part.
    pub(super) data: Bytes,
}

impl InputPart {
    /// Whether the picture is whole with it.
    pub(super) fn is_last(&self) -> bool {
        self.offset + self.data.len() as u64 == self.size
    }
}

/// Writes the first record.
pub(super) fn write_header(into: &mut Writer, now: SystemTime) {
    let made_ms = i64::try_from(unix_ms(now)).unwrap_or(i64::MAX);
    let made_by = concat!("videogen ", env!("CARGO_PKG_VERSION")).to_owned();
    into.record(Kind::Header, &wire::BackupHeader { made_by, made_ms });
}

/// Writes a task.
pub(super) fn write_task(into: &mut Writer, task: &Task) {
    let record = wire::BackupTask {
        id: task.id.to_bytes().to_vec().into(),
        revision: task.revision.0,
        state: write_state(task).into(),
        submission: write_submission(&task.submission).into(),
    };
    into.record(Kind::Task, &record);
}

/// Writes a note.
pub(super) fn write_note(into: &mut Writer, name: String, value: Vec<u8>) {
    into.record(Kind::Note, &wire::BackupNote { name, value: value.into() });
}

/// Writes a tombstone.
pub(super) fn write_tombstone(into: &mut Writer, tombstone: &Tombstone) {
    into.record(Kind::Tombstone, &tombstone::write(tombstone));
}

/// Writes an announcement.
pub(super) fn write_told(into: &mut Writer, announcement: &Announcement) {
    into.record(Kind::Announcement, &write_announcement(announcement));
}

/// Writes a part of a picture.
pub(super) fn write_input(into: &mut Writer, part: InputPart) {
    let InputPart { sha256, size, offset, data } = part;
    into.record(Kind::Input, &wire::BackupInput { sha256: sha256.to_vec().into(), size, offset, data });
}

/// Reads a file's entries, and proves them at the end.
pub(super) struct Entries<R> {
    reader: Reader<R>,
    found: Summary,
    made: SystemTime,
    ended: bool,
}

impl<R: Read> Entries<R> {
    /// Reads the header of a file of this size.
    pub(super) fn open(from: R, size: u64) -> Result<Self, BadFile> {
        let mut reader = Reader::open(from, size)?;
        let made = match reader.next()? {
            (Kind::Header, body) => read_header(&body),
            _ => None,
        };
        let made = made.ok_or_else(|| reader.damaged("no readable header"))?;
        Ok(Self { reader, found: Summary::default(), made, ended: false })
    }

    /// When the backup was begun.
    pub(super) fn made(&self) -> SystemTime {
        self.made
    }

    /// The next entry; nothing at the end of a file that is whole.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, BadFile> {
        if self.ended {
            return Ok(None);
        }
        let (kind, body) = self.reader.next()?;
        match kind {
            Kind::Header => Err(self.reader.damaged("a second header")),
            Kind::Task => {
                self.found.tasks += 1;
                let task = read_task(&body).ok_or_else(|| self.reader.damaged("an unreadable task"))?;
                Ok(Some(Entry::Task(Box::new(task))))
            }
            Kind::Note => {
                self.found.notes += 1;
                let note = wire::BackupNote::decode(body.as_slice());
                let note = note.map_err(|_| self.reader.damaged("an unreadable note"))?;
                Ok(Some(Entry::Note(note.name, note.value.to_vec())))
            }
            Kind::Tombstone => {
                self.found.tombstones += 1;
                let record = wire::Tombstone::decode(body.as_slice()).ok();
                let read = record.and_then(tombstone::read);
                Ok(Some(Entry::Tombstone(read.ok_or_else(|| self.reader.damaged("an unreadable tombstone"))?)))
            }
            Kind::Announcement => {
                self.found.announcements += 1;
                let record = wire::Announcement::decode(body.as_slice()).ok();
                let read = record.and_then(|record| read_announcement(record).ok());
                let read = read.ok_or_else(|| self.reader.damaged("an unreadable announcement"))?;
                Ok(Some(Entry::Announcement(Box::new(read))))
            }
            Kind::Input => {
                let part = read_input(&body).ok_or_else(|| self.reader.damaged("an unreadable part of a picture"))?;
                self.found.inputs += u64::from(part.is_last());
                Ok(Some(Entry::Input(part)))
            }
            Kind::Trailer => match wire::BackupTrailer::decode(body.as_slice()) {
                Ok(said) if self.is_all(&said) => {
                    self.ended = true;
                    Ok(None)
                }
                _ => Err(self.reader.damaged("another number of records than was written")),
            },
        }
    }

    fn is_all(&self, said: &wire::BackupTrailer) -> bool {
        let Summary { tasks, notes, tombstones, announcements, inputs, damaged: _ } = self.found;
        let said = (said.tasks, said.notes, said.tombstones, said.announcements, said.inputs);
        said == (tasks, notes, tombstones, announcements, inputs)
    }

    /// What was found so far.
    pub(super) fn found(&self) -> Summary {
        self.found
    }
}

fn read_header(record: &[u8]) -> Option<SystemTime> {
    let made_ms = wire::BackupHeader::decode(record).ok()?.made_ms;
    UNIX_EPOCH.checked_add(Duration::from_millis(made_ms.try_into().ok()?))
}

fn read_task(record: &[u8]) -> Option<Task> {
    let wire::BackupTask { id, revision, state, submission } = wire::BackupTask::decode(record).ok()?;
    let id = TaskId::from_bytes(id.as_ref().try_into().ok()?);
    let submission = Arc::new(read_submission(&submission).ok()?);
    read_state(&state, id, Revision(revision), submission).ok()
}

fn read_input(record: &[u8]) -> Option<InputPart> {
    let wire::BackupInput { sha256, size, offset, data } = wire::BackupInput::decode(record).ok()?;
    let fits = offset.checked_add(data.len() as u64).is_some_and(|end| end <= size) && size <= LARGEST_INPUT;
    fits.then_some(InputPart { sha256: sha256.as_ref().try_into().ok()?, size, offset, data })
}
