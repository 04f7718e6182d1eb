//! What both of Kling's API standards share: the envelope around every answer, the
//! error codes, the status words and the signed token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::liberal;

/// The most task ids that one batch query may name.
pub const QUERY_BATCH: usize = 20;

/// How long a result stays at the provider, in seconds.
pub const RESULT_LIFETIME_S: u64 = 30 * 24 * 3600;

/// How long a signed token is valid, in seconds.
pub const TOKEN_LIFETIME_S: u64 = 1800;

/// How far a token's validity reaches back, in seconds, for clocks that differ.
const TOKEN_LEEWAY_S: u64 = 5;

/// The frame of every answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// 0 when the call was accepted.
    pub code: i64,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Of this HTTP call; not the task.
    #[serde(default)]
    pub request_id: String,
    /// What was asked for; often absent from errors.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

impl Envelope {
    /// Reads an answer; nothing when it is not an envelope.
    pub fn read(body: &[u8]) -> Option<Self> {
        let Value::Object(mut fields) = serde_json::from_slice(body).ok()? else {
            return None;
        };
        Some(Self {
            code: fields.get("code").and_then(liberal::whole)?,
            message: fields.get("message").map(liberal::text).unwrap_or_default(),
            request_id: fields.get("request_id").map(liberal::text).unwrap_or_default(),
            data: fields.remove("data").unwrap_or_default(),
        })
    }

    /// What the code means.
    pub fn meaning(&self) -> Meaning {
        Meaning::of(self.code)
    }
}

/// What an error code says, in the classes that ask for different behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// 0.
    Ok,
    /// 1000 to 1002, 1304: the key is not accepted, or not from this address.
    Auth,
    /// 1003, 1004: the token's times do not fit the provider's clock.
    TokenTime,
    /// 1100 to 1102: the account is blocked, in arrears or used up.
    Funds,
    /// 1103: the account may not use the model or endpoint.
    Permission,
    /// 1200, 1201: bad parameters, a duplicate external id, an unknown id.
    Parameters,
    /// 1202, 1203: wrong method, unknown path or model.
    NotFound,
    /// 1300, 1301: content rules.
    Moderated,
    /// 1302, 1303: too many requests or too many parallel tasks; nothing was made.
    Throttled,
    /// 5000 to 5002: the provider is in trouble, and may have done it all the same.
    Server,
    /// Not in the table.
    Other,
}

impl Meaning {
    /// Looks a code up.
    pub const fn of(code: i64) -> Self {
        match code {
            0 => Self::Ok,
            1000..=1002 | 1304 => Self::Auth,
            1003 | 1004 => Self::TokenTime,
            1100..=1102 => Self::Funds,
            1103 => Self::Permission,
            1200 | 1201 => Self::Parameters,
            1202 | 1203 => Self::NotFound,
            1300 | 1301 => Self::Moderated,
            1302 | 1303 => Self::Throttled,
            5000..=5002 => Self::Server,
            _ => Self::Other,
        }
    }
}

/// Where a task is, from the words of either standard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Waits.
    Submitted,
    /// Runs.
    Processing,
    /// Made.
    Succeeded,
    /// Given up.
    Failed,
    /// A word that we do not know.
    Other(String),
}

