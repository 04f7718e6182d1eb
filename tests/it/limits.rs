//! Slots and rates: never more at the provider than the account has, in order, and
//! one poll for many jobs.

use std::time::Duration;

use futures::future::join_all;
use pb::TaskState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use videogen::api::pb;
use videogen::simulator::{self, Simulator};

use crate::house::{House, quick, text, within};

/// The largest number of jobs that were open at once, from the times that the
/// provider wrote down.
fn most_at_once(jobs: &[serde_json::Value]) -> usize {
    let time = |job: &serde_json::Value, key: &str| job[key].as_u64().unwrap();
    let open_at = |at: u64| jobs.iter().filter(|job| time(job, "created") <= at && at < time(job, "ends")).count();
    jobs.iter().map(|job| open_at(time(job, "created"))).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_jobs_are_open_than_the_account_has_slots_and_all_finish_in_order() {
    let provider = quick(Duration::from_millis(500));
    let mut house = House::with(provider, &[("ACCOUNTS__0__MAX_PARALLEL", "2")]).await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(house.submit(text("kling/kling-3.0")).await.id);
    }
    let place = |task: &pb::Task| task.progress.as_ref().and_then(|progress| progress.queue_position);
    let last = house.get(ids.last().unwrap()).await;
    assert_eq!(last.state(), TaskState::Queued);
    assert!(place(&last).is_some_and(|place| (1..=9).contains(&place)), "{:?}", last.progress);

    let mut ends = Vec::new();
    for id in &ids {
        let end = house.finished(id).await;
        assert_eq!(end.state(), TaskState::Succeeded, "{:?}", end.failure);
        assert_eq!(place(&end), None);
        ends.push(end);
    }
    let jobs = house.jobs().await;
    assert_eq!((jobs.len(), house.bought()), (10, 10));
    assert!(most_at_once(&jobs) <= 2, "{jobs:#?}");
    let markers: Vec<_> = house.simulator.ledger().into_iter().map(|entry| entry.marker.unwrap()).collect();
    let wanted: Vec<_> = ends.iter().map(|end| end.attempts[0].marker.clone()).collect();
    // Two go at once: each is bought at most one place away from its turn.
    for (place, marker) in wanted.iter().enumerate() {
        let bought = markers.iter().position(|found| found == marker).unwrap();
        assert!(bought.abs_diff(place) <= 1, "{wanted:?} {markers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_full_does_not_hold_up_another() {
    let endless = quick(Duration::from_secs(3600));
    let mut house = House::with(endless, &[("ACCOUNTS__0__MAX_PARALLEL", "1")]).await;
    for _ in 0..3 {
        house.submit(text("kling/kling-3.0")).await;
    }
    let free = house.submit(text("kling/kling-v2-6")).await;
    house.until(&free.id, |task| task.state() == TaskState::Running).await;
    assert_eq!(house.bought(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_with_fewer_slots_than_thought_makes_tasks_wait_not_fail() {
    let tight = simulator::Settings { parallel_limit: Some(1), ..quick(Duration::from_millis(200)) };
    let mut house = House::with(tight, &[]).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(house.submit(text("kling/kling-v2-6")).await.id);
    }
    for id in &ids {
        let end = house.finished(id).await;
        assert_eq!((end.state(), end.attempts.len()), (TaskState::Succeeded, 1), "{:?}", end.failure);
    }
    assert_eq!(house.bought(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_keep_to_the_accounts_rate() {
    let provider = quick(Duration::from_secs(3600));
    let slow =
        [("ACCOUNTS__0__REQUESTS_PER_SECOND", "4"), ("POLLING__MIN_INTERVAL", "10s"), ("POLLING__MAX_INTERVAL", "10s")];
    let mut house = House::with(provider, &slow).await;
    let begun = Instant::now();
    let mut ids = Vec::new();
    for _ in 0..9 {
        ids.push(house.submit(text("kling/kling-3.0")).await.id);
    }
    for id in &ids {
        house.until(id, |task| task.state() == TaskState::Running).await;
    }
    // A second's worth at once, the rest a quarter of a second apart.
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    assert_eq!(house.bought(), 9);
}

/// Stands between the service and a provider, and reports the first line of every
/// request.
async fn eavesdropper(provider: std::net::SocketAddr) -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (heard, hearing) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(relay(client, provider, heard.clone()));
        }
    });
    (url, hearing)
}

async fn relay(client: TcpStream, provider: std::net::SocketAddr, heard: mpsc::UnboundedSender<String>) {
    let provider = TcpStream::connect(provider).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_provider, mut to_provider) = provider.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_provider, &mut to_client).await });
    let mut piece = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from_client.read(&mut piece).await {
        let text = String::from_utf8_lossy(&piece[..read]);
        let first_lines = text.lines().filter(|line| line.ends_with(" HTTP/1.1"));
        first_lines.for_each(|line| drop(heard.send(line.to_owned())));
        if to_provider.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_asks_after_many_kling_jobs() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let simulator = Simulator::start(listener, quick(Duration::from_secs(2))).await.unwrap();
    let (url, mut hearing) = eavesdropper(simulator.address()).await;
    let mut house = House::on(simulator, &[("ACCOUNTS__0__BASE_URL", &url), ("POLLING__MIN_INTERVAL", "200ms")]).await;

    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(house.submit(text("kling/kling-3.0")).await.id);
    }
    let clients: Vec<_> = ids.iter().map(|_| house.client.clone()).collect();
    let ends = ids.iter().zip(clients).map(|(id, mut client)| async move {
        let asked = pb::WatchRequest { task_id: id.clone(), ..Default::default() };
        let mut stream = client.watch(asked).await.unwrap().into_inner();
        let mut last = None;
        while let Some(task) = crate::house::next_task(&mut stream).await.unwrap() {
            last = Some(task);
        }
        last.unwrap()
    });
    for end in within(join_all(ends)).await {
        assert_eq!(end.state(), TaskState::Succeeded, "{:?}", end.failure);
    }
    let asked: u64 = house.jobs().await.iter().map(|job| job["queries"].as_u64().unwrap()).sum();
    let mut requests = 0;
    while let Ok(line) = hearing.try_recv() {
        requests += u64::from(line.starts_with("GET /tasks?"));
    }
    assert!(requests > 0 && requests * 3 <= asked, "{requests} requests asked {asked} times after a job");
}
