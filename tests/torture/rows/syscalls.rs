//! Kills the service at its n-th system call of a kind, for every kind that leaves
//! something behind and every n of a small script, the start included.

use std::collections::HashMap;

use futures::FutureExt;
use tokio::sync::OnceCell;

use super::script::{Life, Script, survey};
use crate::figures::Figures;
use crate::run::{Case, Row};
use crate::strace::{Calls, Strike, spread};

/// The calls, each with its other names.
const CALLS: [Calls; 14] = [
    &["write"],
    &["pwrite64"],
    &["fdatasync"],
    &["fsync"],
    &["sync_file_range"],
    &["rename", "renameat", "renameat2"],
    &["unlink", "unlinkat"],
    &["openat"],
    &["ftruncate", "fallocate"],
    &["sendto", "sendmsg"],
    &["writev"],
    &["connect"],
    &["recvfrom"],
    &["close"],
];

/// Kinds of calls, for a store that is fresh and for a used one.
const KINDS: u64 = 2 * CALLS.len() as u64;

/// How often a full run goes through every n: what a call meets differs each time.
const ROUNDS: u64 = 3;

pub const ROW: Row = Row {
    name: "syscalls",
    about: "kill -9 at every n-th write, sync, rename, unlink, open, truncation, send, receipt and connect, the start included",
    sample: 40,
    full: KINDS * 450,
    jobs: 4,
    case: |case| attack(case).boxed(),
    // What a case must do at least is checked in each one; places beyond the last call do nothing.
    least: &[],
};

/// How many calls of a kind one thread makes in an undisturbed script, for a fresh store and a used one.
static SURVEY: OnceCell<[HashMap<String, u64>; 2]> = OnceCell::const_new();

async fn attack(case: Case) -> Result<Figures, String> {
    let all: Vec<_> = CALLS.iter().copied().flatten().copied().collect();
    let survey = SURVEY.get_or_try_init(|| survey(&case, &all)).await?;
    let mut figures = Figures::default();
    let kind = case.seed as usize % CALLS.len();
    let used = case.seed / CALLS.len() as u64 % 2 == 1;
    let place = case.seed / KINDS;
    let made = CALLS[kind].iter().filter_map(|name| survey[usize::from(used)].get(*name)).max().copied().unwrap_or(0);
    // Threads take turns, so a thread may make more calls than it did in the survey.
    let most = made + made / 8 + 1;
    if place >= ROUNDS * most {
        figures.add("beyond the last call", 1);
        return Ok(figures);
    }
    let nth = spread(place % most, most);
    let script = Script::open(&case, used).await?;
    let (life, callers) = script.run(CALLS[kind], Strike::Kill, nth).await?;
    match life {
        Life::Cut(ended) if ended.code.is_none() => figures.add("kills", 1),
        Life::Cut(ended) => {
            return Err(format!(
                "{:?} {nth}: ended with {:?} before its kill\n{}",
                CALLS[kind], ended.code, ended.stderr
            ));
        }
        Life::Whole if nth <= made / 2 => return Err(format!("{:?} {nth} of {made} was not struck", CALLS[kind])),
        Life::Spoilt => return Err(format!("{:?} {nth}: an error where a kill was asked for", CALLS[kind])),
        Life::Whole => figures.add("ended before the n-th call", 1),
    }
    let judged =
        script.judge(callers).await.map_err(|error| format!("{:?} {nth}, used {used}: {error}", CALLS[kind]))?;
    figures.merge(&judged);
    Ok(figures)
}
