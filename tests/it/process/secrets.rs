//! Keys and prompts stay where they belong: not in the log, not in a task's
//! failure, not in the settings as they are shown.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use pb::{FailureKind, TaskState};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use videogen::api::pb;
use videogen::simulator;

use super::server::Site;
use crate::common::until;
use crate::house::{request, text};

const KLING_KEY: &str = "canary-kling-4f1d7a";
const FAL_KEY: &str = "canary-fal-90c2e6:5b7a";
const PROMPT: &str = "a canary of the colour x7q2z";
const WEBHOOK_SECRET: &str = "whsec_Y2FuYXJ5LXNlY3JldC1vZi1vdXItb3duLXdlYmhvb2tz";
const WEBHOOK_TOKEN: &str = "canary-token-77d0e1";
const CANARIES: [&str; 6] = ["canary-kling", "canary-fal", "90c2e6", "x7q2z", "Y2FuYXJ5LXNlY3JldC", "77d0e1"];

/// A place whose keys come from the environment and from a file, with a server
/// that tells everything it has to tell.
async fn site(provider: simulator::Settings) -> Site {
    let mut site = Site::with(provider).await;
    let file = site.path("fal.key");
    std::fs::write(&file, FAL_KEY).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    site.edit("\"kling-key-of-the-test\"", "{ env = \"CANARY\" }");
    site.edit("\"fal-key-of-the-test\"", &format!("{{ file = \"{}\" }}", file.display()));
    site.environment.push(("CANARY".to_owned(), KLING_KEY.to_owned()));
    site.environment.push(("VIDEOGEN_LOG".to_owned(), "debug".to_owned()));
    site
}

fn prompt(model: &str, directive: &str) -> pb::SubmitRequest {
    request(pb::Spec { prompt: format!("{PROMPT} {directive}"), ..text(model) })
}

