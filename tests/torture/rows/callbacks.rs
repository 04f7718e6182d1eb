//! Callbacks that are lost, doubled and forged: every task comes to its right end, each
//! with one create, and what they save is counted beside the same tasks without them.

use std::collections::HashMap;
use std::time::Duration;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use pb::{FailureKind, TaskState};
use serde_json::Value;
use tokio::net::TcpListener;
use videogen::api::pb;
use videogen::simulator::{self, Fault, FaultKind};

use crate::check::Evidence;
use crate::figures::Figures;
use crate::load::{Acknowledged, Asked, Hope, MODELS, insist};
use crate::run::{Case, Row};
use crate::site::{Plan, Site};

/// Tasks of one case, which has them twice: with callbacks and by polls alone. 20 cases
/// are the 10,000 of the figure.
const TASKS: u64 = 500;
/// One in so many makes a video; the others' jobs fail.
const VIDEO: u64 = 5;
const FAILS: &str = "[sim:fail]";
/// Callers at once.
const CALLERS: usize = 32;
/// How long everything may take to come to its end.
const SETTLING: Duration = Duration::from_secs(300);
/// Signs Kling's callbacks in every other case.
const SECRET: &str = "whsec_ZXhhbXBsZS1zaWduaW5nLWtleS0wMTIz";
/// Production, thirty times as fast: polls from 2 s to 30 s, jobs of two minutes and a
/// third more or less.
const TYPICAL_S: u32 = 4;
const LATENCY: std::ops::Range<Duration> = Duration::from_millis(2_700)..Duration::from_millis(5_300);
const POLLING: [(&str, &str); 2] = [("MIN_INTERVAL", "67ms"), ("MAX_INTERVAL", "1s")];

pub const ROW: Row = Row {
    name: "callbacks",
    about: "30 % of the callbacks lost, 10 % doubled, 5 % forged, 500 tasks a case, beside polls alone",
    sample: 1,
    full: 20,
    jobs: 1,
    case: |case| attack(case).boxed(),
    least: &[("creates", TASKS), ("videos", TASKS / VIDEO)],
};

/// What one of the two runs took.
struct Run {
    figures: Figures,
    polls: u64,
    /// From the end of each job until its task heard of it, in milliseconds, sorted.
    delays: Vec<i64>,
}

async fn attack(case: Case) -> Result<Figures, String> {
    let (with, alone) = (run(&case, true).await?, run(&case, false).await?);
    let each = |polls: u64| polls as f64 / TASKS as f64;
    let delay = |run: &Run, part: usize| run.delays[(run.delays.len() - 1) * part / 100];
    println!(
        "callbacks, seed {}: {:.2} polls a task, the end told after {} ms (median; 99 of 100 within {} ms); by polls alone {:.2}, {} ms ({} ms)",
        case.seed,
        each(with.polls),
        delay(&with, 50),
        delay(&with, 99),
        each(alone.polls),
        delay(&alone, 50),
        delay(&alone, 99),
    );
    if with.polls >= alone.polls {
        return Err(format!("callbacks save nothing: {} polls, {} without them", with.polls, alone.polls));
    }
    let mut figures = with.figures;
    figures.add("polls", with.polls);
    figures.add("polls by polls alone", alone.polls);
    Ok(figures)
}

async fn run(case: &Case, with_callbacks: bool) -> Result<Run, String> {
    let folder = case.folder.join(if with_callbacks { "callbacks" } else { "alone" });
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let signed = case.seed.is_multiple_of(2);
    let site = Site::open(&Case { folder, ..case.clone() }, &plan(signed)).await?;
    for (fault, probability) in
        [(FaultKind::CallbackMissing, 0.3), (FaultKind::CallbackDuplicate, 0.1), (FaultKind::CallbackForged, 0.05)]
    {
        site.simulator.inject(Fault { probability: Some(probability), ..Fault::new(fault) });
    }
    let mut server = site.start(&environment(&site, signed, with_callbacks).await?).await?;
    let acknowledged = ask_all(&site, case.seed).await?;
    let tasks = server.until_all(SETTLING, |task| Hope::End.has_ended(task, false)).await?;
    let (creates, videos) = (site.bought(), site.path("videos"));
    let figures =
        Evidence { acknowledged: &acknowledged, creates: &creates, tasks: &tasks, videos: &videos }.judge()?;
    if let Some(task) = tasks.iter().find(|task| !is_right(task)) {
        return Err(format!("I4: it ended otherwise than its job: {task:?}"));
    }
    if creates.len() as u64 != TASKS {
        return Err(format!("I2: {} creates for {TASKS} tasks", creates.len()));
    }
    let jobs = jobs(&site).await?;
    let polls = jobs.values().filter_map(|job| job["queries"].as_u64()).sum();
    let mut delays: Vec<i64> = tasks.iter().filter_map(|task| delay(task, &jobs)).collect();
    if delays.len() != tasks.len() {
        return Err("the end of a job was told by nobody".to_owned());
    }
    delays.sort_unstable();
    server.kill().await;
    Ok(Run { figures, polls, delays })
}

