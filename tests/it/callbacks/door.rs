//! Whoever is not the provider: each way to forge a callback, and what it achieves.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pb::TaskState;
use reqwest::Method;
use ring::signature::Ed25519KeyPair;
use tokio::net::TcpListener;
use videogen::api::pb;
use videogen::clock::Clock;
use videogen::simulator::Settings;

use super::{NO_POLLS, SECRET, reachable};
use crate::common::until;
use crate::house::{House, prompted, quick};

pub(super) type Headers = Vec<(&'static str, String)>;

fn now_s() -> u64 {
    Clock::system().now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Signs as fal does, by the key of this first seed byte; the published one has 0.
fn by_fal(seed: u8, job: &str, at_s: u64, body: &str) -> Headers {
    let seed: Vec<u8> = (seed..seed + 32).collect();
    let key = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let digest = hex(ring::digest::digest(&ring::digest::SHA256, body.as_bytes()).as_ref());
    let signature = hex(key.sign(format!("{job}\nuser-1\n{at_s}\n{digest}").as_bytes()).as_ref());
    vec![
        ("x-fal-webhook-request-id", job.to_owned()),
        ("x-fal-webhook-user-id", "user-1".to_owned()),
        ("x-fal-webhook-timestamp", at_s.to_string()),
        ("x-fal-webhook-signature", signature),
    ]
}

/// Signs as Kling does.
fn by_kling(secret: &str, at_s: u64, body: &str) -> Headers {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
    let tag = ring::hmac::sign(&key, format!("msg_1.{at_s}.{body}").as_bytes());
    vec![
        ("webhook-id", "msg_1".to_owned()),
        ("webhook-timestamp", at_s.to_string()),
        ("webhook-signature", format!("v1,AAAA v1,{}", STANDARD.encode(tag))),
    ]
}

/// The same headers but for one.
fn with(mut headers: Headers, name: &str, change: impl FnOnce(&mut String)) -> Headers {
    change(&mut headers.iter_mut().find(|header| header.0 == name).unwrap().1);
    headers
}

fn without(mut headers: Headers, name: &str) -> Headers {
    headers.retain(|header| header.0 != name);
    headers
}

pub(super) async fn call(method: Method, url: &str, headers: &Headers, body: &str) -> (u16, String) {
    let mut request = reqwest::Client::builder().no_proxy().build().unwrap().request(method, url);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let answer = request.body(body.to_owned()).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// How many callbacks had this outcome, in all houses of this process.
async fn counted(house: &House, outcome: &str) -> u64 {
    let page = reqwest::get(format!("http://{}/metrics", house.addresses.admin)).await.unwrap().text().await.unwrap();
    let name = format!("videogen_callbacks_total{{outcome=\"{outcome}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
}

/// A running job that never ends by itself, and where it calls back.
pub(super) async fn running(house: &mut House, model: &str, directive: &str) -> (pb::Task, String) {
    let task = house.submit(prompted(model, &format!("a kite {directive}"))).await;
    let wanted = if directive.contains("accept_") { TaskState::Reconciling } else { TaskState::Running };
    let task = house.until(&task.id, |task| task.state() == wanted).await;
    let marker = task.attempts[0].marker.clone();
    let jobs = house.jobs().await;
    let url = jobs.iter().filter_map(|job| job["callback_url"].as_str()).find(|url| url.contains(&marker)).unwrap();
    (task, url.to_owned())
}

fn fal_body(job: &str) -> String {
    format!(
        r#"{{"request_id":"{job}","gateway_request_id":"{job}","status":"OK","payload":{{"video":{{"url":"https://evil.example/v.mp4"}}}}}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_callback_of_fals_is_turned_away_and_changes_nothing() {
    let mut house = reachable(quick(Duration::from_millis(300)), &NO_POLLS).await;
    let (task, url) = running(&mut house, "fal/fal-ai/veo3.1", "[sim:never_finish] [sim:callback_missing]").await;
    let (now, job) = (now_s(), house.simulator.ledger()[0].job_id.clone());
    let body = fal_body(&job);
    let good = || by_fal(0, &job, now, &body);
    const SIGNATURE: &str = "x-fal-webhook-signature";
    let other = fal_body("another");
    for (name, headers, body, outcome) in [
        ("wrong signature", with(good(), SIGNATURE, |text| text.replace_range(0..2, "00")), &body, "mismatch"),
        ("old time", by_fal(0, &job, now - 330, &body), &body, "timestamp"),
        ("time ahead", by_fal(0, &job, now + 330, &body), &body, "timestamp"),
        (
            "time altered",
            with(good(), "x-fal-webhook-timestamp", |text| *text = (now + 1).to_string()),
            &body,
            "mismatch",
        ),
        ("another job", with(good(), "x-fal-webhook-request-id", |text| text.push('1')), &body, "mismatch"),
        ("swapped body", good(), &other, "mismatch"),
        ("65 bytes", with(good(), SIGNATURE, |text| text.push_str("00")), &body, "mismatch"),
        ("no hex", with(good(), SIGNATURE, |text| *text = "z".repeat(128)), &body, "mismatch"),
        ("unknown key", by_fal(100, &job, now, &body), &body, "mismatch"),
        ("no signature", without(good(), SIGNATURE), &body, "unsigned"),
        ("no user", without(good(), "x-fal-webhook-user-id"), &body, "unsigned"),
        ("nothing", Vec::new(), &body, "unsigned"),
        ("Kling's signature", by_kling(SECRET, now, &body), &body, "unsigned"),
    ] {
        let before = counted(&house, outcome).await;
        assert_eq!(call(Method::POST, &url, &headers, body).await, (401, String::new()), "{name}");
        assert!(counted(&house, outcome).await > before, "{name}: counted as {outcome}");
    }
    // And a good one, and its replay: heard, and the poll says that it still runs.
    for _ in 0..2 {
        assert_eq!(call(Method::POST, &url, &good(), &body).await, (200, String::new()));
    }
    let after = house.get(&task.id).await;
    assert_eq!((after.state(), house.bought()), (TaskState::Running, 1));
    assert_eq!(after.attempts, task.attempts);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_fal_publishes_no_key_its_callbacks_are_turned_away_and_polls_do_the_work() {
    let empty = axum::Router::new().fallback(async || r#"{"keys":[]}"#);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let keys = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, empty).await });
    let mut house = reachable(quick(Duration::from_millis(300)), &[("ACCOUNTS__1__JWKS_URL", &keys)]).await;
    let before = counted(&house, "no_key").await;
    let task = house.submit(prompted("fal/fal-ai/veo3.1", "a kite")).await;
    assert_eq!(house.finished(&task.id).await.state(), TaskState::Succeeded);
    let (_, url) = running(&mut house, "fal/fal-ai/veo3.1", "[sim:never_finish]").await;
    let body = fal_body("any");
    assert_eq!(call(Method::POST, &url, &by_fal(0, "any", now_s(), &body), &body).await.0, 401);
    assert!(counted(&house, "no_key").await > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_callback_of_klings_is_turned_away_where_there_is_a_secret() {
    let provider = Settings { kling_webhook_secret: Some(SECRET.to_owned()), ..quick(Duration::from_millis(300)) };
    let mut house = reachable(provider, &NO_POLLS).await;
    let (task, url) = running(&mut house, "kling/kling-3.0", "[sim:never_finish] [sim:callback_missing]").await;
    let (now, job) = (now_s(), house.simulator.ledger()[0].job_id.clone());
    let body = format!(r#"{{"id":"{job}","status":"succeeded","outputs":[]}}"#);
    let good = || by_kling(SECRET, now, &body);
    const SIGNATURE: &str = "webhook-signature";
    for (name, headers, sent, outcome) in [
        ("wrong signature", with(good(), SIGNATURE, |text| *text = "v1,AAAA v2,zz".into()), body.as_str(), "mismatch"),
        ("another secret", by_kling("whsec_AAAAAAAA", now, &body), &body, "mismatch"),
        ("old time", by_kling(SECRET, now - 330, &body), &body, "timestamp"),
        ("time ahead", by_kling(SECRET, now + 330, &body), &body, "timestamp"),
        ("no time", with(good(), "webhook-timestamp", |text| *text = "soon".into()), &body, "timestamp"),
        ("another id", with(good(), "webhook-id", |text| *text = "msg_2".into()), &body, "mismatch"),
        ("swapped body", good(), "{}", "mismatch"),
        ("no signature", without(good(), SIGNATURE), &body, "unsigned"),
        ("nothing", Vec::new(), &body, "unsigned"),
    ] {
        let before = counted(&house, outcome).await;
        assert_eq!(call(Method::POST, &url, &headers, sent).await, (401, String::new()), "{name}");
        assert!(counted(&house, outcome).await > before, "{name}: counted as {outcome}");
    }
    for _ in 0..2 {
        assert_eq!(call(Method::POST, &url, &good(), &body).await, (200, String::new()));
    }
    let after = house.get(&task.id).await;
    assert_eq!((after.state(), after.attempts), (TaskState::Running, task.attempts));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_address_of_ours_is_not_found_and_does_not_say_why() {
    let mut house = reachable(quick(Duration::from_millis(300)), &NO_POLLS).await;
    let (task, url) = running(&mut house, "kling/kling-3.0", "[sim:never_finish] [sim:callback_missing]").await;
    let (address, capability) = url.rsplit_once('/').unwrap();
    let (door, _) = url.split_once("/callbacks/").unwrap();
    let guessed = format!("{address}/{}", "0".repeat(32));
    let other_attempt = url.replace(&format!("-1/{capability}"), &format!("-2/{capability}"));
    assert_ne!(other_attempt, url);
    let before = counted(&house, "nowhere").await;
    let mut calls = 0;
    for (method, url) in [
        (Method::POST, guessed),
        (Method::POST, other_attempt),
        (Method::POST, format!("{address}/{}", &capability[..31])),
        (Method::POST, format!("{address}/{capability}0")),
        (Method::POST, format!("{address}/{}", capability.to_uppercase())),
        (Method::POST, format!("{url}/")),
        (Method::POST, format!("{address}/%ff%fe")),
        (Method::POST, format!("{door}/callbacks/vg-00000000000000000000000000000000-1/{capability}")),
        (Method::POST, format!("{door}/callbacks/x/y")),
        (Method::POST, format!("{door}/callbacks")),
        (Method::POST, format!("{door}/")),
        (Method::GET, url.clone()),
        (Method::PUT, url.clone()),
    ] {
        assert_eq!(call(method.clone(), &url, &Vec::new(), "{}").await, (404, String::new()), "{method} {url}");
        calls += 1;
    }
    assert!(counted(&house, "nowhere").await >= before + calls);
    assert_eq!(house.get(&task.id).await.revision, task.revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsigned_callback_that_claims_success_costs_a_poll_and_its_link_is_never_fetched() {
    let mut house = reachable(quick(Duration::from_millis(300)), &NO_POLLS).await;
    let (task, url) = running(&mut house, "kling/kling-3.0", "[sim:never_finish] [sim:callback_missing]").await;
    let evil = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let link = format!("http://{}/v.mp4", evil.local_addr().unwrap());
    let body = format!(r#"{{"id":"1","status":"succeeded","outputs":[{{"type":"video","url":"{link}"}}]}}"#);
    let queries = async |house: &House| house.jobs().await[0]["queries"].as_u64().unwrap();
    let before = queries(&house).await;
    assert_eq!(call(Method::POST, &url, &Vec::new(), &body).await, (200, String::new()));
    until("a poll", async || queries(&house).await != before).await;
    let after = house.get(&task.id).await;
    assert_eq!((after.state(), after.attempts), (TaskState::Running, task.attempts));
    assert!(tokio::time::timeout(Duration::from_millis(300), evil.accept()).await.is_err(), "nobody came for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_not_ours_is_never_adopted_however_well_its_callback_is_signed() {
    let no_history = ("ACCOUNTS__1__HISTORY_URL", "http://127.0.0.1:9/v1");
    // Jobs have ended when they are sold: what is adopted is final at once.
    let mut house = reachable(quick(Duration::ZERO), &[NO_POLLS[0], NO_POLLS[1], no_history]).await;
    let first = house.submit(prompted("fal/fal-ai/veo3.1", "a kite")).await;
    assert_eq!(house.finished(&first.id).await.state(), TaskState::Succeeded);
    let of_first = house.simulator.ledger()[0].job_id.clone();
    let (task, url) = running(&mut house, "fal/fal-ai/veo3.1", "[sim:accept_drop] [sim:callback_missing]").await;
    // Another account's, which this account is not shown; another task's; and no id at all.
    for job in ["11111111-2222-4333-8444-555555555555", of_first.as_str(), "../../etc/passwd"] {
        let body = fal_body(job);
        let headers = by_fal(0, job, now_s(), &body);
        assert_eq!(call(Method::POST, &url, &headers, &body).await, (200, String::new()), "{job}");
    }
    // Its own settles it, and so the three before it were looked into.
    let own = house.simulator.ledger()[1].job_id.clone();
    let body = fal_body(&own);
    assert_eq!(call(Method::POST, &url, &by_fal(0, &own, now_s(), &body), &body).await.0, 200);
    let end = house.finished(&task.id).await;
    assert_eq!((end.state(), end.attempts[0].provider_job_id.as_str()), (TaskState::Succeeded, own.as_str()));
    assert_eq!((end.attempts.len(), house.bought()), (1, 2));
}
