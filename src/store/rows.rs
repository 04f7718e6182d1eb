//! A task as rows of at most 4 KiB. One row in the common case: state and
//! submission in the head. A larger submission is written once, at create, into
//! rows of its own; a larger state goes on in rows that are rewritten with it.

use std::sync::Arc;

use prost::Message;

use super::contract::StoreError;
use super::envelope::{BadRow, Kind, PAYLOAD_LIMIT, RowTooLarge, peek, seal, unseal};
use super::record::{BadRecord, read_state, read_submission, wire, write_state, write_submission};
use crate::task::id::{RequestId, Revision, TaskId};
use crate::task::state::Task;

/// A submission up to this size lives in the head, which leaves its other half
/// to the state: most heads then never overflow as the task goes on.
const INLINE_SUBMISSION: usize = 2048;

/// The most that the head's other fields take: five tags, lengths and numbers.
const HEAD_FIELDS: usize = 48;

/// The largest task. Its images are in files of their own.
const TASK_LIMIT: usize = 512 * 1024;

/// In how many overflow rows a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Parts {
    /// Of the state.
    pub(super) state: u16,
    /// Of the submission; 0 when it is in the head.
    pub(super) submission: u16,
}

/// A key and its value.
pub(super) type Row = (Vec<u8>, Vec<u8>);

/// Keys and values to be written in one batch.
pub(super) struct Rows {
    /// The key of each row and its value.
    pub(super) puts: Vec<Row>,
    /// What the task takes when they are written.
    pub(super) parts: Parts,
}

impl Rows {
    /// The size of all values.
    pub(super) fn bytes(&self) -> usize {
        self.puts.iter().map(|(_, value)| value.len()).sum()
    }
}

/// Why a task could not be put together.
#[derive(Debug)]
pub(super) enum Unread {
    /// There is none.
    Absent,
    /// The rows are of two commits: somebody wrote in between; read again.
    Torn,
    /// What is stored cannot be right.
    Damaged(String),
    /// The backend gave an error.
    Failed(StoreError),
}

impl From<BadRecord> for Unread {
    fn from(bad: BadRecord) -> Self {
        Self::Damaged(bad.to_string())
    }
}

impl From<BadRow> for Unread {
    fn from(bad: BadRow) -> Self {
        Self::Damaged(bad.to_string())
    }
}

impl From<RowTooLarge> for StoreError {
    fn from(RowTooLarge: RowTooLarge) -> Self {
        Self::TooLarge
    }
}

/// The key of a task's first row.
pub(super) fn head_key(id: TaskId) -> [u8; 17] {
    let mut key = [Kind::Head as u8; 17];
    key[1..].copy_from_slice(&id.to_bytes());
    key
}

/// The task that a head's key names.
pub(super) fn id_of_head(key: &[u8]) -> Option<TaskId> {
    let id: [u8; 16] = key.strip_prefix(&[Kind::Head as u8])?.try_into().ok()?;
    Some(TaskId::from_bytes(id))
}

