//! What the real `videogen serve` holds in memory, idle and with running tasks, and
//! how many requests their polls take. `cargo bench --bench memory [-- TASKS [SECONDS
//! [MODEL]]]`. The provider is the simulator, whose jobs do not end meanwhile.

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tempfile::TempDir;

use common::house::request;
use common::{Process, Result, cpu_s, resident, role};
use videogen::api::pb::video_gen_client::VideoGenClient;

const PATIENCE: Duration = Duration::from_secs(300);

fn main() -> Result<()> {
    let role = role();
    let tasks: u64 = role.first().map_or(Ok(10_000), |tasks| tasks.parse())?;
    let seconds: u64 = role.get(1).map_or(Ok(120), |seconds| seconds.parse())?;
    let model = role.get(2).map_or("kling/kling-3.0", String::as_str);
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;

    let mut simulator =
        Process::of_the_product(product().args(["simulator", "--listen", "127.0.0.1:0"]).args(["--latency", "1h"]))?;
    let provider = door(&simulator.line()?)?;
    let requests = Arc::new(AtomicU64::new(0));
    let counted = counted(provider, Arc::clone(&requests))?;
    let mut service = Process::of_the_product(&mut serve(&folder, counted))?;
    let (grpc, _callback, admin) = (door(&service.line()?)?, service.line()?, door(&service.line()?)?);

    std::thread::sleep(Duration::from_secs(3));
    let idle = resident(service.id())?;
    println!("idle: {:.1} MiB", mib(idle));

    let begun = Instant::now();
    tokio::runtime::Runtime::new()?.block_on(submit_all(grpc, tasks, model))?;
    println!("{tasks} tasks of {model} accepted after {:.1} s", begun.elapsed().as_secs_f64());
    while metric(admin, "videogen_task_states_total{state=\"RUNNING\"}")? < tasks as f64 {
        if begun.elapsed() > PATIENCE {
            return Err("the tasks are not running in time".into());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("{tasks} tasks running after {:.1} s", begun.elapsed().as_secs_f64());

    watch_polls(service.id(), admin, &requests, seconds)?;
    let running = resident(service.id())?;
    println!("running: {:.1} MiB, {:.1} KiB a task", mib(running), (running - idle) / 1024.0 / tasks as f64);
    Ok(())
}

/// Counts for a while what the running tasks ask their provider, and what it costs.
fn watch_polls(service: u32, admin: SocketAddr, requests: &AtomicU64, seconds: u64) -> Result<()> {
    let now = || -> Result<[f64; 4]> {
        let troubles = metric(admin, "videogen_polls_total{outcome=\"trouble\"}")?;
        Ok([metric(admin, "videogen_polls_total")?, troubles, requests.load(Ordering::Relaxed) as f64, cpu_s(service)?])
    };
    let before = now()?;
    std::thread::sleep(Duration::from_secs(seconds));
    let after = now()?;
    let [polls, troubles, sent, cpu] = std::array::from_fn(|n| after[n] - before[n]);
    println!(
        "in {seconds} s: {polls} polls, {troubles} of them told nothing, in {sent} requests, {:.1} each",
        polls / sent
    );
    println!("server CPU {:.0} us a poll, {:.1} % of one core", cpu * 1e6 / polls, cpu * 100.0 / seconds as f64);
    Ok(())
}

fn product() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_videogen"));
    // A log line a change of state would fill the pipe that nobody reads any more.
    command.env("VIDEOGEN_LOG", "error");
    command
}

fn serve(folder: &TempDir, provider: SocketAddr) -> Command {
    let folder = folder.path().display();
    let settings = BTreeMap::from([
        ("SERVER__GRPC_LISTEN", "127.0.0.1:0".to_owned()),
        ("SERVER__CALLBACK_LISTEN", "127.0.0.1:0".to_owned()),
        ("SERVER__ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
        ("STORE__PATH", format!("{folder}/store")),
        ("ARCHIVE__URL", format!("file:{folder}/videos")),
        ("NETWORK__ALLOW", "127.0.0.0/8".to_owned()),
        ("ACCOUNTS__0__NAME", "kling".to_owned()),
        ("ACCOUNTS__0__PROVIDER", "kling".to_owned()),
        ("ACCOUNTS__0__API_KEY", "key-of-the-benchmark".to_owned()),
        ("ACCOUNTS__0__BASE_URL", format!("http://{provider}")),
        ("ACCOUNTS__0__MAX_PARALLEL", "10000".to_owned()),
        ("ACCOUNTS__0__REQUESTS_PER_SECOND", "1000".to_owned()),
    ]);
    let mut command = product();
    command.arg("serve").envs(settings.into_iter().map(|(key, value)| (format!("VIDEOGEN_{key}"), value)));
    command
}

/// The address in `listening grpc=ADDRESS`.
fn door(line: &str) -> Result<SocketAddr> {
    Ok(line.rsplit_once('=').ok_or(format!("no door in {line:?}"))?.1.trim().parse()?)
}

/// A way to the provider that counts the requests that pass.
fn counted(provider: SocketAddr, requests: Arc<AtomicU64>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for from in listener.incoming().flatten() {
            let requests = Arc::clone(&requests);
            // Whoever loses a connection here sees it as lost by the provider.
            std::thread::spawn(move || pass_both_ways(from, provider, &requests));
        }
    });
    Ok(address)
}

fn pass_both_ways(from: TcpStream, provider: SocketAddr, requests: &AtomicU64) -> std::io::Result<()> {
    let to = TcpStream::connect(provider)?;
    let (back_from, back_to) = (to.try_clone()?, from.try_clone()?);
    std::thread::spawn(move || pass(back_from, back_to, &AtomicU64::new(0)));
    pass(from, to, requests)
}

fn pass(mut from: TcpStream, mut to: TcpStream, requests: &AtomicU64) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return to.shutdown(std::net::Shutdown::Write);
        }
        // The head of a request is sent in one piece.
        let heads = buffer[..read].windows(11).filter(|bytes| bytes == b" HTTP/1.1\r\n").count();
        requests.fetch_add(heads as u64, Ordering::Relaxed);
        to.write_all(&buffer[..read])?;
    }
}

async fn submit_all(grpc: SocketAddr, tasks: u64, model: &str) -> Result<()> {
    let client = VideoGenClient::connect(format!("http://{grpc}")).await?;
    let next = Arc::new(AtomicU64::new(0));
    let callers = (0..64).map(|_| {
        let (mut client, next) = (client.clone(), Arc::clone(&next));
        async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= tasks {
                    return Ok(());
                }
                let mut request = request(number);
                if let Some(spec) = &mut request.spec {
                    spec.model = model.to_owned();
                }
                client.submit(request).await?;
            }
        }
    });
    join_all(callers).await.into_iter().collect::<std::result::Result<(), tonic::Status>>()?;
    Ok(())
}

/// The sum of the metrics whose names begin so.
fn metric(admin: SocketAddr, name: &str) -> Result<f64> {
    let mut page = TcpStream::connect(admin)?;
    page.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    page.read_to_string(&mut text)?;
    let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit_once(' '));
    Ok(values.map(|(_, value)| value.parse::<f64>().unwrap_or(0.0)).sum())
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}
