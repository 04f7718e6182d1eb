//! fal's queue: the answers to a submit, a status query, a cancel, the errors in
//! their two shapes, the place of the video in a result, and the path rule.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::liberal;

/// The answer to a submit, and what a status query says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queued {
    /// `IN_QUEUE`, `IN_PROGRESS`, `COMPLETED`, or a word that we do not know.
    #[serde(deserialize_with = "liberal::as_text")]
    pub status: String,
    /// fal's id of the job.
    #[serde(deserialize_with = "liberal::as_text")]
    pub request_id: String,
    /// Requests ahead.
    #[serde(deserialize_with = "liberal::as_whole", skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<i64>,
    /// Where the result will be.
    #[serde(deserialize_with = "liberal::as_text", skip_serializing_if = "String::is_empty")]
    pub response_url: String,
    /// Where to ask.
    #[serde(deserialize_with = "liberal::as_text", skip_serializing_if = "String::is_empty")]
    pub status_url: String,
    /// Where to cancel.
    #[serde(deserialize_with = "liberal::as_text", skip_serializing_if = "String::is_empty")]
    pub cancel_url: String,
    /// The model's log, when asked for.
    #[serde(deserialize_with = "liberal::readable", skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogLine>,
    /// Set when the job ended badly.
    #[serde(deserialize_with = "liberal::as_text", skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Likewise.
    #[serde(deserialize_with = "liberal::as_text", skip_serializing_if = "String::is_empty")]
    pub error_type: String,
}

/// One line of a model's log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogLine {
    /// The line.
    #[serde(deserialize_with = "liberal::as_text")]
    pub message: String,
    /// `INFO`, `ERROR`, ...
    #[serde(deserialize_with = "liberal::as_text")]
    pub level: String,
    /// RFC 3339.
    #[serde(deserialize_with = "liberal::as_text")]
    pub timestamp: String,
}

/// The body of a callback.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Callback {
    /// The job.
    #[serde(deserialize_with = "liberal::as_text")]
    pub request_id: String,
    /// The job as it was first called; differs after a retry of fal's own.
    #[serde(deserialize_with = "liberal::as_text")]
    pub gateway_request_id: String,
    /// `OK` or `ERROR`.
    #[serde(deserialize_with = "liberal::as_text")]
    pub status: String,
    /// The result, or the error body.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub payload: Value,
}

/// An error body, from either shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorBody {
    /// `error_type`, or the type of the first detail; empty when there is none.
    pub kind: String,
    /// For people. Never holds the input, which the details would repeat.
    pub message: String,
    /// Whether the model said it, rather than the platform.
    pub from_model: bool,
    /// Whether content rules were the reason.
    pub moderated: bool,
}

impl ErrorBody {
    /// Reads an answer; nothing when it is not an error of fal's.
    pub fn read(body: &[u8]) -> Option<Self> {
        Self::of(&serde_json::from_slice(body).ok()?)
    }

    /// As [`ErrorBody::read`], from parsed JSON.
    pub fn of(body: &Value) -> Option<Self> {
        let error_type = body.get("error_type").map(liberal::text).unwrap_or_default();
        match body.get("detail") {
            Some(Value::Array(details)) => Some(Self::from_details(details, error_type)),
            Some(detail @ Value::Object(_)) => Some(Self::from_details(std::slice::from_ref(detail), error_type)),
            Some(Value::String(message)) => Some(Self::from_platform(message.clone(), error_type)),
            _ => {
                let message = ["error", "message"].iter().find_map(|name| body.get(name)).map(liberal::text);
                let message = message.filter(|message| !message.is_empty());
                (message.is_some() || !error_type.is_empty())
                    .then(|| Self::from_platform(message.unwrap_or_default(), error_type))
            }
        }
    }

    fn from_platform(message: String, error_type: String) -> Self {
        let moderated = is_moderation(&error_type);
        Self { kind: error_type, message, from_model: false, moderated }
    }

