//! The part of a task that changes, as it is stored.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;

use super::words::{
    read_attempt_outcome, read_cancel_outcome, read_failure_kind, read_media, read_task_state, write_attempt_outcome,
    write_cancel_outcome, write_failure_kind, write_media, write_task_state,
};
use super::{BadRecord, digest, duration_to_ms, from_ms, from_optional_ms, to_ms, wire};
use crate::task::id::{JobId, Marker, Revision, TaskId};
use crate::task::spec::Submission;
use crate::task::state::{Artifact, Attempt, Cancellation, Charge, Failure, HistoryEntry, Job, Output, Progress, Task};

/// Encodes what changes of a task.
pub(in crate::store) fn write_state(task: &Task) -> Vec<u8> {
    let Task {
        id: _,         // the key
        revision: _,   // in the head
        submission: _, // stored beside it
        state,
        job,
        spares,
        progress,
        output,
        artifact,
        failure,
        attempts,
        charges,
        cancellation,
        history,
        missing_since,
        missing_answers,
        created,
        updated,
        started,
        ended,
        deadline,
    } = task;
    wire::State {
        state: write_task_state(*state),
        job: job.as_ref().map(write_job),
        progress: Some(write_progress(progress)),
        output: output.as_ref().map(write_output),
        artifact: artifact.as_ref().map(write_artifact),
        failure: failure.as_ref().map(write_failure),
        attempts: attempts.iter().map(write_attempt).collect(),
        charges: charges.iter().map(write_charge).collect(),
        cancellation: cancellation.as_ref().map(write_cancellation),
        history: history.iter().map(write_history).collect(),
        missing_since_ms: missing_since.map(to_ms),
        created_ms: to_ms(*created),
        updated_ms: to_ms(*updated),
        started_ms: started.map(to_ms),
        ended_ms: ended.map(to_ms),
        deadline_ms: to_ms(*deadline),
        spares: spares.iter().map(write_job).collect(),
        missing_answers: *missing_answers,
    }
    .encode_to_vec()
}

/// Decodes what [`write_state`] wrote and puts the task together.
pub(in crate::store) fn read_state(
    bytes: &[u8],
    id: TaskId,
    revision: Revision,
    submission: Arc<Submission>,
) -> Result<Task, BadRecord> {
    let wire::State {
        state,
        job,
        progress,
        output,
        artifact,
        failure,
        attempts,
        charges,
        cancellation,
        history,
        missing_since_ms,
        created_ms,
        updated_ms,
        started_ms,
        ended_ms,
        deadline_ms,
        spares,
        missing_answers,
    } = wire::State::decode(bytes)?;
    Ok(Task {
        id,
        revision,
        state: read_task_state(state)?,
        submission,
        job: job.map(read_job),
        spares: spares.into_iter().map(read_job).collect(),
        progress: progress.map(read_progress).unwrap_or_default(),
        output: output.map(read_output).transpose()?,
        artifact: artifact.map(read_artifact).transpose()?,
        failure: failure.map(read_failure).transpose()?,
        attempts: attempts.into_iter().map(read_attempt).collect::<Result<_, _>>()?,
        charges: charges.into_iter().map(read_charge).collect(),
        cancellation: cancellation.map(read_cancellation).transpose()?,
        history: history.into_iter().map(read_history).collect::<Result<_, _>>()?,
        missing_since: from_optional_ms(missing_since_ms)?,
        missing_answers,
        created: from_ms(created_ms)?,
        updated: from_ms(updated_ms)?,
        started: from_optional_ms(started_ms)?,
        ended: from_optional_ms(ended_ms)?,
        deadline: from_ms(deadline_ms)?,
    })
}

fn write_job(job: &Job) -> wire::Job {
    let Job { id, handle } = job;
    wire::Job { id: id.as_str().to_owned(), handle: handle.clone() }
}

fn read_job(job: wire::Job) -> Job {
    let wire::Job { id, handle } = job;
    Job { id: JobId::new(id), handle }
}

fn write_progress(progress: &Progress) -> wire::Progress {
    let Progress { percent, queue_position, log_lines, provider_status } = progress;
    wire::Progress {
        percent: *percent,
        queue_position: *queue_position,
        log_lines: log_lines.clone(),
        provider_status: provider_status.clone(),
    }
}

fn read_progress(progress: wire::Progress) -> Progress {
    let wire::Progress { percent, queue_position, log_lines, provider_status } = progress;
    Progress { percent, queue_position, log_lines, provider_status }
}

fn write_output(output: &Output) -> wire::Output {
    let Output { url, expires } = output;
    wire::Output { url: url.clone(), expires_ms: expires.map(to_ms) }
}

