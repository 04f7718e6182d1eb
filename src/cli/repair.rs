//! `videogen repair`: a new store of what is left of a broken one.

use clap::Args;

use super::settings::SettingsArgs;
use super::text::{escape, print, say};
use super::trouble::{Outcome, Trouble};
use crate::store::{self, StoreSettings};

/// Rebuild the store of a stopped server.
///
/// Makes a new store of every task that the old database still gives and of the receipts of what was paid for, whichever
/// is newer. The old store is moved into the folder broken-N beside it, unchanged. A store that is in order is left alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  videogen repair --from-receipts --config videogen.toml

Exit codes: 0 there was nothing to repair; 1 repaired; 2 repaired, but a paid task could not be given back in full; 3 the \
repair could not run; the store is as it was.")]
pub(super) struct RepairArgs {
    /// Give back what was paid for from the receipts
    #[arg(long, required = true)]
    from_receipts: bool,

    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) async fn run(args: RepairArgs) -> Result<Outcome, Trouble> {
    let cannot = |error: &dyn std::fmt::Display| Trouble::CannotRun(error.to_string());
    let own = StoreSettings::new(&args.settings.load().map_err(|error| cannot(&error))?.store.path);
    let repaired = tokio::task::spawn_blocking(move || store::repair(&own)).await.map_err(|error| cannot(&error))?;
    let repaired = repaired.map_err(|error| cannot(&error))?;
    for finding in &repaired.findings {
        print(&format!("wrong: {}", escape(finding)))?;
    }
    let Some(aside) = &repaired.aside else {
        print("there is nothing to repair")?;
        return Ok(Outcome::Done);
    };
    print(&format!("the broken store is in {}", aside.display()))?;
    print(&format!("{} tasks, {} of them from receipts", repaired.tasks, repaired.from_receipts))?;
    for id in &repaired.lost {
        say(&format!("task {id} was paid for, and what was asked for can be read nowhere"));
    }
    Ok(if repaired.lost.is_empty() { Outcome::Repaired } else { Outcome::NeedsHuman })
}
