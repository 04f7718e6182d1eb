//! The bounds on what a request may bring: a little for every call, and for Submit
//! as much as two pictures need. Small requests pass untouched; of large ones only
//! a few are taken in at once, and one that stops coming gives its place up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;

use super::status;

/// The largest request but for Submit's, and what is small for a Submit.
pub const SMALL_BYTES: usize = 64 * 1024;
/// The largest Submit: two pictures of 10 MiB, which is Kling's limit, and the rest.
pub const SUBMIT_BYTES: usize = 24 * 1024 * 1024;
/// How many large ones are taken in at once. Each may be in memory three times
/// over: as it comes, as its digest is made, as it goes into its file.
const LARGE_AT_ONCE: usize = 2;
/// How many wait for their turn. What has come of them stays unread and takes up
/// the window of their connection, which leaves room for those that have a place:
/// the window is larger than that of all these streams together.
const WAITING: usize = 8;
/// How long one waits.
const TURN: Duration = Duration::from_secs(10);
/// How long it may take to come in after that.
const WHOLE: Duration = Duration::from_secs(60);
/// The only method that takes large ones.
const SUBMIT: &str = "/videogen.v1.VideoGen/Submit";

/// The places for large requests.
#[derive(Clone, Debug)]
pub struct Gate {
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// The place of a request that turned out large, until its call has ended.
pub type Place = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

impl Default for Gate {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(LARGE_AT_ONCE)), waiting: Arc::new(Semaphore::new(WAITING)) }
    }
}

/// A body that is counted as it comes.
struct Counted {
    body: Body,
    seen: usize,
    gate: Option<Gate>,
    place: Place,
    /// Until when the rest of a large one must be here.
    until: Option<Instant>,
}

impl Gate {
    /// Puts a request's body under the bounds of its method.
    pub fn bound(&self, path: &str, body: Body, place: &Place) -> Body {
        let gate = (path == SUBMIT).then(|| self.clone());
        let counted = Counted { body, seen: 0, gate, place: Arc::clone(place), until: None };
        Body::new(StreamBody::new(stream::unfold(Some(counted), |counted| async {
            let mut counted = counted?;
            match counted.next().await {
                Ok(Some(frame)) => Some((Ok(frame), Some(counted))),
                Ok(None) => None,
                // Nothing follows an error.
                Err(status) => Some((Err(status), None)),
            }
        })))
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Status> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| status::too_many_large())?;
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.places).acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or_else(status::too_many_large)
    }
}

impl Counted {
    async fn next(&mut self) -> Result<Option<http_body::Frame<bytes::Bytes>>, Status> {
        let frame = match self.until {
            None => self.body.frame().await,
            Some(until) => {
                tokio::time::timeout_at(until, self.body.frame()).await.map_err(|_| status::too_slow_a_request())?
            }
        };
        let Some(frame) = frame.transpose()? else { return Ok(None) };
        self.seen += frame.data_ref().map_or(0, bytes::Bytes::len);
        if self.seen > SMALL_BYTES && self.until.is_none() {
            let Some(gate) = &self.gate else {
                return Err(status::too_large("the message is too large: this request may have 64 KiB"));
            };
            let permit = gate.turn().await?;
            *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
            self.until = Some(Instant::now() + WHOLE);
        }
        Ok(Some(frame))
    }
}
