//! Keeps the videos: fetches them from the provider, checks them while they stream
//! by, stores them durably under the task's id and reads them back.

mod bucket;
mod container;
mod download;
mod error;
mod fetch;
mod folder;
mod home;
mod moov;
mod read;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
mod webm;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use object_store::{Error as StoreError, ObjectStoreExt};
use url::Url;

use crate::network::Guard;
use crate::task::id::TaskId;
use crate::task::state::Media;

use home::Home;

pub use error::{ArchiveError, FetchError, ReadError};
pub use read::Pieces;

/// Every container that is kept, and with it every name a task's file may have.
const MEDIA: [Media; 3] = [Media::Mp4, Media::QuickTime, Media::WebM];

/// Where the videos are kept, and the limits of fetching them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveSettings {
    /// `file:` and a folder, absolute or from the working directory, taken as it is
    /// written: `%20` is not a space. Or a bucket, with a prefix if wanted:
    /// `s3://bucket/prefix`, `gs://...` or `az://...`.
    pub url: String,
    /// Where the bucket's service is, if not where its maker has it.
    pub endpoint: Option<Url>,
    /// Whether the bucket may be called without TLS.
    pub allow_http: bool,
    /// The largest video that is kept, in bytes.
    pub max_bytes: u64,
    /// How much room in bytes stays free on the folder's disk: a fetch starts only
    /// with more than this, and more than twice the announced size of the file.
    pub reserve_bytes: u64,
    /// For connecting to one address.
    pub connect_timeout: Duration,
    /// Between two pieces of a download.
    pub idle_timeout: Duration,
    /// For one fetch, from the request to the file in its place.
    pub total_timeout: Duration,
}

impl Default for ArchiveSettings {
    fn default() -> Self {
        Self {
            url: "file:./videogen-data/videos".to_owned(),
            endpoint: None,
            allow_http: false,
            max_bytes: 2 << 30,
            reserve_bytes: 64 << 20,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            total_timeout: Duration::from_secs(30 * 60),
        }
    }
}

/// The stored videos. A clone is another handle to the same archive.
///
/// Names are made of the task's id and the file's own signature, never of anything
/// that came from outside. One task's file is fetched by one caller at a time.
#[derive(Clone)]
pub struct Archive {
    home: Arc<Home>,
    settings: Arc<ArchiveSettings>,
    client: reqwest::Client,
    guard: Guard,
}

impl Archive {
    /// Opens the archive: makes the folder if there is none, readable by its owner
    /// only, and removes what an interrupted fetch has left. Expects the process's
    /// TLS provider to be installed.
    pub fn open(settings: &ArchiveSettings, guard: Guard) -> Result<Self, ArchiveError> {
        let home = Arc::new(Home::open(settings)?);
        let client = download::client(settings, &guard)?;
        Ok(Self { home, settings: Arc::new(settings.clone()), client, guard })
    }

    /// The folder of the files, unless they are in a bucket.
    pub fn folder(&self) -> Option<&std::path::Path> {
        self.home.folder.as_deref()
    }

    /// Asks the bucket for what it holds, to find out whether it can be used. There
    /// is nothing to find out about a folder.
    pub async fn probe(&self) -> Result<(), ArchiveError> {
        if self.home.folder.is_some() {
            return Ok(());
        }
        let mut held = self.home.store.list(Some(&self.home.prefix));
        held.next().await.transpose().map(drop).map_err(|error| ArchiveError::Storage(error::told(&error)))
    }

    /// Removes a task's file, durably. It is no error if there is none.
    pub async fn delete(&self, task: TaskId) -> Result<(), ArchiveError> {
        for media in MEDIA {
            match self.home.store.delete(&self.home.place(task, media)).await {
                Ok(()) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(ArchiveError::Storage(error::told(&error))),
            }
        }
        let Some(folder) = self.home.folder.clone() else { return Ok(()) };
        let synced = tokio::task::spawn_blocking(move || folder::sync(&folder)).await;
        synced.unwrap_or_else(|error| Err(ArchiveError::Storage(error.to_string())))
    }
}

impl fmt::Debug for Archive {
    /// Leaves out the clients, which know keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("settings", &self.settings).finish_non_exhaustive()
    }
}
