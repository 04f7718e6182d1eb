//! The way to a receiver: one guarded request, no redirect, and of the answer the
//! status alone.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::Client;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};

use super::letter::Letter;
use crate::network::{Guard, client_builder, forbidden_cause, reason};

/// How long a connection may take, and the whole request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Sends a letter once.
pub type Post = Arc<dyn Fn(Letter) -> BoxFuture<'static, Answer> + Send + Sync>;

/// What became of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The receiver has it.
    Taken,
    /// The receiver wants no more of them.
    Gone,
    /// It may not have arrived.
    Failed {
        /// For people: one line without the URL.
        note: String,
        /// When the receiver wants to be asked again.
        retry_after: Option<Duration>,
    },
}

impl Answer {
    pub(super) fn failed(note: impl Into<String>) -> Self {
        Self::Failed { note: note.into(), retry_after: None }
    }
}

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the client for webhooks: {0}")]
pub struct PostError(String);

/// Sends over HTTP where the guard allows it.
pub fn by_http(guard: Guard) -> Result<Post, PostError> {
    let client = client_builder(&guard).connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT).build();
    let client = client.map_err(|error| PostError(reason(error)))?;
    Ok(Arc::new(move |letter| {
        let (client, guard) = (client.clone(), guard.clone());
        Box::pin(async move { send(&client, &guard, letter).await })
    }))
}

async fn send(client: &Client, guard: &Guard, letter: Letter) -> Answer {
    let Letter { url, id, timestamp_s, signatures, body } = letter;
    let url = match guard.check_url(&url) {
        Ok(url) => url,
        Err(forbidden) => return Answer::failed(format!("not called: {forbidden}")),
    };
    let request = client
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp_s)
        .header("webhook-signature", signatures)
        .body(body);
    match request.send().await {
        // The body of the answer is never read: nobody needs it.
        Ok(answer) => judge(answer.status().as_u16(), answer.headers()),
        Err(error) => Answer::failed(match forbidden_cause(&error) {
            Some(forbidden) => format!("not called: {forbidden}"),
            None if error.is_timeout() => "no answer in time".to_owned(),
            None => reason(error),
        }),
    }
}

fn judge(status: u16, headers: &HeaderMap) -> Answer {
    match status {
        200..=299 => Answer::Taken,
        410 => Answer::Gone,
        300..=399 => Answer::failed(format!("HTTP status {status}: redirects are not followed")),
        _ => Answer::Failed { note: format!("HTTP status {status}"), retry_after: retry_after(headers) },
    }
}

/// In seconds only; the form with a date is left to our own backoff.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u32 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}
