//! Settles sled's settings on an aged store: flusher off, 500 or 5000 ms, cache 64
//! or 256 MiB. `cargo bench --bench store_settings [-- TASKS [SECONDS]]`; prints, for
//! one caller and for 64, operations per second, bytes written each, and memory.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;

use videogen::store::contract::{Commit, TaskStore};
use videogen::store::{SledStore, StoreSettings, open};
use videogen::task::state::Task;

use common::Result;
use common::tasks::{fill, task};

const SETTINGS: [(Option<u64>, u64); 6] =
    [(None, 64), (Some(500), 64), (Some(5000), 64), (None, 256), (Some(500), 256), (Some(5000), 256)];

/// Names the one setting that a child process measures: "500/64".
const CHILD: &str = "STORE_SETTINGS_RUN";

fn main() -> Result<()> {
    // Cargo passes `--bench`; only numbers are ours.
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<u64>().ok());
    let tasks = numbers.next().unwrap_or(300_000);
    let seconds = numbers.next().unwrap_or(5);
    if let Ok(run) = std::env::var(CHILD) {
        let (flush, cache) = run.split_once('/').ok_or("the run is not flush/cache")?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        return runtime.block_on(measure(flush.parse().ok(), cache.parse()?, tasks, Duration::from_secs(seconds)));
    }
    println!("{tasks} tasks of about 1 KiB, {seconds} s each");
    println!("flush ms  cache  fill/s  callers   ops/s  asked KiB/op  charged KiB/op  ops/sync  RSS MiB");
    for (flush_every_ms, cache_mib) in SETTINGS {
        let flush = flush_every_ms.map_or("none".to_owned(), |ms| ms.to_string());
        // A process each, so that the memory of one does not count for the next.
        let child = std::process::Command::new(std::env::current_exe()?)
            .args([tasks.to_string(), seconds.to_string()])
            .env(CHILD, format!("{flush}/{cache_mib}"))
            .status()?;
        if !child.success() {
            return Err("a run failed".into());
        }
    }
    Ok(())
}

async fn measure(flush_every_ms: Option<u64>, cache_mib: u64, tasks: u64, time: Duration) -> Result<()> {
    let folder = tempfile::TempDir::new_in(".")?;
    let settings = StoreSettings { cache_mib, flush_every_ms, ..StoreSettings::new(folder.path()) };
    let store = open(&settings).await?;
    let begun = Instant::now();
    fill(&store, tasks).await;
    let fill_rate = tasks as f64 / begun.elapsed().as_secs_f64();
    let flush = flush_every_ms.map_or("none".to_owned(), |ms| ms.to_string());
    for callers in [1, 64] {
        let (before, begun) = ((written()?, store.stats()), Instant::now());
        let operations = commits(&store, callers, tasks, time).await;
        let (after, elapsed) = ((written()?, store.stats()), begun.elapsed());
        println!(
            "{flush:>8} {cache_mib:>6} {fill_rate:>7.0} {callers:>8} {:>7.0} {:>13.1} {:>15.1} {:>9.1} {:>8}",
            operations as f64 / elapsed.as_secs_f64(),
            (after.0.0 - before.0.0) as f64 / 1024.0 / operations as f64,
            (after.0.1 - before.0.1) as f64 / 1024.0 / operations as f64,
            (after.1.changes - before.1.changes) as f64 / (after.1.batches - before.1.batches) as f64,
            resident()? >> 20,
        );
    }
    store.close().await;
    drop(store);
    // The first start writes sled's snapshot, the second one finds it.
    for start in ["first", "second"] {
        let begun = Instant::now();
        let store = open(&settings).await?;
        println!("{flush:>8} {cache_mib:>6} {start} start: indexed in {:.2} s", begun.elapsed().as_secs_f64());
        store.close().await;
    }
    Ok(())
}

/// Commits to tasks all over the store, each caller to its own, as polls do.
async fn commits(store: &Arc<SledStore>, callers: u64, tasks: u64, time: Duration) -> u64 {
    let until = Instant::now() + time;
    let callers = (0..callers).map(|caller| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut operations = 0;
            while Instant::now() < until {
                // A fixed jump that visits everything; the callers stay apart by parity.
                let number = (operations * 64 * 7919 + caller) % tasks;
                let id = task(number).id;
                let task = store.load(id).await.expect("the store works").expect("it was created");
                let next = Arc::new(Task { revision: task.revision.next(), ..Task::clone(&task) });
                let commit = store.commit(task.revision, next).await.expect("the store works");
                operations += u64::from(commit == Commit::Committed);
            }
            operations
        })
    });
    join_all(callers).await.into_iter().map(|operations| operations.expect("callers do not panic")).sum()
}

/// What this process has asked to be written and what it was charged for, in
/// bytes. Where the file system keeps large folios, touching one byte is charged as
/// the whole folio: then only the first number tells anything.
fn written() -> Result<(u64, u64)> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let count = |name: &str| io.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    Ok((count("wchar:").ok_or("no wchar")?, count("write_bytes:").ok_or("no write_bytes")?))
}

/// What this process holds in memory, in bytes.
fn resident() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    Ok(statm.split(' ').nth(1).ok_or("no resident pages in /proc/self/statm")?.parse::<u64>()? * 4096)
}
