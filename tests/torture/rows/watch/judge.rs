//! What must hold of every delivery, after the validators of etcd's robustness
//! tests: unique, ordered, reliable, resumable.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use pb::TaskState;
use prost::Message;
use videogen::api::pb;

/// What all readers of one case were shown, taken together.
#[derive(Debug, Default)]
pub struct Shown {
    /// The content of each task's revision, as a hash.
    content: Mutex<HashMap<(String, u64), u64>>,
    deliveries: AtomicU64,
}

impl Shown {
    /// Whoever is shown a revision of a task is shown the same as everybody else.
    pub fn compare(&self, task: &pb::Task) -> Result<(), String> {
        let content = hash(task);
        let mut known = self.content.lock().expect("no holder panics");
        let first = *known.entry((task.id.clone(), task.revision)).or_insert(content);
        if first == content { Ok(()) } else { Err(format!("one revision is two states, the other being {task:?}")) }
    }

    fn count(&self) {
        self.deliveries.fetch_add(1, Ordering::Relaxed);
    }

    /// How many states were delivered.
    pub fn deliveries(&self) -> u64 {
        self.deliveries.load(Ordering::Relaxed)
    }

    /// How many different states were seen.
    pub fn states(&self) -> u64 {
        self.content.lock().expect("no holder panics").len() as u64
    }
}

/// A task's state without what is drawn at the moment of showing it.
fn hash(task: &pb::Task) -> u64 {
    let mut hasher = DefaultHasher::new();
    pb::Task { progress: None, ..task.clone() }.encode_to_vec().hash(&mut hasher);
    hasher.finish()
}

pub fn is_final(task: &pb::Task) -> bool {
    matches!(task.state(), TaskState::Succeeded | TaskState::Failed | TaskState::Cancelled)
}

/// What one reader knows of one task, over all its streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The newest revision that it was shown.
    pub revision: u64,
    /// Whether that was the final one.
    pub ended: bool,
}

/// One stream's part of one task.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// What the reader asked to begin after.
    after: u64,
    /// The last revision on this stream.
    last: Option<u64>,
}

impl Stream {
    /// A stream that was asked to begin after this revision; 0 asks for the newest.
    pub fn after(after: u64) -> Self {
        Self { after, last: None }
    }

    /// Where the stream stands: what a heartbeat may carry.
    pub fn cursor(&self) -> u64 {
        self.last.unwrap_or(self.after)
    }

    /// Judges a delivery and remembers it.
    pub fn deliver(&mut self, task: &pb::Task, known: &mut Known, shown: &Shown) -> Result<(), String> {
        shown.count();
        let place = || format!("{}: revision {} on {self:?} to a reader of {known:?}", task.id, task.revision);
        if task.revision <= self.cursor() {
            return Err(format!("not unique or not ordered, {}", place()));
        }
        // The first state of a stream is the newest there is: never older than one
        // that this reader was shown on an earlier stream.
        if self.last.is_none() && task.revision < known.revision {
            return Err(format!("went back after resuming, {}", place()));
        }
        if known.ended && task.revision > known.revision {
            return Err(format!("an end was not the end, {}", place()));
        }
        self.last = Some(task.revision);
        *known = Known { revision: task.revision, ended: is_final(task) };
        shown.compare(task)
    }
}
