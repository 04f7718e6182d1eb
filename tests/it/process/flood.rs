//! The callback door is public. Whoever floods it with connections does not reach the
//! gRPC door, whatever they hold open.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pb::TaskState;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use videogen::api::pb;

use super::server::Site;
use crate::house::{request, text, within};

/// How many connections are opened, descriptors permitting.
const CONNECTIONS: u64 = 10_000;
/// How many calls are timed, before and during.
const CALLS: usize = 300;

/// As many connections as this process may have, leaving some for the test itself.
fn affordable() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    let may = limit.maximum.unwrap_or(u64::MAX).saturating_sub(1_000);
    usize::try_from(CONNECTIONS.min(may)).unwrap()
}

/// Opens connections, half of them silent, half in the middle of a head.
async fn flood(door: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut opening = JoinSet::new();
    let mut open = Vec::new();
    for number in 0..count {
        opening.spawn(async move {
            let mut stream = TcpStream::connect(door).await?;
            if number % 2 == 0 {
                stream.write_all(b"POST /callbacks/vg-0/0 HTTP/1.1\r\nx-slow: ").await?;
            }
            Ok::<_, std::io::Error>(stream)
        });
        if opening.len() >= 256 {
            open.extend(opening.join_next().await.unwrap().unwrap().ok());
        }
    }
    open.extend(opening.join_all().await.into_iter().flatten());
    open
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_to_the_callback_door_leave_the_grpc_door_alone() {
    let site = Site::new(Duration::from_millis(300)).await;
    let mut server = site.start().await;
    let door = within(server.process.announced("listening callback=")).await.unwrap().parse().unwrap();
    let task = server.submit(request(text("kling/kling-3.0"))).await;
    let mut client = server.client.clone();
    let mut timed = async || {
        let mut times = Vec::new();
        for _ in 0..CALLS {
            let begun = Instant::now();
            within(client.get_task(pb::GetTaskRequest { task_id: task.id.clone() })).await.unwrap();
            times.push(begun.elapsed());
        }
        times.sort();
        (times[CALLS / 2], times[CALLS * 99 / 100])
    };
    let before = timed().await;
    let held = flood(door, affordable()).await;
    let during = timed().await;
    println!("GetTask p50 and p99: {before:?} before, {during:?} beside {} connections held", held.len());
    // All were taken off the listener, and only so many are still open there.
    let own = std::fs::read_dir(format!("/proc/{}/fd", server.process.id())).unwrap().count();
    assert!(own < 700, "the server holds {own} descriptors");
    assert!(during.0 < Duration::from_millis(250), "{during:?} after {before:?}");
    // New work too, from its submit to its video.
    let task = server.submit(request(text("fal/fal-ai/veo3.1"))).await;
    server.until_task(&task.id, |task| task.state() == TaskState::Succeeded).await;
    drop(held);
}
