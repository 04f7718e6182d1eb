//! How long a store of 100,000 and of 300,000 tasks takes to open: the first start,
//! in which sled writes its snapshot, and later ones. Reads come from the page cache.
//! `cargo bench --bench store_start [-- TASKS...]`.

mod common;

use std::time::Instant;

use tempfile::TempDir;

use common::tasks::fill;
use common::{Process, ROUNDS, Result, cpu_s, resident, role};
use videogen::store::contract::TaskStore;
use videogen::store::{StoreSettings, open};

fn main() -> Result<()> {
    let role = role();
    let role: Vec<&str> = role.iter().map(String::as_str).collect();
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match role.as_slice() {
        ["fill", path, tasks] => runtime()?.block_on(fill_one(path, tasks.parse()?)),
        ["start", path] => runtime()?.block_on(start_one(path)),
        [] => compare(&["100000", "300000"]),
        tasks => compare(tasks),
    }
}

fn compare(sizes: &[&str]) -> Result<()> {
    println!("  tasks  disk B/task  first start s  later start s  CPU s  RSS MiB");
    for tasks in sizes {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let path = folder.path().to_str().ok_or("a folder that is not text")?;
        Process::in_role(&["fill", path, tasks].map(str::to_owned))?.line()?;
        let disk = std::fs::metadata(folder.path().join("db"))?.len() as f64 / tasks.parse::<f64>()?;
        // A process each: memory and sled's threads of one start leave the next alone.
        let start = || Process::in_role(&["start", path].map(str::to_owned))?.numbers();
        let first = start()?[0];
        let later = common::medians(&(0..ROUNDS).map(|_| start()).collect::<Result<Vec<_>>>()?);
        println!(
            "{tasks:>7} {disk:>12.0} {first:>14.2} {:>14.2} {:>6.2} {:>8.0}",
            later[0],
            later[1],
            later[2] / f64::from(1 << 20)
        );
    }
    Ok(())
}

async fn fill_one(path: &str, tasks: u64) -> Result<()> {
    let store = open(&StoreSettings::new(path)).await?;
    fill(&store, tasks).await;
    store.close().await;
    println!("filled");
    Ok(())
}

/// Prints seconds, seconds of CPU, and bytes in memory.
async fn start_one(path: &str) -> Result<()> {
    let begun = Instant::now();
    let store = open(&StoreSettings::new(path)).await?;
    let me = std::process::id();
    println!("{} {} {}", begun.elapsed().as_secs_f64(), cpu_s(me)?, resident(me)?);
    store.close().await;
    Ok(())
}
