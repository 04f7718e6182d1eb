//! Kling's adapter against a scripted socket, and what these tests share.

mod bodies;
mod creates;
mod polls;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json as object};

use super::*;
use crate::catalog::{Limits, Model, Wire};
use crate::providers::scripted::{Act, Scripted, http, http_for, json, nobody, patient, still};
use crate::task::id::{Marker, ModelName};
use crate::task::spec::{Image, Spec};

static MARKER: LazyLock<Marker> = LazyLock::new(|| Marker::new("vg-job-42-1"));

fn kling_at(url: &Url) -> Kling {
    kling_with(url, KlingCredentials::ApiKey("key-s3cret-0123".into()), still())
}

fn kling_with(url: &Url, credentials: KlingCredentials, now: Now) -> Kling {
    Kling::over(http(), KlingSettings { base_url: url.clone(), credentials, limits: patient() }, now)
}

/// For a play of this act, which may be an endless one.
fn kling_for(act: &Act, url: &Url) -> Kling {
    Kling { http: http_for(act), ..kling_at(url) }
}

fn pair() -> KlingCredentials {
    KlingCredentials::AccessKey { access: "ak-example".into(), secret: "sk-example".into() }
}

fn model(wire: Wire, id: &str) -> Model {
    Model {
        name: ModelName::parse(&format!("kling/{id}")).unwrap(),
        aliases: Vec::new(),
        wire,
        wire_id: id.to_owned(),
        typical_s: 90,
        result_lifetime_s: None,
        limits: Limits::default(),
        unlisted: false,
    }
}

fn new(id: &str) -> Model {
    model(Wire::KlingNew, id)
}

fn legacy(id: &str) -> Model {
    model(Wire::KlingLegacy, id)
}

fn spec() -> Spec {
    Spec { prompt: "a red kite".to_owned(), ..Spec::new(ModelName::parse("kling/x").unwrap()) }
}

fn order<'a>(spec: &'a Spec, model: &'a Model) -> Order<'a> {
    Order { spec, model, marker: &MARKER, callback: None, resent: false, sent: (still())() }
}

fn link(name: &str) -> Option<Image> {
    Some(Image::Uri(format!("https://img.example/{name}.png")))
}

const TEXT: &str = "/v1/videos/text2video";
const IMAGE: &str = "/v1/videos/image2video";
const TAKEN: &str =
    r#"{"code":0,"message":"SUCCEED","request_id":"r","data":{"id":"900000000000000001","status":"submitted"}}"#;

fn code(code: i64, message: &str) -> String {
    object!({"code": code, "message": message, "request_id": "r"}).to_string()
}

fn job(id: &str, handle: &str) -> Job {
    Job { id: JobId::new(id), handle: handle.to_owned() }
}
