//! The small script that the sweeps over system calls run again and again: a store
//! that is fresh or has been used, a few tasks at each provider that end in the
//! archive, one that is cancelled, and a stop in order.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::try_join_all;
use pb::TaskState;
use tokio::sync::Mutex;
use videogen::api::pb;
use videogen::simulator;

use crate::check::Evidence;
use crate::common::child::Ended;
use crate::figures::Figures;
use crate::load::{Acknowledged, Asked, Hope, MODELS, insist};
use crate::run::Case;
use crate::settle::settle;
use crate::site::{Plan, Server, Site};
use crate::strace::{self, Strike};

/// How long a script or its end may take: mostly the drawing of clips, on a crowded machine.
const LIMIT: Duration = Duration::from_secs(240);
/// How many requests a script makes.
pub const REQUESTS: u64 = 4;

/// One service under strace at a place of its own.
pub struct Script {
    pub site: Site,
    log: PathBuf,
    case: Case,
}

/// Jobs that end at once, one clip for all of them, and a short look for what is unknown:
/// long enough for Kling to be asked for the same create again.
fn quick() -> Plan {
    let plan = Plan::quick(Duration::ZERO);
    let provider = simulator::Settings { clips: Some(1), ..plan.provider };
    Plan { provider, unknown_window_s: 8, ..plan }
}

/// How the life under strace ended.
pub enum Life {
    /// The script ran to its end and the service stopped when told.
    Whole,
    /// The service ended before that, or never came to serve.
    Cut(Ended),
    /// An error struck what is no disk, and the service was ended for it.
    Spoilt,
}

impl Script {
    /// A place, with a store that earlier tasks have left behind when it is to be a used one.
    pub async fn open(case: &Case, used: bool) -> Result<Self, String> {
        let plan = quick();
        let site = Site::open(case, &plan).await?;
        if used {
            for (name, kept) in past(case).await? {
                copy_folder(&kept, &site.path(name))?;
            }
        }
        Ok(Self { site, log: case.folder.join("strace.log"), case: case.clone() })
    }

    /// Runs the script while strace does what it is told to.
    pub async fn run(&self, calls: &[&str], strike: Strike, nth: u64) -> Result<(Life, Callers), String> {
        let callers = Callers::begin(&self.site, &self.case);
        let wrapper = strace::wrapper(calls, strike, nth, &self.log);
        let life = async {
            match self.site.try_start_under(&strace::program(), &wrapper, &strace::environment()).await {
                Err(ended) => Ok(Life::Cut(ended)),
                Ok(server) => tokio::time::timeout(LIMIT, live(server, &self.case))
                    .await
                    .map_err(|_| format!("the script did not end within {LIMIT:?}"))?,
            }
        };
        let life = tokio::select! {
            life = life => life?,
            // The process goes with the future that holds it.
            () = self.struck_a_waker() => Life::Spoilt,
        };
        Ok((life, callers))
    }

