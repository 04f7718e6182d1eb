//! The simulator over a real socket, as the adapters and the providers' own
//! clients will meet it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Fault, FaultKind, Moment, Running, Settings, Simulator};

struct Bench {
    running: Running,
    client: reqwest::Client,
}

/// What came back: status, headers, document.
struct Back {
    status: u16,
    headers: reqwest::header::HeaderMap,
    bytes: Vec<u8>,
}

impl Back {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    fn code(&self) -> (u16, i64) {
        (self.status, self.json()["code"].as_i64().unwrap_or(-1))
    }
}

impl Bench {
    async fn start(settings: Settings) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let running = Simulator::start(listener, settings).await.unwrap();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
        Self { running, client }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Back> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Back { status, headers, bytes: response.bytes().await?.to_vec() })
    }

    fn url(&self, path: &str) -> String {
        if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.running.base_url()) }
    }

    async fn post(&self, key: &str, path: &str, body: Value) -> reqwest::Result<Back> {
        let request = self.client.post(self.url(path)).header("authorization", key);
        self.send(request.header("content-type", "application/json").body(body.to_string())).await
    }

    async fn get(&self, key: &str, path: &str) -> reqwest::Result<Back> {
        self.send(self.client.get(self.url(path)).header("authorization", key)).await
    }
}

const KLING: &str = "Bearer a-key";
const FAL: &str = "Key id:secret";
const T2V: &str = "/text-to-video/kling-3.0";
const FAL_T2V: &str = "/fal-ai/kling-video/v3/pro/text-to-video";

fn kling_body(prompt: &str, marker: &str) -> Value {
    json!({"prompt": prompt, "settings": {"duration": 3}, "options": {"external_task_id": marker}})
}

#[tokio::test]
async fn a_kling_job_is_bought_followed_and_fetched() {
    let bench = Bench::start(Settings::quick(Duration::from_millis(400))).await;
    let created = bench.post(KLING, T2V, kling_body("a kite", "m-1")).await.unwrap().json();
    assert_eq!(created["code"], 0);
    let id = created["data"]["id"].as_str().unwrap().to_owned();
    assert_eq!((id.len(), &created["data"]["external_id"]), (19, &json!("m-1")));
    let query = format!("/tasks?task_ids={id},1");
    let first = bench.get(KLING, &query).await.unwrap().json();
    assert!(["submitted", "processing"].contains(&first["data"][0]["status"].as_str().unwrap()));
    assert_eq!(first["data"].as_array().unwrap().len(), 1);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let marked = bench.get(KLING, "/tasks?external_task_ids=m-1").await.unwrap().json();
    let task = &marked["data"][0];
    assert_eq!((&task["status"], &task["outputs"][0]["duration"]), (&json!("succeeded"), &json!("3.0")));
    let file = bench.get("", task["outputs"][0]["url"].as_str().unwrap()).await.unwrap();
    assert_eq!((file.status, &file.bytes[4..8]), (200, &b"ftyp"[..]));
    assert_eq!(file.headers["content-length"], file.bytes.len().to_string());
    let other = bench.get("Bearer other", &query).await.unwrap().json();
    assert_eq!(other["data"], json!([]));
    let list = bench.post(KLING, "/tasks", json!({"limit": 1})).await.unwrap().json();
    assert_eq!((&list["data"]["count"], &list["data"]["has_more"]), (&json!(1), &json!(false)));
    bench.running.stop().await;
}

#[tokio::test]
async fn a_lost_answer_leaves_one_line_in_the_ledger_and_the_marker_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    let settings = Settings { ledger: Some(path.clone()), ..Settings::quick(Duration::ZERO) };
    let bench = Bench::start(settings).await;
    bench.running.inject(Fault::new(FaultKind::AcceptDrop));
    assert!(bench.post(KLING, T2V, kling_body("a kite", "m-1")).await.is_err());
    let again = bench.post(KLING, T2V, kling_body("a kite", "m-1")).await.unwrap();
    assert_eq!(again.code(), (400, 1201));
    assert!(again.json()["message"].as_str().unwrap().contains("external_task_id m-1 already exists"));
    assert!(bench.post(KLING, T2V, kling_body("a kite [sim:accept_drop]", "m-2")).await.is_err());
    bench.running.inject(Fault::new(FaultKind::Drop));
    assert!(bench.post(KLING, T2V, kling_body("a kite", "m-3")).await.is_err());
    let entries = bench.running.ledger();
    let lines: Vec<_> =
        entries.iter().map(|entry| (entry.marker.as_deref().unwrap(), entry.answered.as_str())).collect();
    assert_eq!(lines, [("m-1", "accept_drop"), ("m-2", "accept_drop")]);
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    assert!(!std::fs::read_to_string(&path).unwrap().contains("a-key"));
    let found = bench.get(KLING, "/tasks?external_task_ids=m-1,m-3").await.unwrap().json();
    assert_eq!(found["data"][0]["id"], entries[0].job_id);
    bench.running.stop().await;
}

