//! Durable Submit beside a bare unary call of the same messages, for 1, 64 and 256
//! callers. `cargo bench --bench submit [-- SECONDS]`. Each figure comes from a fresh
//! server process; the callers are a process of their own, with one thread.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};
use tokio::runtime;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use common::house::{House, request, serve, serve_bare};
use common::light;
use common::{Process, ROUNDS, Result, cpu_s, medians, quantile, role};
use videogen::api::pb;

const CALLERS: [usize; 3] = [1, 64, 256];
const WARM_UP: Duration = Duration::from_millis(500);

fn main() -> Result<()> {
    let role = role();
    let role: Vec<&str> = role.iter().map(String::as_str).collect();
    match role.as_slice() {
        ["serve", side, callers, seconds] => {
            let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(serve_one(side, callers, seconds))
        }
        ["call", address, callers, seconds] => {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(call(address, callers.parse()?, Duration::from_secs_f64(seconds.parse()?)))
        }
        [] => compare("3"),
        [seconds] => compare(seconds),
        _ => Err("submit [SECONDS]".into()),
    }
}

/// Runs both sides by turns and prints the medians.
fn compare(seconds: &str) -> Result<()> {
    println!("side    callers    ops/s   p50 ms   p99 ms  server CPU us/op  syncs/op");
    let mut ratios = Vec::new();
    for callers in CALLERS {
        let mut rows = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (side, rows) in ["bare", "submit"].into_iter().zip(&mut rows) {
                let role = ["serve", side, &callers.to_string(), seconds].map(str::to_owned);
                rows.push(Process::in_role(&role)?.numbers()?);
            }
        }
        let [bare, submit] = rows.map(|rows| medians(&rows));
        for (side, row) in [("bare", &bare), ("submit", &submit)] {
            let [rate, p50, p99, cpu, syncs] = row[..] else { return Err("five numbers were expected".into()) };
            println!("{side:<7} {callers:>7} {rate:>8.0} {p50:>8.2} {p99:>8.2} {cpu:>17.1} {syncs:>9.3}");
        }
        ratios.push((callers, submit[0] / bare[0], submit[2] / bare[2], submit[3] / bare[3]));
    }
    for (callers, rate, p99, cpu) in ratios {
        println!("submit / bare, {callers:>3} callers: ops/s {rate:.2}, p99 {p99:.2}, server CPU {cpu:.2}");
    }
    Ok(())
}

/// Serves one side until its callers are done, then prints what they and this
/// process' own counters tell.
async fn serve_one(side: &str, callers: &str, seconds: &str) -> Result<()> {
    let house = House::open().await?;
    let address = match side {
        "submit" => serve(house.service.clone()).await?,
        _ => {
            let shown = house.submit(0).await?;
            serve_bare(common::bare::Bare(watch::channel(shown).1)).await?
        }
    };
    let role = ["call", &address.to_string(), callers, seconds].map(str::to_owned);
    let store = Arc::clone(&house.store);
    let measured = tokio::task::spawn_blocking(move || -> Result<Vec<f64>> {
        let mut generator = Process::in_role(&role)?;
        let me = std::process::id();
        generator.line()?;
        let before = (cpu_s(me)?, store.stats());
        let numbers = generator.numbers()?;
        let after = (cpu_s(me)?, store.stats());
        let [operations, rate, p50, p99] = numbers[..] else { return Err("four numbers were expected".into()) };
        let changes = (after.1.changes - before.1.changes).max(1) as f64;
        let syncs = (after.1.batches - before.1.batches) as f64 / changes;
        Ok(vec![rate, p50, p99, (after.0 - before.0) * 1e6 / operations, syncs])
    });
    let row = measured.await??;
    println!("{}", row.iter().map(f64::to_string).collect::<Vec<_>>().join(" "));
    Ok(())
}

/// Calls without pause: warms up, says so, and prints calls, calls a second and
/// quantiles in milliseconds.
async fn call(address: &str, callers: usize, time: Duration) -> Result<()> {
    let endpoint = Endpoint::new(format!("http://{address}"))?;
    let connections = (0..callers.min(8)).map(|_| endpoint.connect());
    let connections = try_join_all(connections).await?;
    let callers = |phase: u64, time: Duration| {
        let connections = &connections;
        let calls = (0..callers).map(move |caller| {
            let client = connections[caller % connections.len()].clone();
            tokio::spawn(caller_loop(client, phase << 56 | (caller as u64) << 40, time))
        });
        join_all(calls)
    };
    callers(1, WARM_UP).await;
    println!("begin");
    let begun = Instant::now();
    let latencies = callers(2, time).await;
    let elapsed = begun.elapsed().as_secs_f64();
    let mut all = Vec::new();
    for one in latencies {
        all.extend(one??);
    }
    let count = all.len() as f64;
    println!("{count} {} {} {}", count / elapsed, quantile(&mut all, 0.5), quantile(&mut all, 0.99));
    Ok(())
}

/// One caller's latencies, in milliseconds.
async fn caller_loop(client: Channel, first: u64, time: Duration) -> Result<Vec<f64>> {
    let until = Instant::now() + time;
    let template = request(0);
    let mut latencies = Vec::new();
    for number in first.. {
        let request = pb::SubmitRequest { request_id: format!("request-{number}"), ..template.clone() };
        let begun = Instant::now();
        if begun >= until {
            break;
        }
        light::call(&client, "/videogen.v1.VideoGen/Submit", request).await?;
        latencies.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(latencies)
}
