//! `videogen fsck`: is everything there that was written?

use std::fmt::Write;
use std::path::Path;

use clap::Args;
use futures::TryStreamExt;
use serde_json::json;

use super::settings::SettingsArgs;
use super::text::{escape, print};
use super::trouble::{Outcome, Trouble};
use crate::app::archive_settings;
use crate::archive::Archive;
use crate::config::Settings;
use crate::network::Guard;
use crate::store::inputs::Files;
use crate::store::{self, Report, StoreSettings};

/// Check the store of a stopped server.
///
/// Reads every row, compares their set with what was noted of it, and the receipts of what was paid for with the tasks.
/// Receipts that have become unreadable are written anew from the tasks; nothing else is changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  videogen fsck --config videogen.toml --deep
  videogen fsck --store ./videogen-data/store --json

Exit codes: 0 clean; 1 repaired; 2 somebody has to look, see 'videogen repair'; 3 the check could not run, as with a server \
running.")]
pub(super) struct FsckArgs {
    /// Read every stored video and image, too, and compare it with its recorded size and digest
    #[arg(long)]
    deep: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) async fn run(args: FsckArgs) -> Result<Outcome, Trouble> {
    let cannot = |error: &dyn std::fmt::Display| Trouble::CannotRun(error.to_string());
    let settings = args.settings.load().map_err(|error| cannot(&error))?;
    let own = StoreSettings::new(&settings.store.path);
    let checked = tokio::task::spawn_blocking({
        let own = own.clone();
        move || store::check(&own)
    })
    .await
    .map_err(|error| cannot(&error))?;
    // Kept: it holds the lock until the videos are looked at.
    let mut checked = checked.map_err(|error| cannot(&error))?;
    if args.deep {
        look_at_videos(&settings, &mut checked.report).await?;
    }
    look_at_inputs(&own.path, args.deep, &mut checked.report);
    let report = &checked.report;
    print(if args.json { as_json(report) } else { as_text(report) }.trim_end())?;
    Ok(match (report.findings.is_empty(), report.mended.is_empty()) {
        (true, true) => Outcome::Done,
        (true, false) => Outcome::Repaired,
        (false, _) => Outcome::NeedsHuman,
    })
}

fn look_at_inputs(store: &Path, deep: bool, report: &mut Report) {
    let files = Files::of(store);
    for (id, field, file) in &report.inputs {
        if let Some(fault) = files.fault(file, deep) {
            report.findings.push(format!("the image {field} of task {id}: {fault}"));
        }
    }
}

async fn look_at_videos(settings: &Settings, report: &mut Report) -> Result<(), Trouble> {
    let cannot = |error: &dyn std::fmt::Display| Trouble::CannotRun(error.to_string());
    let guard = Guard::new(&settings.network.allow).map_err(|error| cannot(&error))?;
    let archive = Archive::open(&archive_settings(settings), guard).map_err(|error| cannot(&error))?;
    // A bucket that cannot be reached is no finding about the videos in it.
    archive.probe().await.map_err(|error| cannot(&error))?;
    for (id, artifact) in &report.artifacts {
        let read = async { archive.read(*id, artifact, 0).await?.try_for_each(|_| async { Ok(()) }).await };
        if let Err(error) = read.await {
            report.findings.push(format!("the video of task {id}: {error}"));
        }
    }
    Ok(())
}

fn verdict(report: &Report) -> &'static str {
    match (report.findings.is_empty(), report.mended.is_empty()) {
        (true, true) => "clean",
        (true, false) => "repaired",
        (false, _) => "needs a human",
    }
}

fn as_json(report: &Report) -> String {
    let Report { rows, tasks, receipts, mended, findings, artifacts, inputs } = report;
    let (videos, images) = (artifacts.len(), inputs.len());
    let verdict = verdict(report);
    json!({
        "verdict": verdict, "rows": rows, "tasks": tasks, "receipts": receipts, "videos": videos, "images": images,
        "mended": mended, "findings": findings,
    })
    .to_string()
}

fn as_text(report: &Report) -> String {
    let Report { rows, tasks, receipts, mended, findings, artifacts, inputs } = report;
    let (videos, images) = (artifacts.len(), inputs.len());
    let mut text =
        format!("{rows} rows, {tasks} tasks, {receipts} with receipts, {videos} with videos, {images} images\n");
    for (word, lines) in [("mended", mended), ("wrong", findings)] {
        for line in lines {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{word}: {}", escape(line));
        }
    }
    text + verdict(report)
}
