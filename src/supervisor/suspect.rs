//! Suspects: tasks that were in hand when the process crashed. They are worked on one
//! at a time, until a step of theirs comes to its end; one that was in hand at three
//! crashes in a row is quarantined. It rests rather than fails: a task that was
//! caught by chance may hold a video that is paid for.

use tokio::time::Duration;
use tracing::{error, warn};

use super::drive::{Again, Driver};
use crate::ledger::LedgerError;
use crate::task::event::Event;
use crate::task::id::TaskId;

impl Driver {
    /// Runs a step with the task written down as in hand.
    pub(super) async fn guarded(&self, task: TaskId, step: impl Future<Output = Again>) -> Again {
        let _alone = match self.hand.suspicion(task) {
            None => None,
            Some(suspicion) => match suspicion.resting(self.clock.now()) {
                Some(left) => return Some(left),
                None => match self.stop.run_until_cancelled(self.alone.acquire()).await {
                    Some(place) => place.ok(),
                    None => return Some(Duration::ZERO),
                },
            },
        };
        let work = self.hand.begin(task);
        let again = step.await;
        // A step that was cut short has not shown anything.
        if !self.stop.is_cancelled() {
            work.done();
        }
        again
    }

    /// Waits for something that is not the task's own work.
    pub(super) async fn waiting<T>(&self, task: TaskId, wait: impl Future<Output = T>) -> T {
        self.hand.pause(task);
        let waited = wait.await;
        self.hand.resume(task);
        waited
    }

    /// Says at the start which tasks are suspected, and tells those that rest.
    pub(super) async fn name_suspects(&self) -> Result<(), LedgerError> {
        let mut resting = 0;
        for (id, suspicion) in self.hand.suspects() {
            let crashes = suspicion.crashes;
            let Some(rest) = suspicion.resting(self.clock.now()) else {
                warn!(task_id = %id, crashes, "the task was in hand when the process crashed; it is tried alone");
                continue;
            };
            resting += 1;
            error!(task_id = %id, crashes, ?rest, "the task is quarantined: the process crashed with it each time");
            let reason = "quarantined: the process crashed while working on it, three times and more in a row";
            match self.ledger.get(id).await {
                Ok(task) => drop(self.ledger.record(&task, &Event::Held { reason: reason.to_owned() }).await?),
                Err(LedgerError::Unknown(_)) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        metrics::gauge!("videogen_quarantined_tasks").set(f64::from(resting));
        Ok(())
    }
}
