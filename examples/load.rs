//! Submits many tasks at once to a running server, follows every one of them to
//! its end, and prints how fast that was:
//!
//! cargo run --release --example load -- --server http://127.0.0.1:50051 --tasks 200 --callers 64

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};
use uuid::Uuid;
use videogen::api::pb;
use videogen::api::pb::video_gen_client::VideoGenClient;
use videogen::api::pb::watch_response::Event;

/// Streams on one connection: the server takes 256.
const STREAMS: usize = 200;

/// What is sent where.
#[derive(Debug, Parser)]
struct Load {
    /// The server.
    #[arg(long, default_value = "http://127.0.0.1:50051")]
    server: String,
    /// How many tasks.
    #[arg(long, default_value_t = 200)]
    tasks: usize,
    /// How many callers submit them.
    #[arg(long, default_value_t = 64)]
    callers: usize,
    /// The models, in turn.
    #[arg(long, value_delimiter = ',', default_value = "kling/kling-3.0,kling/kling-v2-6,fal/fal-ai/veo3.1")]
    models: Vec<String>,
    /// What the videos show.
    #[arg(long, default_value = "a red kite over dunes")]
    prompt: String,
    /// How long a server that goes away is waited for, in seconds.
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Submit only; leave the tasks alone afterwards.
    #[arg(long)]
    no_follow: bool,
}

type Client = VideoGenClient<Channel>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let load = Arc::new(Load::parse());
    let mut clients = Vec::new();
    for _ in 0..load.tasks.div_ceil(STREAMS).max(1) {
        clients.push(VideoGenClient::new(Channel::from_shared(load.server.clone())?.connect_lazy()));
    }

    let begun = Instant::now();
    let (ids, mut times) = submit_all(&load, &clients).await?;
    let took = begun.elapsed();
    times.sort();
    let rate = ids.len() as f64 / took.as_secs_f64();
    println!("submitted {} tasks by {} callers in {took:.2?}: {rate:.0} submits/s", ids.len(), load.callers);
    println!("submit p50 {:.2?}, p99 {:.2?}, most {:.2?}", at(&times, 0.5), at(&times, 0.99), at(&times, 1.0));
    if load.no_follow {
        return Ok(());
    }

    let mut following = JoinSet::new();
    for (place, id) in ids.into_iter().enumerate() {
        let client = clients[place / STREAMS].clone();
        following.spawn(follow(client, id, Duration::from_secs(load.patience)));
    }
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    while let Some(end) = following.join_next().await {
        *ends.entry(end??).or_default() += 1;
    }
    println!("all ended after {:.2?}:", begun.elapsed());
    for (end, count) in &ends {
        println!("  {count:>6} {end}");
    }
    Ok(())
}

/// Submits with so many callers; answers with the ids and how long each call took.
async fn submit_all(load: &Arc<Load>, clients: &[Client]) -> Result<(Vec<String>, Vec<Duration>), Box<dyn Error>> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for caller in 0..load.callers {
        let (load, next) = (Arc::clone(load), Arc::clone(&next));
        let client = clients[caller % clients.len()].clone();
        callers.spawn(async move {
            let mut done = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= load.tasks {
                    return Ok::<_, Status>(done);
                }
                let begun = Instant::now();
                let id = submit(&load, client.clone(), number).await?;
                done.push((id, begun.elapsed()));
            }
        });
    }
    let mut done = Vec::new();
    while let Some(of_one) = callers.join_next().await {
        done.extend(of_one??);
    }
    Ok(done.into_iter().unzip())
}

/// Submits one task, with the same request id until there is an answer.
async fn submit(load: &Load, mut client: Client, number: usize) -> Result<String, Status> {
    let model = load.models[number % load.models.len()].clone();
    let request = pb::SubmitRequest {
        request_id: Uuid::now_v7().to_string(),
        spec: Some(pb::Spec { model, prompt: load.prompt.clone(), ..Default::default() }),
        ..Default::default()
    };
    let begun = Instant::now();
    loop {
        match client.submit(request.clone()).await {
            Ok(answer) => return Ok(answer.into_inner().task.unwrap_or_default().id),
            Err(status) => rest_or_give_up(status, begun.elapsed(), load.patience).await?,
        }
    }
}

/// Follows one task to its end, across broken connections, and names the end.
async fn follow(mut client: Client, task_id: String, patience: Duration) -> Result<String, Status> {
    let mut request = pb::WatchRequest { task_id, ..Default::default() };
    let mut last = pb::Task::default();
    let mut heard = Instant::now();
    loop {
        let before = request.after_revision;
        let followed = follow_once(&mut client, &mut request, &mut last).await;
        if request.after_revision > before {
            heard = Instant::now();
        }
        match followed {
            Ok(()) => return Ok(name(&last)),
            Err(status) => rest_or_give_up(status, heard.elapsed(), patience.as_secs()).await?,
        }
    }
}

async fn follow_once(client: &mut Client, request: &mut pb::WatchRequest, last: &mut pb::Task) -> Result<(), Status> {
    let mut stream = client.watch(request.clone()).await?.into_inner();
    while let Some(message) = stream.message().await? {
        if let Some(Event::Task(task)) = message.event {
            request.after_revision = task.revision;
            *last = task;
        }
    }
    Ok(())
}

/// How a task ended, with the reason of a failure.
fn name(task: &pb::Task) -> String {
    let state = task.state().as_str_name().trim_start_matches("TASK_STATE_");
    match &task.failure {
        Some(failure) => format!("{state} {}", failure.kind().as_str_name().trim_start_matches("FAILURE_KIND_")),
        None => state.to_owned(),
    }
}

async fn rest_or_give_up(status: Status, since: Duration, patience: u64) -> Result<(), Status> {
    let passes = matches!(status.code(), Code::Unavailable | Code::Unknown | Code::ResourceExhausted | Code::Cancelled);
    if !passes || since > Duration::from_secs(patience) {
        return Err(status);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(())
}

/// The value that this part of the sorted values does not exceed.
fn at(sorted: &[Duration], part: f64) -> Duration {
    let place = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or_default()
}
