//! fal's queue: submit, status, result, cancel. Completed is not yet a success:
//! the result is read first. A lost submit is looked for in the history.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod history;
#[cfg(test)]
mod history_tests;
pub(super) mod keys;
mod order;
mod place;
mod read;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use self::place::Place;
use super::contract::{Abilities, Created, Found, Order, Provider, Trouble};
use super::http::{Answer, Call, Http, HttpLimits, Lost, is_usable_id, join};
use super::redact::Redactor;
use super::{Now, trouble};
use crate::catalog::{Model, Wire};
use crate::task::event::Observation;
use crate::task::id::JobId;
use crate::task::state::{CancelOutcome, Failure, FailureKind, Job};
use crate::wire::fal::Queued;

/// Within how many seconds a job has to start, so that an orphan of a lost submit
/// cannot start hours later. Queues of an hour are seen; longer ones are given up.
const START_TIMEOUT_S: &str = "3600";

/// How long the produced files are asked to live: enough for an archive that was
/// down over a long weekend, not for ever.
const FILE_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// [`FILE_LIFETIME`] as fal wants it.
const LIFECYCLE: &str = r#"{"expiration_duration_seconds":604800}"#;

/// What an adapter for one fal account is made of.
#[derive(Clone, Debug)]
pub struct FalSettings {
    /// The queue host.
    pub base_url: Url,
    /// The platform API, where ended requests are listed; none means that nothing is
    /// looked for.
    pub history_url: Option<Url>,
    /// One opaque key or `id:secret`.
    pub api_key: SecretString,
    /// How long calls may take.
    pub limits: HttpLimits,
}

/// Why an account cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum FalError {
    /// The key cannot stand in a header.
    #[error("the key cannot stand in a header")]
    UnusableKey,
    /// The HTTP client cannot be built.
    #[error("the http client cannot be built")]
    Client(#[source] reqwest::Error),
}

/// One fal account.
pub struct Fal {
    base_url: Url,
    history_url: Option<Url>,
    key: HeaderValue,
    http: Http,
    redactor: Redactor,
    now: Now,
}

impl fmt::Debug for Fal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fal").field("http", &self.http).finish_non_exhaustive()
    }
}

impl Fal {
    /// Opens the account; calls nobody.
    pub fn new(settings: FalSettings, now: Now) -> Result<Self, FalError> {
        let http = Http::new(settings.limits).map_err(FalError::Client)?;
        Self::over(http, settings, now)
    }

    pub(super) fn over(http: Http, settings: FalSettings, now: Now) -> Result<Self, FalError> {
        let FalSettings { base_url, history_url, api_key, limits: _ } = settings;
        let mut key =
            HeaderValue::from_str(&format!("Key {}", api_key.expose_secret())).map_err(|_| FalError::UnusableKey)?;
        key.set_sensitive(true);
        // Both halves of `id:secret` are secrets by themselves.
        let halves: Vec<SecretString> = api_key.expose_secret().split(':').map(SecretString::from).collect();
        let redactor = Redactor::new([api_key].into_iter().chain(halves));
        Ok(Self { base_url, history_url, key, http, redactor, now })
    }

    /// The job of this model that a callback named; nothing when its id cannot be one.
    pub fn job(model: &Model, id: &str) -> Option<Job> {
        let place = Place::by_rule(&model.wire_id, id).filter(|_| is_usable_id(id))?;
        Some(Job { id: JobId::new(id), handle: place.to_handle() })
    }

