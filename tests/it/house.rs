//! A house to test: the service and its simulated provider, in this process, in a
//! temporary folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
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

pub use crate::common::{PATIENCE, within};

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
        Self::with(quick(Duration::from_millis(300)), &[]).await
    }

    /// A house with another provider and other settings, written as environment
    /// variables without their `VIDEOGEN_`.
    pub async fn with(provider: simulator::Settings, extra: &[(&str, &str)]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let simulator = Simulator::start(listener, provider).await.unwrap();
        Self::on(simulator, extra).await
    }

    /// A house before a provider that is there already.
    pub async fn on(simulator: simulator::Running, extra: &[(&str, &str)]) -> Self {
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
        let client = VideoGenClient::new(channel(&addresses).await);
        Self { simulator, client, addresses, folder, extra, stop, served }
    }

    /// A connection of its own.
    pub async fn channel(&self) -> Channel {
        channel(&self.addresses).await
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

    /// Follows a task until it is as wanted, and hands back that state.
    pub async fn until(&mut self, id: &str, wanted: impl Fn(&pb::Task) -> bool) -> pb::Task {
        let request = pb::WatchRequest { task_id: id.to_owned(), ..Default::default() };
        let mut stream = self.client.watch(request).await.unwrap().into_inner();
        let mut last = None;
        while let Some(message) = within(stream.message()).await.unwrap() {
            match message.event {
                Some(pb::watch_response::Event::Task(task)) if wanted(&task) => return task,
                event => last = event,
            }
        }
        panic!("the task ended otherwise: {last:?}");
    }

    /// The newest state of a task.
    pub async fn get(&mut self, id: &str) -> pb::Task {
        let request = pb::GetTaskRequest { task_id: id.to_owned() };
        self.client.get_task(request).await.unwrap().into_inner().task.unwrap()
    }

    /// Asks for a task to be stopped.
    pub async fn cancel(&mut self, id: &str) -> Result<pb::Task, Status> {
        let request = pb::CancelTaskRequest { task_id: id.to_owned() };
        Ok(self.client.cancel_task(request).await?.into_inner().task.unwrap())
    }

    /// One page of tasks.
    pub async fn list(&mut self, request: pb::ListTasksRequest) -> Result<pb::ListTasksResponse, Status> {
        Ok(self.client.list_tasks(request).await?.into_inner())
    }

    /// Whether no task is stored and nothing was bought.
    pub async fn is_untouched(&mut self) -> bool {
        self.list(pb::ListTasksRequest::default()).await.unwrap().tasks.is_empty() && self.bought() == 0
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

    /// The folder of stored videos.
    pub fn videos(&self) -> PathBuf {
        self.folder.path().join("videos")
    }

    /// The folder of the store.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// The provider's ids of the jobs of these tasks.
    pub async fn job_ids(&mut self, tasks: &[&str]) -> Vec<String> {
        let mut ids = Vec::new();
        for id in tasks {
            ids.push(self.get(id).await.provider_job_id);
        }
        ids
    }

    /// The provider's jobs, as its control page shows them.
    pub async fn jobs(&self) -> Vec<serde_json::Value> {
        let page = reqwest::get(format!("{}/simulator/jobs", self.simulator.base_url())).await.unwrap();
        let page: serde_json::Value = serde_json::from_slice(&page.bytes().await.unwrap()).unwrap();
        page["jobs"].as_array().unwrap().clone()
    }

    /// How many creates the provider accepted.
    pub fn bought(&self) -> usize {
        self.simulator.ledger().len()
    }
}

async fn channel(addresses: &Addresses) -> Channel {
    Channel::from_shared(format!("http://{}", addresses.grpc)).unwrap().connect().await.unwrap()
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

    /// Starts it again with more settings than before.
    pub async fn rebuild_with(mut self, extra: &[(&str, &str)]) -> House {
        self.extra.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.rebuild().await
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
        // Pictures of the tests are mostly nowhere; those of tests/it/images.rs are.
        ("SUBMIT__IMAGE_CHECK", "address".to_owned()),
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
    variables.insert("ACCOUNTS__1__HISTORY_URL", format!("{provider}/v1"));
    let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(extra.iter().cloned());
    let variables: BTreeMap<_, _> = variables.map(|(name, value)| (format!("VIDEOGEN_{name}"), value)).collect();
    Settings::load(None, variables.into_iter(), &Overrides::default()).unwrap()
}

/// A provider with jobs of this length, and clips that are quick to draw.
pub fn quick(latency: Duration) -> simulator::Settings {
    simulator::Settings { short_side: 64, ..simulator::Settings::quick(latency) }
}

/// A request for this spec, under a request id of its own.
pub fn request(spec: pb::Spec) -> pb::SubmitRequest {
    pb::SubmitRequest { request_id: Clock::system().task_id().to_string(), spec: Some(spec), ..Default::default() }
}

/// Text to video with this model.
pub fn text(model: &str) -> pb::Spec {
    prompted(model, "a red kite over dunes")
}

/// Text to video with this model and prompt.
pub fn prompted(model: &str, prompt: &str) -> pb::Spec {
    pb::Spec { model: model.to_owned(), prompt: prompt.to_owned(), ..Default::default() }
}

/// Follows every task that matches.
pub fn by_filter(filter: pb::TaskFilter) -> pb::WatchRequest {
    pb::WatchRequest { filter: Some(filter), ..Default::default() }
}

/// Follows one task from a revision on.
pub fn from_revision(task: &pb::Task) -> pb::WatchRequest {
    pb::WatchRequest { task_id: task.id.clone(), after_revision: task.revision, ..Default::default() }
}

/// The next task of a watch, past heartbeats; nothing at its end.
pub async fn next_task(stream: &mut tonic::Streaming<pb::WatchResponse>) -> Result<Option<pb::Task>, Status> {
    while let Some(message) = within(stream.message()).await? {
        if let Some(pb::watch_response::Event::Task(task)) = message.event {
            return Ok(Some(task));
        }
    }
    Ok(None)
}

/// The reason in a status' ErrorInfo, and its violated fields.
pub fn told(status: &Status) -> (Code, String, Vec<String>) {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "videogen");
    let bad = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    (status.code(), info.reason, bad.into_iter().map(|violation| violation.field).collect())
}

/// Provider options, written as JSON.
pub fn options(json: &serde_json::Value) -> Option<Struct> {
    let Some(Kind::StructValue(options)) = value(json).kind else { panic!("not an object: {json}") };
    Some(options)
}

fn value(json: &serde_json::Value) -> Value {
    let kind = match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(flag) => Kind::BoolValue(*flag),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        serde_json::Value::String(text) => Kind::StringValue(text.clone()),
        serde_json::Value::Array(items) => Kind::ListValue(ListValue { values: items.iter().map(value).collect() }),
        serde_json::Value::Object(fields) => {
            let fields = fields.iter().map(|(key, field)| (key.clone(), value(field))).collect();
            Kind::StructValue(Struct { fields })
        }
    };
    Value { kind: Some(kind) }
}

/// A picture by its link.
pub fn link(uri: &str) -> Option<pb::Image> {
    Some(pb::Image { source: Some(pb::image::Source::Uri(uri.to_owned())) })
}
