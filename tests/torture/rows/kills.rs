//! Kills the process at random moments, again and again, also while it starts,
//! with callers that insist and a provider that is flaky.

use std::time::Duration;

use futures::FutureExt;
use futures::future::try_join_all;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use videogen::simulator::{self, Fault, FaultKind, Moment};

use crate::figures::Figures;
use crate::load::{Acknowledged, Asked, MODELS, insist};
use crate::run::{Case, Row};
use crate::seen::Seen;
use crate::settle::settle;
use crate::site::{Plan, Site};

/// Kills in one case: 67 cases are the 1,000 kills of the figure.
const KILLS: u64 = 15;
/// Tasks that are asked for in one case: 67 cases are more than 100,000.
const TASKS: u64 = 1_500;
/// Callers at once.
const CALLERS: usize = 64;
/// How long everything may take to come to its end after the last kill.
const SETTLING: Duration = Duration::from_secs(900);

pub const ROW: Row = Row {
    name: "kills",
    about: "kill -9 at random moments under load, 15 kills and 1,500 tasks a case",
    sample: 2,
    full: 67,
    jobs: 2,
    case: |case| attack(case).boxed(),
    least: &[("kills", KILLS), ("acknowledged", TASKS), ("creates", TASKS / 2)],
};

async fn attack(case: Case) -> Result<Figures, String> {
    let mut random = case.random();
    let site = Site::open(&case, &plan()).await?;
    flaky(&site);
    let callers = tokio::spawn(ask_all(site.door(), case.seed));
    let mut figures = Figures::default();
    let mut seen = Seen::default();
    for _ in 0..KILLS {
        kill_once(&site, &mut random, &mut seen, &mut figures).await?;
    }
    let mut server = site.start(&[]).await?;
    let acknowledged = callers.await.map_err(|error| error.to_string())??;
    site.simulator.clear_faults();
    seen.look(&settle(&site, &mut server, &acknowledged, SETTLING).await?)?;
    // What was settled is so on the disk too.
    server.kill().await;
    let mut server = site.start(&[]).await?;
    let tasks = server.tasks().await?;
    seen.look(&tasks)?;
    figures.merge(&site.judge(&acknowledged, &tasks)?);
    repeat(&site, &acknowledged).await?;
    server.kill().await;
    figures.merge(&site.check().await?);
    Ok(figures)
}

fn plan() -> Plan {
    let plan = Plan::quick(Duration::ZERO);
    let latency = Duration::from_millis(100)..Duration::from_millis(1_500);
    let provider = simulator::Settings { latency, poll_error_rate: 0.02, ..plan.provider };
    Plan { provider, unknown_window_s: 30, ..plan }
}

/// Two creates in a hundred go wrong in each of these ways.
fn flaky(site: &Site) {
    let kinds = [
        FaultKind::AcceptDrop,
        FaultKind::AcceptError,
        FaultKind::AcceptHtml,
        FaultKind::Drop,
        FaultKind::Error,
        FaultKind::RateLimited,
        FaultKind::ParallelLimited,
    ];
    for kind in kinds {
        site.simulator.inject(Fault::new(kind).on(Moment::Create).probability(0.02));
    }
}

/// Starts it and kills it: usually while it serves, now and then while it starts.
async fn kill_once(site: &Site, random: &mut StdRng, seen: &mut Seen, figures: &mut Figures) -> Result<(), String> {
    figures.add("kills", 1);
    if random.random_bool(0.2) {
        let starting = site.spawn("serve", &[]);
        tokio::time::sleep(Duration::from_millis(random.random_range(1..300))).await;
        starting.kill().await;
        return Ok(());
    }
    let began = std::time::Instant::now();
    let mut server = site.start(&[]).await?;
    figures.largest("ms to start at most", began.elapsed().as_millis() as u64);
    let life = Duration::from_millis(random.random_range(50..2_000));
    tokio::time::sleep(life).await;
    // What it shows before it dies must hold afterwards.
    if random.random_bool(0.2)
        && let Ok(tasks) = server.tasks().await
    {
        seen.look(&tasks)?;
    }
    server.kill().await;
    Ok(())
}

/// All callers' requests, some at once; a caller that is answered asks for the next.
async fn ask_all(
    door: tokio::sync::watch::Receiver<Option<tonic::transport::Channel>>,
    seed: u64,
) -> Result<Vec<Acknowledged>, String> {
    let mut callers = JoinSet::new();
    let mut acknowledged = Vec::new();
    let mut requests = (0..TASKS)
        .map(|number| Asked::video(MODELS[number as usize % MODELS.len()], &format!("kills-{seed}-{number}")));
    loop {
        while callers.len() < CALLERS
            && let Some(asked) = requests.next()
        {
            callers.spawn(insist(door.clone(), asked));
        }
        let Some(answered) = callers.join_next().await else { return Ok(acknowledged) };
        acknowledged.push(answered.map_err(|error| error.to_string())??);
    }
}

/// I5: a request that is repeated, however late, is answered with its task.
async fn repeat(site: &Site, acknowledged: &[Acknowledged]) -> Result<(), String> {
    let sample: Vec<_> = acknowledged.iter().step_by(acknowledged.len().div_ceil(50).max(1)).collect();
    let again = try_join_all(sample.iter().map(|told| insist(site.door(), told.asked.clone()))).await?;
    let other = sample.iter().zip(&again).find(|(first, second)| first.task != second.task);
    other.map_or(Ok(()), |(first, second)| Err(format!("I5: {first:?} became {second:?}")))
}
