//! Kling: both of its API standards behind one adapter. The catalog's row says
//! which one a model is spoken to in; a job's handle remembers it.

mod credentials;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod order;
mod read;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::HashMap;
use std::fmt;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use futures::future::join_all;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;
use url::Url;

use self::order::{Draft, Place};
use self::verdict::{Verdict, job_id, judge, marker_in, refuse_unless_resent};
use super::contract::{Abilities, Created, Found, Order, Provider, Trouble};
use super::http::{Answer, Call, Http, HttpLimits, Lost, is_usable_id, join};
use super::redact::Redactor;
use super::{Now, trouble};
use crate::task::event::Observation;
use crate::task::id::JobId;
use crate::task::state::{CancelOutcome, Failure, FailureKind, Job};
use crate::wire::kling::{Envelope, Meaning, QUERY_BATCH};
use crate::wire::liberal;

pub use self::credentials::KlingCredentials;
use self::credentials::Signer;

/// How many single queries are on their way at once.
const QUERIES_AT_ONCE: usize = 4;

/// What an adapter for one Kling account is made of.
#[derive(Clone, Debug)]
pub struct KlingSettings {
    /// Host and prefix; both standards' paths are put behind it.
    pub base_url: Url,
    /// Who calls.
    pub credentials: KlingCredentials,
    /// How long calls may take.
    pub limits: HttpLimits,
}

/// One Kling account.
pub struct Kling {
    base_url: Url,
    signer: Signer,
    http: Http,
    redactor: Redactor,
    now: Now,
}

impl fmt::Debug for Kling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kling").field("http", &self.http).finish_non_exhaustive()
    }
}

impl Kling {
    /// Opens the account; calls nobody.
    pub fn new(settings: KlingSettings, now: Now) -> Result<Self, reqwest::Error> {
        let http = Http::new(settings.limits)?;
        Ok(Self::over(http, settings, now))
    }

    pub(super) fn over(http: Http, settings: KlingSettings, now: Now) -> Self {
        let KlingSettings { base_url, credentials, limits: _ } = settings;
        let redactor = Redactor::new(credentials.secrets());
        Self { base_url, signer: Signer::new(credentials), http, redactor, now }
    }

    fn headers(&self) -> Option<HeaderMap> {
        let now_s = (self.now)().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Some(HeaderMap::from_iter([(AUTHORIZATION, self.signer.header(now_s)?)]))
    }

