//! The settings: read once, before anything binds, from flags, environment and
//! one TOML file, in that order of precedence. Nobody below the composition imports
//! this; it is converted into each part's own settings there.

mod accounts;
mod bytes;
mod duration;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod layers;
mod render;
mod secret;
mod section;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};
use url::Url;

pub use accounts::{Account, ProviderName};
pub use bytes::{format_bytes, parse_bytes};
pub use duration::{format_duration, parse_duration};
pub use error::ConfigError;
pub use secret::{Origin, Secret};

use section::Section;

use crate::task::announcement::Topic;

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The doors and the drain.
    pub server: Server,
    /// Where providers reach us.
    pub callbacks: Callbacks,
    /// Whom we tell of tasks.
    pub webhooks: Webhooks,
    /// Where tasks are kept.
    pub store: Store,
    /// Where videos are kept.
    pub archive: Archive,
    /// How often jobs are asked after.
    pub polling: Polling,
    /// What is taken in, and what is done about creates of unknown outcome.
    pub submit: Submit,
    /// Where backups go, and when.
    pub backup: Backup,
    /// How long things are kept.
    pub retention: Retention,
    /// What may be called.
    pub network: Network,
    /// Which models there are.
    pub catalog: Catalog,
    /// Who buys.
    pub accounts: Vec<Account>,
}

/// The doors and the drain.
#[derive(Debug, Clone)]
pub struct Server {
    /// gRPC. Port 0 picks one.
    pub grpc_listen: SocketAddr,
    /// Provider callbacks, HTTP.
    pub callback_listen: SocketAddr,
    /// Metrics and health pages, HTTP.
    pub admin_listen: SocketAddr,
    /// The deadline of a drain.
    pub shutdown_grace: Duration,
}

/// Where providers reach us.
#[derive(Debug, Clone)]
pub struct Callbacks {
    /// The public address of `server.callback_listen`; without it, polling alone.
    pub public_url: Option<Url>,
}

/// Whom we tell of tasks.
#[derive(Debug, Clone)]
pub struct Webhooks {
    /// Where events of tasks go that name no receiver themselves.
    pub url: Option<Url>,
    /// Signs the events, `whsec_` and base64; without it none is sent.
    pub secret: Option<Secret>,
    /// Signs too, while receivers change over to `secret`.
    pub previous_secret: Option<Secret>,
    /// What `url` is told.
    pub events: BTreeSet<Topic>,
}

/// Where tasks are kept.
#[derive(Debug, Clone)]
pub struct Store {
    /// The store's folder.
    pub path: PathBuf,
}

/// Where videos are kept.
#[derive(Debug, Clone)]
pub struct Archive {
    /// `file:FOLDER`, `s3://`, `gs://` or `az://`.
    pub url: String,
    /// Where the bucket's service is, if not where its maker has it.
    pub endpoint: Option<Url>,
    /// Whether the bucket may be called without TLS.
    pub allow_http: bool,
    /// The largest video that is kept, in bytes.
    pub max_video: u64,
    /// The longest silence of a provider's host within a download.
    pub idle_timeout: Duration,
    /// The longest that one download may take.
    pub fetch_timeout: Duration,
}

/// How often jobs are asked after.
#[derive(Debug, Clone)]
pub struct Polling {
    /// The shortest wait between two polls of a job.
    pub min_interval: Duration,
    /// The longest.
    pub max_interval: Duration,
    /// How much longer each wait is than the one before.
    pub factor: f64,
}

/// What is taken in, and what is done about creates of unknown outcome.
#[derive(Debug, Clone)]
pub struct Submit {
    /// How long a create of unknown outcome is looked up before the task's policy
    /// decides.
    pub unknown_window: Duration,
    /// Nothing new is taken in while less disk than this is free, in bytes; unless
    /// set it follows the size of the store.
    pub disk_reserve: Option<u64>,
    /// Nothing new is taken in while this many tasks are open.
    pub max_open_tasks: u32,
    /// Whether what is behind an image's link is looked at, or its address alone.
    pub image_check: ImageCheck,
    /// How long a task waits for an image that cannot be fetched.
    pub image_patience: Duration,
}

/// How images behind links are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageCheck {
    /// `fetch`
    Fetch,
    /// `address`
    Address,
}

impl ImageCheck {
    /// The word in the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Address => "address",
        }
    }
}