fn holds_no_canary(text: &str) {
    for canary in CANARIES {
        let line = text.lines().find(|line| line.contains(canary));
        assert!(line.is_none(), "{canary} in: {line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_run_logs_neither_key_nor_prompt() {
    let site = site(simulator::Settings::quick(Duration::from_millis(300))).await;
    let mut server = site.start().await;
    for model in ["kling/kling-3.0", "kling/kling-v2-6", "fal/fal-ai/veo3.1", "fal/somebody/unlisted"] {
        for directive in ["", "[sim:fail]", "[sim:moderation]", "[sim:accept_drop]", "[sim:refuse=1301]"] {
            // fal's refusals are HTTP statuses, and a lost answer of its stays unknown.
            if model.starts_with("fal") && directive.contains('_') {
                continue;
            }
            let request =
                prompt(model, &directive.replace("1301", if model.starts_with("fal") { "422" } else { "1301" }));
            let task = server.submit(request).await;
            let end = server.until_task(&task.id, |task| task.end_time.is_some()).await;
            let expected =
                if matches!(directive, "" | "[sim:accept_drop]") { TaskState::Succeeded } else { TaskState::Failed };
            assert_eq!(end.state(), expected, "{model} {directive}: {:?}", end.failure);
        }
    }
    let ended = server.stop().await;
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.contains("DEBUG"), "the log is a full one");
    holds_no_canary(&ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_is_not_told() {
    let refused_keys = vec![KLING_KEY.to_owned(), FAL_KEY.to_owned()];
    let quick = simulator::Settings::quick(Duration::from_millis(300));
    let site = site(simulator::Settings { refused_keys, ..quick }).await;
    let mut server = site.start().await;
    // One for each account: the next one would be held.
    for model in ["kling/kling-3.0", "fal/fal-ai/veo3.1"] {
        let task = server.submit(prompt(model, "")).await;
        let end = server.until_task(&task.id, |task| task.state() == TaskState::Failed).await;
        let failure = end.failure.unwrap();
        assert_eq!(failure.kind(), FailureKind::ProviderAuth, "{failure:?}");
        holds_no_canary(&failure.message);
    }
    holds_no_canary(&server.stop().await.stderr);
    assert!(site.bought().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_quotes_key_and_prompt_is_not_believed_to_be_discreet() {
    let site = site(simulator::Settings::quick(Duration::ZERO)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    site.edit(&site.simulator.base_url(), &format!("http://{}", listener.local_addr().unwrap()));
    let gossip = tokio::spawn(async { axum::serve(listener, axum::Router::new().fallback(quote)).await });
    let mut server = site.start().await;
    for model in ["kling/kling-3.0", "kling/kling-v2-6", "fal/fal-ai/veo3.1"] {
        let task = server.submit(prompt(model, "")).await;
        let end = server.until_task(&task.id, |task| task.state() == TaskState::Failed).await;
        let told = format!("{:?} {:?} {:?}", end.failure.unwrap(), end.attempts, end.history);
        assert!(told.contains("not this"), "the rest is told: {told}");
        holds_no_canary(&told);
    }
    holds_no_canary(&server.stop().await.stderr);
    gossip.abort();
}

/// Refuses, and repeats all it was given.
async fn quote(headers: HeaderMap, body: String) -> (StatusCode, Json<Value>) {
    let told = format!("not this: {:?} with {body}", headers.get("authorization"));
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"code": 1201, "message": told, "detail": told})))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_are_shown_without_their_secrets() {
    let site = site(simulator::Settings::quick(Duration::ZERO)).await;
    site.edit("provider = \"fal\"", "provider = \"fal\"\nwebhook_secret = \"canary-fal-webhook\"");
    let ended = site.spawn("config").ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    holds_no_canary(&format!("{}{}", ended.stdout, ended.stderr));
    for shown in ["env = \"CANARY\"", "fal.key", "********", "shutdown_grace = \"20s\""] {
        assert!(ended.stdout.contains(shown), "{shown} is missing in:\n{}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_secret_of_our_events_nor_the_token_of_a_receiver_is_told() {
    let site = site(simulator::Settings::quick(Duration::from_millis(200))).await;
    // Nobody listens there: the tries fail, and are told of.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let common = format!("http://{nobody}/{WEBHOOK_TOKEN}?token={WEBHOOK_TOKEN}");
    site.edit("[store]", &format!("[webhooks]\nurl = \"{common}\"\nsecret = \"{WEBHOOK_SECRET}\"\n\n[store]"));
    let shown = site.spawn("config").ended().await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(shown.stdout.contains(&format!("url = \"http://{nobody}/********\"")), "{}", shown.stdout);
    holds_no_canary(&format!("{}{}", shown.stdout, shown.stderr));

    let mut server = site.start().await;
    let own = pb::Webhook { url: format!("http://{nobody}/own?token={WEBHOOK_TOKEN}"), updates: true };
    for webhook in [None, Some(own)] {
        let task = server.submit(pb::SubmitRequest { webhook, ..prompt("kling/kling-3.0", "") }).await;
        let end = server.until_task(&task.id, |task| task.state() == TaskState::Succeeded).await;
        holds_no_canary(&format!("{:?} {:?} {:?}", end.history, end.warnings, end.attempts));
    }
    let request = pb::ListWebhookDeliveriesRequest::default();
    let mut waiting = Vec::new();
    until("two events to have been tried", async || {
        let page = server.client.list_webhook_deliveries(request.clone()).await.unwrap();
        waiting = page.into_inner().deliveries;
        waiting.iter().filter(|delivery| delivery.tries > 0).count() >= 2
    })
    .await;
    holds_no_canary(&format!("{waiting:?}"));
    let ended = server.stop().await;
    assert!(ended.stderr.contains("not told yet"), "the tries are told of:\n{}", ended.stderr);
    holds_no_canary(&ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_callback_addresses_nor_what_signs_them_are_told() {
    let kling_webhook_secret = Some(WEBHOOK_SECRET.to_owned());
    let quick = simulator::Settings::quick(Duration::from_millis(300));
    let mut site = site(simulator::Settings { kling_webhook_secret, ..quick }).await;
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let keys = format!("{}/.well-known/jwks.json", site.simulator.base_url());
    site.environment.extend(
        [
            ("SERVER__CALLBACK_LISTEN", door.to_string()),
            ("CALLBACKS__PUBLIC_URL", format!("http://{door}/")),
            ("ACCOUNTS__0__WEBHOOK_SECRET", WEBHOOK_SECRET.to_owned()),
            ("ACCOUNTS__1__JWKS_URL", keys),
        ]
        .map(|(name, value)| (format!("VIDEOGEN_{name}"), value)),
    );
    let mut server = site.start().await;
    let admin = server.process.announced("listening admin=").await.unwrap();
    let mut told = String::new();
    for model in ["kling/kling-3.0", "kling/kling-v2-6", "fal/fal-ai/veo3.1"] {
        for directive in ["[sim:accept_drop]", "[sim:callback_forged]", "[sim:callback_unsigned]"] {
            let task = server.submit(prompt(model, directive)).await;
            let end = server.until_task(&task.id, |task| task.end_time.is_some()).await;
            assert_eq!(end.state(), TaskState::Succeeded, "{model} {directive}: {:?}", end.failure);
            told += &format!("{:?} {:?} {:?}\n", end.history, end.warnings, end.attempts);
        }
    }
    let page = async |url: String| reqwest::get(url).await.unwrap().text().await.unwrap();
    let jobs: Value =
        serde_json::from_str(&page(format!("{}/simulator/jobs", site.simulator.base_url())).await).unwrap();
    let jobs = jobs["jobs"].as_array().unwrap();
    let capabilities: Vec<_> =
        jobs.iter().map(|job| job["callback_url"].as_str().unwrap().rsplit_once('/').unwrap().1).collect();
    told += &page(format!("http://{admin}/metrics")).await;
    assert!(told.contains("videogen_callbacks_total{outcome=\"due\"}"), "callbacks were heard");
    let ended = server.stop().await;
    assert!(ended.stderr.contains("a callback was turned away"), "the forged ones are told of");
    told += &ended.stderr;
    for file in std::fs::read_dir(site.path("store")).unwrap().map(|file| file.unwrap().path()) {
        told += &std::fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    }
    let secret = WEBHOOK_SECRET.strip_prefix("whsec_").unwrap();
    for canary in capabilities.into_iter().chain([secret]) {
        assert!(canary.len() >= 32 && !told.contains(canary), "{canary} was told");
    }
}
