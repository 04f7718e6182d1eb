//! A task in the words of the public contract. Every field of the task is taken
//! apart here, so that a new one asks to be shown or left out.

use std::time::{Duration, SystemTime};

use super::pb;
use crate::catalog::Model;
use crate::clock::since;
use crate::ledger::holds::Hold;
use crate::task::id::AccountName;
use crate::task::spec::{Image, Spec, Submission, UnknownPolicy, Warning};
use crate::task::state::{
    Artifact, Attempt, AttemptOutcome, CancelOutcome, Cancellation, Charge, Failure, FailureKind, HistoryEntry, Output,
    Progress, State, Task,
};

/// The task as it is shown. `place` is how many wait before it, while it queues.
pub fn task(task: &Task, place: Option<u32>, now: SystemTime) -> pb::Task {
    let Task {
        id,
        revision,
        state: at,
        submission,
        job,
        spares: _, // each is named in its attempt
        progress: _,
        output,
        artifact: stored,
        failure: failed,
        attempts,
        charges,
        cancellation: cancel,
        history,
        missing_since: _,
        missing_answers: _,
        created,
        updated,
        started,
        ended,
        deadline,
    } = task;
    pb::Task {
        id: id.to_string(),
        revision: revision.0,
        state: state(*at).into(),
        provider_job_id: job.as_ref().map(|job| job.id.to_string()).unwrap_or_default(),
        progress: Some(progress(task, place, now)),
        artifact: stored.as_ref().map(|stored| artifact(stored, output.as_ref())),
        failure: failed.as_ref().map(failure),
        attempts: attempts.iter().map(attempt).collect(),
        charges: charges.iter().map(charge).collect(),
        cancellation: cancel.as_ref().map(cancellation),
        history: history.iter().map(history_entry).collect(),
        create_time: Some((*created).into()),
        update_time: Some((*updated).into()),
        start_time: started.map(Into::into),
        end_time: ended.map(Into::into),
        deadline: Some((*deadline).into()),
        ..submitted(submission)
    }
}

/// The part of a task that never changes.
pub fn submitted(submission: &Submission) -> pb::Task {
    let Submission {
        request_id,
        fingerprint: _,
        spec: wanted,
        account,
        generation_timeout,
        typical: _,
        policy,
        labels,
        warnings,
        // It may carry a token, and whoever submitted it knows it.
        webhook: _,
    } = submission;
    let (unknown_outcome_policy, max_paid_attempts) = match policy {
        UnknownPolicy::AtMostOnce => (pb::UnknownOutcomePolicy::AtMostOnce, 1),
        UnknownPolicy::AtLeastOnce { max_paid_attempts } => (pb::UnknownOutcomePolicy::AtLeastOnce, *max_paid_attempts),
    };
    pb::Task {
        request_id: request_id.to_string(),
        spec: Some(spec(wanted)),
        provider: wanted.model.provider().to_owned(),
        model: wanted.model.to_string(),
        account: account.to_string(),
        warnings: warnings.iter().map(warning).collect(),
        labels: labels.clone(),
        generation_timeout: Some(length(*generation_timeout)),
        unknown_outcome_policy: unknown_outcome_policy.into(),
        max_paid_attempts,
        ..pb::Task::default()
    }
}

/// The state's public number.
pub fn state(state: State) -> pb::TaskState {
    match state {
        State::Queued => pb::TaskState::Queued,
        State::Submitting => pb::TaskState::Submitting,
        State::Reconciling => pb::TaskState::Reconciling,
        State::Running => pb::TaskState::Running,
        State::Archiving => pb::TaskState::Archiving,
        State::Succeeded => pb::TaskState::Succeeded,
        State::Failed => pb::TaskState::Failed,
        State::Cancelled => pb::TaskState::Cancelled,
    }
}

