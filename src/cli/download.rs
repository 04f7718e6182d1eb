//! `videogen download`: fetches the stored video of a task that succeeded.

use clap::Args;

use super::client::{Client, ClientArgs};
use super::fetch::{TargetArgs, fetch};
use super::follow::until_interrupted;
use super::generate::file_event;
use super::progress::Progress;
use super::summary::video;
use super::text::print;
use super::trouble::{Outcome, Trouble};

/// Fetch the video of a task that succeeded.
///
/// A broken stream is resumed where it broke. The file gets its name only when it is whole, has the recorded SHA-256 and
/// is on the disk.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  videogen download 0197c2b4-7f5e-7d3a-9f00-000000000001 -o fox.mp4")]
pub(super) struct DownloadArgs {
    /// The task.
    #[arg(value_name = "ID")]
    task_id: String,

    #[command(flatten)]
    target: TargetArgs,

    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn run(server: Option<String>, args: DownloadArgs) -> Result<Outcome, Trouble> {
    args.target.check()?;
    let client = Client::new(server, &args.client)?;
    let progress = Progress::new(args.client.json);
    // Interrupted rather than killed, so that the unfinished file is removed.
    let work = fetch(&client, &args.task_id, &args.target, false, &progress);
    let Some(saved) = until_interrupted(work).await.transpose()? else { return Ok(Outcome::Interrupted) };
    print(&match args.client.json {
        true => file_event(&saved).to_string(),
        false => format!("{} ({})", saved.path.display(), video(&saved.artifact)),
    })?;
    Ok(Outcome::Done)
}