/// The key of an overflow row.
pub(super) fn part_key(kind: Kind, id: TaskId, number: u16) -> [u8; 19] {
    let mut key = [kind as u8; 19];
    key[1..17].copy_from_slice(&id.to_bytes());
    key[17..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The kind, the task and the number that an overflow row's key names.
pub(super) fn part_of(key: &[u8]) -> Option<(Kind, TaskId, u16)> {
    let (kind, rest) = key.split_first()?;
    let kind = [Kind::StatePart, Kind::SubmissionPart].into_iter().find(|known| *known as u8 == *kind)?;
    let (id, number) = rest.split_first_chunk::<16>()?;
    Some((kind, TaskId::from_bytes(*id), u16::from_be_bytes(number.try_into().ok()?)))
}

/// A new task's rows.
pub(super) fn new_rows(task: &Task) -> Result<Rows, StoreError> {
    let submission = write_submission(&task.submission);
    if submission.len() > TASK_LIMIT {
        return Err(StoreError::TooLarge);
    }
    if submission.len() <= INLINE_SUBMISSION {
        return head_and_state(task, &submission, 0);
    }
    let puts = overflow(Kind::SubmissionPart, task.id, &submission)?;
    let mut rows = head_and_state(task, &[], count(puts.len())?)?;
    rows.puts.extend(puts);
    Ok(rows)
}

/// The rows of a task that is stored already. Where its submission is was decided
/// at create and is never decided again: a later version may encode it longer.
pub(super) fn changed_rows(task: &Task, submission_parts: u16) -> Result<Rows, StoreError> {
    match submission_parts {
        0 => head_and_state(task, &write_submission(&task.submission), 0),
        parts => head_and_state(task, &[], parts),
    }
}

fn head_and_state(task: &Task, inline: &[u8], submission_parts: u16) -> Result<Rows, StoreError> {
    let state = write_state(task);
    if state.len() > TASK_LIMIT {
        return Err(StoreError::TooLarge);
    }
    let room = PAYLOAD_LIMIT.saturating_sub(HEAD_FIELDS + inline.len());
    let (first, rest) = state.split_at(state.len().min(room));
    let mut puts = overflow(Kind::StatePart, task.id, rest)?;
    let parts = Parts { state: count(puts.len())?, submission: submission_parts };
    let head = wire::Head {
        revision: task.revision.0,
        state: first.to_vec().into(),
        state_parts: parts.state.into(),
        state_crc: crc32c::crc32c(&state),
        submission: inline.to_vec().into(),
        submission_parts: parts.submission.into(),
    };
    let key = head_key(task.id);
    puts.push((key.to_vec(), seal(&key, &head.encode_to_vec())?));
    Ok(Rows { puts, parts })
}

fn overflow(kind: Kind, id: TaskId, bytes: &[u8]) -> Result<Vec<Row>, StoreError> {
    let chunks = bytes.chunks(PAYLOAD_LIMIT).enumerate();
    chunks
        .map(|(number, chunk)| {
            let key = part_key(kind, id, count(number)?);
            Ok((key.to_vec(), seal(&key, chunk)?))
        })
        .collect()
}

fn count(parts: usize) -> Result<u16, StoreError> {
    u16::try_from(parts).map_err(|_| StoreError::TooLarge)
}

/// Puts a task together from what `get` finds.
pub(super) fn read_task<R: AsRef<[u8]>>(
    id: TaskId,
    get: impl Fn(&[u8]) -> Result<Option<R>, StoreError>,
) -> Result<(Task, Parts), Unread> {
    let key = head_key(id);
    let row = get(&key).map_err(Unread::Failed)?.ok_or(Unread::Absent)?;
    let wire::Head { revision, state, state_parts, state_crc, submission, submission_parts } =
        wire::Head::decode(unseal(&key, row.as_ref())?).map_err(BadRecord::from)?;
    let parts = Parts { state: read_count(state_parts)?, submission: read_count(submission_parts)? };

    let mut state = Vec::from(state);
    gather(&mut state, Kind::StatePart, id, parts.state, &get, || Unread::Torn)?;
    if crc32c::crc32c(&state) != state_crc {
        return Err(Unread::Torn);
    }
    let mut whole = Vec::from(submission);
    let lost = || Unread::Damaged("a part of the submission is missing".to_owned());
    gather(&mut whole, Kind::SubmissionPart, id, parts.submission, &get, lost)?;
    let submission = Arc::new(read_submission(&whole)?);
    Ok((read_state(&state, id, Revision(revision), submission)?, parts))
}

fn gather<R: AsRef<[u8]>>(
    into: &mut Vec<u8>,
    kind: Kind,
    id: TaskId,
    parts: u16,
    get: &impl Fn(&[u8]) -> Result<Option<R>, StoreError>,
    absent: impl Fn() -> Unread,
) -> Result<(), Unread> {
    for number in 0..parts {
        let key = part_key(kind, id, number);
        let row = get(&key).map_err(Unread::Failed)?.ok_or_else(&absent)?;
        into.extend_from_slice(unseal(&key, row.as_ref())?);
    }
    Ok(())
}

fn read_count(parts: u32) -> Result<u16, BadRecord> {
    u16::try_from(parts).map_err(|_| BadRecord::Invalid("a number of parts"))
}

/// The request id that a damaged head seems to hold. Good enough to refuse a
/// repeat of that request, which would buy a second video; for nothing else.
pub(super) fn salvage_request_id(row: &[u8]) -> Option<RequestId> {
    let head = wire::Head::decode(peek(row)).ok()?;
    let submission = wire::Submission::decode(head.submission).ok()?;
    (!submission.request_id.is_empty()).then(|| RequestId::new(submission.request_id))
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