fn spec(spec: &Spec) -> pb::Spec {
    let Spec {
        model,
        prompt,
        negative_prompt,
        start_image,
        end_image,
        reference_images,
        duration_s,
        aspect_ratio,
        resolution,
        generate_audio,
        seed,
        fps,
        provider_options,
    } = spec;
    pb::Spec {
        model: model.to_string(),
        prompt: prompt.clone(),
        negative_prompt: negative_prompt.clone(),
        start_image: start_image.as_ref().map(image),
        end_image: end_image.as_ref().map(image),
        reference_images: reference_images.iter().map(image).collect(),
        duration: duration_s.map(|seconds| length(Duration::from_secs(seconds.into()))),
        aspect_ratio: aspect_ratio.clone().unwrap_or_default(),
        resolution: resolution.clone().unwrap_or_default(),
        generate_audio: *generate_audio,
        seed: seed.map(u64::from),
        fps: *fps,
        provider_options: (!provider_options.is_empty()).then(|| super::options::render(provider_options)),
    }
}

/// Bytes are not sent back: they would make every message as large as the request.
fn image(image: &Image) -> pb::Image {
    let source = match image {
        Image::Uri(uri) => pb::image::Source::Uri(uri.clone()),
        Image::Data(_) | Image::File(_) => pb::image::Source::Data(bytes::Bytes::new()),
    };
    pb::Image { source: Some(source) }
}

fn warning(warning: &Warning) -> pb::Warning {
    pb::Warning { field: warning.field.clone(), message: warning.message.clone() }
}

/// Why the file of a finished job is not kept yet. What storage said is the
/// operator's, in the log.
pub fn unkept() -> pb::Warning {
    let message = "the archive cannot take the file now; it waits at the provider and is fetched once that is mended";
    pb::Warning { field: "artifact".to_owned(), message: message.to_owned() }
}

/// Why a task that queues will not be bought for now.
pub fn held(account: &AccountName, hold: &Hold) -> pb::Warning {
    let since = prost_types::Timestamp::from(hold.since);
    let message = format!("the account {account} is held since {since}, and the task waits for it: {}", hold.reason);
    pb::Warning { field: "account".to_owned(), message }
}

fn progress(task: &Task, place: Option<u32>, now: SystemTime) -> pb::Progress {
    let Progress { percent, queue_position, log_lines, provider_status } = &task.progress;
    let estimate = percent.is_none().then(|| estimate(task, now)).flatten();
    pb::Progress {
        percent: match task.state {
            State::Succeeded => Some(100.0),
            _ => percent.or(estimate),
        },
        estimated: task.state != State::Succeeded && estimate.is_some(),
        queue_position: place.or(*queue_position),
        log_lines: log_lines.clone(),
        provider_status: provider_status.clone(),
        typical_duration: Some(length(task.submission.typical)),
    }
}

/// A guess by the clock, for providers that tell nothing: it rises towards 95 and
/// never falls.
fn estimate(task: &Task, now: SystemTime) -> Option<f64> {
    let typical = task.submission.typical.as_secs_f64().max(1.0);
    match task.state {
        State::Running => {
            let run = since(now, task.attempt()?.sent).as_secs_f64();
            Some((95.0 * (1.0 - (-2.0 * run / typical).exp())).round())
        }
        State::Archiving => Some(97.0),
        State::Queued
        | State::Submitting
        | State::Reconciling
        | State::Succeeded
        | State::Failed
        | State::Cancelled => None,
    }
}

/// The stored file.
pub fn artifact(artifact: &Artifact, output: Option<&Output>) -> pb::Artifact {
    let Artifact { size, sha256, media, width, height, duration, frame_rate_milli } = artifact;
    pb::Artifact {
        size: *size,
        sha256: sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
        media_type: media.media_type().to_owned(),
        width: *width,
        height: *height,
        duration: duration.map(length),
        frame_rate: f64::from(*frame_rate_milli) / 1000.0,
        provider_url: output.map(|output| output.url.clone()).unwrap_or_default(),
        provider_url_expire_time: output.and_then(|output| output.expires).map(Into::into),
    }
}

