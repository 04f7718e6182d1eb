//! What a receiver gets: the event as JSON, signed as Standard Webhooks say. Pure.

use std::time::{SystemTime, UNIX_EPOCH};

use prost_types::{Duration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use crate::task::announcement::{Announcement, Shown};
use crate::task::state::{Artifact, Cancellation, Failure, Task};
use crate::wire::signature::{Rejected, sign_standard};

/// One event, ready to be sent once.
#[derive(Clone)]
pub struct Letter {
    /// Where to. A secret: it may carry a token.
    pub url: String,
    /// `webhook-id`: the same at each try.
    pub id: String,
    /// `webhook-timestamp`: of this try.
    pub timestamp_s: u64,
    /// `webhook-signature`: one for each secret, separated by spaces.
    pub signatures: String,
    /// JSON.
    pub body: Vec<u8>,
}

impl Letter {
    /// Writes and signs the event.
    pub(super) fn write(
        url: &str,
        announcement: &Announcement,
        task: &Task,
        secrets: &[SecretString],
        now: SystemTime,
    ) -> Result<Self, Rejected> {
        let (id, body) = (announcement.id.to_string(), body(announcement, task).to_string().into_bytes());
        let timestamp_s = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let sign = |secret: &SecretString| sign_standard(secret.expose_secret(), &id, timestamp_s, &body);
        let signatures = secrets.iter().map(sign).collect::<Result<Vec<_>, _>>()?.join(" ");
        Ok(Self { url: url.to_owned(), id, timestamp_s, signatures, body })
    }
}

/// The task as it was at the event, by the names of the public contract; without its
/// prompts, images and links.
fn body(announcement: &Announcement, task: &Task) -> Value {
    let Shown { state, job, percent, artifact, failure, cancellation, started, ended } = &announcement.shown;
    let submission = &task.submission;
    let data = object([
        ("id", json!(task.id.to_string())),
        ("revision", json!(announcement.id.revision.0)),
        ("state", json!(state.word())),
        ("request_id", json!(submission.request_id.as_str())),
        ("provider", json!(submission.spec.model.provider())),
        ("model", json!(submission.spec.model.as_str())),
        ("account", json!(submission.account.as_str())),
        ("provider_job_id", json!(job.as_ref().map(|job| job.as_str()))),
        ("progress", json!(percent.map(|percent| json!({ "percent": percent })))),
        ("artifact", json!(artifact.as_ref().map(self::artifact))),
        ("failure", json!(failure.as_ref().map(self::failure))),
        ("cancellation", json!(cancellation.as_ref().map(self::cancellation))),
        ("labels", json!(submission.labels)),
        ("create_time", json!(time(task.created))),
        ("update_time", json!(time(announcement.time))),
        ("start_time", json!(started.map(time))),
        ("end_time", json!(ended.map(time))),
    ]);
    json!({ "type": announcement.topic.word(), "timestamp": time(announcement.time), "data": data })
}

fn artifact(artifact: &Artifact) -> Value {
    let Artifact { size, sha256, media, width, height, duration, frame_rate_milli } = artifact;
    let sha256: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let duration = duration.and_then(|length| Duration::try_from(length).ok()).map(|length| length.to_string());
    object([
        ("size", json!(size)),
        ("sha256", json!(sha256)),
        ("media_type", json!(media.media_type())),
        ("width", json!(width)),
        ("height", json!(height)),
        ("duration", json!(duration)),
        ("frame_rate", json!(f64::from(*frame_rate_milli) / 1000.0)),
    ])
}

fn failure(failure: &Failure) -> Value {
    let Failure { kind, provider_code, message, maybe_charged, recoverable_until } = failure;
    object([
        ("kind", json!(kind.word())),
        ("provider_code", json!(provider_code)),
        ("message", json!(message)),
        ("maybe_charged", json!(maybe_charged)),
        ("recoverable_until", json!(recoverable_until.map(time))),
    ])
}

fn cancellation(cancellation: &Cancellation) -> Value {
    let Cancellation { outcome, requested } = cancellation;
    json!({ "outcome": outcome.word(), "request_time": time(*requested) })
}

/// RFC 3339.
fn time(time: SystemTime) -> String {
    Timestamp::from(time).to_string()
}

/// A JSON object without its null fields: null means not set.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let set = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(set.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::announcement::Topic;
    use crate::task::fixture::{created, task};
    use crate::task::state::FailureKind;
    use crate::wire::signature::verify_standard;

    const NEW: &str = "whsec_bmV3LXNlY3JldC1vZi1hdC1sZWFzdC0yNC1ieXRlcw==";
    const OLD: &str = "whsec_b2xkLXNlY3JldC1vZi1hdC1sZWFzdC0yNC1ieXRlcw==";

    fn letter(now: SystemTime) -> Letter {
        let task = task(1).labelled("team", "red").running().failed(FailureKind::Moderated);
        let announcement = Announcement::of(&task, Topic::Failed);
        Letter::write("https://hooks.example/1", &announcement, &task, &[NEW.into(), OLD.into()], now).unwrap()
    }

    #[test]
    fn both_secrets_verify_and_a_further_try_has_the_same_id_and_body() {
        let (first, second) = (letter(created(400)), letter(created(900)));
        assert_eq!((&first.id, &first.body), (&second.id, &second.body));
        assert_eq!(second.timestamp_s, first.timestamp_s + 500);
        for secret in [NEW, OLD] {
            let timestamp = second.timestamp_s.to_string();
            let verify = |body: &[u8]| {
                verify_standard(secret, &second.id, &timestamp, &second.signatures, body, second.timestamp_s)
            };
            assert_eq!(verify(&second.body), Ok(()));
            let mut altered = second.body.clone();
            altered[10] ^= 1;
            assert!(verify(&altered).is_err());
        }
    }

    #[test]
    fn an_event_tells_of_the_task_and_not_of_its_prompt() {
        let body = String::from_utf8(letter(created(400)).body).unwrap();
        assert!(!body.contains("lighthouse"), "{body}");
        let told: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(told["type"], "task.failed");
        assert_eq!(told["data"]["id"], task(1).id.to_string());
        assert_eq!(told["data"]["state"], "FAILED");
        assert_eq!(told["data"]["failure"]["kind"], "MODERATED");
        assert_eq!(told["data"]["labels"]["team"], "red");
        assert_eq!(told["data"]["create_time"], "2026-11-23T00:00:01Z");
        assert!(told["data"].get("artifact").is_none());
    }
}