impl Status {
    /// Reads a status word; both standards' spellings are taken on either.
    pub fn read(word: &str) -> Self {
        match word {
            "submitted" => Self::Submitted,
            "processing" => Self::Processing,
            "succeeded" | "succeed" => Self::Succeeded,
            "failed" => Self::Failed,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// What a callback of either standard names. It is a hint: a poll has the word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// The task; opaque.
    pub id: String,
    /// Our marker; empty when it is not told.
    pub marker: String,
    /// Where the task is.
    pub status: Status,
}

impl Callback {
    /// Reads the bare task of either standard, or one in an envelope; nothing when
    /// no task is named.
    pub fn read(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let task = body.get("data").filter(|data| data.is_object()).unwrap_or(&body);
        let field = |places: [&str; 2]| {
            places.iter().filter_map(|place| task.pointer(place)).map(liberal::text).find(|text| !text.is_empty())
        };
        Some(Self {
            id: field(["/id", "/task_id"])?,
            marker: field(["/external_id", "/task_info/external_task_id"]).unwrap_or_default(),
            status: Status::read(&field(["/status", "/task_status"]).unwrap_or_default()),
        })
    }
}

/// Whether the text of an error speaks of an external id that is taken.
pub fn speaks_of_duplicate(message: &str) -> bool {
    let message = message.to_lowercase();
    if message.contains("not exist") {
        return false;
    }
    let says_taken = message.contains("exist") || message.contains("already") || message.contains("unique");
    message.contains("duplicat") || message.contains("already exist") || (says_taken && message.contains("external"))
}

/// Whether the reason of a failed task speaks of content rules.
pub fn speaks_of_moderation(message: &str) -> bool {
    let message = message.to_lowercase();
    ["policy", "sensitive", "risk control", "content safety", "moderation", "violat"]
        .iter()
        .any(|word| message.contains(word))
}

/// The token that a pair of keys signs for a call at `now_s` (Unix seconds).
pub fn token(access_key: &str, secret_key: &str, now_s: u64) -> String {
    #[derive(Serialize)]
    struct Claims<'a> {
        iss: &'a str,
        exp: u64,
        nbf: u64,
    }
    let claims = Claims {
        iss: access_key,
        exp: now_s.saturating_add(TOKEN_LIFETIME_S),
        nbf: now_s.saturating_sub(TOKEN_LEEWAY_S),
    };
    let claims = serde_json::to_string(&claims).expect("a text and two numbers are always JSON");
    let signed =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#), URL_SAFE_NO_PAD.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret_key.as_bytes());
    let mac = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_signed_as_the_vector_says() {
        assert_eq!(
            token("ak-example", "sk-example", 1_790_000_000),
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJhay1leGFtcGxlIiwiZXhwIjoxNzkwMDAxODAwLCJuYmYiOjE3ODk5OTk5OTV9.\
             Lo4InKBjByDWPQOmiThyjVgipV7I6oLyO8imMxAL2Tc"
        );
    }

    #[test]
    fn an_envelope_is_read_with_and_without_data() {
        let envelope =
            Envelope::read(br#"{"code":0,"message":"SUCCEED","request_id":"r-1","data":{},"new":1}"#).unwrap();
        assert_eq!((envelope.code, envelope.message.as_str(), envelope.request_id.as_str()), (0, "SUCCEED", "r-1"));
        let envelope = Envelope::read(br#"{"code":"1303","message":null}"#).unwrap();
        assert_eq!((envelope.meaning(), envelope.data), (Meaning::Throttled, Value::Null));
        for other in ["", "<html>", "[]", "{}", r#"{"code":null}"#, r#"{"message":"x"}"#] {
            assert_eq!(Envelope::read(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn both_spellings_of_success_are_read() {
        assert_eq!(Status::read("succeed"), Status::read("succeeded"));
        assert_eq!(Status::read("dancing"), Status::Other("dancing".to_owned()));
    }

    #[test]
    fn a_callback_of_either_standard_is_read() {
        let expected = Callback { id: "9".into(), marker: "job-42".into(), status: Status::Succeeded };
        for body in [
            r#"{"id":"9","status":"succeeded","message":"","external_id":"job-42","outputs":[]}"#,
            r#"{"task_id":9,"task_status":"succeed","task_info":{"external_task_id":"job-42"},"created_at":1}"#,
            r#"{"code":0,"data":{"task_id":"9","task_status":"succeed","task_info":{"external_task_id":"job-42"}}}"#,
        ] {
            assert_eq!(Callback::read(body.as_bytes()).as_ref(), Some(&expected), "{body}");
        }
        for body in ["", "[]", "{}", r#"{"id":null,"status":"succeed"}"#] {
            assert_eq!(Callback::read(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn a_taken_external_id_is_told_from_a_wrong_parameter() {
        for text in ["external_task_id already exists", "Duplicate external task id", "external_task_id exists"] {
            assert!(speaks_of_duplicate(text), "{text}");
        }
        for text in ["duration is invalid", "external_task_id too long", "image does not exist"] {
            assert!(!speaks_of_duplicate(text), "{text}");
        }
    }
}
