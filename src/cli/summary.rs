//! A task in words for people: what `get` prints, and what `watch` and `generate`
//! end with.

use crate::api::pb;

use super::json::state;
use super::text::{columns, escape, shorten, since, size, span, to_std, word};

const PROMPT_CHARACTERS: usize = 100;

/// Everything a person wants to know, as aligned lines.
pub(super) fn describe(task: &pb::Task) -> String {
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            rows.push([name.to_owned(), value]);
        }
    };
    row("task", escape(&task.id));
    row("state", state(task.state()));
    row("model", model(task));
    row("job", escape(&task.provider_job_id));
    row("prompt", task.spec.as_ref().map(|spec| shorten(&spec.prompt, PROMPT_CHARACTERS)).unwrap_or_default());
    row(
        "labels",
        task.labels.iter().map(|(key, value)| escape(&format!("{key}={value}"))).collect::<Vec<_>>().join(" "),
    );
    row("created", time(&task.create_time));
    row("started", time(&task.start_time));
    row("ended", time(&task.end_time));
    row("elapsed", elapsed(task));
    if task.end_time.is_none() {
        row("deadline", time(&task.deadline));
    }
    row("video", task.artifact.as_ref().map(video).unwrap_or_default());
    row("sha256", task.artifact.as_ref().map(|artifact| escape(&artifact.sha256)).unwrap_or_default());
    for (name, value) in task.failure.iter().flat_map(failure) {
        row(name, value);
    }
    row("cancel", task.cancellation.as_ref().map(cancellation).unwrap_or_default());
    task.charges.iter().for_each(|charge| row("charged", self::charge(charge)));
    task.attempts.iter().for_each(|attempt| row("attempt", self::attempt(attempt)));
    task.warnings.iter().for_each(|warning| row("warning", escape(&format!("{}: {}", warning.field, warning.message))));
    align(&rows)
}

/// Whether the task has reached its end.
pub(super) fn is_final(task: &pb::Task) -> bool {
    use pb::TaskState::{
        Archiving, Cancelled, Failed, Queued, Reconciling, Running, Submitting, Succeeded, Unspecified,
    };
    match task.state() {
        Succeeded | Failed | Cancelled => true,
        Unspecified | Queued | Submitting | Reconciling | Running | Archiving => false,
    }
}

/// The size and shape of a stored video.
pub(super) fn video(artifact: &pb::Artifact) -> String {
    let mut parts = vec![size(artifact.size)];
    if artifact.width > 0 && artifact.height > 0 {
        parts.push(format!("{}x{}", artifact.width, artifact.height));
    }
    if let Some(length) = artifact.duration.as_ref().and_then(to_std) {
        parts.push(format!("{:.1}s", length.as_secs_f64()));
    }
    if artifact.frame_rate > 0.0 {
        parts.push(format!("{} fps", artifact.frame_rate));
    }
    parts.push(escape(&artifact.media_type));
    parts.join(", ")
}

/// Lines of a name and a value, aligned.
pub(super) fn align(rows: &[[String; 2]]) -> String {
    let Some((first, rest)) = rows.split_first() else { return String::new() };
    let rest: Vec<Vec<String>> = rest.iter().map(|row| row.to_vec()).collect();
    columns(&[&first[0], &first[1]], &rest)
}

fn model(task: &pb::Task) -> String {
    match task.account.is_empty() {
        true => escape(&task.model),
        false => escape(&format!("{} (account {})", task.model, task.account)),
    }
}

fn time(time: &Option<prost_types::Timestamp>) -> String {
    time.as_ref().map(|time| prost_types::Timestamp { nanos: 0, ..*time }.to_string()).unwrap_or_default()
}

fn elapsed(task: &pb::Task) -> String {
    let Some(create) = &task.create_time else { return String::new() };
    let age = since(create);
    span(task.end_time.as_ref().map_or(age, |end| age.saturating_sub(since(end))))
}

fn failure(failure: &pb::Failure) -> Vec<(&'static str, String)> {
    let kind = word(failure.kind().as_str_name(), "FAILURE_KIND_");
    let code = match failure.provider_code.as_str() {
        "" => String::new(),
        code => format!(" (provider's code {code})"),
    };
    let charged = if failure.maybe_charged { "perhaps: the provider may have charged for it" } else { "no" };
    let mut lines =
        vec![("failure", escape(&format!("{kind}: {}{code}", failure.message))), ("charge", charged.into())];
    if failure.recoverable_until.is_some() {
        lines.push(("late video", format!("still taken until {}", time(&failure.recoverable_until))));
    }
    lines
}

fn charge(charge: &pb::Charge) -> String {
    let about = if charge.description.is_empty() { String::new() } else { format!(" for {}", charge.description) };
    escape(&format!("{} {}{about}", charge.amount, charge.unit))
}

fn attempt(attempt: &pb::Attempt) -> String {
    let outcome = word(attempt.outcome().as_str_name(), "ATTEMPT_OUTCOME_");
    let note = if attempt.note.is_empty() { String::new() } else { format!(": {}", attempt.note) };
    let sends = if attempt.sends > 1 { format!(", sent {} times", attempt.sends) } else { String::new() };
    escape(&format!("{} {outcome}{sends}{note}", attempt.number))
}

/// What a request to cancel achieved, in a sentence.
pub(super) fn cancellation(cancellation: &pb::Cancellation) -> String {
    use pb::CancellationOutcome::{AskedUpstream, Confirmed, NotSupported, Requested, TooLate, Unspecified};
    let words = match cancellation.outcome() {
        Unspecified => "unknown",
        Requested => "asked for; what it achieves is not known yet",
        Confirmed => "cancelled for certain",
        AskedUpstream => "the provider was asked; the job may still complete and be billed, then its video is kept",
        NotSupported => "the provider cannot cancel; the job goes on, is billed, and its video is kept",
        TooLate => "too late: the job, or the task, had already ended",
    };
    words.to_owned()
}
