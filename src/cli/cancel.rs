//! `videogen cancel`: asks for a task to be stopped and says what that achieved.

use clap::Args;

use crate::api::pb;

use super::client::{Client, ClientArgs};
use super::json;
use super::summary::cancellation;
use super::text::{escape, print};
use super::trouble::{Outcome, Trouble};

/// Ask for a task to be stopped; says honestly what that achieved.
///
/// Some providers cannot cancel: then the job goes on, is billed, and its video is kept. Repeating the command is harmless.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  videogen cancel 0197c2b4-7f5e-7d3a-9f00-000000000001")]
pub(super) struct CancelArgs {
    /// The task.
    #[arg(value_name = "ID")]
    task_id: String,

    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn run(server: Option<String>, args: CancelArgs) -> Result<Outcome, Trouble> {
    let client = Client::new(server, &args.client)?;
    let request = pb::CancelTaskRequest { task_id: args.task_id };
    let answer = client.call(async |mut stub| stub.cancel_task(request.clone()).await).await?.into_inner();
    let task = answer.task.ok_or_else(|| Trouble::Local("the server's answer holds no task".into()))?;
    if args.client.json {
        print(&json::task(&task).to_string())?;
        return Ok(Outcome::Done);
    }
    let achieved = task.cancellation.as_ref().map(cancellation).unwrap_or_default();
    print(&format!("{}  {}", json::state(task.state()), achieved))?;
    let pending = pb::CancellationOutcome::Requested;
    if task.cancellation.is_some_and(|cancellation| cancellation.outcome() == pending) {
        print(&format!("videogen watch {} tells what became of it", escape(&task.id)))?;
    }
    Ok(Outcome::Done)
}
