//! The contract's messages as JSON: the field names of the proto, times in RFC
//! 3339, states by their short word. Absent messages are left out, and so are the
//! bytes of images.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use serde_json::{Map, Number, Value, json};

use crate::api::pb;

use super::text::word;

/// One task. Every field is destructured, so that a new one asks to be shown.
pub(super) fn task(task: &pb::Task) -> Value {
    let pb::Task {
        id,
        revision,
        state: _,
        request_id,
        spec: asked,
        provider,
        model,
        account,
        provider_job_id,
        progress: how_far,
        artifact: stored,
        failure: why,
        warnings,
        attempts,
        charges,
        cancellation: cancelled,
        history,
        labels,
        generation_timeout,
        unknown_outcome_policy: _,
        max_paid_attempts,
        create_time,
        update_time,
        start_time,
        end_time,
        deadline,
    } = task;
    object([
        ("id", json!(id)),
        ("revision", json!(revision)),
        ("state", json!(state(task.state()))),
        ("request_id", json!(request_id)),
        ("spec", optional(asked, spec)),
        ("provider", json!(provider)),
        ("model", json!(model)),
        ("account", json!(account)),
        ("provider_job_id", json!(provider_job_id)),
        ("progress", optional(how_far, progress)),
        ("artifact", optional(stored, artifact)),
        ("failure", optional(why, failure)),
        ("warnings", list(warnings, |warning| json!({"field": warning.field, "message": warning.message}))),
        ("attempts", list(attempts, attempt)),
        ("charges", list(charges, charge)),
        ("cancellation", optional(cancelled, cancellation)),
        ("history", list(history, history_entry)),
        ("labels", json!(labels)),
        ("generation_timeout", text(generation_timeout)),
        ("unknown_outcome_policy", json!(word(task.unknown_outcome_policy().as_str_name(), "UNKNOWN_OUTCOME_POLICY_"))),
        ("max_paid_attempts", json!(max_paid_attempts)),
        ("create_time", text(create_time)),
        ("update_time", text(update_time)),
        ("start_time", text(start_time)),
        ("end_time", text(end_time)),
        ("deadline", text(deadline)),
    ])
}

