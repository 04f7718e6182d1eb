//! `videogen generate`: submit, watch, download. Leaving early costs nothing: the
//! task goes on at the server, and the way back is printed.

use std::cell::RefCell;

use clap::Args;
use serde_json::json;

use crate::api::pb;

use super::client::{Client, ClientArgs};
use super::fetch::{Saved, TargetArgs, fetch};
use super::follow::{follow, until_interrupted};
use super::progress::Progress;
use super::request::{SpecArgs, TaskArgs, build};
use super::submit::submit;
use super::summary::{align, describe, video};
use super::text::{escape, print, say};
use super::trouble::{Outcome, Trouble};

/// Make a video: submit, follow to the end, download the file.
///
/// Ctrl-C leaves the task running at the server; the commands to come back to it are printed. If the command ends without
/// an answer to its submission, repeat it with the --request-id that it printed: nothing is bought twice.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  videogen generate 'a fox in the snow' -m kling/kling-3.0 --duration 5 -o fox.mp4
  videogen generate 'it wakes up' -m kling/kling-v2-6 --start-image https://example.com/fox.png --mode pro -o fox.mp4")]
pub(super) struct GenerateArgs {
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    task: TaskArgs,
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn run(server: Option<String>, args: GenerateArgs) -> Result<Outcome, Trouble> {
    let GenerateArgs { spec, target, task, client: client_args } = args;
    target.check()?;
    let client = Client::new(server, &client_args)?;
    let request = build(spec, task, false)?;
    let request_id = request.request_id.clone();
    say(&format!("request id {}", escape(&request_id)));

    let task_id = RefCell::new(None);
    let work = make(&client, request, &target, client_args.json, &task_id);
    let ended = until_interrupted(work).await;
    let task_id = task_id.into_inner();
    match (ended, task_id) {
        (Some(Ok(outcome)), _) => Ok(outcome),
        (Some(Err(trouble)), Some(task_id)) => {
            say(&way_back(&task_id, &target));
            Err(trouble)
        }
        (Some(Err(trouble)), None) => {
            say(&format!("to try again without buying twice, repeat with --request-id {}", escape(&request_id)));
            Err(trouble)
        }
        (None, Some(task_id)) => {
            say(&format!("\nleft; the task goes on\n{}", way_back(&task_id, &target)));
            Ok(Outcome::Interrupted)
        }
        (None, None) => {
            let id = escape(&request_id);
            say(&format!("\nleft before the server answered; repeat with --request-id {id} to buy only once"));
            Ok(Outcome::Interrupted)
        }
    }
}

/// The whole way; leaves the task's id outside as soon as it is known.
async fn make(
    client: &Client,
    request: pb::SubmitRequest,
    target: &TargetArgs,
    json: bool,
    task_id: &RefCell<Option<String>>,
) -> Result<Outcome, Trouble> {
    let task = submit(client, request).await?;
    task_id.replace(Some(task.id.clone()));
    if !json {
        say(&format!("task {}", escape(&task.id)));
    }
    // From revision 0, so that the first state is shown as the stream brings it.
    let mut progress = Progress::new(json);
    let followed = follow(client, &task.id, 0, client.later_contact(), &mut progress).await;
    progress.clear();
    let task = followed?;
    if task.state() != pb::TaskState::Succeeded {
        if !json {
            print(&describe(&task))?;
        }
        // Nothing is left to come back to.
        task_id.replace(None);
        return Ok(Outcome::TaskFailed);
    }
    let saved = fetch(client, &task.id, target, true, &progress).await?;
    tell(&task, &saved, json)?;
    Ok(Outcome::Done)
}

fn tell(task: &pb::Task, saved: &Saved, json: bool) -> Result<(), Trouble> {
    if json {
        return print(&file_event(saved).to_string());
    }
    let file = ["file".to_owned(), format!("{} ({})", saved.path.display(), video(&saved.artifact))];
    print(&format!("{}\n{}", align(&[file]), describe(task)))
}

/// The event that says where the file is.
pub(super) fn file_event(saved: &Saved) -> serde_json::Value {
    json!({
        "event": "file",
        "file": saved.path.display().to_string(),
        "size": saved.artifact.size,
        "sha256": saved.artifact.sha256,
        "media_type": saved.artifact.media_type,
    })
}

fn way_back(task_id: &str, target: &TargetArgs) -> String {
    let id = escape(task_id);
    format!("  videogen watch {id}\n  videogen download {id}{}", target.as_words())
}
