//! A place for a server: a folder, a settings file and a simulated provider, all
//! of which outlive the server that runs there.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::transport::Channel;
use videogen::api::pb;
use videogen::api::pb::video_gen_client::VideoGenClient;
use videogen::simulator::{self, Entry, Simulator};

use crate::common::child::{Ended, Process};
use crate::common::until;
use crate::house::{PATIENCE, within};

/// The client of the contract.
pub type Client = VideoGenClient<Channel>;

/// Where a server runs.
pub struct Site {
    /// The simulated provider.
    pub simulator: simulator::Running,
    /// What the server finds in its environment.
    pub environment: Vec<(String, String)>,
    folder: TempDir,
}

/// A server at work.
pub struct Server {
    /// The process.
    pub process: Process,
    /// Where gRPC is.
    pub address: SocketAddr,
    /// A connection to it.
    pub client: Client,
}

impl Site {
    /// A place whose provider takes so long a job.
    pub async fn new(latency: Duration) -> Self {
        Self::with(simulator::Settings::quick(latency)).await
    }

    /// A place with this provider.
    pub async fn with(provider: simulator::Settings) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let simulator = Simulator::start(listener, provider).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let site = Self { simulator, environment: Vec::new(), folder };
        std::fs::write(site.path("settings.toml"), site.settings()).unwrap();
        site
    }

    fn settings(&self) -> String {
        let folder = self.folder.path().display();
        let account = |name: &str| {
            let provider = self.simulator.base_url();
            let history = if name == "fal" { format!("history_url = \"{provider}/v1\"\n") } else { String::new() };
            format!(
                "\n[[accounts]]\nname = \"{name}\"\nprovider = \"{name}\"\napi_key = \"{name}-key-of-the-test\"\n\
                 base_url = \"{provider}\"\nmax_parallel = 1000\nrequests_per_second = 1000\n{history}"
            )
        };
        format!(
            "[server]\ngrpc_listen = \"127.0.0.1:0\"\ncallback_listen = \"127.0.0.1:0\"\n\
             admin_listen = \"127.0.0.1:0\"\nshutdown_grace = \"20s\"\n\n\
             [store]\npath = \"{folder}/store\"\n\n[archive]\nurl = \"file:{folder}/videos\"\n\n\
             [polling]\nmin_interval = \"100ms\"\nmax_interval = \"500ms\"\n\n\
             [network]\nallow = [\"127.0.0.0/8\"]\n{}{}",
            account("kling"),
            account("fal"),
        )
    }

    /// A path within the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Changes the settings file.
    pub fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path("settings.toml")).unwrap();
        assert!(text.contains(from), "{from} is not in the settings");
        std::fs::write(self.path("settings.toml"), text.replace(from, to)).unwrap();
    }

    /// Runs a command that takes the settings file.
    pub fn spawn(&self, command: &str) -> Process {
        let settings = self.path("settings.toml").display().to_string();
        Process::spawn(&[command, "--config", &settings], &self.environment)
    }

    /// Starts a server.
    pub async fn start(&self) -> Server {
        let mut process = self.spawn("serve");
        let Some(address) = process.announced("listening grpc=").await else {
            panic!("the server did not start:\n{}", process.log());
        };
        let address = address.parse().unwrap();
        Server { process, address, client: connect(address).await }
    }

    /// Starts a server that is not to start.
    pub async fn start_in_vain(&self) -> Ended {
        let ended = self.spawn("serve").ended().await;
        assert!(!ended.stderr.contains("listening"), "it started:\n{}", ended.stderr);
        ended
    }

    /// Every create that the provider accepted.
    pub fn bought(&self) -> Vec<Entry> {
        self.simulator.ledger()
    }

    /// Waits until the provider has accepted so many creates.
    pub async fn bought_at_least(&self, count: usize) {
        until(&format!("{count} creates"), async || self.bought().len() >= count).await;
    }
}

impl Server {
    /// The address as the command line takes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it as a power cut would.
    pub async fn kill(self) -> Ended {
        self.process.kill().await
    }

    /// Tells it to stop and waits until it has.
    pub async fn stop(self) -> Ended {
        self.process.terminate();
        self.process.ended().await
    }

    /// Submits.
    pub async fn submit(&mut self, request: pb::SubmitRequest) -> pb::Task {
        within(self.client.submit(request)).await.unwrap().into_inner().task.unwrap()
    }

    /// The task as it stands.
    pub async fn task(&mut self, id: &str) -> pb::Task {
        let request = pb::GetTaskRequest { task_id: id.to_owned() };
        within(self.client.get_task(request)).await.unwrap().into_inner().task.unwrap()
    }

    /// Every task, newest first.
    pub async fn tasks(&mut self) -> Vec<pb::Task> {
        let mut request = pb::ListTasksRequest { page_size: 500, ..Default::default() };
        let mut tasks = Vec::new();
        loop {
            let page = within(self.client.list_tasks(request.clone())).await.unwrap().into_inner();
            tasks.extend(page.tasks);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return tasks;
            }
        }
    }

    /// What was logged about a task since the last start.
    pub fn log_of(&self, id: &str) -> String {
        let log = self.process.log();
        log.lines().filter(|line| line.contains(id)).flat_map(|line| [line, "\n"]).collect()
    }

    /// Follows a task until it is as wanted.
    pub async fn until_task(&mut self, id: &str, wanted: impl Fn(&pb::Task) -> bool) -> pb::Task {
        let request = pb::WatchRequest { task_id: id.to_owned(), ..Default::default() };
        let mut stream = self.client.watch(request).await.unwrap().into_inner();
        let found = async {
            while let Some(message) = stream.message().await.unwrap() {
                match message.event {
                    Some(pb::watch_response::Event::Task(task)) if wanted(&task) => return Some(task),
                    _ => {}
                }
            }
            None
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(Some(task)) => task,
            Ok(None) => panic!("the task ended otherwise: {:?}", self.task(id).await),
            Err(_) => panic!("the task is not as wanted: {:?}\n{}", self.task(id).await, self.log_of(id)),
        }
    }
}

/// Connects.
pub async fn connect(address: SocketAddr) -> Client {
    within(VideoGenClient::connect(format!("http://{address}"))).await.unwrap()
}

/// Whether nothing was bought twice: no marker and no body was accepted again.
pub fn bought_once(entries: &[Entry]) -> bool {
    let markers: Vec<_> = entries.iter().filter_map(|entry| entry.marker.as_deref()).collect();
    let bodies: HashSet<_> = entries.iter().map(|entry| entry.body_sha256.as_str()).collect();
    let different: HashSet<_> = markers.iter().collect();
    different.len() == markers.len() && bodies.len() == entries.len()
}
