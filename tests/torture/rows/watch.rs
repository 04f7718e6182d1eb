//! Watches many tasks by many readers at once, steady and slow ones, ones that stay
//! for milliseconds and ones that stop reading, over a restart. The service runs in
//! this process, behind real sockets.

mod judge;
mod readers;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tonic::transport::{Channel, Endpoint};
use videogen::api::pb;
use videogen::app::{App, Ended};
use videogen::config::{Overrides, Settings};
use videogen::simulator;

use self::judge::is_final;
use self::readers::{Done, Hall, Manner, follow, follow_all};
use crate::figures::Figures;
use crate::run::{Case, Row};
use crate::site::{Client, Plan, Site};

/// The label that parts the tasks of a case.
const LABEL: &str = "part";
/// Tasks that are watched one by one.
const TASKS: usize = 40;
/// Readers of each of them that read steadily.
const STEADY: usize = 60;
/// Readers of each of them, of every other manner.
const ODD: usize = 6;
/// Readers of all of them.
const FOLLOWERS: usize = 120;
/// Readers that stop reading.
const STOPPED: usize = 32;
/// Tasks that these have still to read about; as many again come before.
const UNREAD: usize = 60;
/// Streams that one connection carries; the service takes 256.
const STREAMS: usize = 200;
/// Every so many cases one has a silence that is long enough for heartbeats, and
/// times submits.
const LONG_CASES: u64 = 16;
/// Every so many cases the service is started again in the middle.
const RESTARTED_CASES: u64 = 2;

pub const ROW: Row = Row {
    name: "watch",
    about: "unique, ordered, reliable and resumable watches, 60,000 deliveries a case, every second one over a restart",
    sample: 1,
    full: 170,
    jobs: 1,
    case: |case| attack(case).boxed(),
    least: &[("deliveries", 30_000), ("streams", 3_000), ("states", 500)],
};

/// Connections to the service that runs now.
#[derive(Clone, Debug)]
pub struct Doors {
    wide: Arc<Vec<Channel>>,
    /// Its streams take 64 KiB that nobody reads, and then no more.
    narrow: Channel,
}

impl Doors {
    fn to(address: &str) -> Result<Self, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let count = (TASKS * (STEADY + 3 * ODD) + FOLLOWERS) / STREAMS + 2;
        let narrow = endpoint.clone().initial_stream_window_size(1 << 16).initial_connection_window_size(1 << 22);
        let wide = (0..count).map(|_| endpoint.connect_lazy()).collect();
        Ok(Self { wide: Arc::new(wide), narrow: narrow.connect_lazy() })
    }

    fn client(&self, number: usize) -> Client {
        Client::new(self.wide[number % self.wide.len()].clone())
    }

    fn narrow_client(&self) -> Client {
        Client::new(self.narrow.clone())
    }
}

/// The service, in this process.
struct House {
    stop: oneshot::Sender<()>,
    served: JoinHandle<Ended>,
}

impl House {
    async fn open(site: &Site, doors: &watch::Sender<Option<Doors>>) -> Result<Self, String> {
        let settings = Settings::load(Some(&site.path("settings.toml")), std::iter::empty(), &Overrides::default());
        let app = App::start(&settings.map_err(|error| error.to_string())?).await.map_err(|error| error.to_string())?;
        let address = app.addresses().grpc.to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(app.run_until(async { drop(stopped.await) }));
        doors.send_replace(Some(Doors::to(&address).map_err(|error| error.to_string())?));
        Ok(Self { stop, served })
    }

    async fn close(self, doors: &watch::Sender<Option<Doors>>) -> Result<(), String> {
        doors.send_replace(None);
        drop(self.stop);
        match self.served.await {
            Ok(Ended::Drained) => Ok(()),
            other => Err(format!("the service did not end well: {other:?}")),
        }
    }
}

async fn attack(case: Case) -> Result<Figures, String> {
    let mut random = case.random();
    let site = Site::open(&case, &plan()).await?;
    let (doors, entrance) = watch::channel(None);
    let house = House::open(&site, &doors).await?;
    let hall = Hall { doors: entrance, narrow: false, shown: Arc::default() };
    let mut figures = Figures::default();
    let mut reading = JoinSet::new();

    let stopped = stop_readers(&hall, &case, &mut reading, &mut figures).await?;
    let tasks = submit_all(&hall, case.seed, &mut random).await?;
    begin_reading(&hall, &tasks, &mut random, &mut reading);
    let long = case.seed.is_multiple_of(LONG_CASES);
    if long {
        let silent = submit(&hall, "silent", case.seed, "[sim:latency=18s]", "kling/kling-v2-6").await?;
        for number in 0..ODD {
            reading.spawn(follow(hall.clone(), silent.clone(), number, Manner::Steady, any(&mut random)));
        }
    }
    tokio::time::sleep(Duration::from_millis(random.random_range(200..2_500))).await;
    // Half of the time they go on with the streams that they have stopped.
    if random.random_bool(0.5) {
        stopped.resume();
    }
    let house = match case.seed.is_multiple_of(RESTARTED_CASES) {
        false => house,
        true => {
            house.close(&doors).await?;
            figures.add("restarts", 1);
            House::open(&site, &doors).await?
        }
    };
    stopped.resume();
    while let Some(read) = reading.join_next().await {
        let Done { streams, heartbeats, known: _ } = read.map_err(|error| error.to_string())??;
        figures.add("streams", streams);
        figures.add("heartbeats", heartbeats);
    }
    compare_with_store(&hall, &tasks).await?;
    house.close(&doors).await?;
    figures.add("deliveries", hall.shown.deliveries());
    figures.add("states", hall.shown.states());
    figures.add("violations", 0); // One would have ended the case.
    match figures.get("heartbeats") {
        0 if long => Err("no heartbeat in 18 s of silence".to_owned()),
        _ => Ok(figures),
    }
}

