//! A house to test: the service and its simulated provider, in this process, in a
//! temporary folder.

use std::collections::BTreeMap;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use videogen::api::pb;
use videogen::api::pb::video_gen_client::VideoGenClient;
use videogen::app::{Addresses, App, Ended};
use videogen::clock::Clock;
use videogen::config::{Overrides, Settings};
use videogen::simulator::{self, Simulator};

/// How long any wait in a test may take before it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The running house.
pub struct House {
    /// The simulated providers, and the oracle of what was bought.
    pub simulator: simulator::Running,
    /// The gRPC client.
    pub client: VideoGenClient<Channel>,
    /// Where the doors are.
    pub addresses: Addresses,
    folder: TempDir,
    extra: Vec<(String, String)>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Ended>,
}

impl House {
    /// A house whose provider takes 300 ms a job.
    pub async fn new() -> Self {
        Self::with(simulator::Settings::quick(Duration::from_millis(300)), &[]).await
    }

    /// A house with another provider and other settings, written as environment
    /// variables without their `VIDEOGEN_`.
    pub async fn with(provider: simulator::Settings, extra: &[(&str, &str)]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let simulator = Simulator::start(listener, provider).await.unwrap();
        let extra = extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::open(simulator, tempfile::tempdir().unwrap(), extra).await
    }

    async fn open(simulator: simulator::Running, folder: TempDir, extra: Vec<(String, String)>) -> Self {
        let settings = settings(&folder, &simulator.base_url(), &extra);
        let app = App::start(&settings).await.unwrap();
        let addresses = app.addresses();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(app.run_until(async {
            let _ = stopped.await;
        }));
        let client = VideoGenClient::connect(format!("http://{}", addresses.grpc)).await.unwrap();
        Self { simulator, client, addresses, folder, extra, stop, served }
    }

    /// Drains the service and says how that ended. The provider goes on.
    pub async fn drain(self) -> (Ended, Foundations) {
        drop(self.stop);
        let ended = within(self.served).await.unwrap();
        (ended, Foundations { simulator: self.simulator, folder: self.folder, extra: self.extra })
    }

    /// Submits, as a careful client does.
    pub async fn submit(&mut self, spec: pb::Spec) -> pb::Task {
        self.try_submit(request(spec)).await.unwrap()
    }

    /// Submits and hands back whatever was answered.
    pub async fn try_submit(&mut self, request: pb::SubmitRequest) -> Result<pb::Task, Status> {
        Ok(self.client.submit(request).await?.into_inner().task.unwrap())
    }

    /// Follows a task to its end and hands back every state seen.
    pub async fn follow(&mut self, id: &str) -> Vec<pb::Task> {
        let request = pb::WatchRequest { task_id: id.to_owned(), ..Default::default() };
        let mut stream = self.client.watch(request).await.unwrap().into_inner();
        let mut seen = Vec::new();
        while let Some(message) = within(stream.message()).await.unwrap() {
            if let Some(pb::watch_response::Event::Task(task)) = message.event {
                seen.push(task);
            }
        }
        seen
    }

    /// The final state of a task.
    pub async fn finished(&mut self, id: &str) -> pb::Task {
        self.follow(id).await.pop().unwrap()
    }

    /// The whole stored file, with its header.
    pub async fn download(&mut self, id: &str, offset: u64) -> Result<(pb::DownloadHeader, Vec<u8>), Status> {
        let request = pb::DownloadVideoRequest { task_id: id.to_owned(), offset };
        let mut stream = self.client.download_video(request).await?.into_inner();
        let mut header = None;
        let mut bytes = Vec::new();
        while let Some(message) = within(stream.message()).await? {
            match message.part.unwrap() {
                pb::download_video_response::Part::Header(first) => header = Some(first),
                pb::download_video_response::Part::Chunk(chunk) => bytes.extend_from_slice(&chunk),
            }
        }
        Ok((header.unwrap(), bytes))
    }

    /// How many creates the provider accepted.
    pub fn bought(&self) -> usize {
        self.simulator.ledger().len()
    }
}

/// What is left of a house whose service has ended: enough to build it again.
pub struct Foundations {
    /// The provider, still running.
    pub simulator: simulator::Running,
    folder: TempDir,
    extra: Vec<(String, String)>,
}

impl Foundations {
    /// Starts the service again on the same folder.
    pub async fn rebuild(self) -> House {
        House::open(self.simulator, self.folder, self.extra).await
    }
}

/// The settings of a test house, with quick polls and wide limits.
pub fn settings(folder: &TempDir, provider: &str, extra: &[(String, String)]) -> Settings {
    let folder = folder.path().display();
    let mut variables = BTreeMap::from([
        ("SERVER__GRPC_LISTEN", "127.0.0.1:0".to_owned()),
        ("SERVER__CALLBACK_LISTEN", "127.0.0.1:0".to_owned()),
        ("SERVER__ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
        ("SERVER__SHUTDOWN_GRACE", "10s".to_owned()),
        ("STORE__PATH", format!("{folder}/store")),
        ("ARCHIVE__URL", format!("file:{folder}/videos")),
        ("POLLING__MIN_INTERVAL", "50ms".to_owned()),
        ("POLLING__MAX_INTERVAL", "200ms".to_owned()),
        ("NETWORK__ALLOW", "127.0.0.0/8".to_owned()),
    ]);
    let provider = provider.to_owned();
    for (index, name) in ["kling", "fal"].into_iter().enumerate() {
        let key = |key: &str| -> &'static str { format!("ACCOUNTS__{index}__{key}").leak() };
        variables.insert(key("NAME"), name.to_owned());
        variables.insert(key("PROVIDER"), name.to_owned());
        variables.insert(key("API_KEY"), format!("{name}-key-of-the-test"));
        variables.insert(key("BASE_URL"), provider.clone());
        variables.insert(key("MAX_PARALLEL"), "1000".to_owned());
        variables.insert(key("REQUESTS_PER_SECOND"), "1000".to_owned());
    }
    let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(extra.iter().cloned());
    let variables: BTreeMap<_, _> = variables.map(|(name, value)| (format!("VIDEOGEN_{name}"), value)).collect();
    Settings::load(None, variables.into_iter(), &Overrides::default()).unwrap()
}

/// A request for this spec, under a request id of its own.
pub fn request(spec: pb::Spec) -> pb::SubmitRequest {
    pb::SubmitRequest { request_id: Clock::system().task_id().to_string(), spec: Some(spec), ..Default::default() }
}

/// Text to video with this model.
pub fn text(model: &str) -> pb::Spec {
    pb::Spec { model: model.to_owned(), prompt: "a red kite over dunes".to_owned(), ..Default::default() }
}

/// The result, or a failure when it does not come in time.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it came in time")
}

/// The reason in a status' ErrorInfo, and its violated fields.
pub fn told(status: &Status) -> (Code, String, Vec<String>) {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "videogen");
    let bad = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    (status.code(), info.reason, bad.into_iter().map(|violation| violation.field).collect())
}
