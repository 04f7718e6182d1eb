//! Requests: what is let in keeps every limit of the contract and is let in again as
//! it is shown; what is refused is refused in few words.

use std::sync::LazyLock;
use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};

use super::accounts::{Accounts, Offer};
use super::convert::{Judge, task_id};
use super::{page, pb, render};
use crate::catalog::Catalog;
use crate::fuzzing::{seed, text};
use crate::network::Guard;
use crate::task::id::AccountName;
use crate::task::spec::{Image, Spec, Submission, UnknownPolicy};
use crate::task::state::State;

static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::built_in);
static GUARD: LazyLock<Guard> = LazyLock::new(Guard::default);
static ACCOUNTS: LazyLock<Accounts> = LazyLock::new(|| {
    let offer = |name: &str, api_key| Offer { name: AccountName::new(name), provider: name.to_owned(), api_key };
    Accounts::new(vec![offer("kling", true), offer("fal", true), offer("kling", false)])
});

fn judge() -> Judge<'static> {
    Judge { catalog: &CATALOG, accounts: &ACCOUNTS, guard: &GUARD, webhooks: true }
}

pub(crate) fn check(data: &[u8]) {
    let Some((case, bytes)) = data.split_first() else { return };
    match case % 5 {
        0 => submit(bytes),
        1 => watch(bytes),
        2 => list(bytes),
        3 => id(&text(bytes)),
        _ => options(bytes),
    }
}

fn submit(bytes: &[u8]) {
    let Ok(request) = pb::SubmitRequest::decode(bytes) else { return };
    let nameless = request.validate_only && request.request_id.is_empty();
    match judge().submission(request) {
        Err(status) => assert_brief(&status),
        Ok(submission) => {
            let id = submission.request_id.as_str();
            let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
            assert!(nameless || ((1..=128).contains(&id.len()) && id.bytes().all(valid)), "{id:?}");
            assert_frame(&submission);
            assert_spec(&submission.spec);
            assert_shown_is_taken(&submission);
        }
    }
}

fn assert_frame(submission: &Submission) {
    let timeout = submission.generation_timeout;
    assert!((Duration::from_secs(600)..=Duration::from_secs(86_400)).contains(&timeout), "{timeout:?}");
    if let UnknownPolicy::AtLeastOnce { max_paid_attempts } = submission.policy {
        assert!((1..=3).contains(&max_paid_attempts));
    }
    assert!(submission.labels.len() <= 32);
    for (key, value) in &submission.labels {
        assert!((1..=63).contains(&key.len()) && value.len() <= 255, "{key}");
        assert!(!value.chars().any(char::is_control), "{value:?}");
    }
    assert!(submission.warnings.len() <= 32);
}

fn assert_spec(spec: &Spec) {
    for words in [&spec.prompt, &spec.negative_prompt] {
        assert!(words.len() <= 8192 && !words.chars().any(|c| c.is_control() && !"\n\t\r".contains(c)));
    }
    assert!(spec.model.as_str().len() <= 200 && spec.reference_images.len() <= 8);
    for image in spec.start_image.iter().chain(&spec.end_image).chain(&spec.reference_images) {
        match image {
            Image::Uri(uri) => assert!(uri.len() <= 2048 && GUARD.check_url(uri).is_ok(), "{uri}"),
            Image::Data(data) => assert!(data.len() > 2),
            Image::File(file) => panic!("{file:?} came in with a request"),
        }
    }
    assert!(spec.duration_s.is_none_or(|seconds| (1..=3600).contains(&seconds)));
    assert!(spec.fps.is_none_or(|fps| (1..=120).contains(&fps)));
    for word in spec.aspect_ratio.iter().chain(&spec.resolution) {
        assert!(word.len() <= 16 && word.bytes().all(|byte| byte.is_ascii_graphic()), "{word:?}");
    }
    assert_options(&spec.provider_options);
}

fn assert_options(options: &serde_json::Map<String, serde_json::Value>) {
    let written = serde_json::to_string(options).expect("text keys are JSON");
    assert!(options.len() <= 64 && written.len() <= 16 * 1024);
    let again: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&written).expect("it was JSON");
    assert_eq!(&again, options);
}

/// Whoever sends the shown spec gets the same video.
fn assert_shown_is_taken(submission: &Submission) {
    let spec = &submission.spec;
    let images = spec.start_image.iter().chain(&spec.end_image).chain(&spec.reference_images);
    if images.into_iter().any(|image| matches!(image, Image::Data(_))) {
        return; // Their bytes are not shown.
    }
    let shown = render::submitted(submission).spec;
    let request = pb::SubmitRequest { request_id: "again".to_owned(), spec: shown, ..Default::default() };
    let again = judge().submission(request).expect("what is shown can be sent");
    assert_eq!(&again.spec, spec);
}

fn watch(bytes: &[u8]) {
    if let Ok(request) = pb::WatchRequest::decode(bytes) {
        id(&request.task_id);
        filter(request.filter);
    }
}

