//! What is still to be told, as it is stored.

use super::state::{read_artifact, read_cancellation, read_failure, write_artifact, write_cancellation, write_failure};
use super::words::{read_task_state, read_topic, write_task_state, write_topic};
use super::{BadRecord, from_ms, from_optional_ms, to_ms, wire};
use crate::task::announcement::{Announcement, AnnouncementId, Parked, Shown};
use crate::task::id::{JobId, Revision, TaskId};

/// An announcement as a record, with its id.
pub(in crate::store) fn write_announcement(announcement: &Announcement) -> wire::Announcement {
    let Announcement { id, topic, time, shown, replayed, parked } = announcement;
    let Shown { state, job, percent, artifact, failure, cancellation, started, ended } = shown;
    wire::Announcement {
        task: id.task.to_bytes().to_vec().into(),
        revision: id.revision.0,
        topic: write_topic(*topic),
        time_ms: to_ms(*time),
        state: write_task_state(*state),
        job: job.as_ref().map(|job| job.as_str().to_owned()),
        percent: *percent,
        artifact: artifact.as_ref().map(write_artifact),
        failure: failure.as_ref().map(write_failure),
        cancellation: cancellation.as_ref().map(write_cancellation),
        started_ms: started.map(to_ms),
        ended_ms: ended.map(to_ms),
        replayed_ms: replayed.map(to_ms),
        parked: parked.as_ref().map(write_parked),
    }
}

/// A record as an announcement.
pub(in crate::store) fn read_announcement(record: wire::Announcement) -> Result<Announcement, BadRecord> {
    let wire::Announcement {
        task,
        revision,
        topic,
        time_ms,
        state,
        job,
        percent,
        artifact,
        failure,
        cancellation,
        started_ms,
        ended_ms,
        replayed_ms,
        parked,
    } = record;
    let task = task.as_ref().try_into().map_err(|_| BadRecord::Invalid("the task's id"))?;
    let shown = Shown {
        state: read_task_state(state)?,
        job: job.map(JobId::new),
        percent,
        artifact: artifact.map(read_artifact).transpose()?,
        failure: failure.map(read_failure).transpose()?,
        cancellation: cancellation.map(read_cancellation).transpose()?,
        started: from_optional_ms(started_ms)?,
        ended: from_optional_ms(ended_ms)?,
    };
    Ok(Announcement {
        id: AnnouncementId { task: TaskId::from_bytes(task), revision: Revision(revision) },
        topic: read_topic(topic)?,
        time: from_ms(time_ms)?,
        shown,
        replayed: from_optional_ms(replayed_ms)?,
        parked: parked.map(read_parked).transpose()?,
    })
}

fn write_parked(parked: &Parked) -> wire::Parked {
    let Parked { time, gone, note } = parked;
    wire::Parked { time_ms: to_ms(*time), gone: *gone, note: note.clone() }
}

fn read_parked(parked: wire::Parked) -> Result<Parked, BadRecord> {
    let wire::Parked { time_ms, gone, note } = parked;
    Ok(Parked { time: from_ms(time_ms)?, gone, note })
}
