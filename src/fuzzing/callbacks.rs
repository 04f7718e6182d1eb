//! Callbacks: a signature holds for the very bytes that were signed, a capability
//! for its own marker, and whatever else comes is turned away.

use std::sync::LazyLock;

use ring::signature::{Ed25519KeyPair, KeyPair};
use url::Url;
use uuid::Uuid;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{fields, seed, text};
use crate::task::id::{Marker, TaskId};
use crate::wire::capability::{CallbackAddresses, Capabilities};
use crate::wire::signature::{FalHeaders, KeySet, PublicKey, sign_standard, verify_fal, verify_standard};
use crate::wire::{fal, kling};

const SECRET: &str = "whsec_ZXhhbXBsZS1zaWduaW5nLWtleS0wMTIz";
const NOW_S: u64 = 1_790_000_061;

static CAPABILITIES: LazyLock<Capabilities> = LazyLock::new(|| Capabilities::new(&[7; 32]));
static FAL_KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[9; 32]).expect("32 bytes are a seed"));

pub(super) fn check(data: &[u8]) {
    let Some((case, bytes)) = data.split_first() else { return };
    match case % 8 {
        0 => standard(bytes),
        1 => standard_altered(bytes),
        2 => fal_headers(bytes),
        3 => fal_altered(bytes),
        4 => fal_keys(bytes),
        5 => capability(bytes),
        6 => address(bytes),
        _ => bodies(bytes),
    }
}

/// Whatever verifies, we would have signed the same.
fn standard(bytes: &[u8]) {
    let [id, timestamp, signatures, body] = fields(bytes);
    let (id, timestamp, signatures) = (text(id), text(timestamp), text(signatures));
    if verify_standard(SECRET, &id, &timestamp, &signatures, body, NOW_S).is_ok() {
        let signed_s: u64 = timestamp.parse().expect("the time was read");
        assert!(signed_s.abs_diff(NOW_S) <= 300);
        let ours = sign_standard(SECRET, &id, signed_s, body).expect("the key is usable");
        let same_text = signed_s.to_string() == *timestamp;
        assert!(!same_text || signatures.split_whitespace().any(|listed| listed == ours));
    }
}

/// What we sign verifies, and no longer once a byte of the body is another.
fn standard_altered(bytes: &[u8]) {
    let [id, place, body] = fields(bytes);
    let id = text(id);
    let signature = sign_standard(SECRET, &id, NOW_S, body).expect("the key is usable");
    let verify = |body: &[u8]| verify_standard(SECRET, &id, &NOW_S.to_string(), &signature, body, NOW_S);
    assert_eq!(verify(body), Ok(()));
    if let Some(altered) = altered(body, place) {
        assert!(verify(&altered).is_err());
    }
}

/// The body with one byte changed, where and how `place` says.
fn altered(body: &[u8], place: &[u8]) -> Option<Vec<u8>> {
    let [high, low, mask, ..] = place else { return None };
    let mut altered = body.to_vec();
    let index = usize::from(u16::from_be_bytes([*high, *low])) % body.len().max(1);
    *altered.get_mut(index)? ^= mask;
    (altered != body).then_some(altered)
}

fn fal_key_set() -> KeySet {
    let x = URL_SAFE_NO_PAD.encode(FAL_KEY.public_key());
    KeySet { keys: vec![PublicKey { kty: "OKP".to_owned(), crv: "Ed25519".to_owned(), x }] }
}

fn fal_signature(request_id: &str, user_id: &str, timestamp: &str, body: &[u8]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let digest = hex(ring::digest::digest(&ring::digest::SHA256, body).as_ref());
    hex(FAL_KEY.sign(format!("{request_id}\n{user_id}\n{timestamp}\n{digest}").as_bytes()).as_ref())
}

/// Whatever verifies has the one signature that fits: this scheme has no other.
fn fal_headers(bytes: &[u8]) {
    let [request_id, user_id, timestamp, signature, body] = fields(bytes);
    let (request_id, user_id) = (text(request_id), text(user_id));
    let (timestamp, signature) = (text(timestamp), text(signature));
    let headers =
        FalHeaders { request_id: &request_id, user_id: &user_id, timestamp: &timestamp, signature: &signature };
    if verify_fal(&fal_key_set(), headers, body, NOW_S).is_ok() {
        let ours = fal_signature(&request_id, &user_id, &timestamp, body);
        assert!(ours.eq_ignore_ascii_case(&signature));
    }
}

