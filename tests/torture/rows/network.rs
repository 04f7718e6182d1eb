//! Cuts the connections of creates at random bytes, in both directions: nothing is
//! bought twice, and what is not known afterwards is known to be so.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use pb::TaskState;
use videogen::api::pb;
use videogen::simulator;

use crate::check::Evidence;
use crate::figures::Figures;
use crate::load::{Acknowledged, Asked, Hope, insist, is_unknown};
use crate::proxy::Proxy;
use crate::run::{Case, Row};
use crate::site::{Plan, Site};

/// Creates that are asked for in one case: 200 cases are the 100,000 of the figure.
const TASKS: u64 = 500;
/// Callers at once.
const CALLERS: usize = 64;
/// How long everything may take to come to its end.
const SETTLING: Duration = Duration::from_secs(300);

const KLING: [&str; 2] = ["kling/kling-3.0", "kling/kling-v2-6"];
/// Those that take a seed: what they were sent is told apart in the history.
const FAL: [&str; 5] = [
    "fal/fal-ai/veo3",
    "fal/fal-ai/veo3/fast",
    "fal/fal-ai/veo3.1",
    "fal/fal-ai/veo3.1/fast",
    "fal/fal-ai/wan-25-preview/text-to-video",
];

pub const AT_KLING: Row = Row {
    name: "network-kling",
    about: "Kling's creates cut at random bytes, 500 a case",
    sample: 1,
    full: 200,
    jobs: 2,
    case: at_kling,
    least: &[("creates", TASKS * 9 / 10), ("cut", TASKS / 5), ("unknown", TASKS / 8)],
};

pub const AT_FAL: Row = Row {
    name: "network-fal",
    about: "fal's creates cut at random bytes, 500 a case",
    sample: 1,
    full: 200,
    jobs: 2,
    case: at_fal,
    least: &[("creates", TASKS / 2), ("cut", TASKS / 10), ("unknown", TASKS / 16)],
};

fn at_kling(case: Case) -> BoxFuture<'static, Result<Figures, String>> {
    // Long enough for a create that is cut again and again, on a busy machine too.
    attack(case, &KLING, 0.5, 150).boxed()
}

fn at_fal(case: Case) -> BoxFuture<'static, Result<Figures, String>> {
    attack(case, &FAL, 0.3, 4).boxed()
}

async fn attack(case: Case, models: &'static [&'static str], share: f64, window_s: u64) -> Result<Figures, String> {
    let quick = Plan::quick(Duration::ZERO);
    let latency = Duration::ZERO..Duration::from_millis(300);
    let provider = simulator::Settings { latency, ..quick.provider };
    let site = Site::open(&case, &Plan { provider, unknown_window_s: window_s, ..quick }).await?;
    let proxy = Proxy::open(site.simulator.address(), case.seed, share).await?;
    redirect(&site, &proxy)?;
    let mut server = site.start(&[]).await?;
    let acknowledged = ask_all(&site, case.seed, models).await?;
    let hopes: HashMap<_, _> = acknowledged.iter().map(|told| (told.task.as_str(), told.asked.hope)).collect();
    // On a crowded machine the provider may take a create after it was given up.
    let is_bought = |task: &pb::Task| site.bought().iter().any(|entry| entry.prompt == prompt(task));
    let has_ended = |task: &pb::Task| {
        let bought = is_unknown(task) && is_bought(task);
        hopes.get(task.id.as_str()).is_none_or(|hope| hope.has_ended(task, bought))
    };
    let tasks = server.until_all(SETTLING, has_ended).await?;
    let (creates, videos) = (site.bought(), site.path("videos"));
    let evidence = Evidence { acknowledged: &acknowledged, creates: &creates, tasks: &tasks, videos: &videos };
    let mut figures = evidence.judge()?;
    explain(&creates, &tasks)?;
    let unknown = tasks.iter().filter(|task| was_unknown(task));
    let (sent, cut) = proxy.creates();
    figures.add("sent", sent);
    figures.add("cut", cut);
    figures.add("unknown", unknown.clone().count() as u64);
    figures.add("settled", unknown.filter(|task| !is_unknown(task)).count() as u64);
    server.kill().await;
    figures.merge(&site.check().await?);
    Ok(figures)
}

/// Puts the proxy before the provider, its history too.
fn redirect(site: &Site, proxy: &Proxy) -> Result<(), String> {
    let path = site.path("settings.toml");
    let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
    let (provider, address) = (site.simulator.base_url(), proxy.address);
    let mut text = text.replace(&provider, &format!("http://{address}"));
    if !text.contains("history_url") {
        text = text
            .replace("provider = \"fal\"\n", &format!("provider = \"fal\"\nhistory_url = \"http://{address}/v1\"\n"));
    }
    std::fs::write(&path, text).map_err(|error| error.to_string())
}

async fn ask_all(site: &Site, seed: u64, models: &'static [&'static str]) -> Result<Vec<Acknowledged>, String> {
    let asked = (0..TASKS).map(|number| {
        let (model, name) = (models[number as usize % models.len()], format!("network-{seed}-{number}"));
        // Whether a job makes a video or fails in the end, it is bought in the same way;
        // a few videos show that the whole way is open.
        match number % 20 {
            0 => Asked::video(model, &name),
            _ => Asked::with(model, &name, "[sim:fail]", Hope::End),
        }
    });
    stream::iter(asked.map(|asked| insist(site.door(), asked))).buffer_unordered(CALLERS).try_collect().await
}

/// Whether the outcome of its create was once not known.
fn was_unknown(task: &pb::Task) -> bool {
    task.history.iter().any(|entry| entry.state() == TaskState::Reconciling)
}

/// A task that ends without knowing has bought nothing: what was bought could be
/// looked up, by marker at Kling, by input at fal.
fn explain(creates: &[simulator::Entry], tasks: &[pb::Task]) -> Result<(), String> {
    let bought: HashSet<_> = creates.iter().map(|entry| entry.prompt.as_str()).collect();
    match tasks.iter().find(|task| is_unknown(task) && bought.contains(prompt(task))) {
        Some(task) => Err(format!("I3: it was bought and could have been found: {task:?}")),
        None => Ok(()),
    }
}

fn prompt(task: &pb::Task) -> &str {
    task.spec.as_ref().map_or("", |spec| &spec.prompt)
}
