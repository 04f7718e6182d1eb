//! What providers' callbacks told, until the supervisor looks. Memory only: losing it
//! costs a delay, because polls and look-ups go on.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::{Ledger, LedgerError};
use crate::store::contract::Filter;
use crate::task::id::{JobId, TaskId};

/// How many tasks are remembered as heard of, and how many as claimed for; the oldest
/// are forgotten first.
const HEARD: usize = 16_384;
const CLAIMED: usize = 1_024;
/// How many claims one task may have.
const CLAIMS: usize = 4;
/// Among how many of the newest tasks the owner of a job is looked for, and how many
/// are read at a time.
const OWNERS: usize = 10_000;
const PAGE: usize = 500;

/// A callback whose signature was verified says that an attempt without an answer has
/// bought a job. It is not believed before the provider confirms it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The attempt's number.
    pub attempt: u32,
    /// The job's names: the provider may have given it a second one.
    pub jobs: Vec<String>,
}

/// What was told and not yet looked at.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    heard: HashSet<TaskId>,
    order: VecDeque<TaskId>,
    claims: HashMap<TaskId, Vec<Claim>>,
}

impl Heard {
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn hear(&mut self, id: TaskId) {
        if !self.heard.insert(id) {
            return;
        }
        self.order.push_back(id);
        // One that was taken meanwhile still stands in the order.
        if self.order.len() > HEARD
            && let Some(oldest) = self.order.pop_front()
        {
            self.heard.remove(&oldest);
        }
    }

    fn claim(&mut self, id: TaskId, claim: Claim) {
        if self.claims.len() >= CLAIMED && !self.claims.contains_key(&id) {
            return;
        }
        let known = self.claims.entry(id).or_default();
        if known.len() < CLAIMS && !known.contains(&claim) {
            known.push(claim);
        }
    }
}

impl Ledger {
    /// A callback told of a task what a look at its job has to confirm.
    pub fn heard(&self, id: TaskId) {
        self.heard.with(|inner| inner.hear(id));
    }

    /// Whether a callback told of the task since this was last asked.
    pub fn take_heard(&self, id: TaskId) -> bool {
        self.heard.with(|inner| inner.heard.remove(&id))
    }

    /// Keeps a claim until it is looked into. Where there are too many, the new one is
    /// left to the look-ups.
    pub fn claim(&self, id: TaskId, claim: Claim) {
        self.heard.with(|inner| inner.claim(id, claim));
    }

    /// Takes the claims made for a task.
    pub fn take_claims(&self, id: TaskId) -> Vec<Claim> {
        self.heard.with(|inner| inner.claims.remove(&id).unwrap_or_default())
    }

    /// The task that a job is on record with, looked for among the newest 10,000: what
    /// a signed callback names is not older, because a signature is good for minutes.
    pub async fn owner(&self, job: &JobId) -> Result<Option<TaskId>, LedgerError> {
        let mut before = None;
        for _ in 0..OWNERS / PAGE {
            let page = self.store.list(&Filter::default(), before, PAGE).await?;
            if let Some(owner) = page.iter().find(|task| task.has_bought(job)) {
                return Ok(Some(owner.id));
            }
            before = match page.last() {
                Some(last) if page.len() == PAGE => Some(last.id),
                _ => return Ok(None),
            };
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> TaskId {
        TaskId::floor(number)
    }

    #[test]
    fn what_was_heard_longest_ago_is_forgotten_first() {
        let mut inner = Inner::default();
        (0..HEARD as u64 + 2).for_each(|number| inner.hear(id(number)));
        assert_eq!((inner.heard.len(), inner.order.len()), (HEARD, HEARD));
        assert!(!inner.heard.contains(&id(1)) && inner.heard.contains(&id(2)));
        inner.hear(id(2));
        assert_eq!(inner.order.len(), HEARD, "heard again is heard once");
    }

    #[test]
    fn there_is_an_end_to_what_is_claimed() {
        let claim = |job: u32| Claim { attempt: 1, jobs: vec![format!("job-{job}")] };
        let mut inner = Inner::default();
        (0..10).for_each(|job| inner.claim(id(1), claim(job)));
        assert_eq!(inner.claims[&id(1)].len(), CLAIMS);
        (0..2 * CLAIMED as u64).for_each(|number| inner.claim(id(number), claim(0)));
        assert_eq!(inner.claims.len(), CLAIMED);
    }
}
