//! `videogen download`: fetches the stored video of a task that succeeded.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::client::{Client, ClientArgs};
use super::fetch::{TargetArgs, fetch};
use super::follow::until_interrupted;
use super::generate::file_event;
use super::progress::Progress;
use super::summary::video;
use super::text::{escape, print};
use super::trouble::{Outcome, Trouble};
use crate::api::pb;
use crate::config::parse_duration;

/// Fetch the video of a task that succeeded.
///
/// A broken stream is resumed where it broke. The file gets its name only when it is whole, has the recorded SHA-256 and
/// is on the disk.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  videogen download 0197c2b4-7f5e-7d3a-9f00-000000000001 -o fox.mp4
  videogen download 0197c2b4-7f5e-7d3a-9f00-000000000001 --link 1h")]
pub(super) struct DownloadArgs {
    /// The task.
    #[arg(value_name = "ID")]
    task_id: String,

    /// Fetch nothing: print a link to the file that works for this long, 1s to 7d, for a server that keeps videos in a bucket
    #[arg(
        long,
        value_name = "LIFETIME",
        num_args = 0..=1,
        default_missing_value = "15m",
        value_parser = parse_duration,
        conflicts_with_all = ["output", "force"],
    )]
    link: Option<Duration>,

    #[command(flatten)]
    target: TargetArgs,

    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn run(server: Option<String>, args: DownloadArgs) -> Result<Outcome, Trouble> {
    args.target.check()?;
    let client = Client::new(server, &args.client)?;
    if let Some(lifetime) = args.link {
        return link(&client, &args, lifetime).await;
    }
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

/// Prints a link, alone on its line, so that it can be handed to another program.
async fn link(client: &Client, args: &DownloadArgs, lifetime: Duration) -> Result<Outcome, Trouble> {
    let lifetime = prost_types::Duration::try_from(lifetime).map_err(|error| Trouble::Usage(error.to_string()))?;
    let request = pb::GetDownloadLinkRequest { task_id: args.task_id.clone(), lifetime: Some(lifetime) };
    let answer = client.call(async |mut stub| stub.get_download_link(request.clone()).await).await?.into_inner();
    let expires = answer.expire_time.map(|time| time.to_string()).unwrap_or_default();
    print(&match args.client.json {
        true => json!({ "url": answer.url, "expire_time": expires }).to_string(),
        false => escape(&answer.url),
    })?;
    Ok(Outcome::Done)
}
