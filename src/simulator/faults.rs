//! Every way in which the simulator misbehaves, and the rules that ask for it from
//! outside. What a prompt asks for is read in `directive`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::directive::Wish;

/// One way to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Cut the connection without an answer; nothing was done.
    Drop,
    /// Answer 5xx; nothing was done.
    Error,
    /// Answer with an HTML page as an edge proxy would; nothing was done.
    Html,
    /// Never answer; nothing was done.
    Hang,
    /// Do as asked, and send the answer a few bytes at a time.
    Drip,
    /// Do as asked, and answer 2xx with a body that cannot be read.
    Unreadable,
    /// Answer 429, too many requests (Kling 1302); nothing was done.
    RateLimited,
    /// Answer 429, too many jobs at once (Kling 1303); nothing was done.
    ParallelLimited,
    /// Refuse with `code`: a code of Kling's table, or an HTTP status for fal.
    Refuse,
    /// Book the create, then cut the connection.
    AcceptDrop,
    /// Book the create, then answer 5xx.
    AcceptError,
    /// Book the create, then answer with an HTML page.
    AcceptHtml,
    /// Book the create, then never answer.
    AcceptHang,
    /// The job fails.
    Fail,
    /// The job is blocked by moderation.
    Moderation,
    /// The job never ends.
    NeverFinish,
    /// The job is accepted and never seen again.
    LostJob,
    /// The job's status goes back: while it runs, and once more after its end.
    Backwards,
    /// While it runs, the job's status is a word nobody knows.
    UnknownStatus,
    /// A cancel of the running job is taken, and the job still succeeds.
    CancelIgnored,
    /// The link in the answer has expired already; the next one works.
    LinkExpired,
    /// The link in the answer leads to where no provider keeps files.
    LinkInside,
    /// The file's download answers 403.
    FileForbidden,
    /// The file's download is an HTML page with status 200.
    FileHtml,
    /// The file ends half way, and its Content-Length agrees.
    FileTruncated,
    /// The connection is cut half way through the file.
    FileCut,
    /// Content-Length announces more than is sent.
    FileWrongLength,
    /// The file never ends.
    FileEndless,
    /// The file is empty.
    FileEmpty,
    /// The file is good and has so many MiB more: `code`, or 60.
    FileLarge,
    /// The file's download is a redirect to where no provider keeps files.
    FileRedirectInside,
    /// No callback is sent, unless one that comes early.
    CallbackMissing,
    /// Each callback is sent three times.
    CallbackDuplicate,
    /// The final callback is sent before the create is answered.
    CallbackEarly,
    /// The final callback comes long after the end.
    CallbackLate,
    /// A callback with a wrong signature claims success at once; the true ones follow.
    CallbackForged,
    /// Callbacks carry no signature.
    CallbackUnsigned,
    /// Status queries say that the job runs until its final callback has left.
    CallbackFirst,
}

/// What is being done when a fault may strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// A paid create.
    Create,
    /// A status query.
    Poll,
    /// The result is fetched, or a link to the file is issued.
    Result,
    /// The history of requests is asked for.
    History,
    /// A cancel.
    Cancel,
    /// The file is fetched.
    Download,
}

/// Whose protocol a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Kling, both standards.
    Kling,
    /// fal.ai's queue.
    Fal,
    /// Either of them; only in rules.
    Any,
}

/// Which of Kling's standards a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standard {
    /// The model in the path.
    New,
    /// `/v1/videos/...`.
    Legacy,
    /// Either of them, or a provider without standards.
    Any,
}

/// One rule: which fault, where, and how often.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub fault: FaultKind,
    /// For whose requests.
    #[serde(default = "any_provider")]
    pub provider: Provider,
    /// For which of Kling's standards.
    #[serde(default = "any_standard")]
    pub standard: Standard,
    /// When; absent means the moment that suits the fault.
    #[serde(default)]
    pub on: Option<Moment>,
    /// How often; absent means once, or without end when `probability` is given.
    #[serde(default)]
    pub times: Option<u32>,
    /// How probable it is each time, 0 to 1.
    #[serde(default)]
    pub probability: Option<f64>,
    /// How many fitting requests pass unharmed first.
    #[serde(default)]
    pub after: u32,
    /// Kling's error code, fal's HTTP status, or the size of a large file.
    #[serde(default)]
    pub code: Option<u32>,
}

fn any_provider() -> Provider {
    Provider::Any
}

fn any_standard() -> Standard {
    Standard::Any
}

impl Fault {
    /// Strikes once, for any provider, at the moment that suits it.
    pub fn new(fault: FaultKind) -> Self {
        let (provider, standard) = (Provider::Any, Standard::Any);
        Self { fault, provider, standard, on: None, times: None, probability: None, after: 0, code: None }
    }

    /// Strikes at this moment.
    pub fn on(mut self, moment: Moment) -> Self {
        self.on = Some(moment);
        self
    }

    /// Strikes so many times.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Strikes each time with this probability, without end unless `times` is given.
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = Some(probability);
        self
    }

    /// Carries this code.
    pub fn code(mut self, code: u32) -> Self {
        self.code = Some(code);
        self
    }

    fn remaining(&self) -> u32 {
        self.times.unwrap_or(if self.probability.is_some() { u32::MAX } else { 1 })
    }
}

