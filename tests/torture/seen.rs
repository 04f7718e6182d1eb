//! What was once shown stays true: revisions never go back, not even over a kill,
//! and an end is an end (I6, I9).

use std::collections::HashMap;

use pb::{FailureKind, TaskState};
use videogen::api::pb;

/// The newest of each task that was shown.
#[derive(Debug, Default)]
pub struct Seen(HashMap<String, pb::Task>);

impl Seen {
    /// Compares with what was shown before, and keeps it.
    pub fn look(&mut self, tasks: &[pb::Task]) -> Result<(), String> {
        for task in tasks {
            if let Some(earlier) = self.0.get(&task.id) {
                compare(earlier, task)?;
            }
            self.0.insert(task.id.clone(), task.clone());
        }
        Ok(())
    }
}

fn compare(earlier: &pb::Task, now: &pb::Task) -> Result<(), String> {
    if now.revision < earlier.revision {
        return Err(format!("I6: a task went back: {earlier:?} and then {now:?}"));
    }
    let final_state = matches!(earlier.state(), TaskState::Succeeded | TaskState::Failed | TaskState::Cancelled);
    if final_state && now.state() != earlier.state() && !is_recoverable(earlier) {
        return Err(format!("I9: an end was not the end: {earlier:?} and then {now:?}"));
    }
    if earlier.artifact.is_some() && digest(now) != digest(earlier) {
        return Err(format!("I9: a stored video became another: {earlier:?} and then {now:?}"));
    }
    Ok(())
}

/// The one exception that the contract names.
fn is_recoverable(task: &pb::Task) -> bool {
    let kind = task.failure.as_ref().map(pb::Failure::kind);
    matches!(kind, Some(FailureKind::Deadline | FailureKind::SubmitOutcomeUnknown))
}

fn digest(task: &pb::Task) -> Option<&str> {
    task.artifact.as_ref().map(|artifact| artifact.sha256.as_str())
}
