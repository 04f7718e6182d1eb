//! `videogen get`: one task as it is now.

use clap::Args;

use crate::api::pb;

use super::client::{Client, ClientArgs};
use super::json;
use super::summary::describe;
use super::text::print;
use super::trouble::{Outcome, Trouble};

/// Show one task as it is now.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  videogen get 0197c2b4-7f5e-7d3a-9f00-000000000001
  videogen get 0197c2b4-7f5e-7d3a-9f00-000000000001 --json | jq -r .state")]
pub(super) struct GetArgs {
    /// The task.
    #[arg(value_name = "ID")]
    task_id: String,

    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn run(server: Option<String>, args: GetArgs) -> Result<Outcome, Trouble> {
    let client = Client::new(server, &args.client)?;
    let request = pb::GetTaskRequest { task_id: args.task_id };
    let answer = client.call(async |mut stub| stub.get_task(request.clone()).await).await?.into_inner();
    let task = answer.task.ok_or_else(|| Trouble::Local("the server's answer holds no task".into()))?;
    print(&if args.client.json { json::task(&task).to_string() } else { describe(&task) })?;
    Ok(Outcome::Done)
}