    fn from_details(details: &[Value], error_type: String) -> Self {
        let field = |detail: &Value, name: &str| detail.get(name).map(liberal::text).unwrap_or_default();
        let lines: Vec<String> = details
            .iter()
            .map(|detail| match place(detail) {
                place if place.is_empty() => field(detail, "msg"),
                place => format!("{place}: {}", field(detail, "msg")),
            })
            .collect();
        let kinds: Vec<String> = details.iter().map(|detail| field(detail, "type")).collect();
        let moderated = kinds.iter().any(|kind| is_moderation(kind)) || is_moderation(&error_type);
        let first = kinds.into_iter().find(|kind| !kind.is_empty()).unwrap_or(error_type);
        Self { kind: first, message: lines.join("; "), from_model: true, moderated }
    }
}

fn is_moderation(kind: &str) -> bool {
    kind.contains("content_policy") || kind.contains("moderation") || kind.contains("nsfw")
}

/// The dotted path of the input that a detail is about.
fn place(detail: &Value) -> String {
    let Some(Value::Array(steps)) = detail.get("loc") else { return String::new() };
    let steps: Vec<String> = steps.iter().map(liberal::text).filter(|step| step != "body").collect();
    steps.join(".")
}

/// Where the video of a result is. Only `video.url` is dependable; the other
/// places are taken where a model uses them.
pub fn video_url(result: &Value) -> Option<&str> {
    ["/video/url", "/videos/0/url", "/output/video/url"]
        .iter()
        .filter_map(|place| result.pointer(place).and_then(Value::as_str))
        .find(|url| !url.is_empty())
}

/// The part of a model's id that its requests are found under: owner and app, and
/// the namespace before them where there is one.
pub fn app_of(model_id: &str) -> Option<String> {
    let segments: Vec<&str> = model_id.split('/').collect();
    let kept = if matches!(segments.first(), Some(&("workflows" | "comfy"))) { 3 } else { 2 };
    (segments.len() >= kept).then(|| segments[..kept].join("/"))
}

