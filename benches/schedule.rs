//! The schedule with 1,000,000 ids: bytes and time of an insert, and of an expiry
//! that is given back, beside the plainest structures. `cargo bench --bench schedule`.
//! Bytes are those asked of the allocator, by this program's own count.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::time::{Duration, Instant as Moment};
use uuid::Uuid;

use common::{ROUNDS, Result, cpu_s, medians};
use videogen::supervisor::schedule::Schedule;
use videogen::task::id::TaskId;

const IDS: u64 = 1_000_000;
/// As far apart as the longest interval between two polls.
const SPREAD_MS: u64 = 30_000;

/// The system's allocator, counting.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's promises are the ones asked for here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the ones asked for here.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn main() -> Result<()> {
    println!("{IDS} ids due over {SPREAD_MS} ms; every one expires once and is given back for {SPREAD_MS} ms later");
    println!("structure      bytes/id  peak bytes/id  insert ns  expiry ns  expiry CPU ns");
    let mut rows = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        rows[0].push(tree()?);
        rows[1].push(schedule()?);
    }
    let [tree, schedule] = rows.map(|rows| medians(&rows));
    for (name, row) in [("tree of times", &tree), ("Schedule", &schedule)] {
        let [bytes, peak, insert, expiry, cpu] = row[..] else { return Err("five numbers were expected".into()) };
        println!("{name:<14} {bytes:>8.1} {peak:>14.1} {insert:>10.0} {expiry:>10.0} {cpu:>14.0}");
    }
    println!(
        "Schedule / tree: bytes {:.2}, insert {:.2}, expiry {:.2}",
        schedule[0] / tree[0],
        schedule[2] / tree[2],
        schedule[3] / tree[3]
    );
    Ok(())
}

/// The real one.
fn schedule() -> Result<Vec<f64>> {
    let zero = Moment::now();
    measure(
        Schedule::new(zero),
        |schedule, id, ms| schedule.add(id, zero + Duration::from_millis(ms)),
        |schedule| {
            let late = zero + Duration::from_millis(SPREAD_MS);
            while let Some(id) = schedule.take(late) {
                schedule.give_back(id, Some(Duration::from_millis(SPREAD_MS)), late);
            }
        },
    )
}

/// What orders ids by time and can do nothing else.
fn tree() -> Result<Vec<f64>> {
    measure(
        BTreeSet::new(),
        |tree, id, ms| {
            tree.insert((ms, id));
        },
        |tree| {
            while tree.first().is_some_and(|(ms, _)| *ms < SPREAD_MS) {
                if let Some((ms, id)) = tree.pop_first() {
                    tree.insert((ms + SPREAD_MS, id));
                }
            }
        },
    )
}

/// Bytes held, bytes at the peak, and times, each per id.
fn measure<S>(mut one: S, add: impl Fn(&mut S, TaskId, u64), expire_all: impl Fn(&mut S)) -> Result<Vec<f64>> {
    let ids: Vec<(TaskId, u64)> = (0..IDS).map(|number| (id(number), due_ms(number))).collect();
    let before = HELD.load(Ordering::Relaxed);
    let begun = Instant::now();
    for (id, ms) in &ids {
        add(&mut one, *id, *ms);
    }
    let insert = begun.elapsed();
    let held = HELD.load(Ordering::Relaxed) - before;
    PEAK.store(held + before, Ordering::Relaxed);
    let (begun, cpu_before) = (Instant::now(), cpu_s(std::process::id())?);
    expire_all(&mut one);
    let (expiry, cpu) = (begun.elapsed(), cpu_s(std::process::id())? - cpu_before);
    let peak = PEAK.load(Ordering::Relaxed) - before;
    let each = |total: f64| total / IDS as f64;
    Ok(vec![
        each(held as f64),
        each(peak as f64),
        each(insert.as_nanos() as f64),
        each(expiry.as_nanos() as f64),
        each(cpu * 1e9),
    ])
}

/// Ids as the clock makes them: growing with time, the rest random.
fn id(number: u64) -> TaskId {
    let random = u128::from(scrambled(number)) << 64 | u128::from(scrambled(!number));
    TaskId::new(Uuid::from_u128(u128::from(1_795_392_000_000 + number) << 80 | random >> 48))
}

fn due_ms(number: u64) -> u64 {
    scrambled(number ^ 0x5555) % SPREAD_MS
}

fn scrambled(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ mixed >> 29
}
