//! Who is asking. Keys are turned into a short digest here and go no further.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{digest, hmac};
use serde_json::Value;

use super::settings::{AccessKey, Settings};

/// Why a Kling credential is not taken, as the code of Kling's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwelcome {
    /// 1001.
    Missing,
    /// 1002.
    Invalid,
    /// 1003.
    TooEarly,
    /// 1004.
    Expired,
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// The short name of a credential.
pub(crate) fn account(credential: &str) -> String {
    sha256(credential.as_bytes()).chars().take(12).collect()
}

/// Reads `Authorization: Bearer`, an API key on both standards or a token on the legacy one.
pub(crate) fn kling(
    header: Option<&str>,
    tokens_allowed: bool,
    settings: &Settings,
    now_seconds: i64,
) -> Result<String, Unwelcome> {
    let header = header.ok_or(Unwelcome::Missing)?;
    let credential = header.strip_prefix("Bearer ").map(str::trim).unwrap_or("");
    if credential.is_empty() {
        return Err(Unwelcome::Missing);
    }
    if is_token(credential) {
        let issuer = if tokens_allowed { token(credential, &settings.access_keys, now_seconds)? } else { None };
        return issuer.map(|issuer| account(&issuer)).ok_or(Unwelcome::Invalid);
    }
    key(credential, settings).ok_or(Unwelcome::Invalid)
}

/// Reads `Authorization: Key`.
pub(crate) fn fal(header: Option<&str>, settings: &Settings) -> Option<String> {
    let credential = header?.strip_prefix("Key ")?.trim();
    if credential.is_empty() { None } else { key(credential, settings) }
}

fn key(credential: &str, settings: &Settings) -> Option<String> {
    let known = settings.api_keys.is_empty() || settings.api_keys.iter().any(|key| key == credential);
    let refused = settings.refused_keys.iter().any(|key| key == credential);
    (known && !refused).then(|| account(credential))
}

/// Whether a credential is a signed token: its first part is a JSON object that names an algorithm.
fn is_token(credential: &str) -> bool {
    credential.split('.').count() == 3
        && credential.split('.').next().and_then(part).is_some_and(|header| header.get("alg").is_some())
}

fn part(text: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// The issuer of a token that is signed, well formed and in time.
fn token(credential: &str, access_keys: &[AccessKey], now: i64) -> Result<Option<String>, Unwelcome> {
    let (signed, signature) = credential.rsplit_once('.').ok_or(Unwelcome::Invalid)?;
    let (header, claims) = signed.split_once('.').ok_or(Unwelcome::Invalid)?;
    let header = part(header).ok_or(Unwelcome::Invalid)?;
    let claims = part(claims).ok_or(Unwelcome::Invalid)?;
    if header != serde_json::json!({"alg": "HS256", "typ": "JWT"}) {
        return Err(Unwelcome::Invalid);
    }
    let issuer = claims["iss"].as_str().ok_or(Unwelcome::Invalid)?;
    let pair = access_keys.iter().find(|pair| pair.access_key == issuer).ok_or(Unwelcome::Invalid)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Unwelcome::Invalid)?;
    let secret = hmac::Key::new(hmac::HMAC_SHA256, pair.secret_key.as_bytes());
    hmac::verify(&secret, signed.as_bytes(), &signature).map_err(|_| Unwelcome::Invalid)?;
    let (begin, end) = (claims["nbf"].as_i64().unwrap_or(now), claims["exp"].as_i64().ok_or(Unwelcome::Invalid)?);
    match (begin > now, end <= now) {
        (true, _) => Err(Unwelcome::TooEarly),
        (_, true) => Err(Unwelcome::Expired),
        _ => Ok(Some(issuer.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJhay1leGFtcGxlIiwiZXhwIjoxNzkwMDAxODAwLCJuYmYiOjE3ODk5OTk5OTV9.Lo4InKBjByDWPQOmiThyjVgipV7I6oLyO8imMxAL2Tc";

    #[test]
    fn a_token_is_taken_in_its_time_and_on_the_legacy_standard_only() {
        let settings = Settings::default();
        let at = |seconds| kling(Some(TOKEN), true, &settings, seconds);
        assert_eq!(at(1_790_000_000), Ok(account("ak-example")));
        assert_eq!(at(1_789_999_994), Err(Unwelcome::TooEarly));
        assert_eq!(at(1_790_001_800), Err(Unwelcome::Expired));
        assert_eq!(kling(Some(TOKEN), false, &settings, 1_790_000_000), Err(Unwelcome::Invalid));
        let forged = TOKEN.replace("Lo4", "Lo5");
        assert_eq!(kling(Some(&forged), true, &settings, 1_790_000_000), Err(Unwelcome::Invalid));
    }

    #[test]
    fn keys_are_judged_by_the_settings() {
        let settings = Settings { refused_keys: vec!["bad".into()], ..Settings::default() };
        assert!(kling(Some("Bearer anything"), true, &settings, 0).is_ok());
        assert_eq!(kling(Some("Bearer bad"), true, &settings, 0), Err(Unwelcome::Invalid));
        assert_eq!(kling(None, true, &settings, 0), Err(Unwelcome::Missing));
        assert_eq!(kling(Some("Bearer "), false, &settings, 0), Err(Unwelcome::Missing));
        assert!(fal(Some("Key id:secret"), &settings).is_some());
        assert!(fal(Some("Bearer x"), &settings).is_none());
        let closed = Settings { api_keys: vec!["good".into()], ..Settings::default() };
        assert!(fal(Some("Key other"), &closed).is_none());
    }
}
