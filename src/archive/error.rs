//! What can go wrong in the archive, named by what the caller can do about it.
//! None of it carries a link: whoever has the link has the video.

use std::time::Duration;

use crate::network::Forbidden;

/// The archive cannot be used. Someone has to look.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not a URL that names a folder or a bucket.
    #[error("{0:?} is neither file: and a folder nor a bucket such as s3://BUCKET/PREFIX")]
    BadUrl(String),
    /// A bucket that would be called without TLS.
    #[error("archive.endpoint begins with http:// and archive.allow_http is not true")]
    PlainHttp,
    /// The folder, its disk or the bucket refuses.
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
    /// The process is ending: nothing is wrong, and nothing of the file is left.
    #[error("the process is ending")]
    Stopped,
    /// Our storage cannot take it now: wait, nothing is lost.
    #[error("archive storage: {0}")]
    Storage(String),
}

/// What an object store's error says, on one line of at most 400 bytes, without
/// the queries of addresses, which may hold signatures.
pub(super) fn told(error: &object_store::Error) -> String {
    let mut text = String::new();
    for word in error.to_string().split_whitespace() {
        let word = if word.contains("://") { word.split('?').next().unwrap_or(word) } else { word };
        if text.len() + word.len() > 400 {
            text.push_str(" ...");
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_says_is_one_short_line_without_signatures() {
        let said = format!("PUT https://a.example/b?sig=canary&x=1 failed:\n<Error>{}</Error>", " word".repeat(999));
        let error = object_store::Error::Generic { store: "S3", source: said.into() };
        let text = told(&error);
        assert!(text.starts_with("Generic S3 error: PUT https://a.example/b failed: <Error>"), "{text}");
        assert!(!text.contains("canary") && !text.contains('\n') && text.len() <= 404, "{text}");
    }
}
