//! How the providers sign their callbacks: Kling by Standard Webhooks with a
//! shared secret, fal by Ed25519 with a key that its JWKS publishes.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use ring::{error::KeyRejected, hmac};
use serde_json::{Value, json};

use super::account::{hex, sha256};
use super::book::Job;
use super::faults::Provider;
use super::world::{World, now};

/// Who signs a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signer {
    /// The provider, with the true key.
    Provider,
    /// Somebody else, with another key.
    Forger,
    /// Nobody: the headers are missing.
    Nobody,
}

/// The key pair that signs for fal. It is a published test key: seed bytes 0 to 31.
fn fal_key(signer: Signer) -> Result<Ed25519KeyPair, KeyRejected> {
    let first = if signer == Signer::Forger { 100 } else { 0 };
    let seed: Vec<u8> = (first..first + 32).collect();
    Ed25519KeyPair::from_seed_unchecked(&seed)
}

/// The document at `/.well-known/jwks.json`.
pub(crate) fn key_set() -> Value {
    match fal_key(Signer::Provider) {
        Ok(key) => {
            let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
            json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]})
        }
        Err(_) => json!({"keys": []}),
    }
}

/// The headers that sign a callback's body.
pub(crate) fn headers(world: &World, job: &Job, signer: Signer, body: &[u8]) -> Vec<(&'static str, String)> {
    let seconds = (now() / 1_000).to_string();
    match (job.provider, signer) {
        (_, Signer::Nobody) => Vec::new(),
        (Provider::Fal, _) => fal(signer, &job.id, &world.settings.fal_user, seconds, body),
        _ => match &world.settings.kling_webhook_secret {
            Some(secret) => {
                let id = format!("msg_{:016x}", rand::random::<u64>());
                kling(signer, secret, id, seconds, body)
            }
            None => Vec::new(),
        },
    }
}

fn fal(signer: Signer, id: &str, user: &str, seconds: String, body: &[u8]) -> Vec<(&'static str, String)> {
    let message = format!("{id}\n{user}\n{seconds}\n{}", sha256(body));
    let Ok(key) = fal_key(signer) else { return Vec::new() };
    vec![
        ("x-fal-webhook-request-id", id.to_owned()),
        ("x-fal-webhook-user-id", user.to_owned()),
        ("x-fal-webhook-timestamp", seconds),
        ("x-fal-webhook-signature", hex(key.sign(message.as_bytes()).as_ref())),
    ]
}

fn kling(signer: Signer, secret: &str, id: String, seconds: String, body: &[u8]) -> Vec<(&'static str, String)> {
    let secret = secret.strip_prefix("whsec_").unwrap_or(secret);
    let mut key = STANDARD.decode(secret).unwrap_or_else(|_| secret.as_bytes().to_vec());
    if signer == Signer::Forger {
        key.reverse();
        key.push(0x55);
    }
    let message = [id.as_bytes(), b".", seconds.as_bytes(), b".", body].concat();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &message);
    vec![
        ("webhook-id", id),
        ("webhook-timestamp", seconds),
        ("webhook-signature", format!("v1,{}", STANDARD.encode(tag.as_ref()))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kling_signs_as_its_vector_says() {
        let body = br#"{"id":"900000000000000001","status":"succeeded","message":"","create_time":1790000000000,"update_time":1790000060000,"external_id":"job-42","outputs":[]}"#;
        let secret = "whsec_ZXhhbXBsZS1zaWduaW5nLWtleS0wMTIz";
        let headers = kling(Signer::Provider, secret, "msg_1".into(), "1790000061".into(), body);
        assert_eq!(headers[2].1, "v1,hPDW3ENucnvfRuYFC84Bq5O1KEKkQbp+t82tTjybG3I=");
    }

    #[test]
    fn fal_signs_as_its_vector_says() {
        let body = br#"{"request_id":"11111111-2222-4333-8444-555555555555","gateway_request_id":"11111111-2222-4333-8444-555555555555","status":"OK","payload":{"video":{"url":"https://v3b.fal.media/files/example/out.mp4"}}}"#;
        let id = "11111111-2222-4333-8444-555555555555";
        let headers = fal(Signer::Provider, id, "user-1", "1790000000".into(), body);
        assert_eq!(
            headers[3].1,
            "cb22b273b598946f399fece609e980de5005fd1a923bd7ac8b1e658517df62655494df17f33f044deb00cbe4ea809dfd1383c40fb1c2a4a6a308fbd6fd2d0703"
        );
        assert_eq!(key_set()["keys"][0]["x"], "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg");
    }
}