    /// Why these credentials cannot be used there.
    fn misfit(&self, place: &Place) -> Option<&'static str> {
        let fits = matches!(place, Place::Legacy(_)) || self.signer.fits_new_standard();
        (!fits).then_some("this model's API takes an api_key; the account has an access_key and secret_key")
    }

    async fn send_create(&self, draft: &Draft, order: &Order<'_>) -> Verdict {
        let Some(mut headers) = self.headers() else {
            return Verdict::Settled(Created::Refused(unusable_key()));
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let url = join(&self.base_url, &draft.path);
        let call = Call { method: Method::POST, url, headers, body: Some(draft.body.clone()) };
        match self.http.create(call).await {
            Ok(answer) => judge(&answer, &draft.place, order.resent, &self.redactor.for_order(order)),
            Err(Lost::NotSent(reason)) => Verdict::Settled(Created::NotSent { reason: self.redactor.redact(&reason) }),
            Err(Lost::Unknown { reason, .. }) => {
                Verdict::Settled(Created::Unknown { reason: self.redactor.redact(&reason) })
            }
        }
    }

    /// Asks, and once more with a fresh token if the first was out of its time.
    async fn ask(&self, url: Url) -> Result<(Answer, Envelope), Trouble> {
        let (answer, envelope) = self.ask_once(url.clone()).await?;
        if envelope.meaning() != Meaning::TokenTime || !self.signer.can_sign_again() {
            return Ok((answer, envelope));
        }
        self.signer.forget_token();
        self.ask_once(url).await
    }

    async fn ask_once(&self, url: Url) -> Result<(Answer, Envelope), Trouble> {
        let headers = self.headers().ok_or_else(|| trouble("the key cannot stand in a header"))?;
        let answer = self.http.query(Call { method: Method::GET, url, headers, body: None }).await?;
        match Envelope::read(&answer.body) {
            Some(envelope) => Ok((answer, envelope)),
            None => Err(answer.trouble(&self.redactor)),
        }
    }

    /// The tasks of a query of the new standard; `None` for "parameters", which is
    /// also what it says when it does not know an id.
    async fn tasks(&self, parameter: &str, ids: &[&str]) -> Result<Option<Vec<Value>>, Trouble> {
        if let Some(misfit) = self.misfit(&Place::New) {
            return Err(trouble(misfit));
        }
        let mut url = join(&self.base_url, "/tasks");
        url.set_query(Some(&format!("{parameter}={}", ids.join(","))));
        let (answer, mut envelope) = self.ask(url).await?;
        match (envelope.meaning(), envelope.data.take()) {
            (Meaning::Ok, Value::Array(tasks)) if answer.is_success() => Ok(Some(tasks)),
            (Meaning::Ok, task @ Value::Object(_)) if answer.is_success() => Ok(Some(vec![task])),
            (Meaning::Parameters, _) if answer.status < 500 => Ok(None),
            _ => Err(answer.trouble(&self.redactor)),
        }
    }

    /// The task of a query of the legacy standard, by its id or our marker; `None`
    /// when it is not known.
    async fn legacy_task(&self, path: &str, id: &str) -> Result<Option<Value>, Trouble> {
        let (answer, mut envelope) = self.ask(join(&self.base_url, &format!("{path}/{id}"))).await?;
        match (envelope.meaning(), envelope.data.take()) {
            (Meaning::Ok, task @ Value::Object(_)) if answer.is_success() => Ok(Some(task)),
            (Meaning::Ok, Value::Array(mut tasks)) if answer.is_success() => Ok(tasks.pop()),
            (Meaning::Parameters, _) if answer.status < 500 => Ok(None),
            // "No such resource" on a path that is known to be right is the id.
            (Meaning::NotFound, _) if envelope.code == 1203 && answer.status < 500 => Ok(None),
            _ => Err(answer.trouble(&self.redactor)),
        }
    }

    /// Asks after up to [`QUERY_BATCH`] jobs of the new standard at once.
    async fn poll_batch(&self, ids: &[&str]) -> HashMap<String, Result<Observation, Trouble>> {
        match self.tasks("task_ids", ids).await {
            Ok(Some(tasks)) => self.by_id(&tasks, ids),
            // One unknown id spoils the whole answer: the others are asked after alone.
            Ok(None) if ids.len() > 1 => self.poll_singly(ids).await,
            Ok(None) => ids.iter().map(|id| ((*id).to_owned(), Ok(Observation::Missing))).collect(),
            Err(trouble) => ids.iter().map(|id| ((*id).to_owned(), Err(trouble.clone()))).collect(),
        }
    }

    async fn poll_singly(&self, ids: &[&str]) -> HashMap<String, Result<Observation, Trouble>> {
        let mut answers = HashMap::new();
        for some in ids.chunks(QUERIES_AT_ONCE) {
            let asked = some.iter().map(|id| async move {
                let answer = match self.tasks("task_ids", &[id]).await {
                    Ok(Some(tasks)) => self.by_id(&tasks, &[id]).remove(*id).unwrap_or(Ok(Observation::Missing)),
                    Ok(None) => Ok(Observation::Missing),
                    Err(trouble) => Err(trouble),
                };
                ((*id).to_owned(), answer)
            });
            answers.extend(join_all(asked).await);
        }
        answers
    }

    /// The answer's order is not promised, and an id may come twice: the first counts.
    fn by_id(&self, tasks: &[Value], ids: &[&str]) -> HashMap<String, Result<Observation, Trouble>> {
        let find = |id: &str| tasks.iter().find(|task| task.get("id").map(liberal::text).as_deref() == Some(id));
        let read = |id: &str| match find(id) {
            None => Ok(Observation::Missing),
            Some(task) => self.observe(task, &Place::New),
        };
        ids.iter().map(|id| ((*id).to_owned(), read(id))).collect()
    }

    async fn poll_legacy(&self, path: &'static str, id: &str) -> Result<Observation, Trouble> {
        match self.legacy_task(path, id).await? {
            None => Ok(Observation::Missing),
            Some(task) => self.observe(&task, &Place::Legacy(path)),
        }
    }

    fn observe(&self, task: &Value, place: &Place) -> Result<Observation, Trouble> {
        read::observe(task, place, &self.redactor).ok_or_else(|| trouble("the task in the answer cannot be read"))
    }
}

