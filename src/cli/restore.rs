//! `videogen restore`: a store made of a backup.

use std::path::PathBuf;

use clap::Args;

use super::settings::SettingsArgs;
use super::text::{print, say};
use super::trouble::{Outcome, Trouble};
use crate::store::backup::{self, BackupError, Waiting};

const WARNING: &str = "\
warning: what was accepted after the backup was made is not in it. Its request ids are not known: a caller that repeats \
such a request buys a second video, and jobs that were bought in that time are not followed.";

/// Restore a backup into an empty store folder.
///
/// The whole file is checked before anything is written, and the new store is compared with it at the end. The folder at
/// store.path must be empty or absent. Tasks that were not finished go on from the ids of their jobs when the server
/// starts. A task that was still waiting to be bought may have been bought since: it is looked up at its provider first, and
/// where the provider offers no look-up (fal) it ends as SUBMIT_OUTCOME_UNKNOWN rather than being bought twice. What was
/// accepted after the backup is not in it: its request ids are not known, and a repeat of such a request buys a second video.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  videogen restore --config videogen.toml tasks.backup
  videogen restore --config videogen.toml --as-it-was moved.backup   # the old server was stopped, then backed up

Exit codes: 0 the store is restored and compared; 1 it could not be restored; 2 wrong usage, or the folder is not empty.")]
pub(super) struct RestoreArgs {
    /// A file that 'videogen backup' or a running server made.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Say that no server has worked on these tasks since the backup: those that
    /// waited to be bought are bought.
    #[arg(long)]
    as_it_was: bool,

    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) async fn run(args: RestoreArgs) -> Result<Outcome, Trouble> {
    let settings = args.settings.load()?;
    let waiting = if args.as_it_was { Waiting::AsItWas } else { Waiting::MayBeBought };
    let restored = backup::restore(&args.file, &settings.store.path, waiting).await.map_err(|error| match error {
        BackupError::NotEmpty { .. } => Trouble::Usage(format!("store.path: {error}")),
        other => Trouble::Local(other.to_string()),
    })?;
    print(&format!("{}: {} tasks restored and compared", settings.store.path.display(), restored.tasks))?;
    if !args.as_it_was {
        say(WARNING);
    }
    Ok(Outcome::Done)
}