fn failure(failure: &Failure) -> pb::Failure {
    let Failure { kind, provider_code, message, maybe_charged, recoverable_until } = failure;
    let kind = match kind {
        FailureKind::ProviderRefused => pb::FailureKind::ProviderRefused,
        FailureKind::Moderated => pb::FailureKind::Moderated,
        FailureKind::ProviderAuth => pb::FailureKind::ProviderAuth,
        FailureKind::ProviderFunds => pb::FailureKind::ProviderFunds,
        FailureKind::ProviderFailed => pb::FailureKind::ProviderFailed,
        FailureKind::ProviderLostJob => pb::FailureKind::ProviderLostJob,
        FailureKind::SubmitOutcomeUnknown => pb::FailureKind::SubmitOutcomeUnknown,
        FailureKind::ArtifactLost => pb::FailureKind::ArtifactLost,
        FailureKind::ArtifactRejected => pb::FailureKind::ArtifactRejected,
        FailureKind::TargetForbidden => pb::FailureKind::TargetForbidden,
        FailureKind::Deadline => pb::FailureKind::Deadline,
        FailureKind::ImageRejected => pb::FailureKind::ImageRejected,
    };
    pb::Failure {
        kind: kind.into(),
        provider_code: provider_code.clone(),
        message: message.clone(),
        maybe_charged: *maybe_charged,
        recoverable_until: recoverable_until.map(Into::into),
    }
}

fn attempt(attempt: &Attempt) -> pb::Attempt {
    let Attempt { number, marker, outcome, sends, started, sent: _, ended, unknown_since: _, job, note } = attempt;
    let outcome = match outcome {
        AttemptOutcome::Pending => pb::AttemptOutcome::Pending,
        AttemptOutcome::Accepted => pb::AttemptOutcome::Accepted,
        AttemptOutcome::Refused => pb::AttemptOutcome::Refused,
        AttemptOutcome::NotSent => pb::AttemptOutcome::NotSent,
        AttemptOutcome::Unknown => pb::AttemptOutcome::Unknown,
    };
    pb::Attempt {
        number: *number,
        marker: marker.to_string(),
        outcome: outcome.into(),
        sends: *sends,
        start_time: Some((*started).into()),
        end_time: ended.map(Into::into),
        provider_job_id: job.as_ref().map(ToString::to_string).unwrap_or_default(),
        note: note.clone(),
    }
}

fn charge(charge: &Charge) -> pb::Charge {
    let Charge { amount, unit, description } = charge;
    pb::Charge { amount: amount.clone(), unit: unit.clone(), description: description.clone() }
}

fn cancellation(cancellation: &Cancellation) -> pb::Cancellation {
    let outcome = match cancellation.outcome {
        CancelOutcome::Requested => pb::CancellationOutcome::Requested,
        CancelOutcome::Confirmed => pb::CancellationOutcome::Confirmed,
        CancelOutcome::AskedUpstream => pb::CancellationOutcome::AskedUpstream,
        CancelOutcome::NotSupported => pb::CancellationOutcome::NotSupported,
        CancelOutcome::TooLate => pb::CancellationOutcome::TooLate,
    };
    pb::Cancellation { outcome: outcome.into(), request_time: Some(cancellation.requested.into()) }
}

fn history_entry(entry: &HistoryEntry) -> pb::HistoryEntry {
    let HistoryEntry { state: entered, time, reason } = entry;
    pb::HistoryEntry { state: state(*entered).into(), time: Some((*time).into()), reason: reason.clone() }
}

/// A row of the catalog.
pub fn model(model: &Model, configured: bool) -> pb::Model {
    pb::Model {
        name: model.name.to_string(),
        aliases: model.aliases.clone(),
        provider: model.name.provider().to_owned(),
        configured,
        text_to_video: model.text_to_video(),
        image_to_video: model.image_to_video(),
        end_image: model.end_image(),
        max_reference_images: model.limits.max_reference_images,
        durations_seconds: model.limits.durations.as_slice().to_vec(),
        aspect_ratios: model.limits.aspect_ratios.clone(),
        resolutions: model.limits.resolutions.clone(),
        audio_choice: model.audio_choice(),
        negative_prompt: model.negative_prompt(),
        seed: model.limits.seed,
        max_prompt_characters: model.limits.max_prompt_chars,
        options: model
            .option_keys()
            .map(|(name, kind)| pb::OptionKey { name: name.to_owned(), r#type: kind })
            .collect(),
        typical_duration: Some(length(Duration::from_secs(model.typical_s.into()))),
    }
}

fn length(length: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(length.subsec_nanos()).unwrap_or(0),
    }
}