fn list(bytes: &[u8]) {
    let Ok(pb::ListTasksRequest { filter: asked, page_size, page_token }) = pb::ListTasksRequest::decode(bytes) else {
        return;
    };
    let bound = page::binding(asked.as_ref());
    if let Ok(Some(last)) = page::read(&page_token, &bound) {
        assert_eq!(page::token(last, &bound), page_token);
    }
    assert!(page::size(page_size).is_ok_and(|size| (1..=500).contains(&size)) || page_size < 0);
    filter(asked);
}

fn filter(asked: Option<pb::TaskFilter>) {
    match judge().filter(asked) {
        Err(status) => assert_brief(&status),
        Ok(filter) => {
            assert!(filter.states.len() <= State::ALL.len() && filter.labels.len() <= 8);
        }
    }
}

fn id(text: &str) {
    match task_id(text) {
        Ok(id) => assert_eq!(id.to_string(), text),
        Err(status) => assert_brief(&status),
    }
}

fn options(bytes: &[u8]) {
    let Ok(given) = prost_types::Struct::decode(bytes) else { return };
    if let Ok(read) = super::options::read(given) {
        assert_options(&read);
        assert_eq!(super::options::read(super::options::render(&read)), Ok(read));
    }
}

/// Many clients take 8 KiB of trailers in all, where details are written in base64.
fn assert_brief(status: &Status) {
    assert!(matches!(status.code(), Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition), "{status:?}");
    assert!(status.message().len() <= 600 && !status.message().chars().any(char::is_control), "{status:?}");
    assert!(status.details().len() <= 4500, "{} bytes of details", status.details().len());
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    use prost_types::value::Kind;
    let number = |number| prost_types::Value { kind: Some(Kind::NumberValue(number)) };
    let word = |word: &str| prost_types::Value { kind: Some(Kind::StringValue(word.to_owned())) };
    let inner = prost_types::Struct { fields: [("type".to_owned(), word("simple"))].into() };
    let list = prost_types::ListValue { values: vec![number(1.0), number(0.1)] };
    let options = prost_types::Struct {
        fields: [
            ("cfg_scale".to_owned(), number(0.7)),
            ("mode".to_owned(), word("pro")),
            ("camera_control".to_owned(), prost_types::Value { kind: Some(Kind::StructValue(inner)) }),
            ("list".to_owned(), prost_types::Value { kind: Some(Kind::ListValue(list)) }),
        ]
        .into(),
    };
    let link = |uri: &str| Some(pb::Image { source: Some(pb::image::Source::Uri(uri.to_owned())) });
    let data = pb::Image { source: Some(pb::image::Source::Data(vec![0xff, 0xd8, 0xff, 0xe0].into())) };
    let spec =
        |model: &str| pb::Spec { model: model.to_owned(), prompt: "a red kite".to_owned(), ..Default::default() };
    let submit = |spec: pb::Spec| {
        let request = pb::SubmitRequest {
            request_id: "request-1".to_owned(),
            spec: Some(spec),
            generation_timeout: Some(prost_types::Duration { seconds: 1800, nanos: 0 }),
            unknown_outcome_policy: 2,
            max_paid_attempts: 3,
            labels: [("team".to_owned(), "red".to_owned())].into(),
            ..Default::default()
        };
        seed(0, request.encode_to_vec())
    };
    let filter = pb::TaskFilter {
        states: vec![1, 4],
        labels: [("team".to_owned(), "red".to_owned())].into(),
        model: "kling/kling-3.0".to_owned(),
        create_time_min: Some(prost_types::Timestamp { seconds: 1, nanos: 5 }),
        create_time_max: Some(prost_types::Timestamp { seconds: 2, nanos: 0 }),
    };
    let id = "0199dd62-1000-7000-8000-000000000001";
    let token = page::token(id.parse().expect("it is an id"), &page::binding(Some(&filter)));
    let watch = pb::WatchRequest { task_id: id.to_owned(), after_revision: 3, filter: Some(filter.clone()) };
    let page = pb::ListTasksRequest { filter: Some(filter), page_size: 10, page_token: token };
    vec![
        submit(spec("kling/kling-3.0")),
        submit(pb::Spec {
            duration: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
            aspect_ratio: "16:9".to_owned(),
            resolution: "1080P".to_owned(),
            negative_prompt: "sun".to_owned(),
            generate_audio: Some(true),
            seed: Some(7),
            fps: Some(24),
            provider_options: Some(options.clone()),
            ..spec("kling/kling-v2-6")
        }),
        submit(pb::Spec {
            start_image: link("https://img.example/a.png"),
            end_image: Some(data),
            ..spec("kling/kling-v2-1")
        }),
        submit(pb::Spec {
            reference_images: link("https://8.8.8.8/x.png").into_iter().collect(),
            ..spec("kling/kling-v1-6")
        }),
        submit(spec("fal/fal-ai/veo3.1")),
        submit(pb::Spec { provider_options: Some(options.clone()), ..spec("fal/owner/some-app/v2") }),
        seed(1, watch.encode_to_vec()),
        seed(2, page.encode_to_vec()),
        seed(3, id),
        seed(4, options.encode_to_vec()),
    ]
}
