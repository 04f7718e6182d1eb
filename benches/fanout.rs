//! One task watched by many streams: how soon the last one has a change, what it
//! costs, and what an idle stream takes, beside the plainest service that streams a
//! tokio watch. `cargo bench --bench fanout [-- STREAMS]`. The reader is a process of
//! its own with one thread, which throws messages away undecoded.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::try_join_all;
use futures::stream::select_all;
use tokio::runtime;
use tokio::sync::{mpsc, watch};
use tonic::Request;
use tonic::transport::Endpoint;

use common::house::{House, serve, serve_bare};
use common::light::open;
use common::{Process, ROUNDS, Result, cpu_s, medians, quantile, resident, role};
use videogen::api::pb;
use videogen::ledger::Recorded;
use videogen::task::event::{Event, Observation};
use videogen::task::id::JobId;
use videogen::task::state::{Job, Progress, Task};

/// Changes that are measured, after one that is not.
const CHANGES: u32 = 20;
const STREAMS_A_CONNECTION: usize = 200;
const WATCH: &str = "/videogen.v1.VideoGen/Watch";
/// Whatever is smaller is a heartbeat.
const TASK_BYTES: usize = 100;

fn main() -> Result<()> {
    let role = role();
    let role: Vec<&str> = role.iter().map(String::as_str).collect();
    match role.as_slice() {
        ["serve", side, streams] => {
            let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(serve_one(side, streams))
        }
        ["read", address, task, streams] => {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(read(address, task, streams.parse()?))
        }
        [] => compare("10000"),
        [streams] => compare(streams),
        _ => Err("fanout [STREAMS]".into()),
    }
}

/// Runs both sides by turns and prints the medians.
fn compare(streams: &str) -> Result<()> {
    let mut rows = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (side, rows) in ["naive", "watch"].into_iter().zip(&mut rows) {
            rows.push(Process::in_role(&["serve", side, streams].map(str::to_owned))?.numbers()?);
        }
    }
    let [naive, watch] = rows.map(|rows| medians(&rows));
    println!(
        "{streams} streams, {CHANGES} changes, median of {ROUNDS} fresh servers each; times from the call that changes"
    );
    println!("side   p50 ms  p99 ms  last ms  events/s  server CPU us/event  idle B/stream  after changes");
    for (side, row) in [("naive", &naive), ("watch", &watch)] {
        let [p50, p99, last, rate, cpu, idle, after] = row[..] else {
            return Err("seven numbers were expected".into());
        };
        println!("{side:<6} {p50:>6.1} {p99:>7.1} {last:>8.1} {rate:>9.0} {cpu:>20.2} {idle:>14.0} {after:>14.0}");
    }
    let ratio = |column: usize| watch[column] / naive[column];
    println!(
        "watch / naive: events/s {:.2}, p99 {:.2}, last {:.2}, server CPU {:.2}, idle bytes {:.2}",
        ratio(3),
        ratio(1),
        ratio(2),
        ratio(4),
        ratio(5)
    );
    Ok(())
}

/// What is changed.
enum Source {
    Naive(watch::Sender<pb::Task>),
    Watch(House, Arc<Task>),
}

impl Source {
    async fn change(&mut self, number: u32) -> Result<()> {
        match self {
            Self::Naive(shown) => shown.send_modify(|task| task.revision += 1),
            Self::Watch(house, task) => {
                let progress = Progress { percent: Some(number.into()), ..Progress::default() };
                *task = record(house, task, Event::Observed(Observation::Pending(progress))).await?;
            }
        }
        Ok(())
    }
}

async fn record(house: &House, task: &Arc<Task>, event: Event) -> Result<Arc<Task>> {
    match house.ledger.record(task, &event).await? {
        Recorded::Task(task) => Ok(task),
        Recorded::NotAllowed(task) => Err(format!("{event:?} is not allowed in {:?}", task.state).into()),
    }
}

/// A house with one running task.
async fn running() -> Result<(House, Arc<Task>)> {
    let house = House::open().await?;
    let shown = house.submit(0).await?;
    let task = house.ledger.get(shown.id.parse().map_err(|_| "an id that cannot be read")?).await?;
    let task = record(&house, &task, Event::CreateStarted).await?;
    let job = Job { id: JobId::new("job-1"), handle: "{}".to_owned() };
    let task = record(&house, &task, Event::CreateAccepted(job)).await?;
    Ok((house, task))
}

