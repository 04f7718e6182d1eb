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
mod sections;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
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
            server: sections::server(root.section("server")?, &variables)?,
            callbacks: sections::callbacks(root.section("callbacks")?, &variables)?,
            webhooks: sections::webhooks(root.section("webhooks")?, &environment, &variables)?,
            store: sections::store(root.section("store")?, &variables)?,
            archive: sections::archive(root.section("archive")?, &variables)?,
            polling: sections::polling(root.section("polling")?, &variables)?,
            submit: sections::submit(root.section("submit")?, &variables)?,
            backup: sections::backup(root.section("backup")?, &variables)?,
            retention: sections::retention(root.section("retention")?, &variables)?,
            network: sections::network(root.section("network")?, &variables)?,
            catalog: sections::catalog(root.section("catalog")?, &variables)?,
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
