//! The look-up in fal's history against a scripted socket: what is asked, what is
//! adopted, and what is not.

use serde_json::{Value, json as object};

use super::tests::{fal_at, model, spec};
use super::*;
use crate::catalog::{FalInput, Limits};
use crate::providers::scripted::{Act, Scripted, json, still};
use crate::task::id::Marker;
use crate::task::spec::Spec;

const ID: &str = "11111111-2222-4333-8444-555555555555";
const VEO: &str = "fal-ai/veo3.1";

/// Looks for the order of this spec; the model takes a seed if so told.
async fn find(socket: &Scripted, spec: &Spec, takes_seed: bool) -> Result<Found, Trouble> {
    let fal = Fal { history_url: Some(socket.url.join("/v1").unwrap()), ..fal_at(&socket.url) };
    find_by(&fal, spec, takes_seed, "vg-job-42-1").await
}

async fn find_by(fal: &Fal, spec: &Spec, takes_seed: bool, marker: &str) -> Result<Found, Trouble> {
    let model = seeded(takes_seed);
    fal.find(order(spec, &model, &Marker::new(marker))).await
}

fn seeded(takes_seed: bool) -> Model {
    Model { limits: Limits { seed: takes_seed, ..Limits::default() }, ..model(VEO, FalInput::default()) }
}

fn order<'a>(spec: &'a Spec, model: &'a Model, marker: &'a Marker) -> Order<'a> {
    Order { spec, model, marker, callback: None, resent: false, sent: (still())() }
}

/// What was sent for the spec of these tests.
fn sent() -> Value {
    let (spec, model, marker) = (spec(), seeded(true), Marker::new("vg-job-42-1"));
    let seed = history::own_seed(&order(&spec, &model, &marker)).unwrap();
    object!({"prompt": "a red kite", "seed": seed})
}

fn item(id: &str, input: Value) -> Value {
    object!({"request_id": id, "endpoint_id": VEO, "sent_at": "2026-09-21T14:13:21Z", "started_at": "2026-09-21T14:13:22Z",
        "ended_at": "2026-09-21T14:14:20Z", "status_code": 200, "duration": 58.0, "json_input": input, "json_output": {}})
}

fn with(mut item: Value, field: &str, value: Value) -> Value {
    item[field] = value;
    item
}

fn page(items: &[Value], next: Option<&str>) -> Act {
    json("200 OK", object!({"items": items, "next_cursor": next, "has_more": next.is_some()}))
}

fn found() -> Result<Found, Trouble> {
    Ok(Found::Job(Fal::job(&seeded(true), ID).unwrap()))
}

