//! The one writer: takes all waiting changes, judges them against what is durable
//! and against one another, writes them as one batch, syncs once, answers all.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::shared::Shared;
use super::write::Batch;
use crate::failpoint::failpoint;
use crate::store::announcement::{self, Mark, Told};
use crate::store::contract::{Commit, StoreError, Tombstone};
use crate::store::envelope::Kind;
use crate::store::index::{Durable, Index, RequestKey};
use crate::store::receipts::{money_of, receipt};
use crate::store::rows::{Parts, Row, Rows, head_key, part_key};
use crate::store::tombstone;
use crate::task::announcement::{AnnouncementId, Topic};
use crate::task::id::{Revision, TaskId};
use crate::task::state::Task;

/// How many changes share a sync.
const BATCH_CHANGES: usize = 512;

/// How many bytes share a sync; one change more may begin below it.
const BATCH_BYTES: usize = 256 * 1024;

/// What became of a create, before the earlier task is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is stored.
    Created,
    /// That task has the request id.
    Earlier(TaskId),
}

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// Something to be written.
pub(super) enum Change {
    /// A new task.
    Create { task: Arc<Task>, request: RequestKey, rows: Rows, answer: Answer<Verdict> },
    /// A task's next revision, and what is to be told of it.
    Commit { expected: Revision, task: Arc<Task>, rows: Rows, told: Option<Told>, answer: Answer<Commit> },
    /// A note and its row.
    Note { name: String, value: Vec<u8>, row: Row, answer: Answer<()> },
    /// A tombstone and its row; with a revision, in the place of its task.
    Bury { expected: Option<Revision>, tombstone: Tombstone, row: Row, answer: Answer<Commit> },
    /// A tombstone less.
    Forget { id: TaskId, answer: Answer<()> },
    /// An announcement as it is now.
    Announce { told: Told, answer: Answer<Commit> },
    /// An announcement less.
    Told { id: AnnouncementId, answer: Answer<()> },
    /// Nothing more will come.
    Close { answer: oneshot::Sender<()> },
}

impl Change {
    fn bytes(&self) -> usize {
        match self {
            Self::Create { rows, .. } | Self::Commit { rows, .. } => rows.bytes(),
            Self::Note { row, .. } | Self::Bury { row, .. } => row.1.len(),
            Self::Announce { told, .. } => told.row.1.len(),
            Self::Forget { .. } | Self::Told { .. } | Self::Close { .. } => 0,
        }
    }
}

/// Works until the store is closed, dropped or stopped.
pub(super) async fn run(shared: Arc<Shared>, mut queue: mpsc::Receiver<Change>) {
    let _guard = StopOnPanic(Arc::clone(&shared));
    let mut closing = None;
    while closing.is_none() {
        let Some(first) = queue.recv().await else { break };
        let mut plan = Plan::default();
        closing = fill(&mut plan, first, &mut queue, &shared);
        if !write(&shared, plan).await {
            // Whoever waits in the queue finds its answer dropped and the reason set.
            return;
        }
    }
    shared.end("it was closed");
    drop(queue);
    shared.release().await;
    if let Some(answer) = closing {
        // Nobody has to wait for it.
        let _ = answer.send(());
    }
}

/// Takes what waits, up to the limits; returns whom to tell that all is closed.
fn fill(
    plan: &mut Plan,
    first: Change,
    queue: &mut mpsc::Receiver<Change>,
    shared: &Shared,
) -> Option<oneshot::Sender<()>> {
    let index = shared.index();
    let (mut changes, mut bytes) = (0, 0);
    let mut next = Some(first);
    while let Some(change) = next {
        changes += 1;
        bytes += change.bytes();
        if let Change::Close { answer } = change {
            return Some(answer);
        }
        plan.judge(change, &index);
        next = if changes < BATCH_CHANGES && bytes < BATCH_BYTES { queue.try_recv().ok() } else { None };
    }
    None
}

