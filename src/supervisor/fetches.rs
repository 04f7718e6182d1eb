//! How many files are fetched at once, and in which order: of those that wait, the
//! one whose link ends first goes first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use crate::task::state::Task;

/// How long a link is taken to work whose provider does not say.
const UNTOLD: Duration = Duration::from_secs(24 * 3600);

/// A limited number of places.
#[derive(Clone, Debug)]
pub(super) struct Fetches(Arc<Mutex<Places>>);

#[derive(Debug)]
struct Places {
    free: usize,
    /// By the end of the link, then by arrival.
    waiting: BTreeMap<(SystemTime, u64), oneshot::Sender<Place>>,
    arrived: u64,
}

/// The right to fetch one file. Dropped, it goes on to the next.
#[derive(Debug)]
pub(super) struct Place(Fetches);

impl Fetches {
    /// So many at once.
    pub fn new(free: usize) -> Self {
        Self(Arc::new(Mutex::new(Places { free, waiting: BTreeMap::new(), arrived: 0 })))
    }

    /// Waits for a place, in the order of the links' ends. Always comes to one.
    pub async fn enter(&self, link_ends: SystemTime) -> Option<Place> {
        let called = self.with(|places| {
            if places.free > 0 {
                places.free -= 1;
                return None;
            }
            let (call, called) = oneshot::channel();
            places.arrived += 1;
            places.waiting.insert((link_ends, places.arrived), call);
            Some(called)
        });
        match called {
            None => Some(Place(self.clone())),
            Some(called) => called.await.ok(),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Places) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = self.0.with(|places| {
            let next = places.waiting.pop_first();
            places.free += usize::from(next.is_none());
            next
        });
        if let Some((_, call)) = next {
            // One that has stopped waiting drops it again, and it goes on from there.
            let _ = call.send(Place(self.0.clone()));
        }
    }
}

/// When a task's link ends.
pub(super) fn link_ends(task: &Task) -> SystemTime {
    let told = task.output.as_ref().and_then(|output| output.expires);
    told.unwrap_or(task.updated + UNTOLD)
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::task::fixture;
    use crate::task::state::Output;

    fn at(hour: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(hour * 3600)
    }

    async fn waiting(fetches: &Fetches, count: usize) {
        while fetches.with(|places| places.waiting.len()) < count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn of_those_that_wait_the_one_whose_link_ends_first_goes_first() {
        let fetches = Fetches::new(2);
        let held = [fetches.enter(at(90)).await.unwrap(), fetches.enter(at(99)).await.unwrap()];
        let (tell, mut told) = mpsc::unbounded_channel();
        let mut tasks = Vec::new();
        for (number, hour) in [(0, 7), (1, 3), (2, 9), (3, 3), (4, 1)] {
            let (gate, tell) = (fetches.clone(), tell.clone());
            let waits = gate.clone();
            tasks.push(tokio::spawn(async move {
                let place = waits.enter(at(hour)).await.unwrap();
                tell.send(number).unwrap();
                drop(place);
            }));
            waiting(&gate, tasks.len()).await;
        }
        // One place goes round; the other stays taken.
        let [first, second] = held;
        drop(first);
        let mut order = Vec::new();
        for _ in 0..5 {
            order.push(told.recv().await.unwrap());
        }
        assert_eq!(order, [4, 1, 3, 0, 2]);
        drop(second);
        assert_eq!(fetches.with(|places| (places.free, places.waiting.len())), (2, 0));
    }

    #[tokio::test]
    async fn a_place_is_never_lost_with_one_that_stops_waiting() {
        let fetches = Fetches::new(1);
        let held = fetches.enter(at(1)).await.unwrap();
        let mut waits = Vec::new();
        for hour in 2..100 {
            let fetches = fetches.clone();
            waits.push(tokio::spawn(async move { fetches.enter(at(hour)).await }));
        }
        waiting(&fetches, waits.len()).await;
        waits.iter().take(97).for_each(tokio::task::JoinHandle::abort);
        drop(held);
        let last = waits.pop().unwrap().await.unwrap();
        assert!(last.is_some());
        drop(last);
        assert_eq!(fetches.with(|places| places.free), 1);
    }

    #[test]
    fn a_link_without_an_end_is_good_for_a_day() {
        let mut task = fixture::task(1).succeeded();
        let url = "https://cdn.example/v.mp4".to_owned();
        for (expires, ends) in [(Some(at(5)), at(5)), (None, task.updated + UNTOLD)] {
            task.output = Some(Output { url: url.clone(), expires });
            assert_eq!(link_ends(&task), ends);
        }
    }
}
