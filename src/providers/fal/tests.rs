//! fal's adapter against a scripted socket: what exactly goes out, and what each
//! answer, or the absence of one, is taken for.

use std::sync::LazyLock;
use std::time::UNIX_EPOCH;

use serde_json::{Value, json as object};

use super::*;
use crate::catalog::{DurationForm, FalInput, Limits};
use crate::providers::scripted::{Act, Scripted, http, http_for, json, nobody, patient, still};
use crate::task::id::{Marker, ModelName};
use crate::task::spec::{Image, Spec};
use crate::task::state::Progress;

static MARKER: LazyLock<Marker> = LazyLock::new(|| Marker::new("vg-job-42-1"));
const ID: &str = "11111111-2222-4333-8444-555555555555";
const KLING: &str = "fal-ai/kling-video/v3/pro/text-to-video";
const HOME: &str = "/fal-ai/kling-video/requests/11111111-2222-4333-8444-555555555555";

pub(super) fn fal_at(url: &Url) -> Fal {
    let settings = FalSettings {
        base_url: url.clone(),
        history_url: None,
        api_key: "key-id-01:s3cret-0123".into(),
        limits: patient(),
    };
    Fal::over(http(), settings, still()).unwrap()
}

pub(super) fn model(id: &str, names: FalInput) -> Model {
    Model {
        name: ModelName::parse(&format!("fal/{id}")).unwrap(),
        aliases: Vec::new(),
        wire: Wire::FalQueue(names),
        wire_id: id.to_owned(),
        typical_s: 120,
        result_lifetime_s: None,
        limits: Limits::default(),
        unlisted: false,
    }
}

pub(super) fn spec() -> Spec {
    Spec { prompt: "a red kite".to_owned(), ..Spec::new(ModelName::parse("fal/x").unwrap()) }
}

fn order<'a>(spec: &'a Spec, model: &'a Model) -> Order<'a> {
    Order { spec, model, marker: &MARKER, callback: None, resent: false, sent: (still())() }
}

fn names(start: Option<&str>, end: Option<&str>, duration: Option<DurationForm>) -> FalInput {
    FalInput {
        start_image: start.map(str::to_owned),
        end_image: end.map(str::to_owned),
        duration,
        ..FalInput::default()
    }
}

fn link(name: &str) -> Option<Image> {
    Some(Image::Uri(format!("https://img.example/{name}.png")))
}

fn input(spec: &Spec, names: &FalInput) -> Value {
    Value::Object(order::input(spec, names, None))
}

#[test]
fn orders_become_inputs_in_each_models_own_names() {
    let text = Spec {
        negative_prompt: "blur".into(),
        duration_s: Some(5),
        aspect_ratio: Some("16:9".into()),
        generate_audio: Some(false),
        ..spec()
    };
    let kling = names(Some("start_image_url"), Some("end_image_url"), Some(DurationForm::Text));
    assert_eq!(
        input(&text, &kling),
        object!({"prompt": "a red kite", "negative_prompt": "blur", "duration": "5", "aspect_ratio": "16:9", "generate_audio": false})
    );
    let framed = Spec {
        start_image: link("a"),
        end_image: link("b"),
        duration_s: Some(8),
        resolution: Some("720p".into()),
        ..spec()
    };
    assert_eq!(
        input(&framed, &names(Some("first_frame_url"), Some("last_frame_url"), Some(DurationForm::TextWithUnit))),
        object!({"prompt": "a red kite", "first_frame_url": "https://img.example/a.png", "resolution": "720p",
            "last_frame_url": "https://img.example/b.png", "duration": "8s"})
    );
    let ray = Spec { duration_s: Some(9), resolution: Some("540p".into()), ..spec() };
    let ray = Spec { provider_options: object!({"loop": true}).as_object().unwrap().clone(), ..ray };
    assert_eq!(
        input(&ray, &names(Some("image_url"), Some("end_image_url"), Some(DurationForm::TextWithUnit))),
        object!({"prompt": "a red kite", "duration": "9s", "resolution": "540p", "loop": true})
    );
    let wan = Spec { duration_s: Some(12), seed: Some(7), start_image: link("a"), ..spec() };
    assert_eq!(
        input(&wan, &names(Some("start_image_url"), None, Some(DurationForm::Number))),
        object!({"prompt": "a red kite", "duration": 12, "seed": 7, "start_image_url": "https://img.example/a.png"})
    );
    let png = Some(Image::Data(b"\x89PNG\r\n\x1a\n".to_vec().into()));
    let hailuo = Spec { duration_s: Some(6), resolution: Some("768p".into()), start_image: png, ..spec() };
    let upper = FalInput {
        resolution_upper_case: true,
        ..names(Some("image_url"), Some("end_image_url"), Some(DurationForm::Text))
    };
    assert_eq!(
        input(&hailuo, &upper),
        object!({"prompt": "a red kite", "duration": "6", "resolution": "768P", "image_url": "data:image/png;base64,iVBORw0KGgo="})
    );
    let several = Spec { reference_images: vec![link("r").unwrap(), link("s").unwrap()], ..spec() };
    let referenced = FalInput { reference_images: Some("image_urls".to_owned()), ..FalInput::default() };
    assert_eq!(
        input(&several, &referenced)["image_urls"],
        object!(["https://img.example/r.png", "https://img.example/s.png"])
    );
}