/// Where backups go, and when.
#[derive(Debug, Clone)]
pub struct Backup {
    /// The folder that a running server writes them into; without it, it makes none.
    pub path: Option<PathBuf>,
    /// How often one is made without being asked for.
    pub every: Option<Duration>,
    /// How many are kept; older ones are removed.
    pub keep: u32,
}

/// How long things are kept.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Tasks and their videos, from their end on; for ever unless set.
    pub tasks: Option<Duration>,
    /// Request ids of removed tasks.
    pub request_ids: Duration,
}

/// What may be called.
#[derive(Debug, Clone)]
pub struct Network {
    /// Address ranges let through the outbound guard.
    pub allow: Vec<String>,
}

/// Which models there are.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// A file that extends or overrides the built-in models.
    pub path: Option<PathBuf>,
}

/// The settings that have a flag.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--grpc-listen`
    pub grpc_listen: Option<String>,
    /// `--callback-listen`
    pub callback_listen: Option<String>,
    /// `--admin-listen`
    pub admin_listen: Option<String>,
    /// `--store-path`
    pub store_path: Option<String>,
    /// `--archive-url`
    pub archive_url: Option<String>,
    /// `--catalog-path`
    pub catalog_path: Option<String>,
}

impl Settings {
    /// Composes the settings: a flag wins over the environment, that over the
    /// file, that over the default. Reads no globals: the environment is handed in.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let table = file.map(layers::read_file).transpose()?.unwrap_or_default();
        Self::compose(table, environment, overrides)
    }

    fn compose(
        mut table: Table,
        environment: impl Iterator<Item = (String, String)>,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let environment: BTreeMap<String, String> = environment.collect();
        let variables = layers::lay_environment(&mut table, &environment)?;
        overrides.lay(&mut table)?;

        let mut root = Section::new("", table);
        let settings = Self {
            server: read_server(root.section("server")?, &variables)?,
            callbacks: read_callbacks(root.section("callbacks")?, &variables)?,
            webhooks: read_webhooks(root.section("webhooks")?, &environment, &variables)?,
            store: read_store(root.section("store")?, &variables)?,
            archive: read_archive(root.section("archive")?, &variables)?,
            polling: read_polling(root.section("polling")?, &variables)?,
            submit: read_submit(root.section("submit")?, &variables)?,
            backup: read_backup(root.section("backup")?, &variables)?,
            retention: read_retention(root.section("retention")?, &variables)?,
            network: read_network(root.section("network")?, &variables)?,
            catalog: read_catalog(root.section("catalog")?, &variables)?,
            accounts: accounts::read(root.sections("accounts")?, &environment, &variables)?,
        };
        root.finish(&variables)?;
        if settings.webhooks.secret.is_none()
            && let Some(index) = settings.accounts.iter().position(|account| account.announce_url.is_some())
        {
            let message = "needs webhooks.secret: unsigned events are not sent";
            return Err(ConfigError::value(format!("accounts.{index}.announce_url"), message));
        }
        Ok(settings)
    }

    /// The settings in force, as TOML with every secret masked.
    pub fn render(&self) -> String {
        render::render(self)
    }
}

impl Overrides {
    fn lay(&self, table: &mut Table) -> Result<(), ConfigError> {
        let Self { grpc_listen, callback_listen, admin_listen, store_path, archive_url, catalog_path } = self;
        let flags = [
            (["server", "grpc_listen"], grpc_listen),
            (["server", "callback_listen"], callback_listen),
            (["server", "admin_listen"], admin_listen),
            (["store", "path"], store_path),
            (["archive", "url"], archive_url),
            (["catalog", "path"], catalog_path),
        ];
        for (path, value) in flags {
            let Some(value) = value else { continue };
            layers::lay(table, &path.map(str::to_owned), Value::String(value.clone()))
                .map_err(|message| ConfigError::value(path.join("."), message))?;
        }
        Ok(())
    }
}

/// The environment of this process, without what is not text.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// A bucket takes 10,000 parts of a file, and ours have 5 MiB.
const MAX_VIDEO_BYTES: u64 = 40 << 30;

