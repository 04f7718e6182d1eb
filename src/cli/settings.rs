//! The flags that choose and override settings, shared by `serve` and `config`.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Overrides, Settings, process_environment};

use super::trouble::Trouble;

/// Where the settings come from. A flag wins over the environment, that over the
/// file, that over the default.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
pub(super) struct SettingsArgs {
    /// The settings file, TOML.
    #[arg(long, value_name = "FILE", env = "VIDEOGEN_CONFIG")]
    config: Option<PathBuf>,

    /// gRPC; port 0 picks one. server.grpc_listen [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDRESS:PORT")]
    grpc_listen: Option<String>,

    /// Provider callbacks. server.callback_listen [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    callback_listen: Option<String>,

    /// Metrics and health pages. server.admin_listen [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin_listen: Option<String>,

    /// The folder of the tasks. store.path [default: ./videogen-data/store]
    #[arg(long, visible_alias = "store", value_name = "FOLDER")]
    store_path: Option<String>,

    /// Where videos are kept. archive.url [default: file:./videogen-data/videos]
    #[arg(long, value_name = "URL")]
    archive_url: Option<String>,

    /// Models that extend or override the built-in ones. catalog.path
    #[arg(long, value_name = "FILE")]
    catalog_path: Option<String>,
}

impl SettingsArgs {
    /// Reads the settings in force.
    pub(super) fn load(self) -> Result<Settings, Trouble> {
        let overrides = Overrides {
            grpc_listen: self.grpc_listen,
            callback_listen: self.callback_listen,
            admin_listen: self.admin_listen,
            store_path: self.store_path,
            archive_url: self.archive_url,
            catalog_path: self.catalog_path,
        };
        let settings = Settings::load(self.config.as_deref(), process_environment(), &overrides);
        settings.map_err(|error| Trouble::Usage(error.to_string()))
    }
}