#[test]
fn options_reach_the_model_as_they_are_but_never_replace_the_prompt() {
    let options = object!({"prompt": "another", "num_frames": 81.0, "cfg_scale": 0.5}).as_object().unwrap().clone();
    let with_prompt = Spec { provider_options: options.clone(), ..spec() };
    assert_eq!(
        input(&with_prompt, &FalInput::default()),
        object!({"prompt": "a red kite", "num_frames": 81, "cfg_scale": 0.5})
    );
    let without = Spec { provider_options: options, prompt: String::new(), ..spec() };
    assert_eq!(input(&without, &FalInput::default())["prompt"], "another");
}

fn queued(base: &str) -> Value {
    object!({"status": "IN_QUEUE", "request_id": ID, "queue_position": 0, "logs": null, "metrics": {},
        "response_url": format!("{base}{HOME}"), "status_url": format!("{base}{HOME}/status"), "cancel_url": format!("{base}{HOME}/cancel")})
}

fn handle() -> String {
    format!(r#"{{"s":"{HOME}/status","r":"{HOME}","c":"{HOME}/cancel","t":1790000000}}"#)
}

#[tokio::test]
async fn a_create_is_sent_as_documented() {
    // URLs of another host are not followed: the handle is rebuilt by the rule.
    let socket = Scripted::play(vec![json("200 OK", queued("https://evil.example/x"))]).await;
    let callback = Url::parse("https://gw.example/hooks/fal?t=1&u=2").unwrap();
    let (spec, model) = (spec(), model(KLING, FalInput::default()));
    let created = fal_at(&socket.url).submit(Order { callback: Some(&callback), ..order(&spec, &model) }).await;
    assert_eq!(created, Created::Accepted(Job { id: JobId::new(ID), handle: handle() }));
    let request = socket.seen().remove(0);
    let line = format!("POST /{KLING}?fal_webhook=https%3A%2F%2Fgw.example%2Fhooks%2Ffal%3Ft%3D1%26u%3D2 HTTP/1.1\r\n");
    assert!(request.starts_with(&line), "{request}");
    let request = request.to_lowercase();
    for header in [
        "authorization: key key-id-01:s3cret-0123",
        "content-type: application/json",
        "x-fal-request-timeout: 3600",
        r#"x-fal-object-lifecycle-preference: {"expiration_duration_seconds":604800}"#,
    ] {
        assert!(request.contains(&format!("{header}\r\n")), "{request}");
    }
    assert!(!request.contains("x-fal-no-retry") && !request.contains("x-fal-store-io"));
    assert_eq!(socket.body(), object!({"prompt": "a red kite"}));
}

#[tokio::test]
async fn a_model_that_could_not_be_followed_is_not_bought() {
    let socket = Scripted::play(vec![json("200 OK", queued(""))]).await;
    for id in ["lonely", "comfy/me", "a/../b", "a//b", "a/b?x=1"] {
        let (spec, model) = (spec(), model(id, FalInput::default()));
        let created = fal_at(&socket.url).submit(order(&spec, &model)).await;
        assert!(matches!(created, Created::Refused(_)), "{id} {created:?}");
    }
    let (spec, foreign) = (spec(), Model { wire: Wire::KlingNew, ..model(KLING, FalInput::default()) });
    assert!(matches!(fal_at(&socket.url).submit(order(&spec, &foreign)).await, Created::Refused(_)));
    assert_eq!(socket.seen().len(), 0);
}

fn word(created: &Created) -> String {
    match created {
        Created::Accepted(_) => "accepted".to_owned(),
        Created::Refused(failure) => format!("{:?}", failure.kind),
        Created::Throttled { after, .. } => format!("throttled {:?}", after.map(|after| after.as_secs())),
        Created::NotSent { .. } => "not sent".to_owned(),
        Created::Unknown { .. } => "unknown".to_owned(),
    }
}

#[tokio::test]
async fn each_answer_to_a_create_has_its_class() {
    let page = "<html>no</html>";
    let detail = |text: &str| object!({ "detail": text }).to_string();
    let invalid = object!({"detail": [{"loc": ["body"], "msg": "no", "type": "missing"}]}).to_string();
    let moderated = object!({"detail": [{"msg": "no", "type": "content_policy_violation"}]}).to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n";
    let answer = queued("").to_string();
    for (name, act, expected) in [
        ("accepted", json("200 OK", &answer), "accepted"),
        ("accepted with an id alone", json("201 Created", r#"{"request_id":"r-1"}"#), "accepted"),
        ("id in the header", Act::Answer("200 OK", format!("x-fal-request-id: {ID}\r\n"), String::new()), "accepted"),
        ("bad key", json("401 Unauthorized", detail("no Key key-id-01:s3cret-0123")), "ProviderAuth"),
        ("empty 401", json("401 Unauthorized", ""), "ProviderAuth"),
        ("locked", json("403 Forbidden", detail("User is locked. Reason: Exhausted balance.")), "ProviderFunds"),
        ("403", json("403 Forbidden", detail("forbidden")), "ProviderAuth"),
        ("402", json("402 Payment Required", detail("pay")), "ProviderFunds"),
        ("400", json("400 Bad Request", detail("bad: a red kite")), "ProviderRefused"),
        ("404", json("404 Not Found", detail("application not found")), "ProviderRefused"),
        ("422", json("422 Unprocessable", invalid), "ProviderRefused"),
        ("moderated", json("422 Unprocessable", moderated), "Moderated"),
        ("429", Act::Answer("429 Too Many", "retry-after: 9\r\n".to_owned(), detail("queue")), "throttled Some(9)"),
        ("429 empty", json("429 Too Many", ""), "unknown"),
        ("429 page", json("429 Too Many", page), "unknown"),
        ("401 page", json("401 Unauthorized", page), "unknown"),
        ("404 empty", json("404 Not Found", ""), "unknown"),
        ("404 page", json("404 Not Found", page), "unknown"),
        ("408", json("408 Request Timeout", detail("slow")), "unknown"),
        ("409", json("409 Conflict", detail("conflict")), "unknown"),
        ("425", json("425 Too Early", detail("early")), "unknown"),
        ("500", json("500 Internal Server Error", detail("oops")), "unknown"),
        ("503 page", json("503 Service Unavailable", page), "unknown"),
        ("504", json("504 Gateway Timeout", r#"{"detail":"t","error_type":"request_timeout"}"#), "unknown"),
        ("200 page", json("200 OK", page), "unknown"),
        ("200 cut json", json("200 OK", &answer[..20]), "unknown"),
        ("200 without id", json("200 OK", r#"{"status":"IN_QUEUE"}"#), "unknown"),
        ("200 with an id that is a path", json("200 OK", r#"{"request_id":"../../x"}"#), "unknown"),
        ("redirect", Act::Answer("308 Permanent", "location: /elsewhere\r\n".to_owned(), String::new()), "unknown"),
        ("reset", Act::Reset, "unknown"),
        ("end in the headers", Act::Bytes("HTTP/1.1 200 OK\r\nx: ".to_owned()), "unknown"),
        ("end in the body", Act::Bytes(format!("{head}{answer}")), "unknown"),
        ("reset in the body", Act::BytesThenReset(format!("{head}{answer}")), "unknown"),
        ("drip", Act::Drip(head.to_owned()), "unknown"),
        ("over the cap", json("200 OK", format!("{answer}{}", " ".repeat(70_000))), "unknown"),
    ] {
        let socket = Scripted::play(vec![act.clone()]).await;
        let (spec, model) = (spec(), model(KLING, FalInput::default()));
        let fal = Fal { http: http_for(&act), ..fal_at(&socket.url) };
        let created = fal.submit(order(&spec, &model)).await;
        assert_eq!((word(&created).as_str(), socket.seen().len()), (expected, 1), "{name} {created:?}");
        let told = format!("{created:?}");
        assert!(!told.contains("s3cret") && !told.contains("red kite"), "{told}");
    }
    let (spec, model) = (spec(), model(KLING, FalInput::default()));
    assert_eq!(word(&fal_at(&nobody().await).submit(order(&spec, &model)).await), "not sent");
}

async fn poll(acts: Vec<Act>) -> (Result<Observation, Trouble>, Vec<String>) {
    let socket = Scripted::play(acts).await;
    let mut answers = fal_at(&socket.url).poll(&[Job { id: JobId::new(ID), handle: handle() }]).await;
    (answers.remove(0), socket.lines())
}

fn completed() -> Act {
    json("200 OK", r#"{"status":"COMPLETED","request_id":"r","logs":[],"error":null,"error_type":null}"#)
}

fn completed_badly() -> Act {
    json("200 OK", r#"{"status":"COMPLETED","error":"Runner died","error_type":"runner_disconnected"}"#)
}

#[tokio::test]
async fn a_job_in_the_queue_shows_its_place_and_its_log() {
    let (answer, lines) = poll(vec![json("202 Accepted", r#"{"status":"IN_QUEUE","queue_position":2}"#)]).await;
    let expected = Progress { queue_position: Some(2), provider_status: "IN_QUEUE".into(), ..Progress::default() };
    assert_eq!(answer, Ok(Observation::Pending(expected)));
    assert_eq!(lines, [format!("GET {HOME}/status?logs=1 HTTP/1.1")]);
    let logs: Vec<Value> =
        (0..9).map(|n| object!({"message": format!("step {n} token=abc {}", "x ".repeat(200))})).collect();
    let (answer, _) = poll(vec![json("202 Accepted", object!({"status": "IN_PROGRESS", "logs": logs}))]).await;
    let Ok(Observation::Pending(progress)) = answer else { panic!("{answer:?}") };
    assert_eq!(progress.log_lines.len(), 4);
    assert!(
        progress.log_lines[0].starts_with("step 5 token=*** x") && progress.log_lines[0].len() <= 160,
        "{progress:?}"
    );
    let (answer, _) = poll(vec![json("200 OK", r#"{"status":"DANCING"}"#)]).await;
    assert!(matches!(answer, Ok(Observation::Pending(_))));
}

#[tokio::test]
async fn completed_is_a_success_only_once_the_result_is_read() {
    let made = json("200 OK", r#"{"video":{"url":"https://v3b.fal.media/files/out.mp4"},"seed":1}"#);
    let (answer, lines) = poll(vec![completed(), made]).await;
    let Ok(Observation::Succeeded { output, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(output.url, "https://v3b.fal.media/files/out.mp4");
    assert_eq!(output.expires, Some(UNIX_EPOCH + Duration::from_secs(1_790_000_000 + 604_800)));
    assert_eq!(lines[1], format!("GET {HOME} HTTP/1.1"));
}

#[tokio::test]
async fn each_answer_to_the_fetch_of_a_result_has_its_meaning() {
    let model_error =
        |kind: &str| object!({"detail": [{"loc": ["body", "prompt"], "msg": "no", "type": kind}]}).to_string();
    let platform = r#"{"detail":"lost it","error_type":"runner_disconnected"}"#;
    let endless = format!("https://v3b.fal.media/{}", "v".repeat(20_000));
    for (name, status, result, expected) in [
        ("no link", completed(), json("200 OK", r#"{"images":[]}"#), "ProviderFailed  true"),
        ("endless link", completed(), json("200 OK", object!({"video": {"url": endless}})), "ProviderFailed  true"),
        ("error in a 200", completed(), json("200 OK", r#"{"detail":"no"}"#), "ProviderFailed  true"),
        (
            "422",
            completed(),
            json("422 Unprocessable", model_error("image_load_error")),
            "ProviderFailed image_load_error true",
        ),
        (
            "422 moderated",
            completed(),
            json("422 Un", model_error("content_policy_violation")),
            "Moderated content_policy_violation true",
        ),
        ("400", completed(), json("400 Bad Request", r#"{"detail":"bad"}"#), "ProviderFailed  true"),
        (
            "500 of the model",
            completed(),
            json("500 Oops", model_error("internal_server_error")),
            "ProviderFailed internal_server_error false",
        ),
        (
            "500 that the status reported",
            completed_badly(),
            json("503 Oops", platform),
            "ProviderFailed runner_disconnected false",
        ),
        (
            "purged but reported",
            completed_badly(),
            json("404 Not Found", r#"{"detail":"x"}"#),
            "ProviderFailed runner_disconnected true",
        ),
        ("purged", completed(), json("404 Not Found", r#"{"detail":"x"}"#), "missing"),
        (
            "400 in progress",
            completed(),
            json("400 Bad Request", r#"{"detail":"Request is still in progress"}"#),
            "pending",
        ),
        ("202", completed(), json("202 Accepted", ""), "pending"),
        ("500 of the host", completed(), json("500 Oops", platform), "trouble"),
        ("503 page", completed_badly(), json("503 Oops", "<html>"), "trouble"),
        ("200 page", completed(), json("200 OK", "<html>"), "trouble"),
        ("400 page", completed(), json("400 Bad Request", "<html>"), "trouble"),
        ("401", completed(), json("401 Unauthorized", r#"{"detail":"key"}"#), "trouble"),
        ("429", completed(), json("429 Too Many", r#"{"detail":"slow"}"#), "trouble"),
        ("reset", completed(), Act::Reset, "trouble"),
        ("over the cap", completed(), json("200 OK", "x".repeat(70_000)), "trouble"),
        ("missing job", json("404 Not Found", r#"{"detail":"Request not found"}"#), Act::Reset, "missing"),
        ("404 page", json("404 Not Found", "<html>"), Act::Reset, "trouble"),
        ("empty status", json("200 OK", ""), Act::Reset, "trouble"),
        ("page for a status", json("200 OK", "<html>"), Act::Reset, "trouble"),
        ("status 500", json("500 Oops", r#"{"detail":"x"}"#), Act::Reset, "trouble"),
        ("status 422", json("422 Un", r#"{"detail":"x"}"#), Act::Reset, "trouble"),
    ] {
        let (answer, _) = poll(vec![status, result]).await;
        let told = match &answer {
            Ok(Observation::Pending(_)) => "pending".to_owned(),
            Ok(Observation::Missing) => "missing".to_owned(),
            Ok(Observation::Succeeded { .. }) => "succeeded".to_owned(),
            Ok(Observation::Failed { failure, .. }) => {
                format!("{:?} {} {}", failure.kind, failure.provider_code, failure.maybe_charged)
            }
            Err(_) => "trouble".to_owned(),
        };
        assert_eq!(told, expected, "{name} {answer:?}");
    }
}

#[tokio::test]
async fn a_cancel_tells_what_it_achieved() {
    for (act, expected) in [
        (json("200 OK", r#"{"status":"OK"}"#), Some(CancelOutcome::Confirmed)),
        (json("202 Accepted", r#"{"status":"CANCELLATION_REQUESTED"}"#), Some(CancelOutcome::AskedUpstream)),
        (json("202 Accepted", ""), Some(CancelOutcome::AskedUpstream)),
        (json("400 Bad Request", r#"{"status":"ALREADY_COMPLETED"}"#), Some(CancelOutcome::TooLate)),
        (json("400 Bad Request", r#"{"detail":"Request already completed"}"#), Some(CancelOutcome::TooLate)),
        (json("404 Not Found", r#"{"status":"NOT_FOUND"}"#), Some(CancelOutcome::TooLate)),
        (json("400 Bad Request", r#"{"detail":"bad"}"#), None),
        (json("200 OK", ""), None),
        (json("200 OK", "<html>"), None),
        (json("405 Method Not Allowed", ""), None),
        (json("500 Oops", ""), None),
        (Act::Reset, None),
    ] {
        let socket = Scripted::play(vec![act]).await;
        let answer = fal_at(&socket.url).cancel(&Job { id: JobId::new(ID), handle: handle() }).await;
        assert_eq!(answer.as_ref().ok().copied(), expected, "{answer:?}");
        assert_eq!(socket.lines(), [format!("PUT {HOME}/cancel HTTP/1.1")]);
        assert!(socket.seen()[0].to_lowercase().contains("content-length: 0\r\n"));
    }
}

#[tokio::test]
async fn a_handle_that_is_not_fals_leads_nowhere() {
    let socket = Scripted::play(vec![completed()]).await;
    for handle in ["", "new", r#"{"s":"//evil.example/x","r":"/a","c":"/a"}"#] {
        let job = Job { id: JobId::new(ID), handle: handle.to_owned() };
        assert!(fal_at(&socket.url).poll(std::slice::from_ref(&job)).await[0].is_err());
        assert!(fal_at(&socket.url).cancel(&job).await.is_err());
    }
    assert_eq!(socket.seen().len(), 0);
    let model = model(KLING, FalInput::default());
    let adopted = Fal::job(&model, ID).unwrap();
    assert!(Place::read(&adopted.handle).is_some());
    assert_eq!(Fal::job(&model, "../x"), None);
}