type Variables = BTreeMap<String, String>;

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn read_server(mut section: Section, variables: &Variables) -> Result<Server, ConfigError> {
    let server = Server {
        grpc_listen: section.address("grpc_listen")?.unwrap_or(loopback(50051)),
        callback_listen: section.address("callback_listen")?.unwrap_or(loopback(8080)),
        admin_listen: section.address("admin_listen")?.unwrap_or(loopback(9464)),
        shutdown_grace: section.duration("shutdown_grace")?.unwrap_or(Duration::from_secs(30)),
    };
    let taken = |a: SocketAddr, b: SocketAddr| a.port() != 0 && a == b;
    if taken(server.callback_listen, server.grpc_listen) {
        return Err(section.wrong("callback_listen", "is the same address as server.grpc_listen"));
    }
    if taken(server.admin_listen, server.grpc_listen) || taken(server.admin_listen, server.callback_listen) {
        return Err(section.wrong("admin_listen", "is the same address as another door's"));
    }
    if server.shutdown_grace > Duration::from_secs(3600) {
        return Err(section.wrong("shutdown_grace", "must be at most 1h"));
    }
    section.finish(variables)?;
    Ok(server)
}

fn read_callbacks(mut section: Section, variables: &Variables) -> Result<Callbacks, ConfigError> {
    let public_url = section.url("public_url")?;
    section.finish(variables)?;
    Ok(Callbacks { public_url })
}

fn read_webhooks(
    mut section: Section,
    environment: &section::Environment,
    variables: &Variables,
) -> Result<Webhooks, ConfigError> {
    let webhooks = Webhooks {
        url: section.url("url")?,
        secret: section.secret("secret", environment)?,
        previous_secret: section.secret("previous_secret", environment)?,
        events: read_events(&mut section)?,
    };
    if webhooks.url.is_some() && webhooks.secret.is_none() {
        return Err(section.wrong("secret", "is required beside webhooks.url: unsigned events are not sent"));
    }
    if webhooks.previous_secret.is_some() && webhooks.secret.is_none() {
        return Err(section.wrong("secret", "is required beside webhooks.previous_secret"));
    }
    section.finish(variables)?;
    Ok(webhooks)
}

fn read_events(section: &mut Section) -> Result<BTreeSet<Topic>, ConfigError> {
    let named = section.list("events")?;
    if named.is_empty() {
        return Ok(Topic::ENDS.into());
    }
    let topic = |name: &String| Topic::ALL.into_iter().find(|topic| topic.word() == name);
    let known: Option<BTreeSet<Topic>> = named.iter().map(topic).collect();
    known.ok_or_else(|| {
        let message = "expected task.succeeded, task.failed, task.cancelled, task.recovered and task.updated";
        section.wrong("events", message)
    })
}

fn read_store(mut section: Section, variables: &Variables) -> Result<Store, ConfigError> {
    let path = section.text("path")?.unwrap_or_else(|| "./videogen-data/store".into()).into();
    section.finish(variables)?;
    Ok(Store { path })
}

fn read_archive(mut section: Section, variables: &Variables) -> Result<Archive, ConfigError> {
    let url = section.text("url")?.unwrap_or_else(|| "file:./videogen-data/videos".into());
    let known = ["file:", "s3://", "gs://", "az://"];
    if !known.iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.trim_matches('/').is_empty())) {
        return Err(section.wrong("url", "expected file:FOLDER, s3://BUCKET, gs://BUCKET or az://CONTAINER"));
    }
    let endpoint = section.url("endpoint")?;
    if endpoint.is_some() && url.starts_with("file:") {
        return Err(section.wrong("endpoint", "goes with a bucket, not with a folder"));
    }
    let allow_http = section.flag("allow_http")?.unwrap_or(false);
    if endpoint.as_ref().is_some_and(|endpoint| endpoint.scheme() == "http") && !allow_http {
        return Err(section.wrong("endpoint", "begins with http://, which takes archive.allow_http = true"));
    }
    let max_video = section.bytes("max_video")?.unwrap_or(2 << 30);
    if !(1..=MAX_VIDEO_BYTES).contains(&max_video) {
        return Err(
            section.wrong("max_video", "must be above 0 and at most 40GiB, which is as many parts as a bucket takes")
        );
    }
    let limit = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
    let idle_timeout = section.duration("idle_timeout")?.unwrap_or(Duration::from_secs(30));
    let fetch_timeout = section.duration("fetch_timeout")?.unwrap_or(Duration::from_secs(30 * 60));
    for (key, value) in [("idle_timeout", idle_timeout), ("fetch_timeout", fetch_timeout)] {
        if !limit.contains(&value) {
            return Err(section.wrong(key, "must be from 100ms to 24h"));
        }
    }
    section.finish(variables)?;
    Ok(Archive { url, endpoint, allow_http, max_video, idle_timeout, fetch_timeout })
}

