//! What all rooms of the simulator share, and the one way in which a create is
//! sold: the same for each provider, so that a fault means the same everywhere.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::hmac;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::account;
use super::answer::Answer;
use super::book::{Book, Ending, Job, NotSold, Shape};
use super::callback::Callbacks;
use super::clip::Clips;
use super::directive::Directives;
use super::faults::{FaultKind, Faults, Moment, Provider, Standard, Strike};
use super::ledger::{Entry, Ledger};
use super::settings::Settings;

/// Everything that outlives a request.
pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) book: Book,
    pub(crate) faults: Faults,
    pub(crate) ledger: Ledger,
    pub(crate) clips: Clips,
    pub(crate) callbacks: Callbacks,
    pub(crate) link_key: hmac::Key,
    pub(crate) shutdown: CancellationToken,
}

/// A create that has been read, and is to be sold.
pub(crate) struct Order {
    pub(crate) provider: Provider,
    pub(crate) standard: Standard,
    pub(crate) id: String,
    pub(crate) path: String,
    pub(crate) kind: String,
    pub(crate) model: String,
    pub(crate) account: String,
    pub(crate) marker: Option<String>,
    pub(crate) prompt: String,
    pub(crate) shape: Shape,
    pub(crate) watermark: bool,
    pub(crate) origin: String,
    pub(crate) callback_url: Option<String>,
    pub(crate) input: Option<Value>,
    pub(crate) ignored: Vec<String>,
    pub(crate) body_sha256: String,
    pub(crate) pictures: Vec<String>,
    /// What the job fails with although it was accepted.
    pub(crate) flaw: Option<Ending>,
}

/// Why an order was not taken.
pub(crate) enum Refusal {
    NotSold(NotSold),
    /// The ledger could not be written: nothing may be sold that is not in it.
    Ledger,
}

/// Milliseconds since 1970. The simulator plays an outside system, and so it has
/// a clock of its own: it must not follow the clock of those whom it tests.
#[allow(clippy::disallowed_methods, reason = "an outside system's own clock")]
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl World {
    /// The fault that strikes the answer to a create: the prompt's own, or a rule's.
    pub(crate) fn create_fault(
        &self,
        provider: Provider,
        standard: Standard,
        prompt: &str,
        scope: &str,
    ) -> Option<Strike> {
        let mut wishes = Directives::read(prompt).wishes;
        wishes.retain(|wish| wish.strike.kind.spoils_answer());
        let wished = self.faults.wish(&format!("create/{scope}"), &wishes, Moment::Create);
        wished.or_else(|| self.faults.strike(provider, standard, Moment::Create, FaultKind::spoils_answer))
    }

    /// The fault that strikes at a later moment of a job: its own wish, or a rule's.
    pub(crate) fn job_fault(&self, job: &Job, moment: Moment, fits: impl Fn(FaultKind) -> bool) -> Option<Strike> {
        let wished = self.wish(job, moment, &fits);
        wished.or_else(|| self.faults.strike(job.provider, job.standard, moment, fits))
    }

    /// What a job's own prompt wishes for at this moment.
    fn wish(&self, job: &Job, moment: Moment, fits: impl Fn(FaultKind) -> bool) -> Option<Strike> {
        let mut wishes = job.wishes.clone();
        wishes.retain(|wish| wish.on == moment && fits(wish.strike.kind));
        if wishes.is_empty() { None } else { self.faults.wish(&format!("{moment:?}/{}", job.id), &wishes, moment) }
    }

    /// The fault that strikes a query as a whole: what one of its jobs wishes, or a rule.
    pub(crate) fn query_fault(&self, provider: Provider, standard: Standard, jobs: &[Arc<Job>]) -> Option<Strike> {
        let spoils = FaultKind::spoils_answer;
        let wished = jobs.iter().find_map(|job| self.wish(job, Moment::Poll, spoils));
        let struck = wished.or_else(|| self.faults.strike(provider, standard, Moment::Poll, spoils));
        struck.or_else(|| {
            let kinds = [FaultKind::Error, FaultKind::Drop, FaultKind::Html];
            let kind = kinds[rand::random_range(0..kinds.len())];
            (rand::random::<f64>() < self.settings.poll_error_rate).then_some(Strike { kind, code: None })
        })
    }

    /// Sells a job: books it, writes the ledger, plans its callbacks.
    pub(crate) async fn sell(&self, order: Order, fault: Option<Strike>) -> Result<Arc<Job>, Refusal> {
        let answered = match fault {
            Some(strike) => word(strike.kind),
            None => "ok".to_owned(),
        };
        let entry = entry(&order, answered);
        let job = self.job(order);
        let limit = match job.provider {
            Provider::Kling => self.settings.parallel_limit,
            Provider::Fal | Provider::Any => None,
        };
        let job = self.book.sell(job, limit, self.settings.jobs_kept).map_err(Refusal::NotSold)?;
        self.ledger.append(entry).await.map_err(|error| {
            tracing::error!(%error, "the simulator's ledger cannot be written");
            Refusal::Ledger
        })?;
        self.callbacks.plan(&job, self).await;
        Ok(job)
    }

    fn job(&self, order: Order) -> Job {
        let directives = Directives::read(&order.prompt);
        let (shaping, wishes): (Vec<_>, Vec<_>) = directives
            .wishes
            .into_iter()
            .partition(|wish| wish.on == Moment::Create && !wish.strike.kind.spoils_answer());
        let mut strikes: Vec<Strike> = shaping.into_iter().map(|wish| wish.strike).collect();
        strikes.extend(self.faults.strikes(order.provider, order.standard));
        let struck = |kind| strikes.iter().any(|strike| strike.kind == kind);
        let ending = order.flaw.unwrap_or(match () {
            () if struck(FaultKind::Moderation) => moderated(),
            () if struck(FaultKind::Fail) => failed(),
            () => Ending::Success,
        });
        let latency = directives.latency.unwrap_or_else(|| self.latency(&order.id));
        let latency = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4);
        let created = now();
        Job {
            ends: (!struck(FaultKind::NeverFinish)).then_some(created + latency),
            starts: created + latency / 10,
            id: order.id,
            provider: order.provider,
            standard: order.standard,
            kind: order.kind,
            model: order.model,
            account: order.account,
            marker: order.marker,
            prompt: order.prompt,
            shape: order.shape,
            watermark: order.watermark,
            origin: order.origin,
            callback_url: order.callback_url,
            input: order.input,
            ignored: order.ignored,
            created,
            ending,
            wishes,
            strikes,
            cancelled: AtomicU64::new(0),
            called_back: AtomicU64::new(0),
            queries: AtomicU32::new(0),
        }
    }

    /// What the clip of a prompt shows: the prompt itself, or one of few scenes.
    pub(crate) fn scene<'a>(&self, prompt: &'a str) -> Cow<'a, str> {
        match self.settings.clips {
            None => Cow::Borrowed(prompt),
            Some(kinds) => Cow::Owned(format!("scene {}", digest(prompt) % kinds.max(1))),
        }
    }

    /// A length of time within the settings' range that follows from the id.
    fn latency(&self, id: &str) -> Duration {
        let range = &self.settings.latency;
        range.start + range.end.saturating_sub(range.start) * (digest(id) % 1_000) / 1_000
    }

    /// Spoils an answer that is ready. Kinds that do nothing first were dealt with before.
    pub(crate) fn spoil(answer: Answer, fault: Option<Strike>, error: impl FnOnce() -> Answer) -> Answer {
        match (fault.map(|strike| strike.kind), answer) {
            (Some(FaultKind::AcceptDrop | FaultKind::Drop), _) => Answer::Cut,
            (Some(FaultKind::AcceptHang | FaultKind::Hang), _) => Answer::Hang,
            (Some(FaultKind::AcceptHtml | FaultKind::Html), _) => Answer::edge_page(),
            (Some(FaultKind::AcceptError | FaultKind::Error), _) => error(),
            (Some(FaultKind::Unreadable), _) => Answer::unreadable(),
            (Some(FaultKind::Drip), Answer::Reply(reply)) => Answer::Drip(reply),
            (_, answer) => answer,
        }
    }
}

