//! One look behind a link: the first part of the file, by one guarded request after
//! another until a host answers with bytes. A host that sends more is cut off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_RANGE, HeaderMap, LOCATION, RANGE};
use reqwest::{Client, Response};
use tokio::sync::Semaphore;
use tracing::debug;
use url::Url;

use crate::network::{Forbidden, Guard, client_builder, forbidden_cause, reason};
use crate::task::picture::Picture;

/// How many redirects are followed.
const REDIRECTS: usize = 3;
/// How much of a file is asked for and read at most.
const PART: usize = 256 * 1024;
/// How many fetches are under way at once, and how many of them at one host, lest
/// callers make a flood of us or one slow host keeps the others waiting.
const AT_ONCE: usize = 16;
const AT_ONE_HOST: usize = 4;
/// For name, connection and TLS handshake.
const CONNECT: Duration = Duration::from_secs(4);
/// The longest silence of a host.
const IDLE: Duration = Duration::from_secs(4);

/// Why a picture was not seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// There is none that could be used, and that will not change by itself.
    Refused(String),
    /// Nobody can tell now.
    Unclear,
}

/// Fetches the beginnings of pictures.
pub(super) struct Fetcher {
    client: Client,
    places: Semaphore,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Fetcher {
    pub(super) fn new(guard: &Guard) -> Result<Self, reqwest::Error> {
        Ok(Self::with(client_builder(guard).connect_timeout(CONNECT).read_timeout(IDLE).build()?))
    }

    pub(super) fn with(client: Client) -> Self {
        Self { client, places: Semaphore::new(AT_ONCE), hosts: Mutex::default() }
    }

    /// Looks at what is behind a link that was judged.
    pub(super) async fn fetch(&self, guard: &Guard, url: Url) -> Result<Picture, Missed> {
        let host = self.host(url.host_str().unwrap_or_default());
        // The host's place first: whoever waits for one takes no place from others.
        let (Ok(_one), Ok(_place)) = (host.acquire().await, self.places.acquire().await) else {
            return Err(Missed::Unclear);
        };
        let seen = self.follow(guard, url).await;
        let outcome = match &seen {
            Ok(_) => "seen",
            Err(Missed::Refused(_)) => "refused",
            Err(Missed::Unclear) => "unclear",
        };
        metrics::counter!("videogen_image_fetches_total", "outcome" => outcome).increment(1);
        seen
    }

    fn host(&self, name: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|_, host| Arc::strong_count(host) > 1);
        Arc::clone(hosts.entry(name.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(AT_ONE_HOST))))
    }

    async fn follow(&self, guard: &Guard, mut url: Url) -> Result<Picture, Missed> {
        for _ in 0..=REDIRECTS {
            let request = self.client.get(url.clone()).header(RANGE, format!("bytes=0-{}", PART - 1));
            let request = request.header(ACCEPT, "image/*").header(ACCEPT_ENCODING, "identity");
            let answer = request.send().await.map_err(broken)?;
            match answer.status().as_u16() {
                200 | 206 => return read(answer).await,
                301 | 302 | 303 | 307 | 308 => url = target(guard, &url, answer.headers())?,
                408 | 425 | 429 | 500..=599 => return Err(Missed::Unclear),
                status => {
                    return Err(Missed::Refused(format!(
                        "cannot be fetched: the host answers with HTTP status {status}"
                    )));
                }
            }
        }
        Err(Missed::Refused(format!("cannot be fetched: it is redirected more than {REDIRECTS} times")))
    }
}

async fn read(mut answer: Response) -> Result<Picture, Missed> {
    let size = size(&answer)?;
    let mut part = Vec::new();
    let mut ended = false;
    while part.len() < PART {
        match answer.chunk().await {
            Ok(Some(piece)) => part.extend_from_slice(&piece[..piece.len().min(PART - part.len())]),
            Ok(None) => {
                ended = true;
                break;
            }
            Err(error) => return Err(broken(error)),
        }
    }
    // Without a size that was told, a body that ends shows it.
    let size = size.or_else(|| ended.then_some(part.len() as u64));
    if ended && size.is_some_and(|size| (part.len() as u64) < size.min(PART as u64)) {
        return Err(Missed::Unclear);
    }
    Picture::read(&part, size).map_err(|none| Missed::Refused(none.to_string()))
}

/// The size of the whole file, as far as the host tells it.
fn size(answer: &Response) -> Result<Option<u64>, Missed> {
    if answer.status().as_u16() == 200 {
        return Ok(answer.content_length());
    }
    let range = answer.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok()).unwrap_or_default();
    // Another part than the first one tells nothing.
    let (part, whole) = range.split_once('/').ok_or(Missed::Unclear)?;
    if !part.trim_start().strip_prefix("bytes").is_some_and(|part| part.trim_start().starts_with("0-")) {
        return Err(Missed::Unclear);
    }
    Ok(whole.trim().parse().ok())
}

fn target(guard: &Guard, from: &Url, headers: &HeaderMap) -> Result<Url, Missed> {
    let location = headers
        .get(LOCATION)
        .ok_or_else(|| Missed::Refused("cannot be fetched: it is redirected to nowhere".to_owned()))?;
    let location = location.to_str().map_err(|_| forbidden(Forbidden::Character))?;
    let joined = from.join(location).map_err(|_| forbidden(Forbidden::Malformed))?;
    guard.check_url(joined.as_str()).map_err(forbidden)
}

fn forbidden(rule: Forbidden) -> Missed {
    Missed::Refused(format!("leads to where nothing is called: {rule}"))
}

/// A request without a whole answer. Only the log knows why.
fn broken(error: reqwest::Error) -> Missed {
    match forbidden_cause(&error) {
        Some(rule) => forbidden(rule),
        None => {
            debug!(reason = reason(error), "an image could not be fetched");
            Missed::Unclear
        }
    }
}