#[async_trait]
impl Provider for Kling {
    fn abilities(&self) -> Abilities {
        Abilities { poll_batch: QUERY_BATCH, finds_by_marker: true, refuses_duplicates: true, cancels: false }
    }

    /// Only the new standard has a batch query.
    fn batch_of(&self, job: &Job) -> usize {
        match Place::read(&job.handle) {
            Some(Place::New) => QUERY_BATCH,
            Some(Place::Legacy(_)) | None => 1,
        }
    }

    async fn submit(&self, order: Order<'_>) -> Created {
        let draft = match Draft::of(&order) {
            Ok(draft) => draft,
            Err(failure) => return Created::Refused(failure),
        };
        if let Some(misfit) = self.misfit(&draft.place) {
            return Created::Refused(Failure::free(FailureKind::ProviderAuth, misfit));
        }
        match self.send_create(&draft, &order).await {
            Verdict::Settled(created) => created,
            Verdict::SignAgain(failure) if !self.signer.can_sign_again() => refuse_unless_resent(failure, order.resent),
            // The refusal is definite, so this one repetition inside an adapter cannot
            // buy twice.
            Verdict::SignAgain(_) => {
                self.signer.forget_token();
                match self.send_create(&draft, &order).await {
                    Verdict::Settled(created) => created,
                    Verdict::SignAgain(failure) => refuse_unless_resent(failure, order.resent),
                }
            }
        }
    }

    async fn poll(&self, jobs: &[Job]) -> Vec<Result<Observation, Trouble>> {
        let places: Vec<Option<Place>> =
            jobs.iter().map(|job| Place::read(&job.handle).filter(|_| is_usable_id(job.id.as_str()))).collect();
        let mut new: Vec<&str> = Vec::new();
        for (job, place) in jobs.iter().zip(&places) {
            if *place == Some(Place::New) && !new.contains(&job.id.as_str()) {
                new.push(job.id.as_str());
            }
        }
        let mut batched = HashMap::new();
        for ids in new.chunks(QUERY_BATCH) {
            batched.extend(self.poll_batch(ids).await);
        }
        let mut answers = Vec::with_capacity(jobs.len());
        let all: Vec<(&Job, &Option<Place>)> = jobs.iter().zip(&places).collect();
        for some in all.chunks(QUERIES_AT_ONCE) {
            let batched = &batched;
            let asked = some.iter().map(|(job, place)| async move {
                match place {
                    Some(Place::New) => batched.get(job.id.as_str()).cloned().unwrap_or(Ok(Observation::Missing)),
                    Some(Place::Legacy(path)) => self.poll_legacy(path, job.id.as_str()).await,
                    None => Err(trouble("the job's id or handle is not one of kling's")),
                }
            });
            answers.extend(join_all(asked).await);
        }
        answers
    }

    async fn find(&self, order: Order<'_>) -> Result<Found, Trouble> {
        let place = Place::of(order.spec, order.model).ok_or_else(|| trouble("the model is not one of kling's"))?;
        let marker = order.marker.as_str();
        let found = match &place {
            Place::New => self.tasks("external_task_ids", &[marker]).await?.unwrap_or_default(),
            Place::Legacy(path) => self.legacy_task(path, marker).await?.into_iter().collect(),
        };
        // Somebody else's job must never be adopted, even if the query goes astray.
        let ours = |task: &&Value| match marker_in(task, &place) {
            told if told.is_empty() => found.len() == 1,
            told => told == marker,
        };
        let Some(task) = found.iter().find(ours) else {
            return Ok(Found::Nothing);
        };
        let id = job_id(task, &place);
        if !is_usable_id(&id) {
            return Err(trouble("the job that was found has no usable id"));
        }
        Ok(Found::Job(Job { id: JobId::new(id), handle: place.to_handle() }))
    }

    async fn cancel(&self, _job: &Job) -> Result<CancelOutcome, Trouble> {
        Ok(CancelOutcome::NotSupported)
    }
}

fn unusable_key() -> Failure {
    Failure::free(FailureKind::ProviderAuth, "the account's key cannot stand in a header")
}
