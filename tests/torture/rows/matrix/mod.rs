//! The failpoint matrix: forty points × before and after × six outcomes of the
//! create. In each cell the real process dies there, is started again, callers
//! insist, and everything comes to its end.

mod announced;
mod deeds;
mod points;
mod removal;

use std::time::Duration;

use futures::FutureExt;
use futures::future::try_join_all;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::task::JoinHandle;
use videogen::api::pb;

use crate::common::child::Ended;
use crate::figures::Figures;
use crate::load::{Acknowledged, Asked, Hope, MODELS, insist};
use crate::run::{Case, Row};
use crate::seen::Seen;
use crate::settle::settle;
use crate::site::{Plan, Server, Site};
use deeds::Stage;
use points::{Blow, POINTS, Point, Setting};

/// 40 points, before and after, six outcomes.
const CELLS: u64 = 480;
/// Shares no divisor with the number of cells: seeds in a row lie far apart, and
/// any 480 in a row are all cells.
const STRIDE: u64 = 271;
/// How long a point may take to be reached.
const REACHED: Duration = Duration::from_secs(120);
/// How long everything may take to come to its end.
const SETTLING: Duration = Duration::from_secs(300);

pub const ROW: Row = Row {
    name: "matrix",
    about: "dies at each of 40 points, before and after, with 6 outcomes of the create",
    sample: 60,
    full: CELLS,
    jobs: 4,
    case: |case| attack(case).boxed(),
    least: &[("deaths", 1), ("acknowledged", 4)],
};

/// What becomes of the create: the directive, and how the task may end.
const OUTCOMES: [(&str, &str, Hope); 6] = [
    ("answered", "", Hope::Video),
    ("reset", "[sim:accept_drop]", Hope::Video),
    ("5xx", "[sim:accept_error]", Hope::Video),
    ("refused", "[sim:refuse=1301]", Hope::Refusal),
    ("throttled", "[sim:rate_limited*1]", Hope::Video),
    ("hang", "[sim:accept_hang]", Hope::Video),
];

async fn attack(case: Case) -> Result<Figures, String> {
    let cell = case.seed.wrapping_mul(STRIDE) % CELLS;
    let (point, side) = (&POINTS[(cell / 12) as usize], (cell / 6 % 2) as usize);
    let outcome = OUTCOMES[(cell % 6) as usize];
    let cell = Cell { seed: case.seed, point, side, outcome, random: case.random() };
    let told = format!("point {} {}, create {}", point.number, ["before", "after"][side], outcome.0);
    cell.run(&case).await.map_err(|reason| format!("{told}: {reason}"))
}

struct Cell {
    seed: u64,
    point: &'static Point,
    side: usize,
    outcome: (&'static str, &'static str, Hope),
    random: StdRng,
}

impl Cell {
    async fn run(mut self, case: &Case) -> Result<Figures, String> {
        let mut plan = Plan { unknown_window_s: 8, ..Plan::quick(Duration::from_millis(300)) };
        match self.point.setting {
            Setting::Narrow => plan.max_parallel = 1,
            Setting::DeafPolls => plan.provider.poll_error_rate = 0.5,
            _ => {}
        }
        let site = Site::open(case, &plan).await?;
        let receiver = match self.point.setting {
            Setting::Webhooks => Some(announced::receiver().await),
            _ => None,
        };
        let mut environment = self.environment().await?;
        environment.extend(receiver.iter().flat_map(announced::environment));
        let mut stage = Stage::new(site, environment, self.requests());
        let mut all = Figures::default();
        all.add("deaths", self.strike(&mut stage).await?);
        let (answers, figures) = finish(&mut stage).await?;
        all.merge(&figures);
        if let Some(receiver) = receiver {
            all.add("events", announced::all_told(&stage, &receiver).await?);
        }
        if let Blow::Removing(name) = &self.point.blows[self.side] {
            all.add("deaths", removal::die_and_finish(&stage, &answers, name).await?);
        }
        Ok(all)
    }

    /// What every start finds in its environment.
    async fn environment(&self) -> Result<Vec<(String, String)>, String> {
        if self.point.setting != Setting::Callbacks {
            return Ok(Vec::new());
        }
        // A port of its own that holds over restarts.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
        let door = listener.local_addr().map_err(|error| error.to_string())?;
        Ok(vec![
            ("VIDEOGEN_SERVER__CALLBACK_LISTEN".to_owned(), door.to_string()),
            ("VIDEOGEN_CALLBACKS__PUBLIC_URL".to_owned(), format!("http://{door}/")),
        ])
    }

    /// One request of each model with the outcome, two in health, and the point's own.
    fn requests(&self) -> Vec<Asked> {
        let (_, directives, hope) = self.outcome;
        let cancels = self.point.setting == Setting::Cancels;
        let hoped = |hope| if cancels { Hope::End } else { hope };
        let mut requests = Vec::new();
        let mut name = 0..;
        let mut ask = |model: &str, directives: &str, hope, paid: u32| {
            let name = format!("matrix-{}-{}", self.seed, name.next().unwrap_or(0));
            let mut asked = Asked::with(model, &name, directives, hoped(hope));
            asked.request.generation_timeout = Some(prost_types::Duration { seconds: 6 * 3600, nanos: 0 });
            if paid > 1 {
                asked.request.unknown_outcome_policy = pb::UnknownOutcomePolicy::AtLeastOnce.into();
                asked.request.max_paid_attempts = paid;
            }
            requests.push(asked);
        };
        for model in MODELS {
            // Kling has codes of its own, fal has those of HTTP.
            let own = if model.starts_with("fal/") { directives.replace("1301", "422") } else { directives.to_owned() };
            ask(model, &own, hope, 1);
        }
        ask(MODELS[0], "", Hope::Video, 1);
        ask(MODELS[2], "", Hope::Video, 1);
        for extra in self.point.extras {
            ask(extra.model, extra.directives, extra.hope, extra.paid);
        }
        requests
    }

