//! fal's answers: a job is followed at fal's own host only, and a create that may
//! have been taken is never called refused.

use std::sync::{Arc, LazyLock};
use std::time::UNIX_EPOCH;

use super::*;
use crate::fuzzing::{fields, seed, text};
use crate::providers::fuzzing::{KEY, PROMPT, answer, assert_created, assert_observed, status};
use crate::task::id::{Marker, ModelName};
use crate::task::spec::Spec;
use crate::wire::fal::{ErrorBody, is_plain_path};

static FAL: LazyLock<Fal> = LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let base_url = Url::parse("https://queue.fal.run/base").expect("it is a URL");
    let settings = FalSettings { base_url, history_url: None, api_key: KEY.into(), limits: HttpLimits::default() };
    Fal::new(settings, Arc::new(|| UNIX_EPOCH)).expect("the client can be built")
});

static MODEL: LazyLock<Arc<Model>> = LazyLock::new(|| {
    let model = crate::catalog::Catalog::built_in().resolve("fal/fal-ai/some-model/v1");
    model.expect("any plain path of fal's is a model")
});

static SPEC: LazyLock<Spec> = LazyLock::new(|| {
    let model = ModelName::parse("fal/fal-ai/some-model/v1").expect("it has both parts");
    Spec { prompt: PROMPT.to_owned(), ..Spec::new(model) }
});

pub(crate) fn check(data: &[u8]) {
    let Some((case, bytes)) = data.split_first() else { return };
    match case % 4 {
        0 => create(bytes),
        1 => query(bytes),
        2 => cancel(bytes),
        _ => handle(&text(bytes)),
    }
}

fn create(bytes: &[u8]) {
    let Some(answer) = answer(bytes) else { return };
    let marker = Marker::new("vg-job-42-1");
    let order = Order { spec: &SPEC, model: &MODEL, marker: &marker, callback: None, resent: false, sent: UNIX_EPOCH };
    let created = FAL.judge(&answer, &order);
    assert_created(&created);
    match &created {
        Created::Accepted(job) => {
            assert!(answer.is_success());
            let place = Place::read(&job.handle).expect("our own handle can be read");
            for path in [&place.status, &place.result, &place.cancel] {
                let url = join(&FAL.base_url, path);
                assert_eq!((url.origin(), url.query(), url.fragment()), (FAL.base_url.origin(), None, None), "{url}");
                assert!(url.path().starts_with("/base/") && path.contains(job.id.as_str()), "{url}");
            }
        }
        Created::Refused(_) => {
            let door = (401..=403).contains(&answer.status) && !answer.is_html();
            let said = (400..500).contains(&answer.status) && ErrorBody::read(&answer.body).is_some();
            assert!(door || said, "{}", answer.status);
        }
        Created::Throttled { .. } => assert_eq!(answer.status, 429),
        Created::NotSent { .. } => panic!("an answer proves that it was sent"),
        Created::Unknown { .. } => {}
    }
}

/// A status, and the answer of the result behind it.
fn query(bytes: &[u8]) {
    let [queued, result] = fields(bytes);
    let Ok(queued) = serde_json::from_slice::<Queued>(queued) else { return };
    assert_observed(&Ok(read::pending(&queued, &FAL.redactor)));
    if let Some(answer) = answer(result) {
        assert_observed(&read::result(&answer, &queued, &FAL.redactor));
    }
}

fn cancel(bytes: &[u8]) {
    let Some(answer) = answer(bytes) else { return };
    match read::cancelled(&answer, &FAL.redactor) {
        // Whoever calls it cancelled gives the job up.
        Ok(CancelOutcome::Confirmed) => assert_eq!(answer.status, 200),
        Ok(_) => assert!(answer.status < 500),
        Err(trouble) => assert_observed(&Err(trouble)),
    }
}

/// A handle that can be read leads to plain paths only.
fn handle(text: &str) {
    let Some(place) = Place::read(text) else { return };
    for path in [&place.status, &place.result, &place.cancel] {
        assert!(path.strip_prefix('/').is_some_and(is_plain_path), "{path}");
    }
    assert_eq!(Place::read(&place.to_handle()), Some(place));
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let answer = |code: u16, headers: u8, body: &str| [&[status(code), headers], body.as_bytes()].concat();
    let create = |code, body: &str| seed(0, answer(code, 0, body));
    let query = |queued: &str, code, body: &str| seed(1, [queued.as_bytes(), &[0], &answer(code, 0, body)].concat());
    let completed =
        r#"{"status":"COMPLETED","request_id":"r","logs":[{"message":"step 3","level":"INFO"}],"metrics":{}}"#;
    let failed = r#"{"status":"COMPLETED","error":"canaryOfThePrompt","error_type":"content_policy_violation"}"#;
    vec![
        create(
            200,
            r#"{"status":"IN_QUEUE","request_id":"11111111-2222","queue_position":0,
            "response_url":"https://queue.fal.run/base/fal-ai/some-model/requests/11111111-2222",
            "status_url":"https://queue.fal.run/base/fal-ai/some-model/requests/11111111-2222/status",
            "cancel_url":"https://evil.example/fal-ai/some-model/requests/11111111-2222/cancel"}"#,
        ),
        seed(0, answer(200, 4, "{}")),
        create(401, r#"{"detail":"Cannot access, Key canary-of-the-key-0123 is locked. Exhausted balance."}"#),
        create(422, r#"{"detail":[{"loc":["body","duration"],"msg":"canaryOfThePrompt","type":"literal_error"}]}"#),
        create(429, r#"{"detail":"too many"}"#),
        seed(0, answer(403, 2, "<html>no</html>")),
        create(504, r#"{"detail":"x","error_type":"request_timeout"}"#),
        query(completed, 200, r#"{"video":{"url":"https://v3b.fal.media/files/example/out.mp4"},"seed":1}"#),
        query(completed, 200, r#"{"videos":[{"url":"u"}]}"#),
        query(failed, 422, r#"{"detail":[{"msg":"no","type":"content_policy_violation"}]}"#),
        query(failed, 404, "{}"),
        query(r#"{"status":"IN_QUEUE","queue_position":2}"#, 400, r#"{"detail":"Request is still in progress"}"#),
        query(failed, 500, r#"{"detail":[{"loc":["body"],"msg":"x","type":"y"}]}"#),
        seed(2, answer(202, 0, r#"{"status":"CANCELLATION_REQUESTED"}"#)),
        seed(2, answer(400, 0, r#"{"status":"ALREADY_COMPLETED"}"#)),
        seed(2, answer(404, 0, r#"{"detail":"Request not found"}"#)),
        seed(3, r#"{"s":"/a/b/requests/r-1/status","r":"/a/b/requests/r-1","c":"/a/b/requests/r-1/cancel","t":7}"#),
    ]
}
