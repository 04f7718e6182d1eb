//! What the store keeps in memory about each task, so that no index row is ever
//! written: rebuilt by one scan at start, changed only after a sync. Therefore it
//! is also the judge of what is durable.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::time::{Duration, SystemTime};

use super::announcement::Mark;
use super::contract::{Filter, Tombstone};
use super::inputs::Digest;
use super::receipts::money_of;
use super::rows::Parts;
use crate::task::announcement::{AnnouncementId, Topic};
use crate::task::id::{AccountName, ModelName, RequestId, Revision, TaskId};
use crate::task::state::{State, Task};

/// The first half of a request id's SHA-256: short, and no caller can choose two
/// request ids that meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RequestKey(pub(super) [u8; 16]);

impl RequestKey {
    /// The key of a request id.
    pub(super) fn of(id: &RequestId) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, id.as_str().as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&digest.as_ref()[..16]);
        Self(key)
    }
}

/// What is durable of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Durable {
    /// Its newest revision on disk.
    pub(super) revision: Revision,
    /// In how many overflow rows it is.
    pub(super) parts: Parts,
    /// Its money facts, [`money_of`].
    pub(super) money: u32,
}

/// One task: 40 bytes, since there may be millions.
struct Entry {
    revision: Revision,
    created_ms: u64,
    /// Hashes of key and value, sorted; almost always absent, so behind one pointer.
    labels: Option<Box<Labels>>,
    lane: u32,
    money: u32,
    parts: Parts,
    state: State,
}

struct Labels(Box<[u32]>);

/// The tasks of one account and model.
struct Lane {
    model: ModelName,
    queued: BTreeSet<TaskId>,
}

/// Everything that is durable, in memory.
#[derive(Default)]
pub(super) struct Index {
    tasks: BTreeMap<TaskId, Entry>,
    damaged: BTreeMap<TaskId, String>,
    requests: HashMap<RequestKey, TaskId>,
    open: BTreeSet<TaskId>,
    leaving: BTreeSet<TaskId>,
    tombstones: BTreeMap<TaskId, Tombstone>,
    lanes: Vec<Lane>,
    lane_of: HashMap<ModelName, HashMap<AccountName, u32>>,
    notes: BTreeMap<String, Vec<u8>>,
    announcements: BTreeMap<AnnouncementId, Mark>,
    /// The pictures of the tasks that have any in files.
    inputs_of: HashMap<TaskId, Box<[Digest]>>,
    /// How many times each of them is used.
    inputs: HashMap<Digest, u32>,
}

impl Index {
    /// Takes in a task as it is on disk now.
    pub(super) fn put(&mut self, task: &Task, parts: Parts) {
        let lane = match self.tasks.get_mut(&task.id) {
            Some(entry) => {
                (entry.revision, entry.parts, entry.state) = (task.revision, parts, task.state);
                entry.money = money_of(task);
                entry.lane
            }
            None => self.add(task, parts),
        };
        let queued = &mut self.lanes[lane as usize].queued;
        match task.state {
            State::Queued => queued.insert(task.id),
            _ => queued.remove(&task.id),
        };
        if task.is_open() {
            self.open.insert(task.id);
        } else {
            self.open.remove(&task.id);
        }
    }

    /// The lane of a task that was not known before.
    fn add(&mut self, task: &Task, parts: Parts) -> u32 {
        let lane = self.lane(task);
        let Task { id, revision, state, .. } = *task;
        let (created_ms, labels, money) = (to_ms(task.created), labels_of(task), money_of(task));
        let entry = Entry { revision, created_ms, labels, lane, money, parts, state };
        self.tasks.insert(id, entry);
        self.requests.insert(RequestKey::of(&task.submission.request_id), id);
        let inputs: Box<[Digest]> = task.submission.spec.files().map(|file| file.sha256).collect();
        if !inputs.is_empty() {
            inputs.iter().for_each(|digest| *self.inputs.entry(*digest).or_default() += 1);
            self.inputs_of.insert(id, inputs);
        }
        lane
    }

    /// Whether a task uses a picture.
    pub(super) fn uses_input(&self, digest: &Digest) -> bool {
        self.inputs.contains_key(digest)
    }

    fn drop_inputs(&mut self, id: TaskId) {
        for digest in self.inputs_of.remove(&id).unwrap_or_default() {
            match self.inputs.get_mut(&digest) {
                Some(uses) if *uses > 1 => *uses -= 1,
                _ => drop(self.inputs.remove(&digest)),
            }
        }
    }

    /// Sets a task aside whose rows are damaged. A repeat of its request, if that
    /// can still be told, must not become a second task.
    pub(super) fn quarantine(&mut self, id: TaskId, request: Option<RequestKey>, reason: String) {
        self.damaged.insert(id, reason);
        if let Some(request) = request {
            self.requests.entry(request).or_insert(id);
        }
    }

