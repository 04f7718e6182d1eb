//! `videogen submit`: stores a task at the server and prints its id.

use clap::Args;

use crate::api::pb;

use super::client::{Client, ClientArgs};
use super::json;
use super::request::{SpecArgs, TaskArgs, build};
use super::summary::describe;
use super::text::{escape, print, say};
use super::trouble::{Outcome, Trouble};

/// Ask for a video and return at once; prints the task's id.
///
/// The server makes the task durable before it answers. If no answer comes, repeat the command with the --request-id that
/// it printed: nothing is bought twice.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  videogen submit 'a fox in the snow' -m kling/kling-3.0 --label team=films
  videogen submit 'a fox in the snow' -m kling/kling-3.0 --duration 7 --validate-only")]
pub(super) struct SubmitArgs {
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    task: TaskArgs,

    /// Check only: store nothing, spend nothing.
    #[arg(long)]
    validate_only: bool,

    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn run(server: Option<String>, args: SubmitArgs) -> Result<Outcome, Trouble> {
    let client = Client::new(server, &args.client)?;
    let request = build(args.spec, args.task, args.validate_only)?;
    let hint = escape(&request.request_id);
    if !args.validate_only {
        say(&format!("request id {hint}"));
    }
    let task = match submit(&client, request).await {
        Err(trouble) if !args.validate_only && trouble.exit_code() == 3 => {
            say(&format!("to try again without buying twice, repeat with --request-id {hint}"));
            return Err(trouble);
        }
        other => other?,
    };
    match (args.client.json, args.validate_only) {
        (true, _) => print(&json::task(&task).to_string())?,
        (false, true) => print(&describe(&task))?,
        (false, false) => print(&escape(&task.id))?,
    }
    Ok(Outcome::Done)
}

/// Sends the request, with the same id as often as need be.
pub(super) async fn submit(client: &Client, request: pb::SubmitRequest) -> Result<pb::Task, Trouble> {
    let answer = client.call(async |mut stub| stub.submit(request.clone()).await).await?;
    let replayed = answer.metadata().get("videogen-replayed").is_some_and(|value| value == "true");
    let task = answer.into_inner().task.ok_or_else(|| Trouble::Local("the server's answer holds no task".into()))?;
    if replayed {
        say("this request id was used before with the same content: here is its task");
    }
    if !request.validate_only {
        for warning in &task.warnings {
            say(&escape(&format!("warning: {}: {}", warning.field, warning.message)));
        }
    }
    Ok(task)
}
