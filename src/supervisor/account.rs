//! One account at work: its adapter, its rate, and the polls of its jobs gathered
//! into as few requests as the provider allows.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Duration;

use super::AccountParts;
use super::budget::Budget;
use super::circuit::Circuit;
use super::hand::Hand;
use super::limits::Rate;
use super::trust::Trust;
use crate::providers::contract::{Provider, Trouble};
use crate::task::event::Observation;
use crate::task::id::TaskId;
use crate::task::state::Job;

/// How long a poll waits for company.
const LINGER: Duration = Duration::from_millis(20);
/// How many requests of polls are under way at once.
const POLLS_AT_ONCE: usize = 8;
/// How many creates are under way at once: as many outcomes are unknown at most
/// when the process is killed.
const CREATES_AT_ONCE: usize = 16;
/// How many polls may wait in all.
const WAITING_POLLS: usize = 1024;

/// An account, ready to be used by the steps of many tasks.
pub struct Account {
    /// Its adapter.
    pub provider: Arc<dyn Provider>,
    /// How many jobs a model may have at once.
    pub max_parallel: usize,
    /// How many requests a second it is sent.
    pub requests_per_second: f64,
    /// Whether it is good for another create.
    pub circuit: Circuit,
    /// How often it may be asked again after trouble.
    pub budget: Budget,
    /// How far its callbacks are relied on.
    pub trust: Trust,
    rate: Arc<Rate>,
    creates: Semaphore,
    polls: mpsc::Sender<Asked>,
}

/// A poll that waits for its answer.
struct Asked {
    task: TaskId,
    job: Job,
    answer: oneshot::Sender<Result<Observation, Trouble>>,
}

impl Account {
    /// Opens an account that lets one retry through in each `trickle` once its budget
    /// for them is used up; the second part gathers its polls and is to be run by
    /// whoever owns the account.
    pub fn open(
        parts: &AccountParts,
        trickle: Duration,
        hand: Arc<Hand>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let AccountParts { name: _, provider, max_parallel, requests_per_second } = parts;
        let (provider, max_parallel, requests_per_second) = (Arc::clone(provider), *max_parallel, *requests_per_second);
        let rate = Arc::new(Rate::per_second(requests_per_second));
        let (polls, asked) = mpsc::channel(WAITING_POLLS);
        let gather = gather(Arc::clone(&provider), Arc::clone(&rate), asked, hand);
        let creates = Semaphore::new(CREATES_AT_ONCE);
        let (circuit, budget, trust) = (Circuit::default(), Budget::new(trickle), Trust::default());
        (Self { provider, max_parallel, requests_per_second, circuit, budget, trust, rate, creates, polls }, gather)
    }

    /// Waits for the turn of a request that is not a poll.
    pub async fn turn(&self) {
        self.rate.turn().await;
    }

    /// Waits for the turn of a create, which is under way until the place is dropped.
    pub async fn create_turn(&self) -> Option<SemaphorePermit<'_>> {
        let place = self.creates.acquire().await.ok()?;
        self.rate.turn().await;
        Some(place)
    }

    /// Asks after a job, together with whichever others are due.
    pub async fn poll(&self, task: TaskId, job: Job) -> Result<Observation, Trouble> {
        let (answer, answered) = oneshot::channel();
        if self.polls.try_send(Asked { task, job, answer }).is_err() {
            return Err(trouble("too many polls are waiting for this account"));
        }
        answered.await.unwrap_or_else(|_| Err(trouble("the request was given up")))
    }

    /// Asks after a job in a request of its own: a suspect's, or one that is only
    /// claimed to be ours.
    pub async fn poll_alone(&self, job: Job) -> Result<Observation, Trouble> {
        metrics::counter!("videogen_poll_requests_total").increment(1);
        let answers = self.provider.poll(&[job]).await;
        answers.into_iter().next().unwrap_or_else(|| Err(trouble("the adapter gave no answer")))
    }
}

fn trouble(reason: &str) -> Trouble {
    Trouble { reason: reason.to_owned(), retry_after: None, denied: false }
}

/// Gathers polls into requests until the account is dropped. One request, one turn
/// of the rate.
async fn gather(provider: Arc<dyn Provider>, rate: Arc<Rate>, mut asked: mpsc::Receiver<Asked>, hand: Arc<Hand>) {
    let mut waiting = VecDeque::new();
    let mut requests = JoinSet::new();
    loop {
        if waiting.is_empty() {
            let Some(first) = asked.recv().await else { return };
            waiting.push_back(first);
        }
        let most = waiting.front().map_or(1, |first: &Asked| provider.batch_of(&first.job));
        if waiting.len() < most {
            tokio::time::sleep(LINGER).await;
        }
        // Whatever waits for the rate anyway makes the batch larger for free.
        rate.turn().await;
        while waiting.len() < WAITING_POLLS
            && let Ok(next) = asked.try_recv()
        {
            waiting.push_back(next);
        }
        while requests.len() >= POLLS_AT_ONCE {
            requests.join_next().await;
        }
        requests.spawn(ask(Arc::clone(&provider), batch(provider.as_ref(), &mut waiting), Arc::clone(&hand)));
    }
}

/// Takes the poll that has waited longest, and those that go into one request with
/// it. Looks no further than it has to: a thousand may be waiting.
fn batch(provider: &dyn Provider, waiting: &mut VecDeque<Asked>) -> Vec<Asked> {
    let mut taken = Vec::from_iter(waiting.pop_front());
    let most = taken.first().map_or(0, |first| provider.batch_of(&first.job));
    let mut place = 0;
    while taken.len() < most
        && let Some(next) = waiting.get(place)
    {
        if provider.batch_of(&next.job) == most {
            taken.extend(waiting.remove(place));
        } else {
            place += 1;
        }
    }
    taken
}

async fn ask(provider: Arc<dyn Provider>, batch: Vec<Asked>, hand: Arc<Hand>) {
    let jobs: Vec<Job> = batch.iter().map(|asked| asked.job.clone()).collect();
    // Until here they waited for their turn and for one another.
    batch.iter().for_each(|asked| hand.resume(asked.task));
    metrics::counter!("videogen_poll_requests_total").increment(1);
    let observations = provider.poll(&jobs).await;
    for (asked, observation) in batch.into_iter().zip(observations) {
        // Whoever asked may have gone; its next poll will see the same.
        let _ = asked.answer.send(observation);
    }
}
