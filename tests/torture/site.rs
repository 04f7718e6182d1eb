//! A place to attack: a folder, a settings file and a simulated provider in this
//! process. The provider outlives every kill of the service, and its ledger says
//! what was bought.

#![allow(dead_code, reason = "each row uses a part of it")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};
use videogen::api::pb;
use videogen::api::pb::video_gen_client::VideoGenClient;
use videogen::simulator::{self, Entry, Simulator};

use crate::check::Evidence;
use crate::common::child::{Ended, Process};
use crate::figures::Figures;
use crate::load::Acknowledged;
use crate::run::Case;

/// The client of the contract.
pub type Client = VideoGenClient<Channel>;

/// How long a start may take before it counts as refused.
const START_LIMIT: Duration = Duration::from_secs(120);

/// What can be set at a site.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The provider's behaviour.
    pub provider: simulator::Settings,
    /// Further settings, as in the file: whole sections.
    pub settings: String,
    /// How long an unknown create is looked for, in seconds.
    pub unknown_window_s: u64,
    /// How many jobs a model may have at once.
    pub max_parallel: u32,
    /// Where store and archive are; in the case's folder when absent.
    pub data: Option<PathBuf>,
}

impl Plan {
    /// Jobs of this length, small clips, short waits, wide limits.
    pub fn quick(latency: Duration) -> Self {
        let quick = simulator::Settings::quick(latency);
        let provider = simulator::Settings { short_side: 64, clips: Some(4), ..quick };
        Self { provider, settings: String::new(), unknown_window_s: 10, max_parallel: 1000, data: None }
    }
}

/// Where a server runs.
pub struct Site {
    /// The simulated provider.
    pub simulator: simulator::Running,
    folder: PathBuf,
    data: PathBuf,
    program: PathBuf,
    /// The way to the server that runs now.
    door: watch::Sender<Option<Channel>>,
}

/// A server at work.
pub struct Server {
    /// The process. It never outlives its handle.
    pub process: Process,
    /// A connection to it.
    pub client: Client,
    folder: PathBuf,
    door: watch::Sender<Option<Channel>>,
}

impl Site {
    /// A place in the case's folder.
    pub async fn open(case: &Case, plan: &Plan) -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| format!("the simulator: {error}"))?;
        let provider = simulator::Settings { ledger: Some(case.folder.join("creates.jsonl")), ..plan.provider.clone() };
        let simulator = Simulator::start(listener, provider).await.map_err(|error| error.to_string())?;
        let site = Self {
            simulator,
            folder: case.folder.clone(),
            data: plan.data.clone().unwrap_or_else(|| case.folder.clone()),
            program: case.program.clone(),
            door: watch::Sender::new(None),
        };
        std::fs::write(site.path("settings.toml"), site.settings(plan)).map_err(|error| error.to_string())?;
        Ok(site)
    }

    fn settings(&self, plan: &Plan) -> String {
        let folder = self.data.display();
        let Plan { settings, unknown_window_s, max_parallel, .. } = plan;
        let account = |name: &str| {
            let provider = self.simulator.base_url();
            format!(
                "\n[[accounts]]\nname = \"{name}\"\nprovider = \"{name}\"\napi_key = \"{name}-key-of-the-test\"\n\
                 base_url = \"{provider}\"\nmax_parallel = {max_parallel}\nrequests_per_second = 1000\n{}",
                if name == "fal" {
                    format!("jwks_url = \"{provider}/.well-known/jwks.json\"\n")
                } else {
                    String::new()
                }
            )
        };
        format!(
            "[server]\ngrpc_listen = \"127.0.0.1:0\"\ncallback_listen = \"127.0.0.1:0\"\n\
             admin_listen = \"127.0.0.1:0\"\nshutdown_grace = \"20s\"\n\n\
             [store]\npath = \"{folder}/store\"\n\n[archive]\nurl = \"file:{folder}/videos\"\n\n\
             [polling]\nmin_interval = \"50ms\"\nmax_interval = \"200ms\"\n\n\
             [submit]\nunknown_window = \"{unknown_window_s}s\"\n\n\
             [network]\nallow = [\"127.0.0.0/8\"]\n\n{settings}{}{}",
            account("kling"),
            account("fal"),
        )
    }

    /// A path within the folder; store and archive may be elsewhere.
    pub fn path(&self, name: &str) -> PathBuf {
        if matches!(name, "store" | "videos") { self.data.join(name) } else { self.folder.join(name) }
    }

    /// Where callers find the server; nothing while there is none.
    pub fn door(&self) -> watch::Receiver<Option<Channel>> {
        self.door.subscribe()
    }

    /// Runs a command of the binary on the settings file. What a provider makes us
    /// wait for by minutes is waited for by seconds.
    pub fn spawn(&self, command: &str, environment: &[(String, String)]) -> Process {
        let settings = self.path("settings.toml").display().to_string();
        Process::run(&self.program, &[command, "--config", &settings], &hasty(environment))
    }

    /// Starts a server and opens the door to it. A start that is refused is a failure.
    pub async fn start(&self, environment: &[(String, String)]) -> Result<Server, String> {
        match self.try_start(environment).await {
            Ok(server) => Ok(server),
            Err(ended) => Err(format!("a start was refused: {:?}\n{}", ended.code, ended.stderr)),
        }
    }

    /// Starts a server that may die before it serves; then says how it ended.
    pub async fn try_start(&self, environment: &[(String, String)]) -> Result<Server, Ended> {
        self.announced(self.spawn("serve", environment)).await
    }

    /// The same below another program, which is given these words first.
    pub async fn try_start_under(
        &self,
        program: &Path,
        words: &[String],
        environment: &[(String, String)],
    ) -> Result<Server, Ended> {
        let (service, settings) =
            (self.program.display().to_string(), self.path("settings.toml").display().to_string());
        let words = words.iter().map(String::as_str).chain([service.as_str(), "serve", "--config", &settings]);
        self.announced(Process::run(program, &words.collect::<Vec<_>>(), &hasty(environment))).await
    }

    async fn announced(&self, mut process: Process) -> Result<Server, Ended> {
        let announced = tokio::time::timeout(START_LIMIT, process.announced("listening grpc=")).await;
        // A line may be cut short when writing it was made to fail, or run into the next.
        let line = announced.ok().flatten().unwrap_or_default();
        let address = line.split("listening").next().and_then(|address| address.parse::<SocketAddr>().ok());
        let Some(address) = address else { return Err(note(&self.folder, process.kill().await)) };
        let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address").connect_lazy();
        self.door.send_replace(Some(channel.clone()));
        let (client, folder, door) = (Client::new(channel), self.folder.clone(), self.door.clone());
        Ok(Server { process, client, folder, door })
    }

    /// Joins the three ledgers.
    pub fn judge(&self, acknowledged: &[Acknowledged], tasks: &[pb::Task]) -> Result<Figures, String> {
        let (creates, videos) = (self.bought(), self.path("videos"));
        Evidence { acknowledged, creates: &creates, tasks, videos: &videos }.judge()
    }

    /// Has the binary check the store and every video of a server that is gone:
    /// nothing may be left for a human.
    pub async fn check(&self) -> Result<Figures, String> {
        let settings = self.path("settings.toml").display().to_string();
        let checked = Process::run(&self.program, &["fsck", "--deep", "--config", &settings], &[]).ended().await;
        let mut figures = Figures::default();
        match checked.code {
            Some(0) => figures.add("stores clean", 1),
            Some(1) => figures.add("stores mended", 1),
            code => return Err(format!("fsck ended with {code:?}: {}{}", checked.stdout, checked.stderr)),
        }
        Ok(figures)
    }

    /// Every create that the provider accepted.
    pub fn bought(&self) -> Vec<Entry> {
        self.simulator.ledger()
    }
}

