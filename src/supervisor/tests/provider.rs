//! A provider that does as it is told, and remembers what it was asked.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::time::{Duration, Instant};

use crate::archive::sample;
use crate::providers::contract::{Abilities, Created, Found, Order, Provider, Trouble};
use crate::task::event::Observation;
use crate::task::id::{JobId, Marker};
use crate::task::state::{CancelOutcome, Failure, FailureKind, Job, Output, Progress};

/// What a job is like, by the time since its create.
type Life = Box<dyn Fn(Duration) -> Result<Observation, Trouble> + Send + Sync>;

/// A provider with a script.
pub(super) struct Scripted {
    abilities: Abilities,
    life: Life,
    folder: PathBuf,
    seen: Mutex<Seen>,
}

/// What is scripted to come, and what was asked.
#[derive(Default)]
struct Seen {
    answers: VecDeque<Created>,
    finds: VecDeque<Found>,
    creates: Vec<(String, Instant)>,
    polls: Vec<Instant>,
    looks: Vec<Instant>,
}

impl Scripted {
    /// Finds by marker and refuses duplicates; its jobs live like this.
    pub(super) fn like_kling(life: impl Fn(Duration) -> Result<Observation, Trouble> + Send + Sync + 'static) -> Self {
        let abilities = Abilities { poll_batch: 20, finds_by_marker: true, refuses_duplicates: true, cancels: false };
        Self { abilities, life: Box::new(life), folder: PathBuf::new(), seen: Mutex::default() }
    }

    /// Can do neither.
    pub(super) fn like_fal(life: impl Fn(Duration) -> Result<Observation, Trouble> + Send + Sync + 'static) -> Self {
        let abilities = Abilities { poll_batch: 1, finds_by_marker: false, refuses_duplicates: false, cancels: true };
        Self { abilities, ..Self::like_kling(life) }
    }

    /// Answers the next creates with these; then it accepts.
    pub(super) fn answering(self, answers: impl IntoIterator<Item = Created>) -> Self {
        self.seen.lock().unwrap().answers.extend(answers);
        self
    }

    /// Puts the file of a job that is done where the archive looks for it first:
    /// sockets do not go with paused time.
    pub(super) fn keeping_files_in(self, folder: &Path) -> Self {
        Self { folder: folder.to_owned(), ..self }
    }

    /// The markers of the creates so far, and when each came.
    pub(super) fn creates(&self) -> Vec<(String, Instant)> {
        self.seen.lock().unwrap().creates.clone()
    }

    /// When it was asked after jobs.
    pub(super) fn polls(&self) -> Vec<Instant> {
        self.seen.lock().unwrap().polls.clone()
    }

    /// When a job was looked for.
    pub(super) fn looks(&self) -> Vec<Instant> {
        self.seen.lock().unwrap().looks.clone()
    }

    /// From now on a look-up finds the job of this marker.
    pub(super) fn reveal(&self, marker: &str) {
        self.seen.lock().unwrap().finds.push_back(Found::Job(job_of(marker)));
    }
}

/// The job that a create under this marker buys.
pub(super) fn job_of(marker: &str) -> Job {
    Job { id: JobId::new(format!("job-{marker}")), handle: marker.to_owned() }
}

/// Still at it.
pub(super) fn pending() -> Result<Observation, Trouble> {
    Ok(Observation::Pending(Progress { provider_status: "processing".into(), ..Progress::default() }))
}

/// Done, but the file is behind a host that is down for so many minutes of the
/// simulation, and refuses the link after that.
pub(super) fn done_behind_an_outage(minutes: u64) -> Result<Observation, Trouble> {
    let output = Output { url: format!("https://cdn.example/down-for-minutes-{minutes}/"), expires: None };
    Ok(Observation::Succeeded { output, charges: Vec::new() })
}

/// Done.
pub(super) fn done() -> Result<Observation, Trouble> {
    let output = Output { url: "https://cdn.example/v.mp4".into(), expires: None };
    Ok(Observation::Succeeded { output, charges: Vec::new() })
}

/// It gave up.
pub(super) fn failed() -> Result<Observation, Trouble> {
    let failure = Failure::charged(FailureKind::ProviderFailed, "the model failed");
    Ok(Observation::Failed { failure, charges: Vec::new() })
}

/// It did not say.
pub(super) fn silent() -> Result<Observation, Trouble> {
    Err(Trouble { reason: "503".into(), retry_after: None, denied: false })
}

#[async_trait]
impl Provider for Scripted {
    fn abilities(&self) -> Abilities {
        self.abilities
    }

    async fn submit(&self, order: Order<'_>) -> Created {
        let marker = order.marker.as_str().to_owned();
        let mut seen = self.seen.lock().unwrap();
        seen.creates.push((marker.clone(), Instant::now()));
        seen.answers.pop_front().unwrap_or_else(|| Created::Accepted(job_of(&marker)))
    }

    async fn poll(&self, jobs: &[Job]) -> Vec<Result<Observation, Trouble>> {
        let mut seen = self.seen.lock().unwrap();
        seen.polls.push(Instant::now());
        let born = |job: &Job| seen.creates.iter().find(|(marker, _)| *marker == job.handle).map(|(_, at)| *at);
        let observe = |job: &Job| {
            let observation = (self.life)(born(job).expect("the job was bought").elapsed());
            let link =
                if let Ok(Observation::Succeeded { output, .. }) = &observation { output.url.as_str() } else { "" };
            if link.ends_with("/v.mp4") {
                let task = Marker::new(&*job.handle).task().expect("the marker is ours");
                std::fs::write(self.folder.join(format!("{task}.mp4")), sample::mp4(500)).unwrap();
            }
            observation
        };
        jobs.iter().map(observe).collect()
    }

    async fn find(&self, _order: Order<'_>) -> Result<Found, Trouble> {
        let mut seen = self.seen.lock().unwrap();
        seen.looks.push(Instant::now());
        Ok(seen.finds.pop_front().unwrap_or(Found::Nothing))
    }

    async fn cancel(&self, _job: &Job) -> Result<CancelOutcome, Trouble> {
        Ok(CancelOutcome::AskedUpstream)
    }
}
