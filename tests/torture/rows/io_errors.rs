//! Makes the n-th write, sync or rename fail, with an error of the disk and with a
//! full one. What is struck decides what must follow: a failed write of the store
//! stops the service at once; one of the archive does not, the video is fetched
//! again; a socket or the log may fail at any time.

use std::collections::HashMap;
use std::path::Path;

use futures::FutureExt;
use tokio::sync::OnceCell;

use super::script::{Life, Script, survey};
use crate::figures::Figures;
use crate::run::{Case, Row};
use crate::strace::{self, Calls, Strike, spread};

const CALLS: [Calls; 6] =
    [&["write"], &["pwrite64"], &["sync_file_range"], &["fdatasync"], &["fsync"], &["rename", "renameat", "renameat2"]];
const ERRORS: [&str; 2] = ["EIO", "ENOSPC"];
/// Calls, errors, and a store that is fresh or used.
const KINDS: u64 = CALLS.len() as u64 * ERRORS.len() as u64 * 2;

/// How long a service may go on after its store has failed, on a machine that is
/// not crowded.
const STOP_MS: u64 = 1_000;

pub const ROW: Row = Row {
    name: "io-errors",
    about: "EIO and ENOSPC at every n-th write, sync and rename, the start included: the store's stop it, others do not",
    sample: 24,
    full: KINDS * 60,
    jobs: 4,
    case: |case| attack(case).boxed(),
    // What a case must do at least is checked in each one; places beyond the last call do nothing.
    least: &[],
};

static SURVEY: OnceCell<[HashMap<String, u64>; 2]> = OnceCell::const_new();

/// Whose call was struck.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Store,
    Archive,
    Other,
}

async fn attack(case: Case) -> Result<Figures, String> {
    let all: Vec<_> = CALLS.iter().copied().flatten().copied().collect();
    let survey = SURVEY.get_or_try_init(|| survey(&case, &all)).await?;
    let mut figures = Figures::default();
    let kind = case.seed % KINDS;
    let calls = CALLS[(kind % CALLS.len() as u64) as usize];
    let error = ERRORS[(kind / CALLS.len() as u64 % 2) as usize];
    let used = kind >= KINDS / 2;
    let made = calls.iter().filter_map(|name| survey[usize::from(used)].get(*name)).max().copied().unwrap_or(0);
    let most = made + made / 8 + 1;
    let place = case.seed / KINDS;
    if place >= most {
        figures.add("beyond the last call", 1);
        return Ok(figures);
    }
    let nth = spread(place, most);
    let told = |reason: String| format!("{error} at {calls:?} {nth}, used {used}: {reason}");
    let script = Script::open(&case, used).await?;
    let (life, callers) = script.run(calls, Strike::Fail(error), nth).await.map_err(told)?;
    if let Life::Spoilt = life {
        figures.add("not of a disk", 1);
        figures.merge(&script.judge(callers).await.map_err(told)?);
        return Ok(figures);
    }
    let log = script.settled_log().await?;
    match strace::struck(&log) {
        None if nth <= made / 2 => return Err(told("was not struck".to_owned())),
        None => figures.add("ended before the n-th call", 1),
        Some(struck) => {
            let victim = victim(&struck.line, &case.folder);
            consequence(victim, &life, &struck, &mut figures).map_err(told)?;
        }
    }
    figures.merge(&script.judge(callers).await.map_err(told)?);
    Ok(figures)
}

/// Whether the service did what it must after such a failure.
fn consequence(victim: Victim, life: &Life, struck: &strace::Struck, figures: &mut Figures) -> Result<(), String> {
    match (victim, life) {
        (_, Life::Spoilt) => Ok(()),
        (Victim::Store, Life::Whole) => Err(format!("went on although its store failed: {}", struck.line)),
        (Victim::Store, Life::Cut(_)) if struck.ms_to_end > STOP_MS * crowding() => {
            Err(format!("took {} ms to stop after {}", struck.ms_to_end, struck.line))
        }
        (Victim::Store, Life::Cut(_)) => {
            figures.add("stops for the store", 1);
            figures.largest("ms to stop at most", struck.ms_to_end);
            Ok(())
        }
        (Victim::Archive, Life::Whole) => {
            figures.add("archive errors outlived", 1);
            Ok(())
        }
        (Victim::Archive, Life::Cut(ended)) => {
            Err(format!("stopped for the archive with {:?}: {}\n{}", ended.code, struck.line, ended.stderr))
        }
        (Victim::Other, _) => {
            figures.add("other errors", 1);
            Ok(())
        }
    }
}

/// How many processes share a core, 1 at least: so many times longer may anything take.
fn crowding() -> u64 {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().and_then(|load| load.parse::<f64>().ok()).unwrap_or(1.0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (load / cores as f64).ceil().max(1.0) as u64
}

/// Whose file a line of strace names.
fn victim(line: &str, folder: &Path) -> Victim {
    let names = |name: &str| line.contains(&folder.join(name).display().to_string());
    match () {
        // Room to be thrown away, and what was in hand, which is a help after a crash:
        // that they cannot be written is no failure of the store.
        () if names("store/ballast") || names("store/in-hand") => Victim::Other,
        () if names("store") => Victim::Store,
        () if names("videos") => Victim::Archive,
        () => Victim::Other,
    }
}
