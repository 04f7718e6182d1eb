//! Fetches a video into the archive in constant memory: each piece is checked,
//! hashed and written as it comes, and the file gets its name only when all of it
//! is good and on the disk.

use bytes::Bytes;
use object_store::WriteMultipart;
use reqwest::Response;
use ring::digest::{Context, SHA256};
use tokio_util::sync::CancellationToken;

use crate::failpoint::failpoint;
use crate::task::id::TaskId;
use crate::task::state::{Artifact, Media, Output};

use super::container::{Broken, Facts, Scanner};
use super::error::{FetchError, told};
use super::{Archive, download, folder};

impl Archive {
    /// Fetches a task's video, checks it and stores it. When this returns, file and
    /// name are durable; if it fails or is dropped, no file of that name has
    /// appeared or changed. An earlier file of the task is replaced.
    ///
    /// Told to stop, it takes back what a bucket has been sent; dropped, it leaves
    /// that to the bucket's own rule on unfinished uploads.
    pub async fn fetch(&self, task: TaskId, output: &Output, stop: &CancellationToken) -> Result<Artifact, FetchError> {
        let limit = self.settings.total_timeout;
        let over = || FetchError::transient(format!("not done within {} s", limit.as_secs()));
        let mut file = Intake::new();
        let received = tokio::time::timeout(limit, self.receive(task, output, &mut file));
        let received = stop.run_until_cancelled(received).await.unwrap_or(Ok(Err(FetchError::Stopped)));
        match received.unwrap_or_else(|_| Err(over())) {
            Ok(artifact) => {
                let published = tokio::time::timeout(limit, file.publish()).await;
                if let Err(error) = published.unwrap_or_else(|_| Err(over())) {
                    self.drop_leftovers(task).await;
                    return Err(error);
                }
                failpoint!("archive.published");
                Ok(artifact)
            }
            Err(error) => {
                file.abort().await;
                Err(error)
            }
        }
    }

    /// Takes the whole file in and judges it.
    async fn receive(&self, task: TaskId, output: &Output, file: &mut Intake) -> Result<Artifact, FetchError> {
        let mut answer = download::open(&self.client, &self.guard, &output.url).await?;
        failpoint!("archive.opened");
        let expected = answer.content_length();
        if expected.is_some_and(|size| size > self.settings.max_bytes) {
            return Err(self.too_large());
        }
        self.check_space(expected).await?;
        let taken = self.take(task, &mut answer, file).await;
        failpoint!("archive.taken");
        taken?;
        file.inspect(expected, download::shows_its_end(&answer))
    }

    /// Streams the answer into the intake.
    async fn take(&self, task: TaskId, answer: &mut Response, file: &mut Intake) -> Result<(), FetchError> {
        while let Some(piece) = answer.chunk().await.map_err(download::cut)? {
            file.look_at(&piece)?;
            if file.size > self.settings.max_bytes {
                return Err(self.too_large());
            }
            if let (None, Some(media)) = (&file.writer, file.scanner.media()) {
                let upload = self.home.begin(task, media).await.map_err(storage)?;
                file.writer = Some(WriteMultipart::new_with_chunk_size(upload, self.home.part_bytes()));
            }
            file.write(piece).await?;
        }
        Ok(())
    }

    fn too_large(&self) -> FetchError {
        FetchError::Rejected(format!("larger than {} bytes", self.settings.max_bytes))
    }

    /// Makes sure that the disk has room, so that it is this fetch that waits and not
    /// the store of tasks that fails.
    async fn check_space(&self, expected: Option<u64>) -> Result<(), FetchError> {
        let Some(folder) = self.home.folder.clone() else { return Ok(()) };
        let wanted = expected.unwrap_or(0).saturating_mul(2).max(self.settings.reserve_bytes);
        match tokio::task::spawn_blocking(move || folder::free_bytes(&folder)).await {
            Ok(Ok(free)) if free >= wanted => Ok(()),
            Ok(Ok(free)) => Err(FetchError::Storage(format!("{free} bytes are free, {wanted} are needed"))),
            Ok(Err(error)) => Err(FetchError::Storage(error.to_string())),
            Err(error) => Err(FetchError::Storage(error.to_string())),
        }
    }

    /// A disk that fails at the last step leaves the unfinished file behind, which
    /// would keep the disk full.
    async fn drop_leftovers(&self, task: TaskId) {
        let Some(folder) = self.home.folder.clone() else { return };
        // Should it fail too, the next start sweeps the folder.
        let _ = tokio::task::spawn_blocking(move || folder::sweep(&folder, &task.to_string())).await;
    }
}

/// A file on its way in.
struct Intake {
    scanner: Scanner,
    digest: Context,
    size: u64,
    /// The first pieces, while the file has not told what it is: a few kilobytes.
    early: Vec<Bytes>,
    writer: Option<WriteMultipart>,
}

impl Intake {
    fn new() -> Self {
        Self { scanner: Scanner::new(), digest: Context::new(&SHA256), size: 0, early: Vec::new(), writer: None }
    }

    fn look_at(&mut self, piece: &[u8]) -> Result<(), FetchError> {
        self.size += piece.len() as u64;
        self.digest.update(piece);
        self.scanner.push(piece).map_err(|broken| FetchError::Rejected(broken.to_string()))
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), FetchError> {
        self.early.push(piece);
        let Some(writer) = &mut self.writer else { return Ok(()) };
        for piece in self.early.drain(..) {
            // One write at a time: storage slower than the host slows the host down.
            writer.wait_for_capacity(1).await.map_err(storage)?;
            writer.put(piece);
        }
        Ok(())
    }

    /// Judges the whole file, which is still without its name.
    fn inspect(&mut self, expected: Option<u64>, end_is_certain: bool) -> Result<Artifact, FetchError> {
        if expected.is_some_and(|expected| expected != self.size) {
            return Err(FetchError::transient(format!("{} bytes came, another number was announced", self.size)));
        }
        let scanner = std::mem::replace(&mut self.scanner, Scanner::new());
        match scanner.finish() {
            Ok((media, facts)) => Ok(artifact(self.size, &self.digest, media, facts)),
            Err(broken @ Broken::Unfinished) if !end_is_certain => Err(FetchError::transient(broken.to_string())),
            Err(broken) => Err(FetchError::Rejected(broken.to_string())),
        }
    }

    /// Writes the rest and gives the file its name, both durably.
    async fn publish(self) -> Result<(), FetchError> {
        failpoint!("archive.publish" => FetchError::Storage("a failpoint".to_owned()));
        match self.writer {
            Some(writer) => writer.finish().await.map(drop).map_err(storage),
            None => Err(FetchError::Rejected(Broken::Unfinished.to_string())),
        }
    }

    async fn abort(self) {
        if let Some(writer) = self.writer {
            // Should it fail, the next start sweeps the folder, and a bucket has a rule
            // of its own for unfinished uploads.
            let _ = writer.abort().await;
        }
    }
}

pub(super) fn artifact(size: u64, digest: &Context, media: Media, facts: Facts) -> Artifact {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest.clone().finish().as_ref());
    let Facts { width, height, duration, frame_rate_milli } = facts;
    Artifact { size, sha256, media, width, height, duration, frame_rate_milli }
}

fn storage(error: object_store::Error) -> FetchError {
    FetchError::Storage(told(&error))
}
