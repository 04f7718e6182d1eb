//! The way to a provider's file: one guarded request after another until a host
//! answers with bytes. What the bytes are is judged in `fetch`.

use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, LOCATION, RETRY_AFTER, TRANSFER_ENCODING};
use reqwest::{Client, Response, StatusCode, Version};
use url::Url;

use crate::network::{Forbidden, Guard, client_builder, forbidden_cause, reason};

use super::ArchiveSettings;
use super::error::{ArchiveError, FetchError};

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 3;

/// A client that keeps to the outbound policy, with the archive's limits of time.
pub(super) fn client(settings: &ArchiveSettings, guard: &Guard) -> Result<Client, ArchiveError> {
    client_builder(guard)
        .connect_timeout(settings.connect_timeout)
        .read_timeout(settings.idle_timeout)
        .build()
        .map_err(|error| ArchiveError::Client(reason(error)))
}

/// Asks for a file and follows redirects, each of them judged like the first link.
pub(super) async fn open(client: &Client, guard: &Guard, link: &str) -> Result<Response, FetchError> {
    let mut url = guard.check_url(link).map_err(FetchError::Forbidden)?;
    for _ in 0..=MAX_REDIRECTS {
        let request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
        let answer = request.send().await.map_err(cut)?;
        let status = answer.status();
        match status.as_u16() {
            200 => return Ok(answer),
            301 | 302 | 303 | 307 | 308 => url = target(guard, &url, answer.headers())?,
            _ => return Err(refusal(status, answer.headers())),
        }
    }
    Err(FetchError::transient("too many redirects"))
}

/// Whether the answer's own framing shows where it ends. Without that, a cut
/// connection looks like the end of the file.
pub(super) fn shows_its_end(answer: &Response) -> bool {
    let chunked = answer.headers().get(TRANSFER_ENCODING).is_some();
    chunked || answer.content_length().is_some() || answer.version() > Version::HTTP_11
}

/// A failed request or a body that ended early.
pub(super) fn cut(error: reqwest::Error) -> FetchError {
    match forbidden_cause(&error) {
        Some(forbidden) => FetchError::Forbidden(forbidden),
        None => FetchError::transient(reason(error)),
    }
}

fn target(guard: &Guard, from: &Url, headers: &HeaderMap) -> Result<Url, FetchError> {
    let location = headers.get(LOCATION).ok_or_else(|| FetchError::transient("a redirect to nowhere"))?;
    let location = location.to_str().map_err(|_| FetchError::Forbidden(Forbidden::Character))?;
    let joined = from.join(location).map_err(|_| FetchError::Forbidden(Forbidden::Malformed))?;
    guard.check_url(joined.as_str()).map_err(FetchError::Forbidden)
}

fn refusal(status: StatusCode, headers: &HeaderMap) -> FetchError {
    match status.as_u16() {
        408 | 425 | 429 | 500..=599 => FetchError::Transient {
            reason: format!("the host answered with HTTP status {}", status.as_u16()),
            retry_after: retry_after(headers),
        },
        // Hosts of signed links say that a link is over with any of these.
        400..=499 => FetchError::LinkExpired { status: status.as_u16() },
        other => FetchError::transient(format!("the host answered with HTTP status {other}")),
    }
}

/// In seconds only; the form with a date is left to the caller's own backoff.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u32 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}