    /// Why a task is set aside.
    pub(super) fn damage(&self, id: TaskId) -> Option<&str> {
        self.damaged.get(&id).map(String::as_str)
    }

    /// The tasks that are set aside.
    pub(super) fn damaged(&self) -> impl Iterator<Item = (TaskId, &str)> {
        self.damaged.iter().map(|(id, reason)| (*id, reason.as_str()))
    }

    /// The tasks that are set aside, with the keys of their requests where known.
    pub(super) fn damaged_requests(&self) -> Vec<(TaskId, Option<[u8; 16]>)> {
        if self.damaged.is_empty() {
            return Vec::new();
        }
        let known = self.requests.iter().filter(|(_, id)| self.damaged.contains_key(id));
        let known: HashMap<TaskId, [u8; 16]> = known.map(|(RequestKey(key), id)| (*id, *key)).collect();
        self.damaged.keys().map(|id| (*id, known.get(id).copied())).collect()
    }

    /// What is durable of a task.
    pub(super) fn durable(&self, id: TaskId) -> Option<Durable> {
        let entry = self.tasks.get(&id)?;
        Some(Durable { revision: entry.revision, parts: entry.parts, money: entry.money })
    }

    /// The task of a request.
    pub(super) fn request(&self, key: &RequestKey) -> Option<TaskId> {
        self.requests.get(key).copied()
    }

    /// Reads a note.
    pub(super) fn note(&self, name: &str) -> Option<&[u8]> {
        self.notes.get(name).map(Vec::as_slice)
    }

    /// All notes, by name.
    pub(super) fn notes(&self) -> Vec<(String, Vec<u8>)> {
        self.notes.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Writes a note.
    pub(super) fn put_note(&mut self, name: String, value: Vec<u8>) {
        self.notes.insert(name, value);
    }

    /// Notes that a task's rows are about to go.
    pub(super) fn leave(&mut self, id: TaskId) {
        self.leaving.insert(id);
    }

    /// Whether a task's rows are about to go.
    pub(super) fn is_leaving(&self, id: TaskId) -> bool {
        self.leaving.contains(&id)
    }

    /// Takes in a tombstone in the place of its task.
    pub(super) fn bury(&mut self, tombstone: Tombstone) {
        let id = tombstone.task;
        if let Some(entry) = self.tasks.remove(&id) {
            self.lanes[entry.lane as usize].queued.remove(&id);
        }
        self.drop_inputs(id);
        self.open.remove(&id);
        self.leaving.remove(&id);
        let told: Vec<_> = self.announcements_of(id).map(|(id, _)| id).collect();
        told.into_iter().for_each(|id| self.told(id));
        self.requests.insert(RequestKey(tombstone.request), id);
        self.tombstones.insert(id, tombstone);
    }

    /// Takes a tombstone out.
    pub(super) fn forget(&mut self, id: TaskId) {
        if let Some(tombstone) = self.tombstones.remove(&id) {
            self.requests.remove(&RequestKey(tombstone.request));
        }
    }

    /// Whether a task was removed.
    pub(super) fn is_buried(&self, id: TaskId) -> bool {
        self.tombstones.contains_key(&id)
    }

    /// The tombstones after `after`.
    pub(super) fn tombstones_after(&self, after: Option<TaskId>, limit: usize) -> Vec<Tombstone> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.tombstones.range((from, Bound::Unbounded)).take(limit).map(|(_, tombstone)| *tombstone).collect()
    }

    /// Takes in an announcement as it is now.
    pub(super) fn announce(&mut self, id: AnnouncementId, mark: Mark) {
        self.announcements.insert(id, mark);
    }

    /// Takes an announcement out.
    pub(super) fn told(&mut self, id: AnnouncementId) {
        self.announcements.remove(&id);
    }

    /// The announcements of a task, in the order in which they are told.
    pub(super) fn announcements_of(&self, task: TaskId) -> impl Iterator<Item = (AnnouncementId, Mark)> {
        let [first, last] = [Revision(0), Revision(u64::MAX)].map(|revision| AnnouncementId { task, revision });
        self.announcements.range(first..=last).map(|(id, mark)| (*id, *mark))
    }

    /// The updates of a task that wait.
    pub(super) fn waiting_updates(&self, task: TaskId) -> impl Iterator<Item = AnnouncementId> {
        let waits = |mark: Mark| !mark.parked && mark.topic == Topic::Updated;
        self.announcements_of(task).filter(move |(_, mark)| waits(*mark)).map(|(id, _)| id)
    }

