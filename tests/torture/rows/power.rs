//! Cuts the power: the disk under store and archive is replaced by what it held at
//! the instant of the kill, and the service has to go on with that. In one half of
//! the cases new tasks keep coming, so that files grow; in the other, earlier tasks
//! go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use rand::RngExt;
use tokio::sync::watch;
use tonic::transport::Channel;
use videogen::simulator;

use crate::check::Evidence;
use crate::disk::Disk;
use crate::figures::Figures;
use crate::load::{Acknowledged, Asked, MODELS, insist};
use crate::run::{Case, Row};
use crate::seen::Seen;
use crate::settle::settle;
use crate::site::{Plan, Server, Site};

/// Requests of one case, and how many callers make them.
const REQUESTS: u64 = 80;
const CALLERS: usize = 8;
/// How long everything may take to come to its end.
const SETTLING: Duration = Duration::from_secs(60);

pub const ROW: Row = Row {
    name: "power",
    about: "the disk as it was at the instant of a kill -9, ext4 on a loop device, growing and steady, archive included",
    sample: 3,
    full: 300,
    jobs: 2,
    case: |case| attack(case).boxed(),
    least: &[("power cuts", 1), ("acknowledged before the cut", 5), ("acknowledged", REQUESTS)],
};

async fn attack(case: Case) -> Result<Figures, String> {
    let mut random = case.random();
    let growing = case.seed.is_multiple_of(2);
    let mut disk = Disk::make(&case.folder, 256)?;
    let site = Site::open(&case, &plan(&disk)).await?;
    // The default reserve is larger than this disk.
    let environment = [("VIDEOGEN_SUBMIT__DISK_RESERVE".to_owned(), "16MiB".to_owned())];
    let mut seen = Seen::default();
    let answered = Arc::new(AtomicU64::new(0));

    let server = site.start(&environment).await?;
    let callers = tokio::spawn(ask_all(site.door(), case.seed, Arc::clone(&answered)));
    let wanted = if growing { random.random_range(5..REQUESTS) } else { REQUESTS };
    let before = wait_for(&answered, wanted, server, &mut seen).await?;
    tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
    let told = answered.load(Ordering::SeqCst);
    before.kill().await;
    disk.cut()?;

    let mut server = site.start(&environment).await?;
    let acknowledged = callers.await.map_err(|error| error.to_string())??;
    let tasks = settle(&site, &mut server, &acknowledged, SETTLING).await?;
    seen.look(&tasks)?;
    let videos = site.path("videos");
    let evidence = Evidence { acknowledged: &acknowledged, creates: &site.bought(), tasks: &tasks, videos: &videos };
    let mut figures = Figures::default();
    figures.add("power cuts", 1);
    figures.add("acknowledged before the cut", told);
    figures.merge(&evidence.judge()?);
    server.kill().await;
    figures.merge(&site.check().await?);
    Ok(figures)
}

fn plan(disk: &Disk) -> Plan {
    let plan = Plan::quick(Duration::ZERO);
    let latency = Duration::from_millis(20)..Duration::from_millis(600);
    let provider = simulator::Settings { latency, ..plan.provider };
    Plan { provider, unknown_window_s: 6, data: Some(disk.place().to_owned()), ..plan }
}

async fn ask_all(
    door: watch::Receiver<Option<Channel>>,
    seed: u64,
    answered: Arc<AtomicU64>,
) -> Result<Vec<Acknowledged>, String> {
    let requests =
        (0..REQUESTS).map(|number| Asked::video(MODELS[number as usize % 3], &format!("power-{seed}-{number}")));
    let answers = requests.map(|asked| {
        let (door, answered) = (door.clone(), Arc::clone(&answered));
        async move {
            let told = insist(door, asked).await;
            answered.fetch_add(1, Ordering::SeqCst);
            told
        }
    });
    stream::iter(answers).buffer_unordered(CALLERS).try_collect().await
}

/// Until so many requests were answered. What is shown meanwhile must hold afterwards.
async fn wait_for(answered: &AtomicU64, wanted: u64, mut server: Server, seen: &mut Seen) -> Result<Server, String> {
    let began = tokio::time::Instant::now();
    while answered.load(Ordering::SeqCst) < wanted {
        seen.look(&server.tasks().await?)?;
        if began.elapsed() > SETTLING {
            return Err(format!("only {} requests were answered", answered.load(Ordering::SeqCst)));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(server)
}