impl FaultKind {
    /// When this fault strikes unless a rule says otherwise.
    pub fn moment(self) -> Moment {
        match self {
            Self::UnknownStatus => Moment::Poll,
            Self::LinkExpired | Self::LinkInside => Moment::Result,
            Self::FileForbidden
            | Self::FileHtml
            | Self::FileTruncated
            | Self::FileCut
            | Self::FileWrongLength
            | Self::FileEndless
            | Self::FileEmpty
            | Self::FileLarge
            | Self::FileRedirectInside => Moment::Download,
            _ => Moment::Create,
        }
    }

    /// Whether this fault is about one HTTP answer, rather than about the life of a job.
    pub fn spoils_answer(self) -> bool {
        matches!(
            self,
            Self::Drop
                | Self::Error
                | Self::Html
                | Self::Hang
                | Self::Drip
                | Self::Unreadable
                | Self::RateLimited
                | Self::ParallelLimited
                | Self::Refuse
                | Self::AcceptDrop
                | Self::AcceptError
                | Self::AcceptHtml
                | Self::AcceptHang
        )
    }
}

/// A fault that strikes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strike {
    pub(crate) kind: FaultKind,
    pub(crate) code: Option<u32>,
}

/// The rules in force and how often each wish of a prompt has struck.
#[derive(Default)]
pub(crate) struct Faults {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    rules: Vec<Fault>,
    /// Counts by a caller's scope (its marker, its body or its job) and the fault.
    wishes: HashMap<String, u32>,
}

/// A bound on what clients can make us remember.
const RULES_KEPT: usize = 1_000;
const WISHES_KEPT: usize = 100_000;

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves counts at worst one off: go on with them.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a rule; false when there are too many.
    pub(crate) fn add(&self, fault: Fault) -> bool {
        let mut inner = self.lock();
        let room = inner.rules.len() < RULES_KEPT;
        if room {
            inner.rules.push(fault);
        }
        room
    }

    pub(crate) fn list(&self) -> Vec<Fault> {
        self.lock().rules.clone()
    }

    pub(crate) fn clear(&self) {
        self.lock().rules.clear();
    }

    /// The first rule that strikes here and whose kind `fits`; it is counted.
    pub(crate) fn strike(
        &self,
        provider: Provider,
        standard: Standard,
        moment: Moment,
        fits: impl Fn(FaultKind) -> bool,
    ) -> Option<Strike> {
        let mut inner = self.lock();
        let strike = inner.rules.iter_mut().find_map(|rule| {
            let here = matches!(rule.provider, Provider::Any) || rule.provider == provider;
            let standard_here = matches!(rule.standard, Standard::Any) || rule.standard == standard;
            let now = rule.on.unwrap_or(rule.fault.moment()) == moment;
            (here && standard_here && now && fits(rule.fault)).then(|| count(rule)).flatten()
        });
        inner.rules.retain(|rule| rule.remaining() > 0);
        strike
    }

    /// Every rule that strikes here and concerns the life of a job; each is counted.
    pub(crate) fn strikes(&self, provider: Provider, standard: Standard) -> Vec<Strike> {
        let mut found: Vec<Strike> = Vec::new();
        while let Some(strike) = self.strike(provider, standard, Moment::Create, |kind| {
            !kind.spoils_answer() && found.iter().all(|earlier| earlier.kind != kind)
        }) {
            found.push(strike);
        }
        found
    }

    /// The first of a prompt's wishes that still strikes at this moment.
    pub(crate) fn wish(&self, scope: &str, wishes: &[Wish], moment: Moment) -> Option<Strike> {
        let mut inner = self.lock();
        if inner.wishes.len() > WISHES_KEPT {
            inner.wishes.clear();
        }
        wishes.iter().find_map(|wish| {
            if wish.on != moment {
                return None;
            }
            let used = inner.wishes.entry(format!("{scope}/{:?}", wish.strike.kind)).or_default();
            (*used < wish.limit()).then(|| {
                *used += 1;
                wish.strike
            })
        })
    }
}

/// Takes one strike off a rule, if it strikes at all this time.
fn count(rule: &mut Fault) -> Option<Strike> {
    if rule.after > 0 {
        rule.after -= 1;
        return None;
    }
    if rule.remaining() == 0 || rand::random::<f64>() >= rule.probability.unwrap_or(1.0) {
        return None;
    }
    if rule.remaining() != u32::MAX {
        rule.times = Some(rule.remaining() - 1);
    }
    Some(Strike { kind: rule.fault, code: rule.code })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_strikes_as_often_as_it_says() {
        let faults = Faults::default();
        faults.add(Fault::new(FaultKind::AcceptDrop).times(2));
        let strike =
            || faults.strike(Provider::Kling, Standard::New, Moment::Create, |kind| kind.spoils_answer()).is_some();
        assert_eq!([strike(), strike(), strike()], [true, true, false]);
        assert!(faults.list().is_empty());
    }

    #[test]
    fn a_rule_waits_for_its_provider_and_its_moment() {
        let faults = Faults::default();
        let rule: Fault = serde_json::from_str(r#"{"fault":"error","provider":"fal","on":"poll","after":1}"#).unwrap();
        faults.add(rule);
        let poll = |provider| faults.strike(provider, Standard::Any, Moment::Poll, |_| true).is_some();
        assert!(!poll(Provider::Kling));
        assert!(!poll(Provider::Fal));
        assert!(poll(Provider::Fal));
        assert!(!poll(Provider::Fal));
    }
}
