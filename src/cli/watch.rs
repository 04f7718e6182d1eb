//! `videogen watch`: follows one task to its end, or every task that matches a
//! filter until the user leaves.

use std::collections::HashMap;

use clap::Args;

use crate::api::pb;
use crate::api::pb::watch_response::Event;

use super::client::{Client, ClientArgs, Outage};
use super::follow::{follow, next, open, until_interrupted, wait};
use super::json;
use super::list::FilterArgs;
use super::progress::Progress;
use super::summary::describe;
use super::text::{escape, print, say};
use super::trouble::{Outcome, Trouble};

/// Follow a task to its end, or every task that matches.
///
/// Exits with 0 when the task succeeded and with 1 when it failed or was cancelled. Without an ID, follows every task that
/// matches the filter until Ctrl-C. Times are UTC.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  videogen watch 0197c2b4-7f5e-7d3a-9f00-000000000001
  videogen watch --label team=films --state running --json")]
pub(super) struct WatchArgs {
    /// The task; without it, every task that matches the filter.
    #[arg(value_name = "ID")]
    task_id: Option<String>,

    /// Show only what is newer than this revision.
    #[arg(long, value_name = "REVISION", default_value_t = 0, requires = "task_id")]
    after_revision: u64,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn run(server: Option<String>, args: WatchArgs) -> Result<Outcome, Trouble> {
    let client = Client::new(server, &args.client)?;
    let json = args.client.json;
    match args.task_id {
        Some(_) if !args.filter.is_empty() => {
            Err(Trouble::Usage("a task's ID and a filter cannot be given together".into()))
        }
        Some(task_id) => one(&client, &task_id, args.after_revision, json).await,
        None => {
            let filter = args.filter.build()?;
            let mut outage = client.first_contact();
            let endless = many(&client, &filter, json, &mut outage);
            until_interrupted(endless).await.unwrap_or(Ok(Outcome::Interrupted))
        }
    }
}

async fn one(client: &Client, task_id: &str, after_revision: u64, json: bool) -> Result<Outcome, Trouble> {
    let mut progress = Progress::new(json);
    let work = follow(client, task_id, after_revision, client.first_contact(), &mut progress);
    let ended = until_interrupted(work).await;
    progress.clear();
    let Some(task) = ended.transpose()? else {
        say(&format!("\nleft; the task goes on\n  videogen watch {}", escape(task_id)));
        return Ok(Outcome::Interrupted);
    };
    if !json {
        print(&describe(&task))?;
    }
    match task.state() {
        pb::TaskState::Succeeded => Ok(Outcome::Done),
        _ => Ok(Outcome::TaskFailed),
    }
}

/// Follows many. After a break the server tells every match anew; what was seen
/// already is not shown again.
async fn many(client: &Client, filter: &pb::TaskFilter, json: bool, outage: &mut Outage) -> Result<Outcome, Trouble> {
    let mut seen: HashMap<String, u64> = HashMap::new();
    let progress = Progress::Lines { last: None };
    loop {
        match many_once(client, filter, json, outage, &mut seen).await {
            Ok(()) => wait(outage, tonic::Status::unavailable("the stream ended"), &progress).await?,
            Err(Trouble::Status(status)) => wait(outage, *status, &progress).await?,
            Err(trouble) => return Err(trouble),
        }
    }
}

async fn many_once(
    client: &Client,
    filter: &pb::TaskFilter,
    json: bool,
    outage: &mut Outage,
    seen: &mut HashMap<String, u64>,
) -> Result<(), Trouble> {
    let request = pb::WatchRequest { filter: Some(filter.clone()), ..Default::default() };
    let mut stream = open(client, request).await?;
    while let Some(event) = next(&mut stream, &Progress::Json).await? {
        outage.over();
        let Event::Task(task) = event else { continue };
        let last = seen.entry(task.id.clone()).or_default();
        if task.revision <= *last {
            continue;
        }
        *last = task.revision;
        match json {
            true => print(&serde_json::json!({"event": "task", "task": json::task(&task)}).to_string())?,
            false => print(&format!("{} {}", escape(&task.id), super::progress::line(&task)))?,
        }
    }
    Ok(())
}