/// One model of the catalog.
pub(super) fn model(model: &pb::Model) -> Value {
    let pb::Model {
        name,
        aliases,
        provider,
        configured,
        text_to_video,
        image_to_video,
        end_image,
        max_reference_images,
        durations_seconds,
        aspect_ratios,
        resolutions,
        audio_choice,
        negative_prompt,
        seed,
        max_prompt_characters,
        options,
        typical_duration,
    } = model;
    object([
        ("name", json!(name)),
        ("aliases", json!(aliases)),
        ("provider", json!(provider)),
        ("configured", json!(configured)),
        ("text_to_video", json!(text_to_video)),
        ("image_to_video", json!(image_to_video)),
        ("end_image", json!(end_image)),
        ("max_reference_images", json!(max_reference_images)),
        ("durations_seconds", json!(durations_seconds)),
        ("aspect_ratios", json!(aspect_ratios)),
        ("resolutions", json!(resolutions)),
        ("audio_choice", json!(audio_choice)),
        ("negative_prompt", json!(negative_prompt)),
        ("seed", json!(seed)),
        ("max_prompt_characters", json!(max_prompt_characters)),
        ("options", list(options, |option| json!({"name": option.name, "type": option.r#type}))),
        ("typical_duration", text(typical_duration)),
    ])
}

/// One event that its receiver has not taken.
pub(super) fn delivery(delivery: &pb::WebhookDelivery) -> Value {
    let pb::WebhookDelivery {
        id,
        task_id,
        revision,
        r#type,
        state: _,
        event_time,
        tries,
        last_error,
        next_try_time,
        park_time,
    } = delivery;
    object([
        ("id", json!(id)),
        ("task_id", json!(task_id)),
        ("revision", json!(revision)),
        ("type", json!(r#type)),
        ("state", json!(delivery_state(delivery.state()))),
        ("event_time", text(event_time)),
        ("tries", json!(tries)),
        ("last_error", json!(last_error)),
        ("next_try_time", text(next_try_time)),
        ("park_time", text(park_time)),
    ])
}

/// The short word of where an event is.
pub(super) fn delivery_state(state: pb::WebhookDeliveryState) -> String {
    word(state.as_str_name(), "WEBHOOK_DELIVERY_STATE_")
}

/// The short word of a state.
pub(super) fn state(state: pb::TaskState) -> String {
    word(state.as_str_name(), "TASK_STATE_")
}

fn spec(spec: &pb::Spec) -> Value {
    let pb::Spec {
        model,
        prompt,
        negative_prompt,
        start_image,
        end_image,
        reference_images,
        duration,
        aspect_ratio,
        resolution,
        generate_audio,
        seed,
        fps,
        provider_options,
    } = spec;
    object([
        ("model", json!(model)),
        ("prompt", json!(prompt)),
        ("negative_prompt", json!(negative_prompt)),
        ("start_image", optional(start_image, image)),
        ("end_image", optional(end_image, image)),
        ("reference_images", list(reference_images, image)),
        ("duration", text(duration)),
        ("aspect_ratio", json!(aspect_ratio)),
        ("resolution", json!(resolution)),
        ("generate_audio", json!(generate_audio)),
        ("seed", json!(seed)),
        ("fps", json!(fps)),
        ("provider_options", optional(provider_options, |options| fields(&options.fields))),
    ])
}

fn image(image: &pb::Image) -> Value {
    match &image.source {
        Some(pb::image::Source::Uri(uri)) => json!({"uri": uri}),
        Some(pb::image::Source::Data(_)) => json!({"data": "omitted"}),
        None => json!({}),
    }
}

fn progress(progress: &pb::Progress) -> Value {
    let pb::Progress { percent, estimated, queue_position, log_lines, provider_status, typical_duration } = progress;
    object([
        ("percent", json!(percent)),
        ("estimated", json!(estimated)),
        ("queue_position", json!(queue_position)),
        ("log_lines", json!(log_lines)),
        ("provider_status", json!(provider_status)),
        ("typical_duration", text(typical_duration)),
    ])
}

fn artifact(artifact: &pb::Artifact) -> Value {
    let pb::Artifact {
        size,
        sha256,
        media_type,
        width,
        height,
        duration,
        frame_rate,
        provider_url,
        provider_url_expire_time,
    } = artifact;
    object([
        ("size", json!(size)),
        ("sha256", json!(sha256)),
        ("media_type", json!(media_type)),
        ("width", json!(width)),
        ("height", json!(height)),
        ("duration", text(duration)),
        ("frame_rate", json!(frame_rate)),
        ("provider_url", json!(provider_url)),
        ("provider_url_expire_time", text(provider_url_expire_time)),
    ])
}

fn failure(failure: &pb::Failure) -> Value {
    let pb::Failure { kind: _, provider_code, message, maybe_charged, recoverable_until } = failure;
    object([
        ("kind", json!(word(failure.kind().as_str_name(), "FAILURE_KIND_"))),
        ("provider_code", json!(provider_code)),
        ("message", json!(message)),
        ("maybe_charged", json!(maybe_charged)),
        ("recoverable_until", text(recoverable_until)),
    ])
}

fn attempt(attempt: &pb::Attempt) -> Value {
    let pb::Attempt { number, marker, outcome: _, sends, start_time, end_time, provider_job_id, note } = attempt;
    object([
        ("number", json!(number)),
        ("marker", json!(marker)),
        ("outcome", json!(word(attempt.outcome().as_str_name(), "ATTEMPT_OUTCOME_"))),
        ("sends", json!(sends)),
        ("start_time", text(start_time)),
        ("end_time", text(end_time)),
        ("provider_job_id", json!(provider_job_id)),
        ("note", json!(note)),
    ])
}

fn charge(charge: &pb::Charge) -> Value {
    json!({"amount": charge.amount, "unit": charge.unit, "description": charge.description})
}

fn cancellation(cancellation: &pb::Cancellation) -> Value {
    object([
        ("outcome", json!(word(cancellation.outcome().as_str_name(), "CANCELLATION_OUTCOME_"))),
        ("request_time", text(&cancellation.request_time)),
    ])
}

fn history_entry(entry: &pb::HistoryEntry) -> Value {
    object([("state", json!(state(entry.state()))), ("time", text(&entry.time)), ("reason", json!(entry.reason))])
}

fn fields(fields: &BTreeMap<String, prost_types::Value>) -> Value {
    Value::Object(fields.iter().map(|(key, value)| (key.clone(), dynamic(value))).collect())
}

fn dynamic(value: &prost_types::Value) -> Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::Bool(*flag),
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::NumberValue(number)) => self::number(*number),
        Some(Kind::ListValue(list)) => Value::Array(list.values.iter().map(dynamic).collect()),
        Some(Kind::StructValue(inner)) => fields(&inner.fields),
    }
}

/// The contract knows doubles alone; a whole one is shown without a fraction.
fn number(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        return json!(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// A JSON object without its null fields: null means not set.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let set = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(set.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

fn optional<T>(message: &Option<T>, convert: impl Fn(&T) -> Value) -> Value {
    message.as_ref().map_or(Value::Null, convert)
}

fn list<T>(messages: &[T], convert: impl Fn(&T) -> Value) -> Value {
    Value::Array(messages.iter().map(convert).collect())
}

/// Times are RFC 3339, lengths of time seconds with an `s`, as in proto3's JSON.
fn text<T: ToString>(message: &Option<T>) -> Value {
    message.as_ref().map_or(Value::Null, |message| Value::String(message.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_shown_by_its_proto_names() {
        let options = [
            ("mode".to_owned(), Kind::StringValue("pro".into()).into()),
            ("cfg_scale".to_owned(), Kind::NumberValue(0.5).into()),
            ("shots".to_owned(), Kind::NumberValue(2.0).into()),
        ];
        let shown = task(&pb::Task {
            id: "0190".into(),
            revision: 4,
            state: pb::TaskState::Failed.into(),
            spec: Some(pb::Spec {
                start_image: Some(pb::Image { source: Some(pb::image::Source::Data(vec![1, 2].into())) }),
                duration: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
                provider_options: Some(prost_types::Struct { fields: options.into() }),
                ..Default::default()
            }),
            failure: Some(pb::Failure { kind: pb::FailureKind::Moderated.into(), ..Default::default() }),
            create_time: Some(prost_types::Timestamp { seconds: 1_764_000_131, nanos: 500_000_000 }),
            ..Default::default()
        });
        assert_eq!(shown["state"], "FAILED");
        assert_eq!(shown["revision"], 4);
        assert_eq!(shown["create_time"], "2025-11-24T16:02:11.500Z");
        assert_eq!(shown["failure"]["kind"], "MODERATED");
        assert_eq!(shown["spec"]["duration"], "5s");
        assert_eq!(shown["spec"]["start_image"], json!({"data": "omitted"}));
        assert_eq!(shown["spec"]["provider_options"], json!({"mode": "pro", "cfg_scale": 0.5, "shots": 2}));
        assert!(shown.get("artifact").is_none() && shown.get("end_time").is_none());
    }
}