impl Server {
    /// Ends it as a power cut would, if it has not died already.
    pub async fn kill(self) -> Ended {
        // First, lest callers find a stranger at the address.
        self.door.send_replace(None);
        note(&self.folder, self.process.kill().await)
    }

    /// Waits until it has ended by itself.
    pub async fn ended(self) -> Ended {
        let ended = self.process.ended().await;
        self.door.send_replace(None);
        note(&self.folder, ended)
    }

    /// Tells it to stop and waits until it has.
    pub async fn stop(self) -> Ended {
        self.process.terminate();
        self.ended().await
    }

    /// Every task, newest first. An error when the server goes away meanwhile.
    pub async fn tasks(&mut self) -> Result<Vec<pb::Task>, String> {
        let mut request = pb::ListTasksRequest { page_size: 500, ..Default::default() };
        let mut tasks = Vec::new();
        loop {
            let asked = self.client.list_tasks(request.clone()).await;
            let page = asked.map_err(|status| format!("the tasks could not be listed: {status}"))?.into_inner();
            tasks.extend(page.tasks);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return Ok(tasks);
            }
        }
    }

    /// Looks at every task until all are as wanted, or hands back those that are
    /// not when the time is over.
    pub async fn until_all(
        &mut self,
        limit: Duration,
        wanted: impl Fn(&pb::Task) -> bool,
    ) -> Result<Vec<pb::Task>, String> {
        let began = tokio::time::Instant::now();
        loop {
            let asked = tokio::time::Instant::now();
            let tasks = self.tasks().await?;
            let Some(other) = tasks.iter().find(|task| !wanted(task)) else { return Ok(tasks) };
            if began.elapsed() > limit {
                let count = tasks.iter().filter(|task| !wanted(task)).count();
                return Err(format!("I8: after {limit:?} {count} tasks have not come to their end, such as {other:?}"));
            }
            // A list of thousands is work that the service lacks elsewhere.
            tokio::time::sleep(Duration::from_millis(100).max(5 * asked.elapsed())).await;
        }
    }
}

/// What a provider makes us wait for by minutes is waited for by seconds.
fn hasty(environment: &[(String, String)]) -> Vec<(String, String)> {
    environment.iter().cloned().chain([("FAILPOINT_HASTE".to_owned(), "20".to_owned())]).collect()
}

/// Keeps what a process has printed beside what it has left.
fn note(folder: &Path, ended: Ended) -> Ended {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("serve.log"));
    let written = log.and_then(|mut log| {
        use std::io::Write;
        writeln!(log, "{}---- ended with {:?}", ended.stderr, ended.code)
    });
    if let Err(error) = written {
        eprintln!("the log of the server could not be kept: {error}");
    }
    ended
}
