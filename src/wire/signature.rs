//! Signatures of callbacks: Standard Webhooks (Kling's, and our own when we call
//! out) and fal's Ed25519 scheme. The time is an argument.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::{digest, hmac, signature};
use serde::{Deserialize, Serialize};

use super::liberal;

/// How far a signed time may lie from ours, in seconds, either way.
pub const TOLERANCE_S: u64 = 300;

/// Why a signature was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The secret is not `whsec_` and base64, or the key set holds no usable key.
    #[error("no usable key")]
    Key,
    /// The timestamp is no number or too far from now.
    #[error("timestamp out of tolerance")]
    Timestamp,
    /// No signature matches.
    #[error("no signature matches")]
    Mismatch,
    /// A header that belongs to a signature is missing.
    #[error("not signed")]
    Unsigned,
}

impl Rejected {
    /// The word in counters.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Key => "no_key",
            Self::Timestamp => "timestamp",
            Self::Mismatch => "mismatch",
            Self::Unsigned => "unsigned",
        }
    }
}

/// The signature header of a message, `v1,<base64>`.
pub fn sign_standard(secret: &str, id: &str, timestamp_s: u64, body: &[u8]) -> Result<String, Rejected> {
    let mac = hmac::sign(&standard_key(secret)?, &standard_message(id, &timestamp_s.to_string(), body));
    Ok(format!("v1,{}", STANDARD.encode(mac)))
}

/// Whether this can be a secret of Standard Webhooks.
pub fn is_standard_secret(secret: &str) -> bool {
    standard_key(secret).is_ok()
}

/// Whether it is a secret that we sign with: `whsec_` and base64 of 24 to 64 bytes.
pub fn is_signing_secret(secret: &str) -> bool {
    let decoded = secret.strip_prefix("whsec_").and_then(|encoded| STANDARD.decode(encoded).ok());
    decoded.is_some_and(|bytes| (24..=64).contains(&bytes.len()))
}

/// Checks the three headers of a Standard Webhooks message; `signatures` is the
/// whole header and may list several, of which one has to match.
pub fn verify_standard(
    secret: &str,
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &[u8],
    now_s: u64,
) -> Result<(), Rejected> {
    let key = standard_key(secret)?;
    check_time(timestamp, now_s)?;
    let message = standard_message(id, timestamp, body);
    let mut matches = false;
    for listed in signatures.split_whitespace() {
        let Some(encoded) = listed.strip_prefix("v1,") else { continue };
        let Ok(given) = STANDARD.decode(encoded) else { continue };
        // Each comparison takes constant time, and every one is made: the time taken
        // tells nothing about which matched.
        matches |= hmac::verify(&key, &message, &given).is_ok();
    }
    if matches { Ok(()) } else { Err(Rejected::Mismatch) }
}

fn standard_key(secret: &str) -> Result<hmac::Key, Rejected> {
    let encoded = secret.strip_prefix("whsec_").unwrap_or(secret);
    let bytes = STANDARD.decode(encoded).map_err(|_| Rejected::Key)?;
    if bytes.is_empty() {
        return Err(Rejected::Key);
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn standard_message(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

fn check_time(timestamp: &str, now_s: u64) -> Result<(), Rejected> {
    let signed: u64 = timestamp.parse().map_err(|_| Rejected::Timestamp)?;
    if signed.abs_diff(now_s) <= TOLERANCE_S { Ok(()) } else { Err(Rejected::Timestamp) }
}

/// fal's published keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeySet {
    /// Each of them may have signed.
    #[serde(deserialize_with = "liberal::readable")]
    pub keys: Vec<PublicKey>,
}

impl KeySet {
    /// Whether any of its keys can verify anything.
    pub fn has_usable(&self) -> bool {
        self.keys.iter().any(|key| public_key_bytes(key).is_some())
    }
}

/// One of fal's published keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PublicKey {
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// Base64url of 32 bytes.
    pub x: String,
}

/// The four headers of fal's callbacks, as text.
#[derive(Clone, Copy, Debug)]
pub struct FalHeaders<'a> {
    /// `X-Fal-Webhook-Request-Id`
    pub request_id: &'a str,
    /// `X-Fal-Webhook-User-Id`
    pub user_id: &'a str,
    /// `X-Fal-Webhook-Timestamp`
    pub timestamp: &'a str,
    /// `X-Fal-Webhook-Signature`
    pub signature: &'a str,
}

/// Checks fal's signature against every key of the set.
pub fn verify_fal(keys: &KeySet, headers: FalHeaders<'_>, body: &[u8], now_s: u64) -> Result<(), Rejected> {
    let usable: Vec<Vec<u8>> = keys.keys.iter().filter_map(public_key_bytes).collect();
    if usable.is_empty() {
        return Err(Rejected::Key);
    }
    check_time(headers.timestamp, now_s)?;
    let given = unhex(headers.signature).ok_or(Rejected::Mismatch)?;
    let body_hash = hex(digest::digest(&digest::SHA256, body).as_ref());
    let message = format!("{}\n{}\n{}\n{body_hash}", headers.request_id, headers.user_id, headers.timestamp);
    let verifies = |key: &Vec<u8>| {
        signature::UnparsedPublicKey::new(&signature::ED25519, key).verify(message.as_bytes(), &given).is_ok()
    };
    if usable.iter().any(verifies) { Ok(()) } else { Err(Rejected::Mismatch) }
}