/// Serves one side to one reader, changes the task, and prints seven medians.
async fn serve_one(side: &str, streams: &str) -> Result<()> {
    let (house, task) = running().await?;
    let id = task.id.to_string();
    let (address, mut source) = match side {
        "watch" => (serve(house.service.clone()).await?, Source::Watch(house, task)),
        _ => {
            // The same message, so that only the way differs.
            use pb::video_gen_server::VideoGen;
            let request = Request::new(pb::GetTaskRequest { task_id: id.clone() });
            let shown = house.service.get_task(request).await?.into_inner().task.ok_or("no task")?;
            let (sender, receiver) = watch::channel(shown);
            (serve_bare(common::bare::Bare(receiver)).await?, Source::Naive(sender))
        }
    };
    let me = std::process::id();
    let before = resident(me)?;
    let mut reader = Process::in_role(&["read", &address.to_string(), &id, streams].map(str::to_owned))?;
    // Each stream begins with the state as it is: that is the first round.
    for _ in 0..2 {
        reader = next_line(reader).await?.0;
    }
    let count: f64 = streams.parse()?;
    let idle = (resident(me)? - before) / count;
    let mut rows = Vec::new();
    let mut cpu_before = 0.0;
    for number in 0..=CHANGES {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if number == 1 {
            cpu_before = cpu_s(me)?;
        }
        let begun = Instant::now();
        source.change(number).await?;
        reader = next_line(reader).await?.0;
        let last = begun.elapsed().as_secs_f64() * 1e3;
        let (read, ahead) = next_line(reader).await?;
        reader = read;
        let (p50, p99) = ahead.split_once(' ').ok_or("two numbers were expected")?;
        if number > 0 {
            rows.push(vec![last - p50.parse::<f64>()?, last - p99.parse::<f64>()?, last, count / last * 1e3]);
        }
    }
    let mut row = medians(&rows);
    row.push((cpu_s(me)? - cpu_before) * 1e6 / count / f64::from(CHANGES));
    row.push(idle);
    row.push((resident(me)? - before) / count);
    println!("{}", row.iter().map(f64::to_string).collect::<Vec<_>>().join(" "));
    Ok(())
}

/// Waits for a line without holding up the server.
async fn next_line(mut process: Process) -> Result<(Process, String)> {
    tokio::task::spawn_blocking(move || {
        let line = process.line()?;
        Ok((process, line))
    })
    .await?
}

/// Opens the streams, then prints a line whenever all have a change, and how long
/// before the last the median and the 99th stream in a hundred had it.
async fn read(address: &str, task: &str, streams: usize) -> Result<()> {
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let request = || pb::WatchRequest { task_id: task.to_owned(), ..pb::WatchRequest::default() };
    for _ in 0..streams.div_ceil(STREAMS_A_CONNECTION) {
        let channel = Endpoint::new(format!("http://{address}"))?.connect().await?;
        let opened = (0..STREAMS_A_CONNECTION).map(|_| open(&channel, WATCH, request()));
        let mut messages = select_all(try_join_all(opened).await?);
        let arrived = arrived.clone();
        tokio::spawn(async move {
            while let Some(Ok(bytes)) = messages.next().await {
                if bytes >= TASK_BYTES && arrived.send(Instant::now()).is_err() {
                    return;
                }
            }
        });
    }
    // The readers alone hold it now: when the server has gone, the arrivals end too.
    drop(arrived);
    loop {
        let mut times = Vec::with_capacity(streams);
        while times.len() < streams {
            times.push(arrivals.recv().await.ok_or("the streams have ended")?);
        }
        println!("all");
        let last = times.iter().max().copied().ok_or("no streams")?;
        let mut ahead: Vec<f64> = times.iter().map(|time| (last - *time).as_secs_f64() * 1e3).collect();
        println!("{} {}", quantile(&mut ahead, 0.5), quantile(&mut ahead, 0.01));
    }
}