fn fal_altered(bytes: &[u8]) {
    let [request_id, place, body] = fields(bytes);
    let (request_id, timestamp) = (text(request_id), NOW_S.to_string());
    let signature = fal_signature(&request_id, "user-1", &timestamp, body);
    let headers =
        FalHeaders { request_id: &request_id, user_id: "user-1", timestamp: &timestamp, signature: &signature };
    assert_eq!(verify_fal(&fal_key_set(), headers, body, NOW_S), Ok(()));
    if let Some(altered) = altered(body, place) {
        assert!(verify_fal(&fal_key_set(), headers, &altered, NOW_S).is_err());
    }
}

/// No set of keys that somebody made up lets a signature of all zeros pass.
fn fal_keys(bytes: &[u8]) {
    let Ok(keys) = serde_json::from_slice::<KeySet>(bytes) else { return };
    let (timestamp, signature) = (NOW_S.to_string(), "0".repeat(126));
    let headers = FalHeaders { request_id: "r", user_id: "u", timestamp: &timestamp, signature: &signature };
    assert!(verify_fal(&keys, headers, b"{}", NOW_S).is_err());
}

fn capability(bytes: &[u8]) {
    let [marker, given] = fields(bytes);
    let (marker, given) = (text(marker), text(given));
    let ours = CAPABILITIES.of(&marker);
    assert!(CAPABILITIES.admits(&marker, &ours));
    assert_eq!(CAPABILITIES.admits(&marker, &given), given == ours);
    if let Some(task) = Marker::new(marker).task() {
        assert_eq!(Marker::of(task, 1).task(), Some(task));
    }
}

/// Wherever we are called back, the address ends in the marker and its capability.
fn address(bytes: &[u8]) {
    let [public_url, id] = fields(bytes);
    let Ok(public_url) = Url::parse(&text(public_url)) else { return };
    if public_url.cannot_be_a_base() {
        return;
    }
    let id = id.iter().fold(0_u128, |id, byte| id << 8 | u128::from(*byte));
    let marker = Marker::of(TaskId::new(Uuid::from_u128(id)), 1);
    let address = CallbackAddresses::new(public_url, CAPABILITIES.clone()).of(marker.as_str());
    let path = format!("/callbacks/{marker}/{}", CAPABILITIES.of(marker.as_str()));
    assert!(address.path().ends_with(&path), "{address}");
}

/// A callback that names a task names it in words.
fn bodies(bytes: &[u8]) {
    if let Some(callback) = kling::Callback::read(bytes) {
        assert!(!callback.id.is_empty());
    }
    if let Ok(callback) = serde_json::from_slice::<fal::Callback>(bytes) {
        let written = serde_json::to_vec(&callback).expect("what was JSON is JSON again");
        assert_eq!(serde_json::from_slice::<fal::Callback>(&written).ok(), Some(callback));
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let (now, body) = (NOW_S.to_string(), br#"{"id":"9","status":"succeeded","external_id":"job-42"}"#);
    let join = |parts: &[&[u8]]| parts.join(&0);
    let standard = sign_standard(SECRET, "msg_1", NOW_S, body).expect("the key is usable");
    let of_fal = fal_signature("r-1", "user-1", &now, body);
    let marker = Marker::of(TaskId::new(Uuid::from_u128(1 << 100)), 1);
    let keys = serde_json::to_vec(&fal_key_set()).expect("two texts are JSON");
    vec![
        seed(0, join(&[b"msg_1", now.as_bytes(), standard.as_bytes(), body])),
        seed(0, join(&[b"msg_1", now.as_bytes(), b"v1,AAAA v2,zz v1,broken", body])),
        seed(1, join(&[b"msg_1", b"\x01\x02\x03", body])),
        seed(2, join(&[b"r-1", b"user-1", now.as_bytes(), of_fal.as_bytes(), body])),
        seed(3, join(&[b"r-1", b"\x01\x02\x03", body])),
        seed(4, keys),
        seed(5, join(&[marker.as_str().as_bytes(), CAPABILITIES.of(marker.as_str()).as_bytes()])),
        seed(5, join(&[b"vg-00000000-0000-0000-0000-000000000001-1", b"0123456789abcdef0123456789abcdef"])),
        seed(6, join(&[b"https://hooks.example/a/b?x=1", b"\x01\x90"])),
        seed(7, body),
        seed(7, br#"{"code":0,"data":{"task_id":9,"task_status":"succeed","task_info":{"external_task_id":"j"}}}"#),
        seed(7, br#"{"request_id":"a","gateway_request_id":"b","status":"OK","payload":{"video":{"url":"u"}}}"#),
    ]
}