/// Makes a plan durable, then known, then answers. False when the store stopped.
async fn write(shared: &Arc<Shared>, plan: Plan) -> bool {
    let Plan { batch, receipts, effects, answers, tasks: _, requests: _ } = plan;
    if !effects.is_empty() {
        shared.announce(&effects);
        if let Err(reason) = shared.sync(batch, receipts).await {
            shared.stop(&reason);
            return false;
        }
        shared.publish(effects);
        failpoint!("commit.published");
    }
    for answer in answers {
        answer.send();
    }
    true
}

/// What the index learns once the batch is durable.
pub(super) enum Effect {
    /// A task as it is now.
    Task(Arc<Task>, Parts),
    /// A note as it is now.
    Note(String, Vec<u8>),
    /// A tombstone as it is now.
    Bury(Tombstone),
    /// A tombstone that is no more.
    Forget(TaskId),
    /// An announcement as it is now.
    Announce(AnnouncementId, Mark),
    /// An announcement that is no more.
    Told(AnnouncementId),
}

/// An answer that must wait for the sync: even Stale and Earlier may be so only
/// through a change of the same batch.
enum Waiting {
    Create(Answer<Verdict>, Result<Verdict, StoreError>),
    Commit(Answer<Commit>, Result<Commit, StoreError>),
    Done(Answer<()>),
}

impl Waiting {
    fn send(self) {
        // A caller that went away needs no answer; its change is stored all the same.
        match self {
            Self::Create(answer, result) => drop(answer.send(result)),
            Self::Commit(answer, result) => drop(answer.send(result)),
            Self::Done(answer) => drop(answer.send(Ok(()))),
        }
    }
}

/// One batch in the making: what is durable is overlaid with what it will change.
#[derive(Default)]
struct Plan {
    batch: Batch,
    receipts: Vec<Vec<u8>>,
    effects: Vec<Effect>,
    answers: Vec<Waiting>,
    /// Nothing stands for a task that goes.
    tasks: HashMap<TaskId, Option<Durable>>,
    requests: HashMap<RequestKey, TaskId>,
}

impl Plan {
    fn judge(&mut self, change: Change, index: &Index) {
        match change {
            Change::Create { task, request, rows, answer } => {
                let verdict = self.judge_create(&task, request, index);
                if let Ok(Verdict::Created) = verdict {
                    self.requests.insert(request, task.id);
                    self.put(task, rows, Durable::default());
                }
                self.answers.push(Waiting::Create(answer, verdict));
            }
            Change::Commit { expected, task, rows, told, answer } => {
                let verdict = self.judge_commit(expected, &task, index);
                if let Ok(Some(durable)) = verdict {
                    self.put(task, rows, durable);
                    if let Some(told) = told {
                        self.announce_anew(told, index);
                    }
                }
                let verdict = verdict.map(|won| if won.is_some() { Commit::Committed } else { Commit::Stale });
                self.answers.push(Waiting::Commit(answer, verdict));
            }
            Change::Note { name, value, row: (key, row), answer } => {
                self.batch.insert(key, row);
                self.effects.push(Effect::Note(name, value));
                self.answers.push(Waiting::Done(answer));
            }
            Change::Bury { expected, tombstone, row, answer } => {
                let verdict = self.judge_removal(expected, tombstone.task, index);
                if let Ok(Commit::Committed) = verdict {
                    self.bury(tombstone, row, index);
                }
                self.answers.push(Waiting::Commit(answer, verdict));
            }
            Change::Forget { id, answer } => {
                self.batch.remove(tombstone::key(id));
                self.effects.push(Effect::Forget(id));
                self.answers.push(Waiting::Done(answer));
            }
            Change::Announce { told, answer } => {
                let verdict = match self.durable(told.id.task, index) {
                    Some(_) => Commit::Committed,
                    None => Commit::Stale,
                };
                if verdict == Commit::Committed {
                    self.announce(told);
                }
                self.answers.push(Waiting::Commit(answer, Ok(verdict)));
            }
            Change::Told { id, answer } => {
                self.told(id);
                self.answers.push(Waiting::Done(answer));
            }
            Change::Close { answer } => drop(answer),
        }
    }

