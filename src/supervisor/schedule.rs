//! Who is due when: ids and times, in memory only. It is rebuilt from the store at
//! start, so losing it loses nothing. One million entries are meant to be cheap.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use tokio::time::{Duration, Instant};

use crate::task::id::TaskId;

/// Due times. An id stands in it at most once; the earliest wish wins until it is
/// taken.
#[derive(Debug)]
pub struct Schedule {
    /// Times are kept as milliseconds since this moment: half the room of an
    /// `Instant`.
    zero: Instant,
    due: HashMap<TaskId, u64>,
    /// May hold entries that `due` no longer agrees with; they are passed over.
    order: BinaryHeap<Reverse<(u64, TaskId)>>,
    /// Taken and not yet given back.
    running: HashSet<TaskId>,
    /// Taken, and wanted again meanwhile.
    again: HashSet<TaskId>,
}

impl Schedule {
    /// An empty schedule.
    pub fn new(now: Instant) -> Self {
        Self {
            zero: now,
            due: HashMap::new(),
            order: BinaryHeap::new(),
            running: HashSet::new(),
            again: HashSet::new(),
        }
    }

    /// How many ids wait or are being worked on.
    pub fn len(&self) -> usize {
        self.due.len() + self.running.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes an id due at a time, or earlier if it already was. One that is being
    /// worked on will be due at once when it is given back.
    pub fn add(&mut self, id: TaskId, at: Instant) {
        if self.running.contains(&id) {
            self.again.insert(id);
            return;
        }
        let at = self.millis(at);
        let earlier = self.due.get(&id).is_some_and(|known| *known <= at);
        if !earlier {
            self.due.insert(id, at);
            self.order.push(Reverse((at, id)));
        }
    }

    /// Takes the id that has been due longest, if one is due.
    pub fn take(&mut self, now: Instant) -> Option<TaskId> {
        let now = self.millis(now);
        loop {
            let Reverse((at, id)) = *self.order.peek()?;
            if at > now {
                return None;
            }
            self.order.pop();
            if self.due.get(&id) == Some(&at) {
                self.due.remove(&id);
                self.running.insert(id);
                return Some(id);
            }
        }
    }

    /// Gives an id back: due again after a while, or never.
    pub fn give_back(&mut self, id: TaskId, again: Option<Duration>, now: Instant) {
        self.running.remove(&id);
        let wanted = self.again.remove(&id);
        match again {
            _ if wanted => self.add(id, now),
            Some(delay) => self.add(id, now + delay),
            None => {}
        }
    }

    /// When the next id is due.
    pub fn next_due(&mut self) -> Option<Instant> {
        while let Some(Reverse((at, id))) = self.order.peek() {
            if self.due.get(id) == Some(at) {
                return Some(self.zero + Duration::from_millis(*at));
            }
            self.order.pop();
        }
        None
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.zero).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> TaskId {
        TaskId::floor(n)
    }

    #[test]
    fn ids_come_out_in_the_order_of_their_due_times() {
        let zero = Instant::now();
        let mut schedule = Schedule::new(zero);
        for n in [3, 1, 2] {
            schedule.add(id(n), zero + Duration::from_secs(n));
        }
        assert_eq!(schedule.take(zero), None);
        let late = zero + Duration::from_secs(9);
        assert_eq!(
            [schedule.take(late), schedule.take(late), schedule.take(late)],
            [Some(id(1)), Some(id(2)), Some(id(3))]
        );
        assert_eq!(schedule.take(late), None);
    }

    #[test]
    fn an_earlier_wish_wins_and_a_later_one_is_forgotten() {
        let zero = Instant::now();
        let mut schedule = Schedule::new(zero);
        schedule.add(id(1), zero + Duration::from_secs(60));
        schedule.add(id(1), zero);
        schedule.add(id(1), zero + Duration::from_secs(90));
        assert_eq!(schedule.len(), 1);
        assert_eq!(schedule.take(zero), Some(id(1)));
        schedule.give_back(id(1), None, zero);
        assert!(schedule.is_empty());
        assert_eq!(schedule.next_due(), None);
    }

    #[test]
    fn an_id_wanted_while_it_is_worked_on_is_due_at_once_afterwards() {
        let zero = Instant::now();
        let mut schedule = Schedule::new(zero);
        schedule.add(id(1), zero);
        assert_eq!(schedule.take(zero), Some(id(1)));
        schedule.add(id(1), zero);
        assert_eq!(schedule.take(zero), None, "never twice at a time");
        schedule.give_back(id(1), Some(Duration::from_secs(60)), zero);
        assert_eq!(schedule.take(zero), Some(id(1)));
    }
}