#[tokio::test]
async fn the_seed_that_is_left_to_us_follows_from_the_marker() {
    let socket = Scripted::play(vec![json("200 OK", r#"{"request_id":"r-1"}"#)]).await;
    let (plain, model) = (spec(), seeded(true));
    let own = Spec { seed: Some(7), ..spec() };
    let seed_sent = async |spec: &Spec, model: &Model, marker: &str| {
        fal_at(&socket.url).submit(order(spec, model, &Marker::new(marker))).await;
        socket.body()["seed"].as_u64()
    };
    let first = seed_sent(&plain, &model, "vg-job-42-1").await.unwrap();
    assert!((1..1 << 31).contains(&first));
    assert_eq!(seed_sent(&plain, &model, "vg-job-42-1").await, Some(first));
    assert_ne!(seed_sent(&plain, &model, "vg-job-42-2").await, Some(first));
    assert_eq!(seed_sent(&own, &model, "vg-job-42-1").await, Some(7));
    assert_eq!(seed_sent(&plain, &seeded(false), "vg-job-42-1").await, None);
    // Kept for good: a task that is unknown today is looked up by the next version.
    assert_eq!(first, 1_079_250_231);
}

#[tokio::test]
async fn a_lost_submit_is_found_by_its_exact_input() {
    let others = [item("other-1", object!({"prompt": "a blue kite", "seed": 1})), item("other-2", Value::Null)];
    let socket = Scripted::play(vec![page(&others, Some("Mg==")), page(&[item(ID, sent())], None)]).await;
    assert_eq!(find(&socket, &spec(), true).await, found());
    let asked = "GET /v1/models/requests/by-endpoint?endpoint_id=fal-ai%2Fveo3.1&start=2026-09-21T14%3A11%3A20Z\
                 &expand=payloads&limit=100";
    assert_eq!(socket.lines(), [format!("{asked} HTTP/1.1"), format!("{asked}&cursor=Mg%3D%3D HTTP/1.1")]);
    assert!(socket.seen()[0].to_lowercase().contains("authorization: key key-id-01:s3cret-0123\r\n"));
}

#[tokio::test]
async fn only_our_own_request_is_adopted() {
    let ours = item(ID, sent());
    let more = |field: &str, value: Value| with(sent(), field, value);
    for (name, item, adopted) in [
        ("as sent", ours.clone(), true),
        ("ended in an error", with(ours.clone(), "status_code", object!(422)), true),
        ("the seed as a float", item(ID, object!({"prompt": "a red kite", "seed": sent()["seed"].as_f64()})), true),
        ("a time in another zone", with(ours.clone(), "sent_at", object!("2026-09-21T16:13:21.5+02:00")), true),
        ("no time", with(ours.clone(), "sent_at", Value::Null), true),
        ("another prompt", item(ID, more("prompt", object!("a red kite "))), false),
        ("another seed", item(ID, more("seed", object!(1))), false),
        ("one field more", item(ID, more("duration", object!("8s"))), false),
        ("no seed", item(ID, object!({"prompt": "a red kite"})), false),
        ("another model", with(ours.clone(), "endpoint_id", object!("fal-ai/veo3.1/fast")), false),
        ("long before", with(ours.clone(), "sent_at", object!("2026-09-21T14:11:19Z")), false),
        ("long after", with(ours.clone(), "sent_at", object!("2026-09-21T14:23:21Z")), false),
        ("payloads are not kept", with(ours.clone(), "json_input", Value::Null), false),
        ("input as text", item(ID, object!(sent().to_string())), false),
    ] {
        let socket = Scripted::play(vec![page(&[item], None)]).await;
        let expected = if adopted { found() } else { Ok(Found::Nothing) };
        assert_eq!(find(&socket, &spec(), true).await, expected, "{name}");
    }
}

#[tokio::test]
async fn two_requests_with_our_input_are_not_chosen_between() {
    let twice = page(&[item(ID, sent()), item("r-2", sent())], None);
    let socket = Scripted::play(vec![twice]).await;
    assert!(find(&socket, &spec(), true).await.is_err());
    // Pages shift while they are read: the same request may come twice.
    let socket = Scripted::play(vec![page(&[item(ID, sent())], Some("2")), page(&[item(ID, sent())], None)]).await;
    assert_eq!(find(&socket, &spec(), true).await, found());
    for id in ["", "../x", "a b"] {
        let socket = Scripted::play(vec![page(&[item(id, sent())], None)]).await;
        assert!(find(&socket, &spec(), true).await.is_err(), "{id:?}");
    }
}

#[tokio::test]
async fn where_nothing_can_be_proved_nothing_is_asked() {
    let socket = Scripted::play(vec![page(&[item(ID, sent())], None)]).await;
    let with_seed = Spec { seed: sent()["seed"].as_u64().map(|seed| seed as u32), ..spec() };
    assert_eq!(find(&socket, &with_seed, true).await, Ok(Found::Nothing));
    assert_eq!(find(&socket, &spec(), false).await, Ok(Found::Nothing));
    assert_eq!(find_by(&fal_at(&socket.url), &spec(), true, "vg-job-42-1").await, Ok(Found::Nothing));
    assert_eq!(socket.seen().len(), 0);
    assert!(!fal_at(&socket.url).abilities().finds_by_marker);
}

#[tokio::test]
async fn a_history_that_cannot_be_read_tells_nothing() {
    for act in [
        json("401 Unauthorized", r#"{"detail":"no Key key-id-01:s3cret-0123"}"#),
        json("404 Not Found", r#"{"detail":"x"}"#),
        json("429 Too Many", r#"{"detail":"x"}"#),
        json("500 Oops", r#"{"items":[]}"#),
        json("200 OK", "<html>"),
        json("200 OK", "{}"),
        json("200 OK", r#"{"items":{}}"#),
        Act::Reset,
        page(&[], Some("again")),
    ] {
        let socket = Scripted::play(vec![act]).await;
        let trouble = find(&socket, &spec(), true).await.unwrap_err();
        assert!(!trouble.reason.contains("s3cret") && !trouble.denied, "{trouble}");
        assert!(socket.seen().len() <= 20, "a history without end is not read to its end");
    }
}