    /// Waits until an error struck what threads wake one another with: that is no
    /// disk, it never fails so, and the runtime does not outlive it.
    async fn struck_a_waker(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let log = std::fs::read(&self.log).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            if log.lines().any(|line| line.contains("(INJECTED)") && line.contains("[eventfd]")) {
                return;
            }
        }
    }

    /// What strace wrote down, once it has told the end of the process itself.
    pub async fn settled_log(&self) -> Result<String, String> {
        for _ in 0..3_000 {
            let log = std::fs::read(&self.log).map_err(|error| error.to_string())?;
            let log = String::from_utf8_lossy(&log).into_owned();
            if log.lines().last().is_some_and(|line| line.contains("+++ ")) {
                return Ok(log);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err("strace has not written down the end".to_owned())
    }

    /// Starts the service again, without strace, and lets everything come to its
    /// end: nothing may be lost, doubled or refused.
    pub async fn judge(&self, callers: Callers) -> Result<Figures, String> {
        let mut server = self.site.start(&strace::environment()).await?;
        let acknowledged = callers.end().await?;
        if let Some(told) = acknowledged.iter().find(|told| told.asked.hope == Hope::End) {
            cancel(&mut server, &told.task).await;
        }
        let tasks = settle(&self.site, &mut server, &acknowledged, LIMIT).await?;
        let videos = self.site.path("videos");
        let bought = self.site.bought();
        let evidence = Evidence { acknowledged: &acknowledged, creates: &bought, tasks: &tasks, videos: &videos };
        let mut figures = evidence.judge()?;
        if acknowledged.len() as u64 != REQUESTS || bought.is_empty() {
            return Err(format!("only {} requests were answered, {} jobs bought", acknowledged.len(), bought.len()));
        }
        server.kill().await;
        figures.merge(&self.site.check().await?);
        Ok(figures)
    }
}

/// The callers of one script, who insist.
pub struct Callers(tokio::task::JoinHandle<Result<Vec<Acknowledged>, String>>);

impl Callers {
    fn begin(site: &Site, case: &Case) -> Self {
        let door = site.door();
        let requests = requests(case);
        Self(tokio::spawn(try_join_all(requests.into_iter().map(move |asked| insist(door.clone(), asked)))))
    }

    /// What they were told, once all of them were.
    pub async fn end(self) -> Result<Vec<Acknowledged>, String> {
        self.0.await.map_err(|error| error.to_string())?
    }
}

fn requests(case: &Case) -> Vec<Asked> {
    let name = |number: usize| format!("{}-{number}", label(case));
    let mut requests: Vec<_> =
        MODELS.iter().enumerate().map(|(number, model)| Asked::video(model, &name(number))).collect();
    requests.push(Asked::with(MODELS[2], &name(9), "[sim:latency=60s]", Hope::End));
    requests
}

fn label(case: &Case) -> String {
    format!("script-{}", case.seed)
}

/// Waits for the videos, cancels the one that takes long, and stops the service.
async fn live(mut server: Server, case: &Case) -> Result<Life, String> {
    let label = label(case);
    loop {
        let Ok(tasks) = server.tasks().await else {
            if server.process.is_running() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            return Ok(Life::Cut(server.ended().await));
        };
        let ours: Vec<_> = tasks.iter().filter(|task| task.request_id.starts_with(&label)).collect();
        let long = ours.iter().find(|task| task.request_id.ends_with("-9"));
        if let Some(long) = long.filter(|task| !is_final(task) && !task.provider_job_id.is_empty()) {
            cancel(&mut server, &long.id).await;
        }
        if ours.len() as u64 == REQUESTS && ours.iter().all(|task| is_final(task)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ended = server.stop().await;
    Ok(if ended.code == Some(0) { Life::Whole } else { Life::Cut(ended) })
}

fn is_final(task: &pb::Task) -> bool {
    matches!(task.state(), TaskState::Succeeded | TaskState::Failed | TaskState::Cancelled)
}

/// Asks for a cancellation. It is asked for again after a restart, and may be too late.
async fn cancel(server: &mut Server, task: &str) {
    let request = pb::CancelTaskRequest { task_id: task.to_owned() };
    let _ = server.client.cancel_task(request).await;
}

/// What a service leaves behind that was killed after a few tasks: folders and their copies.
type Past = Vec<(&'static str, PathBuf)>;

/// Made once for each row, by whose binary it is known: it goes with the row's folder.
static PAST: Mutex<Option<(PathBuf, Past)>> = Mutex::const_new(None);

async fn past(case: &Case) -> Result<Past, String> {
    let mut known = PAST.lock().await;
    if let Some((program, past)) = known.as_ref()
        && *program == case.program
    {
        return Ok(past.clone());
    }
    let past = live_through(case).await?;
    *known = Some((case.program.clone(), past.clone()));
    Ok(past)
}

async fn live_through(case: &Case) -> Result<Past, String> {
    let folder = case.program.with_file_name("past");
    let case = Case { folder: folder.clone(), seed: u64::MAX, ..case.clone() };
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let site = Site::open(&case, &quick()).await?;
    let mut server = site.start(&[]).await?;
    let asked = (0..20).map(|number| Asked::video(MODELS[number % 3], &format!("past-{number}")));
    try_join_all(asked.map(|asked| insist(site.door(), asked))).await?;
    server.until_all(LIMIT, is_final).await?;
    server.kill().await;
    Ok(["store", "videos"].map(|name| (name, folder.join(name))).to_vec())
}

/// Runs the script on a fresh store and on a used one with nothing but eyes on it:
/// how many calls of each name one thread makes at most.
pub async fn survey(case: &Case, calls: &[&str]) -> Result<[HashMap<String, u64>; 2], String> {
    let mut counts = [HashMap::new(), HashMap::new()];
    for (used, counted) in counts.iter_mut().enumerate() {
        let folder = case.program.with_file_name(format!("survey-{used}"));
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let script = Script::open(&Case { folder, ..case.clone() }, used == 1).await?;
        let (life, callers) = script.run(calls, Strike::Watch, 0).await?;
        match life {
            Life::Whole => {}
            Life::Cut(ended) => return Err(format!("the undisturbed script ended with {ended:?}")),
            Life::Spoilt => return Err("the undisturbed script was disturbed".to_owned()),
        }
        let log = script.settled_log().await?;
        script.judge(callers).await?;
        *counted = strace::most_of_a_thread(&log);
        eprintln!("a thread makes at most {counted:?}");
    }
    Ok(counts)
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", from.display());
    std::fs::create_dir_all(to).map_err(told)?;
    for entry in std::fs::read_dir(from).map_err(told)? {
        let entry = entry.map_err(told)?;
        let place = to.join(entry.file_name());
        if entry.file_type().map_err(told)?.is_dir() {
            copy_folder(&entry.path(), &place)?;
        } else {
            std::fs::copy(entry.path(), place).map_err(told)?;
        }
    }
    Ok(())
}