fn plan(signed: bool) -> Plan {
    // Not so many at once that the machine is what is measured.
    let quick = Plan { max_parallel: 40, ..Plan::quick(Duration::ZERO) };
    let kling_webhook_secret = signed.then(|| SECRET.to_owned());
    let provider = simulator::Settings { latency: LATENCY, kling_webhook_secret, ..quick.provider };
    Plan { provider, ..quick }
}

async fn environment(site: &Site, signed: bool, with_callbacks: bool) -> Result<Vec<(String, String)>, String> {
    let catalog = site.path("catalog.toml");
    let rows = MODELS.map(|model| format!("[[model]]\nname = \"{model}\"\ntypical_s = {TYPICAL_S}\n"));
    std::fs::write(&catalog, rows.concat()).map_err(|error| error.to_string())?;
    let mut set = vec![("CATALOG__PATH".to_owned(), catalog.display().to_string())];
    set.extend(POLLING.map(|(name, value)| (format!("POLLING__{name}"), value.to_owned())));
    if signed {
        set.push(("ACCOUNTS__0__WEBHOOK_SECRET".to_owned(), SECRET.to_owned()));
    }
    if with_callbacks {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
        let door = listener.local_addr().map_err(|error| error.to_string())?;
        set.push(("SERVER__CALLBACK_LISTEN".to_owned(), door.to_string()));
        set.push(("CALLBACKS__PUBLIC_URL".to_owned(), format!("http://{door}/")));
    }
    Ok(set.into_iter().map(|(name, value)| (format!("VIDEOGEN_{name}"), value)).collect())
}

async fn ask_all(site: &Site, seed: u64) -> Result<Vec<Acknowledged>, String> {
    let asked = (0..TASKS).map(|number| {
        let (model, name) = (MODELS[number as usize % MODELS.len()], format!("callbacks-{seed}-{number}"));
        // What ends in a failure is told in the same way, and needs no file.
        match number % VIDEO {
            0 => Asked::video(model, &name),
            _ => Asked::with(model, &name, FAILS, Hope::End),
        }
    });
    stream::iter(asked.map(|asked| insist(site.door(), asked))).buffer_unordered(CALLERS).try_collect().await
}

/// The provider's jobs, by their ids.
async fn jobs(site: &Site) -> Result<HashMap<String, Value>, String> {
    let page = format!("{}/simulator/jobs", site.simulator.base_url());
    let page = reqwest::get(page).await.map_err(|error| error.to_string())?;
    let bytes = page.bytes().await.map_err(|error| error.to_string())?;
    let page: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let all = page["jobs"].as_array().cloned().unwrap_or_default();
    Ok(all.into_iter().filter_map(|job| Some((job["id"].as_str()?.to_owned(), job))).collect())
}

/// Whether the task ended as its job did, by one create.
fn is_right(task: &pb::Task) -> bool {
    let fails = task.spec.as_ref().is_some_and(|spec| spec.prompt.contains(FAILS));
    let kind = task.failure.as_ref().map(pb::Failure::kind);
    let right = match fails {
        true => task.state() == TaskState::Failed && kind == Some(FailureKind::ProviderFailed),
        false => task.state() == TaskState::Succeeded,
    };
    right && task.attempts.len() == 1
}

/// How long after its job's end the task heard of it, in milliseconds.
fn delay(task: &pb::Task, jobs: &HashMap<String, Value>) -> Option<i64> {
    let heard = |entry: &&pb::HistoryEntry| matches!(entry.state(), TaskState::Archiving | TaskState::Failed);
    let heard = task.history.iter().find(heard)?.time?;
    let heard = heard.seconds * 1000 + i64::from(heard.nanos) / 1_000_000;
    Some(heard - jobs.get(&task.provider_job_id)?["ends"].as_i64()?)
}
