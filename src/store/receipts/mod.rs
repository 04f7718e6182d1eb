//! Receipts: what money was spent on, in a file of our own beside the database.
//! Never read while all is well; they tell when the database came back older than
//! itself, and give back every paid task when it does not come back at all.

mod entry;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod log;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use prost::Message;

pub(super) use self::log::{ReceiptLog, Tail, has_any, prune, segments};

use self::entry::{Entry, scan};
use super::record::{BadRecord, read_state, read_submission, wire, write_state, write_submission};
use crate::task::id::{Revision, TaskId};
use crate::task::spec::Submission;
use crate::task::state::Task;

/// Tells whether a receipt is due: changes when money facts do. 0 for a task that
/// nothing was paid for.
pub(super) fn money_of(task: &Task) -> u32 {
    if task.attempts.is_empty() {
        return 0;
    }
    let mut crc = crc32c::crc32c(task.state.word().as_bytes());
    let mut add = |bytes: &[u8]| crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, bytes), &[0xff]);
    for attempt in &task.attempts {
        add(&[attempt.outcome as u8]);
        add(&attempt.sends.to_be_bytes());
        add(attempt.job.as_ref().map_or(&[], |job| job.as_str().as_bytes()));
    }
    add(task.job.as_ref().map_or(&[], |job| job.id.as_str().as_bytes()));
    add(task.output.as_ref().map_or(&[], |output| output.url.as_bytes()));
    add(task.artifact.as_ref().map_or(&[], |artifact| &artifact.sha256));
    add(&(task.charges.len() as u64).to_be_bytes());
    crc.max(1)
}

/// The receipt of a task as it is now; with the first one, all that was asked for.
pub(super) fn receipt(task: &Task, first: bool) -> Vec<u8> {
    let submission = if first { write_submission(&task.submission) } else { Vec::new() };
    let (id, state) = (task.id.to_bytes().to_vec(), write_state(task));
    wire::Receipt { id: id.into(), revision: task.revision.0, state: state.into(), submission: submission.into() }
        .encode_to_vec()
}

/// Tells that the receipts begin, so that a store is never without one.
pub(super) fn beginning() -> Vec<u8> {
    wire::Receipt::default().encode_to_vec()
}

/// The newest receipt of a task, and all that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Paid {
    /// Of the newest receipt.
    pub(super) revision: Revision,
    /// The encoded state at that revision.
    pub(super) state: Vec<u8>,
    /// The encoded submission, if its receipt could be read.
    pub(super) submission: Option<Vec<u8>>,
}

impl Paid {
    /// The task as its receipts tell it.
    pub(super) fn task(&self, id: TaskId) -> Result<Task, BadRecord> {
        let submission = self.submission.as_deref().ok_or(BadRecord::Missing("the receipt of the submission"))?;
        self.task_of(id, read_submission(submission)?.into())
    }

    /// The task whose submission is known from elsewhere.
    pub(super) fn task_of(&self, id: TaskId, submission: Arc<Submission>) -> Result<Task, BadRecord> {
        read_state(&self.state, id, self.revision, submission)
    }
}

/// All that the receipts of a folder tell.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What was paid for.
    pub(super) tasks: BTreeMap<TaskId, Paid>,
    /// The number of the newest commit that has a receipt.
    pub(super) last: u64,
    /// How many places could not be read.
    pub(super) damaged: usize,
}

/// Reads all receipts of a folder, whatever store they are of: the file names tell.
pub(super) fn read_all(folder: &Path) -> io::Result<Told> {
    let mut told = Told::default();
    for segment in segments(folder)? {
        let bytes = std::fs::read(&segment.path)?;
        let found = scan(segment.store, &bytes);
        told.damaged += found.damaged;
        for entry in found.entries {
            told.take(&entry);
        }
    }
    Ok(told)
}

impl Told {
    fn take(&mut self, entry: &Entry<'_>) {
        self.last = self.last.max(entry.commit);
        let Ok(receipt) = wire::Receipt::decode(entry.payload.as_ref()) else {
            self.damaged += 1;
            return;
        };
        let Ok(id) = <[u8; 16]>::try_from(receipt.id.as_ref()) else { return };
        let revision = Revision(receipt.revision);
        let paid = self.tasks.entry(TaskId::from_bytes(id));
        let paid = paid.or_insert_with(|| Paid { revision, state: receipt.state.to_vec(), submission: None });
        if revision > paid.revision {
            (paid.revision, paid.state) = (revision, receipt.state.to_vec());
        }
        if !receipt.submission.is_empty() {
            paid.submission = Some(receipt.submission.to_vec());
        }
    }
}
