//! Whether anything new is taken in. Asked before a task exists and so before any
//! money is spent: a video that cannot be stored is better not bought. What is
//! known already, and everything that only reads, is never refused.

use tokio::sync::watch;

/// What disk there is, as it was measured last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that may still be written where there are fewest.
    pub free: u64,
    /// Bytes that are kept for what has been bought.
    pub reserve: u64,
}

/// Why nothing new is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The disk is needed for what has been bought.
    StorageLow(Room),
    /// So many tasks are open already.
    QueueFull {
        /// How many may be.
        limit: usize,
    },
}

impl Refusal {
    /// The reason in the error contract.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::StorageLow(_) => "STORAGE_LOW",
            Self::QueueFull { .. } => "QUEUE_FULL",
        }
    }
}

/// Decides by the last measurement, so that asking costs nothing.
#[derive(Debug)]
pub struct Admission {
    max_open_tasks: usize,
    room: watch::Sender<Option<Room>>,
    refusal: watch::Sender<Option<Refusal>>,
}

impl Admission {
    /// Takes in until so many tasks are open, and whatever the disk holds until it
    /// is measured for the first time.
    pub fn new(max_open_tasks: usize) -> Self {
        Self { max_open_tasks, room: watch::Sender::new(None), refusal: watch::Sender::new(None) }
    }

    /// Takes note of a measurement, and tells whoever shows it.
    pub fn measured(&self, room: Room, open_tasks: usize) {
        self.room.send_replace(Some(room));
        let now = self.refusal(open_tasks);
        self.refusal.send_if_modified(|shown| {
            let reason = |refusal: &Option<Refusal>| refusal.map(Refusal::reason);
            let changed = reason(shown) != reason(&now);
            *shown = now;
            changed
        });
    }

    /// Why a new task is refused while so many are open, if it is. Callers that
    /// come at the same moment may get past the limit of open tasks together.
    pub fn refusal(&self, open_tasks: usize) -> Option<Refusal> {
        let low = self.room.borrow().filter(|room| room.free < room.reserve);
        let full = (open_tasks >= self.max_open_tasks).then_some(Refusal::QueueFull { limit: self.max_open_tasks });
        low.map(Refusal::StorageLow).or(full)
    }

    /// What the last measurement found, and every change of it.
    pub fn shown(&self) -> watch::Receiver<Option<Refusal>> {
        self.refusal.subscribe()
    }
}

impl Default for Admission {
    /// Takes in everything.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_comes_and_goes_with_its_cause() {
        let admission = Admission::new(10);
        let mut shown = admission.shown();
        assert_eq!(admission.refusal(9), None);
        assert_eq!(admission.refusal(10), Some(Refusal::QueueFull { limit: 10 }));

        let low = Room { free: 99, reserve: 100 };
        admission.measured(low, 0);
        assert_eq!(admission.refusal(0), Some(Refusal::StorageLow(low)));
        assert_eq!(*shown.borrow_and_update(), Some(Refusal::StorageLow(low)));
        admission.measured(Room { free: 98, ..low }, 10);
        assert!(!shown.has_changed().unwrap(), "the reason is the same");

        admission.measured(Room { free: 100, reserve: 100 }, 10);
        assert_eq!(shown.borrow_and_update().map(Refusal::reason), Some("QUEUE_FULL"));
        admission.measured(Room { free: 100, reserve: 100 }, 9);
        assert_eq!(*shown.borrow_and_update(), None);
    }
}