/// Whether a model's id is a plain path, with no way out of it.
pub fn is_plain_path(model_id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let segment = |text: &str| !text.is_empty() && text != "." && text != ".." && text.bytes().all(plain);
    model_id.len() <= 256 && model_id.split('/').all(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "11111111-2222-4333-8444-555555555555";

    #[test]
    fn the_documented_answer_to_a_submit_is_read() {
        let queued: Queued = serde_json::from_str(
            r#"{"status":"IN_QUEUE","request_id":"11111111-2222-4333-8444-555555555555","queue_position":0,
            "response_url":"https://queue.fal.run/fal-ai/kling-video/requests/11111111-2222-4333-8444-555555555555",
            "status_url":"https://queue.fal.run/fal-ai/kling-video/requests/11111111-2222-4333-8444-555555555555/status",
            "cancel_url":"https://queue.fal.run/fal-ai/kling-video/requests/11111111-2222-4333-8444-555555555555/cancel",
            "logs":null,"metrics":{},"gateway_request_id":"11111111-2222-4333-8444-555555555555"}"#,
        )
        .unwrap();
        assert_eq!((queued.status.as_str(), queued.request_id.as_str()), ("IN_QUEUE", ID));
        assert_eq!((queued.queue_position, queued.logs.len()), (Some(0), 0));
        assert!(queued.status_url.ends_with("/status") && queued.cancel_url.ends_with("/cancel"));
    }

    #[test]
    fn the_documented_statuses_are_read() {
        let read = |text: &str| serde_json::from_str::<Queued>(text).unwrap();
        let queued = read(r#"{"status":"IN_QUEUE","request_id":"..","queue_position":2,"response_url":".."}"#);
        assert_eq!(queued.queue_position, Some(2));
        let running = read(
            r#"{"status":"IN_PROGRESS","request_id":"..","logs":[{"message":"step 3","level":"INFO","source":"USER",
                "timestamp":"2026-10-01T00:00:00.000Z"},7]}"#,
        );
        assert_eq!(running.logs[0].message, "step 3");
        let completed = read(
            r#"{"status":"COMPLETED","request_id":"..","logs":[],"metrics":{"inference_time":41.7},"error":null,
                "error_type":null}"#,
        );
        assert_eq!(
            (completed.status.as_str(), completed.error.as_str(), completed.error_type.as_str()),
            ("COMPLETED", "", "")
        );
    }

    #[test]
    fn both_shapes_of_an_error_are_read_without_the_input() {
        let error = ErrorBody::read(
            br#"{"detail":[{"loc":["body","duration"],"msg":"unexpected value","type":"literal_error","url":"..","ctx":{},
                "input":"a secret prompt"}]}"#,
        )
        .unwrap();
        assert_eq!((error.kind.as_str(), error.message.as_str()), ("literal_error", "duration: unexpected value"));
        assert!(error.from_model && !error.moderated);
        let error = ErrorBody::read(br#"{"detail":"text","error_type":"request_timeout"}"#).unwrap();
        assert_eq!((error.kind.as_str(), error.message.as_str(), error.from_model), ("request_timeout", "text", false));
        let error = ErrorBody::read(br#"{"detail":[{"msg":"no","type":"content_policy_violation"}]}"#).unwrap();
        assert!(error.moderated);
        for other in ["", "<html>", "{}", "[]", r#"{"video":{}}"#, r#"{"detail":null}"#] {
            assert_eq!(ErrorBody::read(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn the_documented_callbacks_are_read() {
        let ok: Callback = serde_json::from_str(
            r#"{"request_id":"a","gateway_request_id":"b","status":"OK",
                "payload":{"video":{"url":"https://v3b.fal.media/files/example/out.mp4"}}}"#,
        )
        .unwrap();
        assert_eq!(video_url(&ok.payload), Some("https://v3b.fal.media/files/example/out.mp4"));
        let error: Callback = serde_json::from_str(
            r#"{"request_id":"..","gateway_request_id":"..","status":"ERROR","error":"Unexpected status code: 422",
                "payload":{"detail":[{"loc":["body","prompt"],"msg":"..","type":".."}]}}"#,
        )
        .unwrap();
        assert!(ErrorBody::of(&error.payload).is_some());
        let lost: Callback = serde_json::from_str(
            r#"{"request_id":"..","gateway_request_id":"..","status":"OK","payload":null,"payload_error":"why"}"#,
        )
        .unwrap();
        assert_eq!((lost.status.as_str(), lost.payload), ("OK", Value::Null));
    }

    #[test]
    fn a_video_is_found_where_models_put_it() {
        for text in [
            r#"{"video":{"url":"u","content_type":"video/mp4","file_name":"output.mp4","file_size":123456},"seed":1}"#,
            r#"{"videos":[{"url":"u"}]}"#,
            r#"{"output":{"video":{"url":"u"}}}"#,
        ] {
            assert_eq!(video_url(&serde_json::from_str(text).unwrap()), Some("u"), "{text}");
        }
        for text in [r#"{"video":{"url":""}}"#, r#"{"video":"u"}"#, r#"{"images":[{"url":"u"}]}"#, "null"] {
            assert_eq!(video_url(&serde_json::from_str(text).unwrap()), None, "{text}");
        }
    }

    #[test]
    fn requests_are_found_under_owner_and_app_only() {
        assert_eq!(app_of("fal-ai/kling-video/v3/pro/text-to-video").as_deref(), Some("fal-ai/kling-video"));
        assert_eq!(app_of("workflows/me/mine/step").as_deref(), Some("workflows/me/mine"));
        assert_eq!(app_of("comfy/me/mine").as_deref(), Some("comfy/me/mine"));
        assert_eq!((app_of("lonely"), app_of("comfy/me")), (None, None));
    }

    #[test]
    fn a_model_id_cannot_leave_its_path() {
        assert!(is_plain_path("fal-ai/wan/v2.7/text-to-video"));
        for id in ["", "a//b", "/a/b", "a/../b", "a/./b", "a/b?x=1", "a/b#c", "a/%2e%2e/b", "a b/c", "a@b/c", "a/b/"] {
            assert!(!is_plain_path(id), "{id}");
        }
    }
}