    fn announce(&mut self, told: Told) {
        self.batch.insert(told.row.0, told.row.1);
        self.effects.push(Effect::Announce(told.id, told.mark));
    }

    /// Of the updates of a task that wait only the newest is worth telling.
    fn announce_anew(&mut self, told: Told, index: &Index) {
        if told.mark.topic == Topic::Updated {
            index.waiting_updates(told.id.task).for_each(|id| self.told(id));
        }
        self.announce(told);
    }

    fn told(&mut self, id: AnnouncementId) {
        self.batch.remove(announcement::key(id));
        self.effects.push(Effect::Told(id));
    }

    fn judge_create(&self, task: &Task, request: RequestKey, index: &Index) -> Result<Verdict, StoreError> {
        let earlier = self.requests.get(&request).copied().or_else(|| index.request(&request));
        // An id that is taken is never overwritten, whoever asks.
        let taken = self.tasks.contains_key(&task.id) || index.durable(task.id).is_some() || index.is_buried(task.id);
        let earlier = earlier.or(taken.then_some(task.id));
        refuse_damaged(earlier.unwrap_or(task.id), index)?;
        Ok(earlier.map_or(Verdict::Created, Verdict::Earlier))
    }

    /// What the commit replaces, or nothing when it is stale.
    fn judge_commit(&self, expected: Revision, task: &Task, index: &Index) -> Result<Option<Durable>, StoreError> {
        refuse_damaged(task.id, index)?;
        Ok(self.durable(task.id, index).filter(|durable| durable.revision == expected))
    }

    fn durable(&self, id: TaskId, index: &Index) -> Option<Durable> {
        self.tasks.get(&id).copied().unwrap_or_else(|| index.durable(id))
    }

    /// Whether a tombstone may be written: at any time, unless it takes the place of
    /// a task that has moved on or of which something is still to be told.
    fn judge_removal(&self, expected: Option<Revision>, id: TaskId, index: &Index) -> Result<Commit, StoreError> {
        refuse_damaged(id, index)?;
        let now = self.durable(id, index).map(|durable| durable.revision);
        let waits = index.announcements_of(id).any(|(_, mark)| !mark.parked);
        Ok(if expected == now && !waits { Commit::Committed } else { Commit::Stale })
    }

    /// Writes a tombstone and takes away what there is of its task.
    fn bury(&mut self, tombstone: Tombstone, row: Row, index: &Index) {
        let id = tombstone.task;
        if let Some(Durable { parts, .. }) = self.durable(id, index) {
            self.batch.remove(head_key(id));
            for (kind, count) in [(Kind::StatePart, parts.state), (Kind::SubmissionPart, parts.submission)] {
                (0..count).for_each(|number| self.batch.remove(part_key(kind, id, number)));
            }
        }
        index.announcements_of(id).for_each(|(id, _)| self.batch.remove(announcement::key(id)));
        self.batch.insert(row.0, row.1);
        self.tasks.insert(id, None);
        self.effects.push(Effect::Bury(tombstone));
    }

    fn put(&mut self, task: Arc<Task>, rows: Rows, before: Durable) {
        let Rows { puts, parts } = rows;
        for surplus in parts.state..before.parts.state {
            self.batch.remove(part_key(Kind::StatePart, task.id, surplus));
        }
        for (key, row) in puts {
            self.batch.insert(key, row);
        }
        let money = money_of(&task);
        if money != before.money {
            self.receipts.push(receipt(&task, before.money == 0));
        }
        self.tasks.insert(task.id, Some(Durable { revision: task.revision, parts, money }));
        self.effects.push(Effect::Task(task, parts));
    }
}

fn refuse_damaged(id: TaskId, index: &Index) -> Result<(), StoreError> {
    match index.damage(id) {
        Some(reason) => Err(StoreError::Damaged { id, reason: reason.to_owned() }),
        None => Ok(()),
    }
}

/// A panic in the committer itself must not leave callers waiting.
struct StopOnPanic(Arc<Shared>);

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop("the committer panicked");
        }
    }
}
