//! Fills the disk under store and archive while callers insist: no room for the
//! next write, a start on a full disk, and then room again.

use std::time::Duration;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use rand::RngExt;
use tokio::sync::watch;
use tonic::transport::Channel;

use crate::check::Evidence;
use crate::disk::SmallDisk;
use crate::figures::Figures;
use crate::load::{Acknowledged, Asked, MODELS, insist};
use crate::run::{Case, Row};
use crate::settle::settle;
use crate::site::{Plan, Site};

/// Requests of one case, and how many callers make them.
const REQUESTS: u64 = 60;
const CALLERS: usize = 8;
/// How long a server is watched on a full disk. Its store need not write in that time.
const FULL: Duration = Duration::from_secs(4);
const SETTLING: Duration = Duration::from_secs(60);

pub const ROW: Row = Row {
    name: "full-disk",
    about: "a disk that is filled to the last byte under load, a start on it, and room again",
    sample: 4,
    full: 100,
    jobs: 2,
    case: |case| attack(case).boxed(),
    least: &[("disks filled", 1), ("acknowledged", REQUESTS)],
};

async fn attack(case: Case) -> Result<Figures, String> {
    let mut random = case.random();
    let disk = SmallDisk::mount(&case.folder.join("disk"), 200)?;
    let plan = Plan { unknown_window_s: 6, data: Some(disk.place().to_owned()), ..Plan::quick(Duration::ZERO) };
    let site = Site::open(&case, &plan).await?;
    // The reserve that would refuse new tasks in time is not what is attacked here.
    let environment = [("VIDEOGEN_SUBMIT__DISK_RESERVE".to_owned(), "1MiB".to_owned())];
    let mut figures = Figures::default();

    let mut server = site.start(&environment).await?;
    let callers = tokio::spawn(ask_all(site.door(), case.seed));
    tokio::time::sleep(Duration::from_millis(random.random_range(0..600))).await;
    disk.leave_free(random.random_range(0..64) * 4_096)?;
    figures.add("disks filled", 1);
    let filled = tokio::time::Instant::now();
    while server.process.is_running() && filled.elapsed() < FULL {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stopped = !server.process.is_running();
    figures.add("stops for the store", stopped.into());
    server.kill().await;

    // It may start or refuse to. Either way it loses nothing.
    let began = match site.try_start(&environment).await {
        Ok(server) => {
            server.kill().await;
            "starts on a full disk"
        }
        Err(_) => "starts refused on a full disk",
    };
    figures.add(began, 1);
    disk.clear()?;

    let mut server = site.start(&environment).await?;
    let acknowledged = callers.await.map_err(|error| error.to_string())??;
    let tasks = settle(&site, &mut server, &acknowledged, SETTLING).await?;
    let videos = site.path("videos");
    let evidence = Evidence { acknowledged: &acknowledged, creates: &site.bought(), tasks: &tasks, videos: &videos };
    figures.merge(&evidence.judge()?);
    server.kill().await;
    figures.merge(&site.check().await?);
    Ok(figures)
}

async fn ask_all(door: watch::Receiver<Option<Channel>>, seed: u64) -> Result<Vec<Acknowledged>, String> {
    let asked = (0..REQUESTS).map(|number| Asked::video(MODELS[number as usize % 3], &format!("full-{seed}-{number}")));
    stream::iter(asked.map(|asked| insist(door.clone(), asked))).buffer_unordered(CALLERS).try_collect().await
}
