//! What a provider's adapter does for the supervisor, and in which words it
//! answers. An adapter speaks HTTP once per call and classifies the answer; it
//! never retries, never sleeps, never decides what to do next.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use url::Url;

use crate::catalog::Model;
use crate::task::event::Observation;
use crate::task::id::Marker;
use crate::task::spec::Spec;
use crate::task::state::{CancelOutcome, Failure, Job};

/// One account at one provider.
#[async_trait]
pub trait Provider: Send + Sync {
    /// What the provider can do, fixed for its life.
    fn abilities(&self) -> Abilities;

    /// Sends the paid create, once.
    async fn submit(&self, order: Order<'_>) -> Created;

    /// How many jobs like this one a single request can ask after: at most
    /// [`Abilities::poll_batch`].
    fn batch_of(&self, _job: &Job) -> usize {
        self.abilities().poll_batch
    }

    /// Asks after jobs: at most as many as [`Provider::batch_of`] says of each. The
    /// answers stand in the order of the jobs.
    async fn poll(&self, jobs: &[Job]) -> Vec<Result<Observation, Trouble>>;

    /// Looks for the job that this order bought, where the provider offers it.
    async fn find(&self, order: Order<'_>) -> Result<Found, Trouble>;

    /// Asks the provider to stop a job. Never called where
    /// [`Abilities::cancels`] is false.
    async fn cancel(&self, job: &Job) -> Result<CancelOutcome, Trouble>;
}

/// What a provider can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// How many jobs one poll may ask after.
    pub poll_batch: usize,
    /// Whether a job whose create was not answered can be looked for: by our marker, or
    /// by an input that the marker makes unlike any other.
    pub finds_by_marker: bool,
    /// Whether a second create under the same marker is refused, which makes
    /// sending it again safe.
    pub refuses_duplicates: bool,
    /// Whether a job can be cancelled.
    pub cancels: bool,
}

/// Everything a paid create is made of.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// What to make; already checked against the catalog.
    pub spec: &'a Spec,
    /// The catalog's row of the model.
    pub model: &'a Model,
    /// The id that we chose for this attempt.
    pub marker: &'a Marker,
    /// Where the provider may call back.
    pub callback: Option<&'a Url>,
    /// Whether an earlier create under this marker may have arrived: then a refusal
    /// of this one says nothing about that one.
    pub resent: bool,
    /// When the intent to send it was stored: the create left after it, if it left.
    pub sent: SystemTime,
}

/// How a paid create ended. The variants say what may be done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// The provider took it. Never send again.
    Accepted(Job),
    /// The provider refused it in its own words. The task fails.
    Refused(Failure),
    /// Turned away as one too many; nothing was made. Send again later.
    Throttled {
        /// The provider's own wish.
        after: Option<Duration>,
        /// For people.
        reason: String,
    },
    /// Proved never to have reached the provider. Send again later.
    NotSent {
        /// For people.
        reason: String,
    },
    /// It may have been taken. Only a look-up may settle it.
    Unknown {
        /// For people; holds what is known of the answer.
        reason: String,
    },
}

/// What a look-up by marker found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The job.
    Job(Job),
    /// Nothing, or nothing yet.
    Nothing,
}

/// A call that told nothing about the job. It never fails a task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Trouble {
    /// For logs; holds no secret.
    pub reason: String,
    /// When the provider wants to be asked again.
    pub retry_after: Option<Duration>,
    /// Whether the provider did not accept the account's credentials.
    pub denied: bool,
}