fn read_polling(mut section: Section, variables: &Variables) -> Result<Polling, ConfigError> {
    let polling = Polling {
        min_interval: section.duration("min_interval")?.unwrap_or(Duration::from_secs(2)),
        max_interval: section.duration("max_interval")?.unwrap_or(Duration::from_secs(30)),
        factor: section.number("factor")?.unwrap_or(1.5),
    };
    if polling.min_interval.is_zero() {
        return Err(section.wrong("min_interval", "must be above 0"));
    }
    if polling.min_interval > polling.max_interval {
        return Err(section.wrong("min_interval", "must be at most polling.max_interval"));
    }
    if polling.max_interval > Duration::from_secs(3600) {
        return Err(section.wrong("max_interval", "must be at most 1h"));
    }
    if !(1.1..=10.0).contains(&polling.factor) {
        return Err(section.wrong("factor", "expected a number from 1.1 to 10"));
    }
    section.finish(variables)?;
    Ok(polling)
}

fn read_submit(mut section: Section, variables: &Variables) -> Result<Submit, ConfigError> {
    let unknown_window = section.duration("unknown_window")?.unwrap_or(Duration::from_secs(3600));
    if unknown_window.is_zero() || unknown_window > Duration::from_secs(7 * 86_400) {
        return Err(section.wrong("unknown_window", "must be above 0 and at most 7d"));
    }
    let disk_reserve = section.bytes("disk_reserve")?;
    let max_open_tasks = section.count("max_open_tasks")?.unwrap_or(1_000_000);
    let image_check = match section.text("image_check")?.as_deref() {
        None | Some("fetch") => ImageCheck::Fetch,
        Some("address") => ImageCheck::Address,
        Some(_) => return Err(section.wrong("image_check", "expected \"fetch\" or \"address\"")),
    };
    let image_patience = section.duration("image_patience")?.unwrap_or(Duration::from_secs(3600));
    if image_patience > Duration::from_secs(24 * 3600) {
        return Err(section.wrong("image_patience", "must be at most 24h"));
    }
    section.finish(variables)?;
    Ok(Submit { unknown_window, disk_reserve, max_open_tasks, image_check, image_patience })
}

fn read_backup(mut section: Section, variables: &Variables) -> Result<Backup, ConfigError> {
    let path = section.text("path")?.map(PathBuf::from);
    let every = section.duration("every")?;
    let keep = section.count("keep")?.unwrap_or(7);
    if every.is_some() && path.is_none() {
        return Err(section.wrong("every", "needs backup.path, the folder for the backups"));
    }
    if every.is_some_and(|every| !(Duration::from_secs(1)..=Duration::from_secs(366 * 86_400)).contains(&every)) {
        return Err(section.wrong("every", "must be from 1s to 366d"));
    }
    section.finish(variables)?;
    Ok(Backup { path, every, keep })
}

fn read_retention(mut section: Section, variables: &Variables) -> Result<Retention, ConfigError> {
    const DAY: Duration = Duration::from_secs(86_400);
    let tasks = section.duration("tasks")?;
    let request_ids = section.duration("request_ids")?.unwrap_or(400 * DAY);
    if tasks.is_some_and(|tasks| tasks < Duration::from_secs(1)) {
        return Err(section.wrong("tasks", "must be at least 1s"));
    }
    if request_ids < DAY {
        return Err(section.wrong("request_ids", "must be at least 1d: a repeat after that buys a second video"));
    }
    section.finish(variables)?;
    Ok(Retention { tasks, request_ids })
}

fn read_network(mut section: Section, variables: &Variables) -> Result<Network, ConfigError> {
    let allow = section.list("allow")?;
    if !allow.iter().all(|range| is_address_range(range)) {
        return Err(section.wrong("allow", "expected address ranges such as 127.0.0.0/8, 10.1.2.3 or fd00::/8"));
    }
    section.finish(variables)?;
    Ok(Network { allow })
}

fn read_catalog(mut section: Section, variables: &Variables) -> Result<Catalog, ConfigError> {
    let path = section.text("path")?.map(PathBuf::from);
    section.finish(variables)?;
    Ok(Catalog { path })
}

fn is_address_range(text: &str) -> bool {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
}