    /// Lets the process die as the cell says; how often it did.
    async fn strike(&mut self, stage: &mut Stage) -> Result<u64, String> {
        let draw = |range: &std::ops::RangeInclusive<u32>, random: &mut StdRng| random.random_range(range.clone());
        match &self.point.blows[self.side] {
            Blow::At(name, times) => {
                let trap = format!("{name}=kill@{}", draw(times, &mut self.random));
                self.die_at(stage, &trap, name).await
            }
            Blow::Soon(name, ms) => {
                let trap = format!("{name}=kill({})", draw(ms, &mut self.random));
                self.die_at(stage, &trap, name).await
            }
            Blow::Trap(traps) => self.die_at(stage, traps, "").await,
            Blow::Thrice(name) => {
                for _ in 0..3 {
                    self.die_at(stage, &format!("{name}=kill"), name).await?;
                }
                Ok(3)
            }
            Blow::Starting(name) => {
                let server = stage.start("").await?;
                self.load(stage);
                tokio::time::sleep(Duration::from_millis(self.random.random_range(100..800))).await;
                server.kill().await;
                stage.die_starting(&format!("{name}=kill")).await?;
                Ok(2)
            }
            Blow::Ending(name) => {
                let server = stage.start(&format!("{name}=kill")).await?;
                self.load(stage);
                tokio::time::sleep(Duration::from_millis(self.random.random_range(100..800))).await;
                server.process.terminate();
                died_at(name, &ended(server).await?)?;
                Ok(1)
            }
            Blow::FailStop(name) => {
                let times = self.random.random_range(5..=9);
                let server = stage.start(&format!("{name}=error@{times}")).await?;
                self.load(stage);
                let ended = ended(server).await?;
                if ended.code == Some(0) || !ended.stderr.contains("the store stops") {
                    return Err(format!("the store failed and the process ended with {:?}", ended.code));
                }
                Ok(1)
            }
            Blow::Removing(_) => {
                let server = stage.start("").await?;
                self.load(stage);
                tokio::time::sleep(Duration::from_millis(self.random.random_range(100..800))).await;
                server.kill().await;
                Ok(1)
            }
            Blow::After(deed) => deed.strike(stage, &mut self.random).await,
        }
    }

    async fn die_at(&self, stage: &mut Stage, traps: &str, name: &str) -> Result<u64, String> {
        // A start that finds open tasks may reach the point before it serves.
        let started = stage.try_start(traps).await;
        self.load(stage);
        let ended = match started {
            Ok(server) => ended(server).await?,
            Err(ended) => ended,
        };
        died_at(name, &ended)?;
        Ok(1)
    }

    /// Sends the callers, once.
    fn load(&self, stage: &mut Stage) {
        match self.point.setting {
            Setting::TwoCallers => stage.load(2),
            _ => stage.load(1),
        }
        if self.point.setting == Setting::Cancels {
            stage.cancel_all();
        }
    }
}

/// Whether it has died at its failpoint. One that has not is a cell that tested
/// nothing.
fn died_at(name: &str, ended: &Ended) -> Result<(), String> {
    if ended.code.is_none() && ended.stderr.contains(&format!("failpoint {name}")) {
        return Ok(());
    }
    Err(format!("the process did not die at {name}, but ended with {:?}:\n{}", ended.code, ended.stderr))
}

async fn ended(mut server: Server) -> Result<Ended, String> {
    let began = tokio::time::Instant::now();
    while server.process.is_running() {
        if began.elapsed() > REACHED {
            server.kill().await;
            return Err("the point was never reached".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(server.ended().await)
}

/// Starts it again, lets everything come to its end, kills it once more and judges
/// what is on the disk.
async fn finish(stage: &mut Stage) -> Result<(Vec<Acknowledged>, Figures), String> {
    let mut server = stage.start("").await?;
    let callers: Vec<JoinHandle<_>> = std::mem::take(&mut stage.callers);
    let answers = try_join_all(callers).await.map_err(|error| error.to_string())?;
    let answers: Vec<Acknowledged> = answers.into_iter().collect::<Result<_, _>>()?;
    let mut seen = Seen::default();
    seen.look(&settle(&stage.site, &mut server, &answers, SETTLING).await?)?;
    server.kill().await;

    let mut server = stage.start("").await?;
    let tasks = server.tasks().await?;
    seen.look(&tasks)?;
    let again = try_join_all(answers.iter().map(|told| insist(stage.site.door(), told.asked.clone()))).await?;
    if let Some((first, second)) = answers.iter().zip(&again).find(|(first, second)| first.task != second.task) {
        return Err(format!("I5: {first:?} became {second:?}"));
    }
    server.kill().await;
    let mut figures = stage.site.judge(&answers, &tasks)?;
    figures.merge(&stage.site.check().await?);
    Ok((answers, figures))
}