/// A number that follows from a text.
fn digest(text: &str) -> u32 {
    text.bytes().fold(17, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
}

/// A fault's name as it is written in JSON.
fn word(kind: FaultKind) -> String {
    serde_json::to_value(kind).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn entry(order: &Order, answered: String) -> Entry {
    Entry {
        time: now(),
        provider: order.provider,
        standard: order.standard,
        path: order.path.clone(),
        account: order.account.clone(),
        marker: order.marker.clone(),
        body_sha256: order.body_sha256.clone(),
        pictures: order.pictures.clone(),
        job_id: order.id.clone(),
        model: order.model.clone(),
        prompt: order.prompt.clone(),
        answered,
    }
}

fn failed() -> Ending {
    let detail = serde_json::json!([{"loc": ["body"], "msg": "The generation failed downstream",
        "type": "downstream_service_error", "url": "", "ctx": {}, "input": null}]);
    let result = serde_json::json!({ "detail": detail });
    Ending::Failure { message: "Generation failed: internal processing error".into(), status: 500, result }
}

fn moderated() -> Ending {
    let detail = serde_json::json!([{"loc": ["body", "prompt"],
        "msg": "The content could not be processed because it was flagged by a content checker.",
        "type": "content_policy_violation", "url": "", "ctx": {}, "input": null}]);
    let result = serde_json::json!({ "detail": detail });
    Ending::Failure {
        message: "Failure to pass the risk control system: content blocked by safety policy".into(),
        status: 422,
        result,
    }
}

/// The scope in which a prompt's wish is counted: the marker, or the body where there is none.
pub(crate) fn scope(account: &str, marker: Option<&str>, body: &[u8]) -> String {
    match marker {
        Some(marker) => format!("{account}/{marker}"),
        None => format!("{account}/{}", account::sha256(body)),
    }
}