#[tokio::test]
async fn kling_refuses_with_its_own_codes() {
    let settings = Settings {
        parallel_limit: Some(1),
        refused_keys: vec!["bad".into()],
        ..Settings::quick(Duration::from_secs(60))
    };
    let bench = Bench::start(settings).await;
    let token = "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJhay1leGFtcGxlIiwiZXhwIjoxNzkwMDAxODAwLCJuYmYiOjE3ODk5OTk5OTV9.Lo4InKBjByDWPQOmiThyjVgipV7I6oLyO8imMxAL2Tc";
    let code = |back: reqwest::Result<Back>| back.unwrap().code();
    assert_eq!(code(bench.get("", "/tasks?task_ids=1").await), (401, 1001));
    assert_eq!(code(bench.get("Bearer bad", "/tasks?task_ids=1").await), (401, 1002));
    assert_eq!(code(bench.get(token, "/tasks?task_ids=1").await), (401, 1002));
    assert_eq!(code(bench.get(token, "/v1/videos/text2video/1").await), (401, 1004));
    assert_eq!(code(bench.get(KLING, "/tasks?task_ids=1&external_task_ids=2").await), (400, 1201));
    let many = (0..21).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(code(bench.get(KLING, &format!("/tasks?task_ids={many}")).await), (400, 1201));
    assert_eq!(code(bench.post(KLING, "/text-to-video/kling-9", json!({})).await), (404, 1203));
    assert_eq!(code(bench.post(KLING, T2V, kling_body("x", "a")).await), (200, 0));
    assert_eq!(code(bench.post(KLING, T2V, kling_body("x", "b")).await), (429, 1303));
    assert_eq!(code(bench.post(KLING, T2V, kling_body("x [sim:refuse=1301]", "c")).await), (400, 1301));
    assert_eq!(code(bench.post(KLING, T2V, kling_body("x [sim:rate_limited]", "d")).await), (429, 1302));
    assert_eq!(bench.running.ledger().len(), 1);
    bench.running.stop().await;
}

#[tokio::test]
async fn legacy_jobs_are_found_on_their_own_path_only() {
    let bench = Bench::start(Settings::quick(Duration::ZERO)).await;
    let body = json!({"model_name": "kling-v3", "image": "AAECAw==", "external_task_id": "e-1", "duration": "5"});
    let created = bench.post(KLING, "/v1/videos/image2video", body).await.unwrap().json();
    let id = created["data"]["task_id"].as_str().unwrap();
    assert_eq!(created["data"]["task_info"]["external_task_id"], "e-1");
    for key in [id, "e-1"] {
        let found = bench.get(KLING, &format!("/v1/videos/image2video/{key}")).await.unwrap().json();
        assert_eq!((&found["data"]["task_status"], &found["data"]["task_id"]), (&json!("succeed"), &json!(id)));
        assert!(found["data"]["task_result"]["videos"][0]["url"].is_string());
        let elsewhere = bench.get(KLING, &format!("/v1/videos/text2video/{key}")).await.unwrap();
        assert_eq!(elsewhere.code(), (400, 1201));
    }
    let list = bench.get(KLING, "/v1/videos/image2video?pageNum=1&pageSize=5").await.unwrap().json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    bench.running.stop().await;
}