    /// The announcements after `after`: only parked ones or others, if that is said.
    pub(super) fn announcements_after(
        &self,
        parked: Option<bool>,
        after: Option<AnnouncementId>,
        limit: usize,
    ) -> Vec<AnnouncementId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let wanted = self.announcements.range((from, Bound::Unbounded));
        let wanted = wanted.filter(|(_, mark)| parked.is_none_or(|parked| parked == mark.parked));
        wanted.take(limit).map(|(id, _)| *id).collect()
    }

    /// How many tasks are open.
    pub(super) fn open_tasks(&self) -> usize {
        self.open.len()
    }

    /// Whether anything may still happen to a task.
    pub(super) fn is_open(&self, id: TaskId) -> bool {
        self.open.contains(&id)
    }

    /// All tasks that were not set aside, oldest first.
    pub(super) fn ids(&self) -> impl Iterator<Item = TaskId> {
        self.tasks.keys().copied()
    }

    /// The open tasks after `after`, oldest first.
    pub(super) fn open_after(&self, after: Option<TaskId>, limit: usize) -> Vec<TaskId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.open.range((from, Bound::Unbounded)).take(limit).copied().collect()
    }

    /// The open tasks that something was paid for, oldest first.
    pub(super) fn open_and_paid(&self) -> impl Iterator<Item = TaskId> {
        let paid = |id: &TaskId| self.tasks.get(id).is_some_and(|entry| entry.money != 0);
        self.open.iter().copied().filter(move |id| paid(id))
    }

    /// Looks at up to `look` tasks before `before`, newest first, and returns up to
    /// `limit` that seem to match; then where to go on, unless that was the end.
    /// A label may be mistaken for another: the caller checks the task itself.
    pub(super) fn matching(
        &self,
        filter: &Filter,
        before: Option<TaskId>,
        look: usize,
        limit: usize,
    ) -> (Vec<TaskId>, Option<TaskId>) {
        let to = before.map_or(Bound::Unbounded, Bound::Excluded);
        let labels: Vec<u32> = filter.labels.iter().map(label_hash).collect();
        let mut found = Vec::new();
        let mut last = None;
        for (id, entry) in self.tasks.range((Bound::Unbounded, to)).rev().take(look) {
            last = Some(*id);
            if self.seems_to_match(entry, filter, &labels) {
                found.push(*id);
                if found.len() == limit {
                    break;
                }
            }
        }
        (found, last)
    }

    fn seems_to_match(&self, entry: &Entry, filter: &Filter, labels: &[u32]) -> bool {
        (filter.states.is_empty() || filter.states.contains(&entry.state))
            && filter.model.as_ref().is_none_or(|model| self.lanes[entry.lane as usize].model == *model)
            && filter.created_from.is_none_or(|from| from_ms(entry.created_ms) >= from)
            && filter.created_before.is_none_or(|before| from_ms(entry.created_ms) < before)
            && (labels.is_empty() || entry.labels.as_ref().is_some_and(|known| known.all_of(labels)))
    }

    /// How many QUEUED tasks of the same account and model are older.
    pub(super) fn queued_before(&self, task: &Task) -> u32 {
        let submission = &task.submission;
        let lane = self.lane_of.get(&submission.spec.model).and_then(|by| by.get(&submission.account));
        let Some(lane) = lane.map(|lane| &self.lanes[*lane as usize]) else {
            return 0;
        };
        // From both ends at once: who asks is mostly among the newest or the oldest.
        let mut older = lane.queued.range(..task.id);
        let mut newer = lane.queued.range(task.id..);
        let mut steps = 0;
        loop {
            if older.next().is_none() {
                return steps;
            }
            if newer.next().is_none() {
                let newer = steps as usize;
                return u32::try_from(lane.queued.len() - newer).unwrap_or(u32::MAX);
            }
            steps += 1;
        }
    }

    fn lane(&mut self, task: &Task) -> u32 {
        let (model, account) = (&task.submission.spec.model, &task.submission.account);
        if let Some(lane) = self.lane_of.get(model).and_then(|by| by.get(account)) {
            return *lane;
        }
        let lane = u32::try_from(self.lanes.len()).expect("there are fewer pairs of model and account than tasks");
        self.lanes.push(Lane { model: model.clone(), queued: BTreeSet::new() });
        self.lane_of.entry(model.clone()).or_default().insert(account.clone(), lane);
        lane
    }
}

impl Labels {
    fn all_of(&self, wanted: &[u32]) -> bool {
        wanted.iter().all(|label| self.0.contains(label))
    }
}

fn labels_of(task: &Task) -> Option<Box<Labels>> {
    let labels = &task.submission.labels;
    (!labels.is_empty()).then(|| Box::new(Labels(labels.iter().map(label_hash).collect())))
}

fn label_hash((key, value): (&String, &String)) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(key.as_bytes()), b"="), value.as_bytes())
}

fn to_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn from_ms(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