    fn create_call(&self, order: &Order<'_>) -> Result<Call, Failure> {
        let refused = |message: &str| Failure::free(FailureKind::ProviderRefused, message);
        let Wire::FalQueue(names) = &order.model.wire else {
            return Err(refused("the model is not one of fal's"));
        };
        let id = &order.model.wire_id;
        // What could not be followed must not be bought.
        if Place::by_rule(id, "").is_none() {
            return Err(refused("the model's id is not owner/app with a plain path"));
        }
        let mut url = join(&self.base_url, &format!("/{id}"));
        if let Some(callback) = order.callback {
            url.query_pairs_mut().append_pair("fal_webhook", callback.as_str());
        }
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, self.key.clone()),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (HeaderName::from_static("x-fal-request-timeout"), HeaderValue::from_static(START_TIMEOUT_S)),
            (HeaderName::from_static("x-fal-object-lifecycle-preference"), HeaderValue::from_static(LIFECYCLE)),
        ]);
        let body = serde_json::to_vec(&order::input(order.spec, names, history::own_seed(order)))
            .map_err(|_| refused("the request cannot be written as json"))?;
        Ok(Call { method: Method::POST, url, headers, body: Some(body) })
    }

    fn judge(&self, answer: &Answer, order: &Order<'_>) -> Created {
        let redactor = self.redactor.for_order(order);
        if !answer.is_success() {
            return read::without_job(answer, &redactor);
        }
        match self.accepted(answer, order) {
            Some(job) => Created::Accepted(job),
            None => Created::Unknown { reason: answer.described(&redactor) },
        }
    }

    /// The job that a success names.
    fn accepted(&self, answer: &Answer, order: &Order<'_>) -> Option<Job> {
        let mut queued: Queued = serde_json::from_slice(&answer.body).unwrap_or_default();
        if queued.request_id.is_empty() {
            // The header names the job too, and knowing it beats guessing.
            queued.request_id = answer.header("x-fal-request-id").to_owned();
        }
        let id = queued.request_id.clone();
        let place = Place::of_answer(&queued, &order.model.wire_id, &self.base_url, (self.now)());
        let place = place.filter(|_| answer.is_success() && is_usable_id(&id))?;
        Some(Job { id: JobId::new(id), handle: place.to_handle() })
    }

    /// An answer that broke off. Its head alone may name the job.
    fn judge_lost(&self, lost: Lost, order: &Order<'_>) -> Created {
        match lost {
            Lost::NotSent(reason) => Created::NotSent { reason: self.redactor.redact(&reason) },
            Lost::Unknown { reason, head } => match head.and_then(|head| self.accepted(&head, order)) {
                Some(job) => Created::Accepted(job),
                None => Created::Unknown { reason: self.redactor.redact(&reason) },
            },
        }
    }

    async fn call(&self, method: Method, path: &str, query: Option<&str>) -> Result<Answer, Trouble> {
        let mut url = join(&self.base_url, path);
        url.set_query(query);
        let mut headers = HeaderMap::from_iter([(AUTHORIZATION, self.key.clone())]);
        if method == Method::PUT {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        self.http.query(Call { method, url, headers, body: None }).await
    }

    async fn poll_one(&self, job: &Job) -> Result<Observation, Trouble> {
        let place = Place::read(&job.handle).ok_or_else(|| trouble("the job's handle is not one of fal's"))?;
        let answer = self.call(Method::GET, &place.status, Some("logs=1")).await?;
        let read = serde_json::from_slice::<Queued>(&answer.body).ok();
        let queued = match (answer.status, read) {
            (200 | 202, Some(queued)) => queued,
            (404, _) if !answer.is_html() => return Ok(Observation::Missing),
            _ => return Err(answer.trouble(&self.redactor)),
        };
        if queued.status != "COMPLETED" {
            return Ok(read::pending(&queued, &self.redactor));
        }
        let answer = self.call(Method::GET, &place.result, None).await?;
        let mut observation = read::result(&answer, &queued, &self.redactor)?;
        if let Observation::Succeeded { output, .. } = &mut observation {
            output.expires = place.expiry(FILE_LIFETIME);
        }
        Ok(observation)
    }
}

#[async_trait]
impl Provider for Fal {
    fn abilities(&self) -> Abilities {
        Abilities {
            poll_batch: 1,
            finds_by_marker: self.history_url.is_some(),
            refuses_duplicates: false,
            cancels: true,
        }
    }

    async fn submit(&self, order: Order<'_>) -> Created {
        let call = match self.create_call(&order) {
            Ok(call) => call,
            Err(failure) => return Created::Refused(failure),
        };
        match self.http.create(call).await {
            Ok(answer) => self.judge(&answer, &order),
            Err(lost) => self.judge_lost(lost, &order),
        }
    }

    async fn poll(&self, jobs: &[Job]) -> Vec<Result<Observation, Trouble>> {
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            answers.push(self.poll_one(job).await);
        }
        answers
    }

    async fn find(&self, order: Order<'_>) -> Result<Found, Trouble> {
        self.find_in_history(&order).await
    }

    async fn cancel(&self, job: &Job) -> Result<CancelOutcome, Trouble> {
        let place = Place::read(&job.handle).ok_or_else(|| trouble("the job's handle is not one of fal's"))?;
        let answer = self.call(Method::PUT, &place.cancel, None).await?;
        read::cancelled(&answer, &self.redactor)
    }
}
