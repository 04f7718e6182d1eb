//! Waits until everything that callers were promised has come to its end.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use videogen::api::pb;

use crate::load::Acknowledged;
use crate::site::{Server, Site};

/// Every task, once each has ended as far as its caller has to hope.
pub async fn settle(
    site: &Site,
    server: &mut Server,
    acknowledged: &[Acknowledged],
    limit: Duration,
) -> Result<Vec<pb::Task>, String> {
    let hopes: HashMap<_, _> = acknowledged.iter().map(|told| (told.task.clone(), told.asked.hope)).collect();
    let bought: HashSet<_> = site.bought().into_iter().filter_map(|entry| entry.marker).collect();
    let is_bought = |task: &pb::Task| task.attempts.iter().any(|attempt| bought.contains(&attempt.marker));
    let has_ended = |task: &pb::Task| hopes.get(&task.id).is_none_or(|hope| hope.has_ended(task, is_bought(task)));
    server.until_all(limit, has_ended).await
}
