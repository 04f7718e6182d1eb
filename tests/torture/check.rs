//! Joins the three ledgers: what callers were told, what the provider sold, and
//! what the service has stored. Each request has a prompt of its own, which is
//! what the provider's entries are joined by.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use pb::{FailureKind, TaskState};
use ring::digest::{SHA256, digest};
use videogen::api::pb;
use videogen::simulator::Entry;

use crate::figures::Figures;
use crate::load::{Acknowledged, Hope, is_unknown};

/// How many violations are told in full.
const TOLD: usize = 5;

/// The three ledgers, once everything has come to its end.
pub struct Evidence<'a> {
    /// What callers were told.
    pub acknowledged: &'a [Acknowledged],
    /// What the provider sold.
    pub creates: &'a [Entry],
    /// What the service lists.
    pub tasks: &'a [pb::Task],
    /// Where it keeps the videos.
    pub videos: &'a Path,
}

impl Evidence<'_> {
    /// Counts what was done, or says which promises were broken.
    pub fn judge(&self) -> Result<Figures, String> {
        let mut broken = self.lost();
        broken.extend(self.doubled());
        broken.extend(self.unattached());
        broken.extend(self.ends());
        broken.extend(self.tasks.iter().filter_map(|task| kept(task, self.videos).err()));
        if !broken.is_empty() {
            let count = broken.len();
            broken.truncate(TOLD);
            return Err(format!("{count} promises were broken:\n  {}", broken.join("\n  ")));
        }
        let count = |wanted: fn(&pb::Task) -> bool| self.tasks.iter().filter(|task| wanted(task)).count() as u64;
        let mut figures = Figures::default();
        figures.add("acknowledged", self.acknowledged.len() as u64);
        figures.add("creates", self.creates.len() as u64);
        figures.add("videos", count(|task| task.state() == TaskState::Succeeded));
        figures.add("outcomes unknown", count(is_unknown));
        // Whatever is not zero has been told above.
        figures.add("lost", 0);
        figures.add("double", 0);
        Ok(figures)
    }

    /// I1 and I5: every acknowledged task is there, under its request id, once.
    fn lost(&self) -> Vec<String> {
        let known: HashMap<_, _> = self.tasks.iter().map(|task| (task.id.as_str(), task)).collect();
        let lost = self.acknowledged.iter().filter_map(|told| match known.get(told.task.as_str()) {
            Some(task) if task.request_id == told.asked.request.request_id => None,
            Some(task) => Some(format!("I5: {} was answered with {task:?}", told.asked.request.request_id)),
            None => Some(format!("I1: {told:?} is lost")),
        });
        let mut broken: Vec<_> = lost.collect();
        let requests: HashSet<_> = self.tasks.iter().map(|task| task.request_id.as_str()).collect();
        if requests.len() != self.tasks.len() {
            broken.push(format!("I5: {} tasks for {} request ids", self.tasks.len(), requests.len()));
        }
        broken
    }

    /// I2: one create for each attempt, and no more for a task than it allows.
    fn doubled(&self) -> Vec<String> {
        let allowed: HashMap<_, _> = self.tasks.iter().map(|task| (prompt(task), task.max_paid_attempts)).collect();
        let mut by_prompt: HashMap<&str, u32> = HashMap::new();
        let mut by_marker: HashMap<&str, u32> = HashMap::new();
        for entry in self.creates {
            *by_prompt.entry(&entry.prompt).or_default() += 1;
            *by_marker.entry(entry.marker.as_deref().unwrap_or(&entry.job_id)).or_default() += 1;
        }
        let twice =
            by_prompt.iter().filter(|(prompt, sold)| **sold > allowed.get(*prompt).copied().unwrap_or(1).max(1));
        let again = by_marker.iter().filter(|(_, sold)| **sold > 1);
        let twice = twice.map(|(prompt, sold)| format!("I2: bought {sold} times: {prompt}"));
        twice.chain(again.map(|(marker, sold)| format!("I2: marker {marker} bought {sold} times"))).collect()
    }

    /// I3: every create that the provider accepted is attached to its task, or the
    /// task says that nobody knows.
    fn unattached(&self) -> Vec<String> {
        let by_prompt: HashMap<_, _> = self.tasks.iter().map(|task| (prompt(task), task)).collect();
        let hopeless = self.acknowledged.iter().filter(|told| told.asked.hope == Hope::Nothing);
        let hopeless: HashSet<_> = hopeless.map(|told| told.task.as_str()).collect();
        let attached = |entry: &Entry| match by_prompt.get(entry.prompt.as_str()) {
            None => Err(format!("I3: a create without a task: {entry:?}")),
            Some(task) if knows(task, &entry.job_id) || admits(task) => Ok(()),
            // A job that its provider has lost cannot be found.
            Some(task) if is_unknown(task) && hopeless.contains(task.id.as_str()) => Ok(()),
            Some(task) => Err(format!("I3: a create that its task does not know: {entry:?} {task:?}")),
        };
        self.creates.iter().filter_map(|entry| attached(entry).err()).collect()
    }

    /// Every task has ended as its caller may expect.
    fn ends(&self) -> Vec<String> {
        let hopes: HashMap<_, _> = self.acknowledged.iter().map(|told| (told.task.as_str(), told.asked.hope)).collect();
        let wrong = self.tasks.iter().filter(|task| {
            hopes.get(task.id.as_str()).is_some_and(|hope| !hope.has_ended(task, false) || !hope.allows(task))
        });
        wrong.map(|task| format!("I4: a task ended otherwise than it may: {task:?}")).collect()
    }
}

/// I4: what a task says of its video holds for the file.
fn kept(task: &pb::Task, videos: &Path) -> Result<(), String> {
    match (&task.artifact, task.state()) {
        (Some(artifact), TaskState::Succeeded) => {
            let file = videos.join(format!("{}.mp4", task.id));
            let bytes = std::fs::read(&file).map_err(|error| format!("I4: {}: {error}", file.display()))?;
            let sha256: String = digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            let same = artifact.sha256 == sha256 && artifact.size == bytes.len() as u64;
            if same { Ok(()) } else { Err(format!("I4: {} is not the video of {task:?}", file.display())) }
        }
        (None, TaskState::Succeeded) => Err(format!("I4: no video is recorded: {task:?}")),
        _ => Ok(()),
    }
}

fn prompt(task: &pb::Task) -> &str {
    task.spec.as_ref().map_or("", |spec| &spec.prompt)
}

/// Whether the task has the job on record.
fn knows(task: &pb::Task, job: &str) -> bool {
    task.provider_job_id == job || task.attempts.iter().any(|attempt| attempt.provider_job_id == job)
}

/// Whether the task says that it may have bought something it does not know of.
fn admits(task: &pb::Task) -> bool {
    let unknown = task.attempts.iter().any(|attempt| attempt.outcome() == pb::AttemptOutcome::Unknown);
    let kind = task.failure.as_ref().map(pb::Failure::kind);
    task.provider == "fal" && unknown && (kind == Some(FailureKind::SubmitOutcomeUnknown) || task.max_paid_attempts > 1)
}
