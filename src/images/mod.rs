//! The look at every image behind a link, before anything is spent: can it be
//! fetched without credentials, is it a picture, and one that the model takes.
//! Asked by the ledger when a task comes in and by the supervisor before its
//! create; what was seen is remembered for a while, so that both cost one fetch.
//!
//! Nothing is asked for that the outbound policy forbids, and little is told: a
//! caller learns what a public web page would tell it, and of a host that does not
//! answer only that, in one sentence whatever the cause.

mod fetch;
mod memory;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use self::fetch::{Fetcher, Missed};
use self::memory::Memory;
use crate::catalog::{Catalog, ImageLimits};
use crate::network::Guard;
use crate::task::spec::{Image, Spec};

/// How long one look may take, at all images of a spec together.
const LOOK: Duration = Duration::from_secs(5);

/// What is said of an image that could not be looked at.
const UNCLEAR: &str = "cannot be fetched now";

/// How images are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The address is judged, then the first part is fetched.
    Fetch,
    /// The address is judged, and nothing is called: for networks whose service
    /// cannot reach what the provider can.
    Address,
}

/// Looks at images.
pub struct Images {
    guard: Guard,
    catalog: Arc<Catalog>,
    fetcher: Option<Fetcher>,
    memory: Memory,
}

/// What a look at all images of a spec came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing stands in the way.
    Good,
    /// These cannot be used, whatever happens.
    Refused(Vec<Finding>),
    /// These could not be looked at now.
    Unclear(Vec<Finding>),
}

/// What is wrong with an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The dotted path of its field.
    pub field: String,
    /// For people; the end of a sentence that the field begins.
    pub message: String,
}

impl Images {
    /// Looks in this way, held by this policy.
    pub fn new(check: Check, guard: Guard, catalog: Arc<Catalog>) -> Result<Self, reqwest::Error> {
        let fetcher = match check {
            Check::Fetch => Some(Fetcher::new(&guard)?),
            Check::Address => None,
        };
        Ok(Self { guard, catalog, fetcher, memory: Memory::default() })
    }

    /// Looks at every image of a spec that is given by link, at all of them at once.
    pub async fn look(&self, spec: &Spec) -> Verdict {
        let limits = self.catalog.resolve(spec.model.as_str()).map(|model| model.limits.images.clone());
        let limits = limits.unwrap_or_default();
        let links = spec.images().filter_map(|(field, image)| match image {
            Image::Uri(uri) => Some((field, uri)),
            Image::Data(_) | Image::File(_) => None,
        });
        let looks = links.map(|(field, uri)| async { (field, self.look_at(uri, &limits).await) });
        let (mut refused, mut unclear) = (Vec::new(), Vec::new());
        for (field, seen) in join_all(looks).await {
            match seen {
                Ok(()) => {}
                Err(Missed::Refused(message)) => refused.push(Finding { field, message }),
                Err(Missed::Unclear) => unclear.push(Finding { field, message: UNCLEAR.to_owned() }),
            }
        }
        match (refused.is_empty(), unclear.is_empty()) {
            (true, true) => Verdict::Good,
            (true, false) => Verdict::Unclear(unclear),
            (false, _) => Verdict::Refused(refused),
        }
    }

    async fn look_at(&self, uri: &str, limits: &ImageLimits) -> Result<(), Missed> {
        let url = self.guard.check_url(uri).map_err(|rule| Missed::Refused(rule.to_string()))?;
        let Some(fetcher) = &self.fetcher else { return Ok(()) };
        let seen = self.memory.recall_or(uri, || fetcher.fetch(&self.guard, url));
        let picture = tokio::time::timeout(LOOK, seen).await.unwrap_or(Err(Missed::Unclear))?;
        limits.complaint(&picture).map_or(Ok(()), |complaint| Err(Missed::Refused(complaint)))
    }
}