fn public_key_bytes(key: &PublicKey) -> Option<Vec<u8>> {
    if key.kty != "OKP" || key.crv != "Ed25519" {
        return None;
    }
    URL_SAFE_NO_PAD.decode(key.x.trim_end_matches('=')).ok().filter(|bytes| bytes.len() == 32)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| if let [high, low] = pair { Some(digit(*high)? << 4 | digit(*low)?) } else { None }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_ZXhhbXBsZS1zaWduaW5nLWtleS0wMTIz";
    const KLING_BODY: &[u8] = br#"{"id":"900000000000000001","status":"succeeded","message":"","create_time":1790000000000,"update_time":1790000060000,"external_id":"job-42","outputs":[]}"#;
    const KLING_SIGNATURE: &str = "v1,hPDW3ENucnvfRuYFC84Bq5O1KEKkQbp+t82tTjybG3I=";
    const FAL_BODY: &[u8] = br#"{"request_id":"11111111-2222-4333-8444-555555555555","gateway_request_id":"11111111-2222-4333-8444-555555555555","status":"OK","payload":{"video":{"url":"https://v3b.fal.media/files/example/out.mp4"}}}"#;
    const FAL_SIGNATURE: &str = "cb22b273b598946f399fece609e980de5005fd1a923bd7ac8b1e658517df62655494df17f33f044deb00cbe4ea809dfd1383c40fb1c2a4a6a308fbd6fd2d0703";

    fn verify_kling(signatures: &str, body: &[u8], now_s: u64) -> Result<(), Rejected> {
        verify_standard(SECRET, "msg_1", "1790000061", signatures, body, now_s)
    }

    #[test]
    fn a_standard_signature_is_as_the_vector_says() {
        assert_eq!(KLING_BODY.len(), 153);
        assert_eq!(sign_standard(SECRET, "msg_1", 1_790_000_061, KLING_BODY).unwrap(), KLING_SIGNATURE);
        assert_eq!(verify_kling(KLING_SIGNATURE, KLING_BODY, 1_790_000_061), Ok(()));
    }

    #[test]
    fn one_of_several_standard_signatures_suffices() {
        let rotated = format!("v1,AAAA v2,zzzz {KLING_SIGNATURE} v1,broken");
        assert_eq!(verify_kling(&rotated, KLING_BODY, 1_790_000_061), Ok(()));
        for signatures in ["", "v1,AAAA", "hPDW3ENucnvfRuYFC84Bq5O1KEKkQbp+t82tTjybG3I="] {
            assert_eq!(verify_kling(signatures, KLING_BODY, 1_790_000_061), Err(Rejected::Mismatch), "{signatures}");
        }
        assert_eq!(verify_kling(KLING_SIGNATURE, b"{}", 1_790_000_061), Err(Rejected::Mismatch));
    }

    #[test]
    fn a_signature_is_good_for_five_minutes_either_way() {
        for (now_s, expected) in [
            (1_790_000_361, Ok(())),
            (1_789_999_761, Ok(())),
            (1_790_000_362, Err(Rejected::Timestamp)),
            (1_789_999_760, Err(Rejected::Timestamp)),
        ] {
            assert_eq!(verify_kling(KLING_SIGNATURE, KLING_BODY, now_s), expected, "{now_s}");
        }
        let verdict = verify_standard("whsec_", "msg_1", "1790000061", KLING_SIGNATURE, KLING_BODY, 1_790_000_061);
        assert_eq!(verdict, Err(Rejected::Key));
    }

    #[test]
    fn fals_signature_is_as_the_vector_says() {
        let keys: KeySet = serde_json::from_str(
            r#"{"keys":[{"kty":"RSA","n":"x"},{"kty":"OKP","crv":"Ed25519","x":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"}]}"#,
        )
        .unwrap();
        let headers = FalHeaders {
            request_id: "11111111-2222-4333-8444-555555555555",
            user_id: "user-1",
            timestamp: "1790000000",
            signature: FAL_SIGNATURE,
        };
        assert_eq!(FAL_BODY.len(), 201);
        assert_eq!(verify_fal(&keys, headers, FAL_BODY, 1_790_000_300), Ok(()));
        assert_eq!(verify_fal(&keys, headers, FAL_BODY, 1_790_000_301), Err(Rejected::Timestamp));
        assert_eq!(verify_fal(&keys, headers, b"{}", 1_790_000_000), Err(Rejected::Mismatch));
        for signature in ["", "zz", "cb2", "é"] {
            let headers = FalHeaders { signature, ..headers };
            assert_eq!(verify_fal(&keys, headers, FAL_BODY, 1_790_000_000), Err(Rejected::Mismatch));
        }
        assert_eq!(verify_fal(&KeySet::default(), headers, FAL_BODY, 1_790_000_000), Err(Rejected::Key));
    }
}