/// Jobs of one to three seconds, which show a few lines of log on the way.
fn plan() -> Plan {
    let plan = Plan::quick(Duration::ZERO);
    let latency = Duration::from_millis(1_000)..Duration::from_millis(3_000);
    Plan { provider: simulator::Settings { latency, ..plan.provider }, ..plan }
}

fn any(random: &mut StdRng) -> StdRng {
    StdRng::seed_from_u64(random.random())
}

/// Readers that stop reading what becomes of many tasks. They go on once they are
/// told, and must still come to every end. In a long case submits are timed, alone
/// and beside them.
async fn stop_readers(
    hall: &Hall,
    case: &Case,
    reading: &mut JoinSet<Result<Done, String>>,
    figures: &mut Figures,
) -> Result<Stopped, String> {
    let (mut tasks, alone) = unread(hall, case.seed, 0..UNREAD).await?;
    if case.seed.is_multiple_of(LONG_CASES) {
        // Then both times are taken beside as much work.
        follow_all(hall.clone(), "unread", tasks.clone(), 0, Duration::ZERO, None).await?;
    }
    let (resume, told) = watch::channel(Vec::new());
    for number in 0..STOPPED {
        let some = vec![tasks[0].clone()];
        let hall = Hall { narrow: true, ..hall.clone() };
        reading.spawn(follow_all(hall, "unread", some, number, Duration::ZERO, Some(told.clone())));
    }
    // What becomes of so many tasks is more than the 64 KiB that a stream has room for.
    let (more, beside) = unread(hall, case.seed, UNREAD..2 * UNREAD).await?;
    tasks.extend(more);
    if case.seed.is_multiple_of(LONG_CASES) {
        figures.add("us of a submit alone", alone);
        figures.add("us of a submit beside stopped readers", beside);
    }
    Ok(Stopped { resume, tasks })
}

/// Submits tasks, and says how long the median of these calls took, in microseconds.
async fn unread(hall: &Hall, seed: u64, numbers: Range<usize>) -> Result<(Vec<String>, u64), String> {
    let (mut tasks, mut times) = (Vec::new(), Vec::new());
    for number in numbers {
        let began = Instant::now();
        tasks.push(submit(hall, "unread", seed, &number.to_string(), "fal/fal-ai/veo3.1").await?);
        times.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    times.sort_unstable();
    Ok((tasks, times[times.len() / 2]))
}

/// Readers that have stopped, and the tasks that they still have to see the end of.
struct Stopped {
    resume: watch::Sender<Vec<String>>,
    tasks: Vec<String>,
}

impl Stopped {
    fn resume(&self) {
        self.resume.send_replace(self.tasks.clone());
    }
}

async fn submit_all(hall: &Hall, seed: u64, random: &mut StdRng) -> Result<Vec<String>, String> {
    let mut tasks = Vec::new();
    for number in 0..TASKS {
        let model = ["fal/fal-ai/veo3.1", "fal/fal-ai/veo3.1", "kling/kling-3.0"][random.random_range(0..3)];
        tasks.push(submit(hall, "watched", seed, &number.to_string(), model).await?);
    }
    Ok(tasks)
}

async fn submit(hall: &Hall, part: &str, seed: u64, name: &str, model: &str) -> Result<String, String> {
    let doors = hall.doors.borrow().clone().ok_or("the service does not run")?;
    let prompt = format!("a red kite over dunes, {part} {seed} {name}");
    let spec = Some(pb::Spec { model: model.to_owned(), prompt, ..Default::default() });
    let request_id = format!("{part}-{seed}-{name}").replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_");
    let labels = [(LABEL.to_owned(), part.to_owned())].into();
    let request = pb::SubmitRequest { request_id, spec, labels, ..Default::default() };
    let answer = doors.client(0).submit(request).await.map_err(|status| status.to_string())?;
    Ok(answer.into_inner().task.ok_or("an answer without a task")?.id)
}

fn begin_reading(hall: &Hall, tasks: &[String], random: &mut StdRng, reading: &mut JoinSet<Result<Done, String>>) {
    let odd = [Manner::Hasty, Manner::Forgetful, Manner::Slow].map(|manner| (manner, ODD));
    let mut number = 0;
    for task in tasks {
        for (manner, count) in [(Manner::Steady, STEADY)].into_iter().chain(odd) {
            for _ in 0..count {
                number += 1;
                reading.spawn(follow(hall.clone(), task.clone(), number, manner, any(random)));
            }
        }
    }
    for number in 0..FOLLOWERS {
        let pause = Duration::from_millis([0, 0, 5, 20][number % 4]);
        reading.spawn(follow_all(hall.clone(), "watched", tasks.to_vec(), number, pause, None));
    }
}

/// The end that everybody was shown is the end that is stored.
async fn compare_with_store(hall: &Hall, tasks: &[String]) -> Result<(), String> {
    let doors = hall.doors.borrow().clone().ok_or("the service does not run")?;
    for task in tasks {
        let request = pb::GetTaskRequest { task_id: task.clone() };
        let answer = doors.client(0).get_task(request).await.map_err(|status| status.to_string())?;
        let stored = answer.into_inner().task.ok_or("an answer without a task")?;
        if !is_final(&stored) {
            return Err(format!("shown as ended and stored as {stored:?}"));
        }
        hall.shown.compare(&stored)?;
    }
    Ok(())
}
