//! Runs the cases of a row, some at once, each with a seed and a folder of its
//! own, and prints the line that replays a failure.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;

use crate::figures::Figures;
use crate::rows;

/// After so many failures no further case begins.
const ENOUGH_FAILURES: usize = 10;

/// One way to attack.
pub struct Row {
    /// What it is called on the command line.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// How many cases are a sample: about half a minute on two cores.
    pub sample: u64,
    /// How many cases the figure to reach asks for.
    pub full: u64,
    /// How many cases run at once.
    pub jobs: usize,
    /// Runs one case. An error says which promise broke; so does a panic.
    pub case: fn(Case) -> BoxFuture<'static, Result<Figures, String>>,
    /// What every run must have done at least, per case: one that did nothing fails.
    pub least: &'static [(&'static str, u64)],
}

/// One case: the same seed makes the same case.
#[derive(Clone, Debug)]
pub struct Case {
    /// The seed.
    pub seed: u64,
    /// A folder of its own, which is there. It is removed when the case passes.
    pub folder: PathBuf,
    /// The binary under test: a copy, so that a build may go on beside a long run.
    pub program: PathBuf,
}

impl Case {
    /// Random numbers that follow from the seed.
    pub fn random(&self) -> StdRng {
        StdRng::seed_from_u64(self.seed)
    }
}

/// Which cases.
#[derive(Debug)]
pub struct Bounds {
    /// The first one's seed.
    pub seed: u64,
    /// How many.
    pub count: u64,
    /// No case begins later.
    pub time: Option<Duration>,
    /// How many at once.
    pub jobs: usize,
}

/// Runs a row and says how it went. False when a case failed or too little was done.
pub async fn run(row: &'static Row, bounds: &Bounds) -> bool {
    let _ = rustls::crypto::ring::default_provider().install_default();
    if let Some(tools) = rows::missing(row) {
        println!("{}: SKIPPED: this machine has not {tools}", row.name);
        // A program can be installed; a kernel's loop devices cannot.
        return std::env::var("CI").as_deref() != Ok("true") || !rows::can_be_installed(row);
    }
    let began = Instant::now();
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("torture-{}-{}", row.name, std::process::id()));
    std::fs::create_dir_all(&home).expect("a folder for the run");
    // As strace names it.
    let home = home.canonicalize().expect("the folder for the run");
    let program = home.join("videogen");
    std::fs::copy(env!("CARGO_BIN_EXE_videogen"), &program).expect("a copy of the binary");

    let (mut figures, mut failures, mut passed) = (Figures::default(), 0, 0);
    let mut seeds = (0..bounds.count).map(|number| bounds.seed.wrapping_add(number));
    let mut running = JoinSet::new();
    loop {
        let may_begin = failures < ENOUGH_FAILURES && bounds.time.is_none_or(|time| began.elapsed() < time);
        while may_begin
            && running.len() < bounds.jobs
            && let Some(seed) = seeds.next()
        {
            running.spawn(attempt(row, Case { seed, folder: home.join(seed.to_string()), program: program.clone() }));
        }
        let Some(ended) = running.join_next().await else { break };
        match ended.expect("a case's panic is caught") {
            (_, Ok(counted)) => {
                passed += 1;
                figures.merge(&counted);
            }
            (case, Err(reason)) => {
                failures += 1;
                eprintln!("{}: FAILED with seed {}: {reason}", row.name, case.seed);
                eprintln!("  replay: scripts/torture {} --seed {} --count 1", row.name, case.seed);
                eprintln!("  kept:   {}", case.folder.display());
            }
        }
    }
    let idle = idle(row, &figures, passed);
    let word = if failures == 0 && passed > 0 && idle.is_empty() { "passed" } else { "FAILED" };
    let (seed, time) = (bounds.seed, began.elapsed().as_secs());
    println!("{}: {word}: {passed} cases, {failures} failed, {figures}; first seed {seed}, {time} s", row.name);
    for complaint in &idle {
        println!("{}: too little was done: {complaint}", row.name);
    }
    if failures == 0 {
        // What cannot be removed is only in the way.
        let _ = std::fs::remove_dir_all(&home);
    }
    word == "passed"
}

async fn attempt(row: &'static Row, case: Case) -> (Case, Result<Figures, String>) {
    std::fs::create_dir_all(&case.folder).expect("a folder for the case");
    let judged = AssertUnwindSafe((row.case)(case.clone())).catch_unwind().await;
    let judged = judged.unwrap_or_else(|panic| Err(format!("panicked: {}", told(panic.as_ref()))));
    if judged.is_ok() {
        let _ = std::fs::remove_dir_all(&case.folder);
    }
    (case, judged)
}

fn told(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("for an unknown reason")
}

/// Which figures are below what so many cases must reach.
fn idle(row: &Row, figures: &Figures, passed: u64) -> Vec<String> {
    let short = |(name, least): &&(&'static str, u64)| figures.get(name) < least * passed;
    row.least.iter().filter(short).map(|(name, least)| format!("{name} below {}", least * passed)).collect()
}
