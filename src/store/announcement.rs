//! The row of an announcement: one for each, under a key that begins with its task
//! and goes on with the revision, so that those of a task stand in their order.

use prost::Message;

use super::envelope::{Kind, RowTooLarge, seal, unseal};
use super::record::{read_announcement, wire, write_announcement};
use super::rows::Row;
use crate::task::announcement::{Announcement, AnnouncementId, Topic};
use crate::task::id::{Revision, TaskId};

/// What the index knows of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// What is told.
    pub(super) topic: Topic,
    /// Whether it is not sent any more.
    pub(super) parked: bool,
}

/// An announcement on its way to the disk.
pub(super) struct Told {
    pub(super) id: AnnouncementId,
    pub(super) mark: Mark,
    pub(super) row: Row,
}

impl Told {
    pub(super) fn new(announcement: &Announcement) -> Result<Self, RowTooLarge> {
        let key = key(announcement.id);
        let record = wire::Announcement { task: Vec::new().into(), revision: 0, ..write_announcement(announcement) };
        let row = seal(&key, &record.encode_to_vec())?;
        Ok(Self { id: announcement.id, mark: mark(announcement), row: (key.to_vec(), row) })
    }
}

/// What the index is to know of it.
pub(super) fn mark(announcement: &Announcement) -> Mark {
    Mark { topic: announcement.topic, parked: announcement.parked.is_some() }
}

/// The key of an announcement.
pub(super) fn key(id: AnnouncementId) -> [u8; 25] {
    let mut key = [Kind::Announcement as u8; 25];
    key[1..17].copy_from_slice(&id.task.to_bytes());
    key[17..].copy_from_slice(&id.revision.0.to_be_bytes());
    key
}

/// The announcement that a key names.
pub(super) fn id_of(key: &[u8]) -> Option<AnnouncementId> {
    let (task, revision) = key.strip_prefix(&[Kind::Announcement as u8])?.split_first_chunk::<16>()?;
    let revision = u64::from_be_bytes(revision.try_into().ok()?);
    Some(AnnouncementId { task: TaskId::from_bytes(*task), revision: Revision(revision) })
}

/// Reads a row; nothing if it is damaged.
pub(super) fn read_row(key: &[u8], row: &[u8]) -> Option<Announcement> {
    let id = id_of(key)?;
    let record = wire::Announcement::decode(unseal(key, row).ok()?).ok()?;
    let (task, revision) = (id.task.to_bytes().to_vec().into(), id.revision.0);
    read_announcement(wire::Announcement { task, revision, ..record }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::announcement::Parked;
    use crate::task::fixture::{created, task};
    use crate::task::id::JobId;
    use crate::task::state::{Artifact, CancelOutcome, Cancellation, Failure, FailureKind, Media, Task};

    /// As large as a task can make it.
    fn largest() -> Task {
        let mut task = task(3).next().running().failed(FailureKind::ProviderFailed);
        let long = "long ".repeat(2000);
        task.job.as_mut().unwrap().id = JobId::new(long.clone());
        task.failure = Some(Failure::charged(FailureKind::Moderated, long.clone()).with_code(long));
        task.artifact = Some(Artifact {
            size: 9,
            sha256: [3; 32],
            media: Media::Mp4,
            width: 1,
            height: 2,
            duration: None,
            frame_rate_milli: 0,
        });
        task.cancellation = Some(Cancellation { outcome: CancelOutcome::TooLate, requested: created(9) });
        task.progress.percent = Some(33.5);
        task
    }

    #[test]
    fn an_announcement_is_read_as_it_was_written() {
        for topic in Topic::ALL {
            let waiting = Announcement::of(&largest(), topic);
            let parked = Parked { time: created(8), gone: true, note: "no ".repeat(66) };
            let parked = Announcement { replayed: Some(created(7)), parked: Some(parked), ..waiting.clone() };
            for announcement in [waiting, parked] {
                let Told { id, mark, row: (key, row) } = Told::new(&announcement).unwrap();
                assert_eq!((id, mark.parked), (announcement.id, announcement.parked.is_some()));
                assert_eq!(read_row(&key, &row), Some(announcement));
                assert_eq!(read_row(&key, &row[1..]), None);
                assert_eq!(read_row(&key[..24], &row), None);
            }
        }
    }

    #[test]
    fn keys_of_a_task_sort_by_revision() {
        let key = |revision| key(AnnouncementId { task: largest().id, revision: Revision(revision) });
        assert!(key(2) < key(10) && key(255) < key(256));
    }
}