#[tokio::test]
async fn a_fal_request_goes_through_the_queue() {
    let bench = Bench::start(Settings::quick(Duration::from_millis(400))).await;
    let sent = bench.post(FAL, FAL_T2V, json!({"prompt": "a kite", "duration": "3"})).await.unwrap();
    let queued = sent.json();
    assert_eq!((sent.status, &queued["status"], &queued["queue_position"]), (200, &json!("IN_QUEUE"), &json!(0)));
    assert_eq!(sent.headers["x-fal-request-id"], queued["request_id"].as_str().unwrap());
    let (status, response) = (queued["status_url"].as_str().unwrap(), queued["response_url"].as_str().unwrap());
    assert!(status.starts_with(&format!("{}/fal-ai/kling-video/requests/", bench.running.base_url())));
    assert_eq!(bench.get(FAL, status).await.unwrap().status, 202);
    let pending = bench.get(FAL, response).await.unwrap();
    assert_eq!(pending.status, 400);
    assert!(pending.json()["detail"].as_str().unwrap().contains("in progress"));
    let wrong = status.replace("/kling-video/requests", "/kling-video/v3/pro/text-to-video/requests");
    let nothing = bench.get(FAL, &wrong).await.unwrap();
    assert_eq!((nothing.status, nothing.bytes.len()), (200, 0));
    let events = bench.get(FAL, &format!("{status}/stream?logs=1")).await.unwrap();
    let events = String::from_utf8(events.bytes).unwrap();
    assert!(events.starts_with("data: {") && events.contains("COMPLETED"), "{events}");
    let done = bench.get(FAL, response).await.unwrap().json();
    let file = bench.get("", done["video"]["url"].as_str().unwrap()).await.unwrap();
    assert_eq!(&file.bytes[4..8], b"ftyp");
    let history = "/v1/models/requests/by-endpoint?endpoint_id=fal-ai/kling-video/v3/pro/text-to-video&expand=payloads";
    let history = bench.get(FAL, history).await.unwrap().json();
    assert_eq!(history["items"][0]["json_input"]["prompt"], "a kite");
    assert_eq!(bench.get("Bearer x", status).await.unwrap().status, 401);
    assert_eq!(bench.get(FAL, "/fal-ai/kling-video/requests/none/status").await.unwrap().status, 404);
    bench.running.stop().await;
}

#[tokio::test]
async fn a_bad_field_shows_only_after_the_queue() {
    let bench = Bench::start(Settings::quick(Duration::ZERO)).await;
    let queued = bench.post(FAL, FAL_T2V, json!({"prompt": "a kite", "duration": 5})).await.unwrap().json();
    let status = bench.get(FAL, queued["status_url"].as_str().unwrap()).await.unwrap();
    assert_eq!((status.status, &status.json()["status"]), (200, &json!("COMPLETED")));
    let result = bench.get(FAL, queued["response_url"].as_str().unwrap()).await.unwrap();
    assert_eq!((result.status, &result.headers["x-fal-retryable"]), (422, &"false".parse().unwrap()));
    assert_eq!(result.json()["detail"][0]["loc"], json!(["body", "duration"]));
    bench.running.stop().await;
}

#[tokio::test]
async fn a_running_fal_request_can_be_cancelled() {
    let bench = Bench::start(Settings::quick(Duration::from_secs(60))).await;
    let put = |url: String| bench.send(bench.client.put(url).header("authorization", FAL));
    let queued = bench.post(FAL, FAL_T2V, json!({"prompt": "a kite"})).await.unwrap().json();
    let url = queued["cancel_url"].as_str().unwrap().to_owned();
    let back = put(url.clone()).await.unwrap();
    assert_eq!((back.status, &back.json()["status"]), (200, &json!("OK")));
    let late = put(url.clone()).await.unwrap();
    assert_eq!((late.status, &late.json()["status"]), (400, &json!("ALREADY_COMPLETED")));
    let unknown = put(url.replace(queued["request_id"].as_str().unwrap(), "none")).await.unwrap();
    assert_eq!((unknown.status, &unknown.json()["status"]), (404, &json!("NOT_FOUND")));
    bench.running.stop().await;
}

#[tokio::test]
async fn files_are_spoilt_as_asked() {
    let bench = Bench::start(Settings::quick(Duration::ZERO)).await;
    let cases = [
        "file_forbidden",
        "file_html",
        "file_truncated",
        "file_cut",
        "file_wrong_length",
        "file_empty",
        "link_expired",
    ];
    for case in cases {
        let prompt = format!("a kite [sim:{case}*1]");
        bench.post(KLING, T2V, kling_body(&prompt, case)).await.unwrap();
        let query = format!("/tasks?external_task_ids={case}");
        let task = bench.get(KLING, &query).await.unwrap().json();
        let url = task["data"][0]["outputs"][0]["url"].as_str().unwrap();
        let back = bench.get("", url).await;
        let expected = match case {
            "file_forbidden" | "link_expired" => back.as_ref().is_ok_and(|back| back.status == 403),
            "file_html" => back.as_ref().is_ok_and(|back| back.bytes.starts_with(b"<html>")),
            "file_empty" => back.as_ref().is_ok_and(|back| back.status == 200 && back.bytes.is_empty()),
            "file_truncated" => back.as_ref().is_ok_and(|back| back.status == 200 && !back.bytes.is_empty()),
            _ => back.is_err(),
        };
        assert!(expected, "{case}");
        let task = bench.get(KLING, &query).await.unwrap().json();
        let again = bench.get("", task["data"][0]["outputs"][0]["url"].as_str().unwrap()).await.unwrap();
        let whole: usize = again.headers["content-length"].to_str().unwrap().parse().unwrap();
        assert_eq!((again.status, again.bytes.len()), (200, whole), "{case}");
    }
    bench.running.stop().await;
}

