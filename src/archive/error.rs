//! What can go wrong in the archive, named by what the caller can do about it.
//! None of it carries a link: whoever has the link has the video.

use std::time::Duration;

use crate::network::Forbidden;

/// The archive cannot be used. Someone has to look.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A kind of storage that this version was built without.
    #[error("archive.url: {0} storage is not built into this version; use file: and a folder")]
    NotBuiltIn(String),
    /// Not a URL that names a folder.
    #[error("archive.url: {0:?} is not file: followed by a folder")]
    BadUrl(String),
    /// The folder or its disk refuses.
    #[error("archive storage: {0}")]
    Storage(String),
    /// The client for downloads cannot be built.
    #[error("download client: {0}")]
    Client(String),
}

/// Why a video is not in the archive yet.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The link no longer works: ask the job for a fresh one.
    #[error("the link does not work (any more): HTTP status {status}")]
    LinkExpired {
        /// What the host answered.
        status: u16,
    },
    /// The way was cut or the host is busy: the same link may work later.
    #[error("{reason}")]
    Transient {
        /// What happened.
        reason: String,
        /// How long the host asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// The host answered in full, and it is not a video that can be kept.
    #[error("not an intact video: {0}")]
    Rejected(String),
    /// The link or a redirect leads to where we do not call.
    #[error("not called: {0}")]
    Forbidden(Forbidden),
    /// Our storage cannot take it now: wait, nothing is lost.
    #[error("archive storage: {0}")]
    Storage(String),
}

impl FetchError {
    pub(super) fn transient(reason: impl Into<String>) -> Self {
        Self::Transient { reason: reason.into(), retry_after: None }
    }
}

/// Why a stored video cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is gone, or is not what was stored: fetch it again if the provider still
    /// has it.
    #[error("the stored file is missing or altered")]
    Damaged,
    /// The reader asked for a place behind the end.
    #[error("the offset is behind the end of the file")]
    BehindEnd,
    /// The storage did not answer; the file may be fine.
    #[error("archive storage: {0}")]
    Storage(String),
}
