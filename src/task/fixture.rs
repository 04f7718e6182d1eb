//! Tasks for tests, built in words: `fixture::task(3).labelled("team", "red").running()`.
//! The same number gives the same task, ids and times included.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::id::{AccountName, JobId, Marker, ModelName, RequestId, TaskId};
use super::machine;
use super::spec::{Image, Spec, Submission, UnknownPolicy};
use super::state::{Attempt, AttemptOutcome, Failure, FailureKind, HistoryEntry, Job, State, Task};

/// When task 0 was created: 2026-11-23 00:00 UTC.
const BEGIN_MS: u64 = 1_795_392_000_000;

/// When the `number`th task was created: a second after the one before.
pub fn created(number: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(BEGIN_MS + number * 1000)
}

/// The id of the `number`th task.
pub fn id(number: u64) -> TaskId {
    let ms = u128::from(BEGIN_MS + number * 1000);
    TaskId::new(Uuid::from_u128(ms << 80 | 7 << 76 | 0b10 << 62 | u128::from(number)))
}

/// A valid QUEUED task at revision 1; the larger the number the newer.
pub fn task(number: u64) -> Task {
    let created = created(number);
    let model = ModelName::parse("kling/kling-v2-1").expect("it has both parts");
    let submission = Submission {
        request_id: RequestId::new(format!("request-{number}")),
        fingerprint: [(number % 251) as u8; 32],
        spec: Spec { prompt: "a lighthouse in the rain".to_owned(), duration_s: Some(5), ..Spec::new(model) },
        account: AccountName::new("main"),
        generation_timeout: Duration::from_secs(3600),
        typical: Duration::from_secs(180),
        policy: UnknownPolicy::AtMostOnce,
        labels: Default::default(),
        warnings: Vec::new(),
        webhook: None,
    };
    machine::accept(id(number), Arc::new(submission), created)
}

impl Task {
    /// With a job that its first attempt bought.
    pub fn running(self) -> Self {
        let sent = self.created + Duration::from_secs(1);
        let job = JobId::new(format!("job-of-{}", self.id));
        let attempt = Attempt {
            number: 1,
            marker: Marker::of(self.id, 1),
            outcome: AttemptOutcome::Accepted,
            sends: 1,
            started: sent,
            sent,
            ended: Some(sent),
            unknown_since: None,
            job: Some(job.clone()),
            note: String::new(),
        };
        Self {
            job: Some(Job { id: job, handle: String::new() }),
            attempts: vec![attempt],
            started: Some(sent),
            ..self.entered(State::Running, "the provider took it")
        }
    }

    /// Ended well. Without an artifact: tests that need one add it.
    pub fn succeeded(self) -> Self {
        let ended = self.created + Duration::from_secs(300);
        Self { ended: Some(ended), ..self.entered(State::Succeeded, "the file is stored") }
    }

    /// Ended badly and for good.
    pub fn failed(self, kind: FailureKind) -> Self {
        let ended = self.created + Duration::from_secs(300);
        let failure = Some(Failure::free(kind, "no video"));
        Self { failure, ended: Some(ended), ..self.entered(State::Failed, "no video") }
    }

    /// In that state, with a line of history and nothing else changed.
    pub fn entered(mut self, state: State, reason: &str) -> Self {
        let time = self.updated + Duration::from_secs(1);
        self.history.push(HistoryEntry { state, time, reason: reason.to_owned() });
        Self { state, updated: time, ..self }
    }

    /// At the next revision.
    pub fn next(&self) -> Self {
        Self { revision: self.revision.next(), updated: self.updated + Duration::from_millis(1), ..self.clone() }
    }

    /// With one more label.
    pub fn labelled(self, key: &str, value: &str) -> Self {
        self.submitted(|submission| {
            submission.labels.insert(key.to_owned(), value.to_owned());
        })
    }

    /// With a prompt of that many bytes.
    pub fn with_prompt_of(self, bytes: usize) -> Self {
        self.submitted(|submission| submission.spec.prompt = "rain ".repeat(bytes / 5 + 1)[..bytes].to_owned())
    }

    /// With a start image of that many bytes.
    pub fn with_image_of(self, bytes: usize) -> Self {
        self.submitted(|submission| submission.spec.start_image = Some(Image::Data(vec![7; bytes].into())))
    }

    /// For another model, `provider/id`.
    pub fn for_model(self, model: &str) -> Self {
        let model = ModelName::parse(model).expect("tests name models in full");
        self.submitted(|submission| submission.spec.model = model)
    }

    /// Bought by another account.
    pub fn for_account(self, account: &str) -> Self {
        self.submitted(|submission| submission.account = AccountName::new(account))
    }

    /// Asked for under another request id.
    pub fn requested_as(self, request: &str) -> Self {
        self.submitted(|submission| submission.request_id = RequestId::new(request))
    }

    fn submitted(mut self, change: impl FnOnce(&mut Submission)) -> Self {
        change(Arc::make_mut(&mut self.submission));
        self
    }
}