#[tokio::test]
async fn queries_fail_and_jobs_misbehave_as_asked() {
    let bench = Bench::start(Settings::quick(Duration::from_secs(60))).await;
    let rules = json!([{"fault": "html", "on": "poll"}, {"fault": "drop", "on": "poll"}, {"fault": "error", "on": "poll"},
        {"fault": "unreadable", "on": "poll"}, {"fault": "unknown_status"}]);
    let rules = bench.post("", "/simulator/faults", rules).await.unwrap();
    assert_eq!((rules.status, rules.json()["faults"].as_array().unwrap().len()), (200, 5));
    bench.post(KLING, T2V, kling_body("a kite", "m")).await.unwrap();
    let poll = || bench.get(KLING, "/tasks?external_task_ids=m");
    assert!(String::from_utf8(poll().await.unwrap().bytes).unwrap().contains("<html>"));
    assert!(poll().await.is_err());
    assert_eq!(poll().await.unwrap().code(), (503, 5001));
    let unreadable = poll().await.unwrap();
    assert_eq!((unreadable.status, unreadable.json()), (200, Value::Null));
    assert_eq!(poll().await.unwrap().json()["data"][0]["status"], "rendering_preview");
    assert_eq!(poll().await.unwrap().json()["data"][0]["status"], "submitted");
    bench.post(KLING, T2V, kling_body("a kite [sim:lost_job]", "lost")).await.unwrap();
    assert_eq!(bench.get(KLING, "/tasks?external_task_ids=lost").await.unwrap().json()["data"], json!([]));
    let body = kling_body("a kite [sim:backwards] [sim:latency=0s]", "back");
    bench.post(KLING, T2V, body).await.unwrap();
    let mut words = Vec::new();
    for _ in 0..3 {
        let back = bench.get(KLING, "/tasks?external_task_ids=back").await.unwrap().json();
        words.push(back["data"][0]["status"].as_str().unwrap().to_owned());
    }
    assert_eq!(words, ["succeeded", "processing", "succeeded"]);
    let unruly = bench.post("", "/simulator/faults", json!({"fault": "no_such"})).await.unwrap();
    assert_eq!(unruly.status, 400);
    let jobs = bench.get("", "/simulator/jobs").await.unwrap().json();
    assert_eq!(jobs["count"], 3);
    bench.running.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_silence() {
    let bench = Bench::start(Settings::quick(Duration::ZERO)).await;
    bench.running.inject(Fault::new(FaultKind::Hang).on(Moment::Create));
    let request = bench.client.post(bench.url(T2V)).header("authorization", KLING).body("{\"prompt\":\"x\"}").send();
    let waiting = tokio::spawn(request);
    while bench.running.world.faults.list().len() == 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::timeout(Duration::from_secs(10), bench.running.stop()).await.unwrap();
    assert!(waiting.await.unwrap().is_err());
}

/// Receives callbacks, and hands over what came.
async fn receiver() -> (String, tokio::sync::mpsc::Receiver<(axum::http::HeaderMap, Value)>) {
    let (sender, receiver) = tokio::sync::mpsc::channel(64);
    let take = move |headers: axum::http::HeaderMap, body: String| async move {
        sender.send((headers, serde_json::from_str(&body).unwrap())).await.unwrap();
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(take);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, receiver)
}

#[tokio::test]
async fn callbacks_arrive_signed_and_as_often_as_asked() {
    let secret = Some("whsec_ZXhhbXBsZS1zaWduaW5nLWtleS0wMTIz".to_owned());
    let settings = Settings { kling_webhook_secret: secret, ..Settings::quick(Duration::from_millis(300)) };
    let bench = Bench::start(settings).await;
    let (url, mut hook) = receiver().await;
    let mut body = kling_body("a kite", "m");
    body["options"]["callback_url"] = json!(url);
    bench.post(KLING, T2V, body).await.unwrap();
    for status in ["submitted", "processing", "succeeded"] {
        let (headers, document) = hook.recv().await.unwrap();
        assert_eq!((&document["status"], &document["external_id"]), (&json!(status), &json!("m")));
        assert!(headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
    }
    let encoded: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
    let path = format!("{FAL_T2V}?fal_webhook={encoded}");
    bench.post(FAL, &path, json!({"prompt": "a kite [sim:callback_duplicate]"})).await.unwrap();
    for _ in 0..3 {
        let (headers, document) = hook.recv().await.unwrap();
        assert_eq!(document["status"], "OK");
        assert_eq!(headers["x-fal-webhook-request-id"], document["request_id"].as_str().unwrap());
    }
    bench.post(FAL, &path, json!({"prompt": "a kite [sim:callback_missing]"})).await.unwrap();
    let early = bench.post(FAL, &path, json!({"prompt": "a kite [sim:callback_early]"})).await.unwrap().json();
    let (_, first) = hook.try_recv().unwrap();
    assert_eq!(first["request_id"], early["request_id"]);
    bench.running.stop().await;
}

#[tokio::test]
async fn jobs_fail_in_the_words_of_their_provider() {
    let bench = Bench::start(Settings::quick(Duration::ZERO)).await;
    for (fault, words, status, kind) in [
        ("fail", "internal processing", 500, "downstream_service_error"),
        ("moderation", "safety policy", 422, "content_policy_violation"),
    ] {
        let prompt = format!("a kite [sim:{fault}]");
        bench.post(KLING, T2V, kling_body(&prompt, fault)).await.unwrap();
        let task = bench.get(KLING, &format!("/tasks?external_task_ids={fault}")).await.unwrap().json();
        let task = &task["data"][0];
        assert_eq!((&task["status"], &task["outputs"]), (&json!("failed"), &json!([])));
        assert!(task["message"].as_str().unwrap().contains(words));
        let queued = bench.post(FAL, FAL_T2V, json!({ "prompt": prompt })).await.unwrap().json();
        let result = bench.get(FAL, queued["response_url"].as_str().unwrap()).await.unwrap();
        assert_eq!((result.status, &result.json()["detail"][0]["type"]), (status, &json!(kind)));
    }
    bench.running.stop().await;
}

#[tokio::test]
async fn a_poor_line_spoils_every_query() {
    let settings = Settings { poll_error_rate: 1.0, ..Settings::quick(Duration::ZERO) };
    let bench = Bench::start(settings).await;
    bench.post(KLING, T2V, kling_body("a kite", "m")).await.unwrap();
    for _ in 0..8 {
        let back = bench.get(KLING, "/tasks?external_task_ids=m").await;
        assert!(back.is_err() || back.is_ok_and(|back| back.status >= 500));
    }
    bench.running.stop().await;
}

#[tokio::test]
async fn a_link_dies_with_age() {
    let settings = Settings { link_lifetime: Some(Duration::from_millis(50)), ..Settings::quick(Duration::ZERO) };
    let bench = Bench::start(settings).await;
    bench.post(KLING, T2V, kling_body("a kite", "m")).await.unwrap();
    let task = bench.get(KLING, "/tasks?external_task_ids=m").await.unwrap().json();
    tokio::time::sleep(Duration::from_millis(80)).await;
    let file = bench.get("", task["data"][0]["outputs"][0]["url"].as_str().unwrap()).await.unwrap();
    assert_eq!(file.status, 403);
    bench.running.stop().await;
}

#[tokio::test]
async fn a_forged_callback_claims_what_is_not_so() {
    let bench = Bench::start(Settings::quick(Duration::from_secs(60))).await;
    let (url, mut hook) = receiver().await;
    let encoded: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
    let path = format!("{FAL_T2V}?fal_webhook={encoded}");
    bench.post(FAL, &path, json!({"prompt": "a kite [sim:callback_forged]"})).await.unwrap();
    let (headers, document) = hook.recv().await.unwrap();
    assert_eq!(document["status"], "OK");
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let message = format!(
        "{}\n{}\n{}\n{}",
        header("x-fal-webhook-request-id"),
        header("x-fal-webhook-user-id"),
        header("x-fal-webhook-timestamp"),
        super::account::sha256(document.to_string().as_bytes())
    );
    let hex = header("x-fal-webhook-signature");
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let keys = bench.get("", "/.well-known/jwks.json").await.unwrap().json();
    use base64::Engine as _;
    let key = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(keys["keys"][0]["x"].as_str().unwrap()).unwrap();
    let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key);
    assert!(key.verify(message.as_bytes(), &bytes).is_err());
    bench.running.stop().await;
}
