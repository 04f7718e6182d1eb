//! Reads the callbacks of one account: whether they are signed as its provider signs
//! them, and what they say. Nothing that is said here is believed before a poll has
//! confirmed it.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};

use super::Now;
use super::fal::keys::PublishedKeys;
use crate::wire::kling::Status;
use crate::wire::signature::{FalHeaders, Rejected, verify_standard};
use crate::wire::{fal, kling};

/// Reads the callbacks of one account.
pub struct CallbackReader {
    scheme: Scheme,
    now: Now,
}

enum Scheme {
    /// Kling, without a secret: the address alone speaks for the caller.
    Bare,
    /// Kling, by Standard Webhooks.
    Standard(SecretString),
    /// fal, by its published keys.
    Fal(Arc<PublishedKeys>),
}

/// What a callback says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whether the job has ended, or may have: what cannot be read may say anything.
    pub ended: bool,
    /// What the job is called, where a signature vouches for it and nothing better
    /// tells: Kling's jobs are looked up by our own marker.
    pub jobs: Vec<String>,
}

impl CallbackReader {
    /// For an account of Kling's, with the secret of its console if there is one.
    pub(super) fn kling(secret: Option<SecretString>, now: Now) -> Self {
        Self { scheme: secret.map_or(Scheme::Bare, Scheme::Standard), now }
    }

    /// For an account of fal's.
    pub(super) fn fal(keys: PublishedKeys, now: Now) -> Self {
        Self { scheme: Scheme::Fal(Arc::new(keys)), now }
    }

    /// Verifies a callback and reads it.
    pub async fn read(&self, headers: &HeaderMap, body: &[u8]) -> Result<Told, Rejected> {
        let now_s = (self.now)().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        match &self.scheme {
            Scheme::Bare => Ok(of_kling(body)),
            Scheme::Standard(secret) => {
                let [id, timestamp, signatures] =
                    texts(headers, ["webhook-id", "webhook-timestamp", "webhook-signature"])?;
                verify_standard(secret.expose_secret(), id, timestamp, signatures, body, now_s)?;
                Ok(of_kling(body))
            }
            Scheme::Fal(keys) => {
                let [request_id, user_id, timestamp, signature] = texts(
                    headers,
                    [
                        "x-fal-webhook-request-id",
                        "x-fal-webhook-user-id",
                        "x-fal-webhook-timestamp",
                        "x-fal-webhook-signature",
                    ],
                )?;
                keys.verify(FalHeaders { request_id, user_id, timestamp, signature }, body, now_s).await?;
                Ok(of_fal(body))
            }
        }
    }
}

/// These headers as text; all of them, or the callback is not signed.
fn texts<'a, const N: usize>(headers: &'a HeaderMap, names: [&str; N]) -> Result<[&'a str; N], Rejected> {
    let mut found = [""; N];
    for (place, name) in found.iter_mut().zip(names) {
        *place = headers.get(name).and_then(|value| value.to_str().ok()).ok_or(Rejected::Unsigned)?;
    }
    Ok(found)
}

fn of_kling(body: &[u8]) -> Told {
    let status = kling::Callback::read(body).map(|callback| callback.status);
    let ended = !matches!(status, Some(Status::Submitted | Status::Processing));
    Told { ended, jobs: Vec::new() }
}

/// fal calls at the end only. After a retry of its own a job has two names.
fn of_fal(body: &[u8]) -> Told {
    let callback: fal::Callback = serde_json::from_slice(body).unwrap_or_default();
    let mut jobs = vec![callback.request_id, callback.gateway_request_id];
    jobs.retain(|id| !id.is_empty());
    jobs.dedup();
    Told { ended: true, jobs }
}