fn read_output(output: wire::Output) -> Result<Output, BadRecord> {
    let wire::Output { url, expires_ms } = output;
    Ok(Output { url, expires: from_optional_ms(expires_ms)? })
}

pub(super) fn write_artifact(artifact: &Artifact) -> wire::Artifact {
    let Artifact { size, sha256, media, width, height, duration, frame_rate_milli } = artifact;
    wire::Artifact {
        size: *size,
        sha256: sha256.to_vec().into(),
        media: write_media(*media),
        width: *width,
        height: *height,
        duration_ms: duration.map(duration_to_ms),
        frame_rate_milli: *frame_rate_milli,
    }
}

pub(super) fn read_artifact(artifact: wire::Artifact) -> Result<Artifact, BadRecord> {
    let wire::Artifact { size, sha256, media, width, height, duration_ms, frame_rate_milli } = artifact;
    Ok(Artifact {
        size,
        sha256: digest(&sha256, "the artifact's digest")?,
        media: read_media(media)?,
        width,
        height,
        duration: duration_ms.map(Duration::from_millis),
        frame_rate_milli,
    })
}

pub(super) fn write_failure(failure: &Failure) -> wire::Failure {
    let Failure { kind, provider_code, message, maybe_charged, recoverable_until } = failure;
    wire::Failure {
        kind: write_failure_kind(*kind),
        provider_code: provider_code.clone(),
        message: message.clone(),
        maybe_charged: *maybe_charged,
        recoverable_until_ms: recoverable_until.map(to_ms),
    }
}

pub(super) fn read_failure(failure: wire::Failure) -> Result<Failure, BadRecord> {
    let wire::Failure { kind, provider_code, message, maybe_charged, recoverable_until_ms } = failure;
    Ok(Failure {
        kind: read_failure_kind(kind)?,
        provider_code,
        message,
        maybe_charged,
        recoverable_until: from_optional_ms(recoverable_until_ms)?,
    })
}

fn write_attempt(attempt: &Attempt) -> wire::Attempt {
    let Attempt { number, marker, outcome, sends, started, sent, ended, unknown_since, job, note } = attempt;
    wire::Attempt {
        number: *number,
        marker: marker.as_str().to_owned(),
        outcome: write_attempt_outcome(*outcome),
        sends: *sends,
        started_ms: to_ms(*started),
        sent_ms: to_ms(*sent),
        ended_ms: ended.map(to_ms),
        unknown_since_ms: unknown_since.map(to_ms),
        job: job.as_ref().map(|job| job.as_str().to_owned()),
        note: note.clone(),
    }
}

fn read_attempt(attempt: wire::Attempt) -> Result<Attempt, BadRecord> {
    let wire::Attempt { number, marker, outcome, sends, started_ms, sent_ms, ended_ms, unknown_since_ms, job, note } =
        attempt;
    Ok(Attempt {
        number,
        marker: Marker::new(marker),
        outcome: read_attempt_outcome(outcome)?,
        sends,
        started: from_ms(started_ms)?,
        sent: from_ms(sent_ms)?,
        ended: from_optional_ms(ended_ms)?,
        unknown_since: from_optional_ms(unknown_since_ms)?,
        job: job.map(JobId::new),
        note,
    })
}

fn write_charge(charge: &Charge) -> wire::Charge {
    let Charge { amount, unit, description } = charge;
    wire::Charge { amount: amount.clone(), unit: unit.clone(), description: description.clone() }
}

fn read_charge(charge: wire::Charge) -> Charge {
    let wire::Charge { amount, unit, description } = charge;
    Charge { amount, unit, description }
}

pub(super) fn write_cancellation(cancellation: &Cancellation) -> wire::Cancellation {
    let Cancellation { outcome, requested } = cancellation;
    wire::Cancellation { outcome: write_cancel_outcome(*outcome), requested_ms: to_ms(*requested) }
}

pub(super) fn read_cancellation(cancellation: wire::Cancellation) -> Result<Cancellation, BadRecord> {
    let wire::Cancellation { outcome, requested_ms } = cancellation;
    Ok(Cancellation { outcome: read_cancel_outcome(outcome)?, requested: from_ms(requested_ms)? })
}

fn write_history(entry: &HistoryEntry) -> wire::HistoryEntry {
    let HistoryEntry { state, time, reason } = entry;
    wire::HistoryEntry { state: write_task_state(*state), time_ms: to_ms(*time), reason: reason.clone() }
}

fn read_history(entry: wire::HistoryEntry) -> Result<HistoryEntry, BadRecord> {
    let wire::HistoryEntry { state, time_ms, reason } = entry;
    Ok(HistoryEntry { state: read_task_state(state)?, time: from_ms(time_ms)?, reason })
}
