//! Fetches a stored video into a file: resumes where a stream broke, checks size
//! and digest, and gives the file its name only when it is whole and on the disk.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ring::digest::{Context, SHA256};
use tempfile::NamedTempFile;
use tonic::Status;

use crate::api::pb;
use crate::api::pb::download_video_response::Part;

use super::client::{Client, SILENCE};
use super::follow::wait;
use super::progress::Progress;
use super::trouble::Trouble;

/// Where a video goes.
#[derive(Debug, Args)]
pub(super) struct TargetArgs {
    /// The file to write, or a folder [default: videogen-ID.mp4 here]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Overwrite the file if it exists.
    #[arg(long)]
    force: bool,
}

/// A file that was kept.
#[derive(Debug)]
pub(super) struct Saved {
    pub(super) path: PathBuf,
    pub(super) artifact: pb::Artifact,
}

impl TargetArgs {
    /// The mistakes that can be told before money is spent.
    pub(super) fn check(&self) -> Result<(), Trouble> {
        let Some(output) = &self.output else { return Ok(()) };
        if output.is_dir() {
            return Ok(());
        }
        if output.exists() && !self.force {
            return Err(Trouble::Usage(format!("{} exists; --force overwrites it", output.display())));
        }
        match folder_of(output).is_dir() {
            true => Ok(()),
            false => Err(Trouble::Usage(format!("{}: no such folder", folder_of(output).display()))),
        }
    }

    /// The option to repeat in a hint.
    pub(super) fn as_words(&self) -> String {
        self.output.as_ref().map(|path| format!(" -o {}", path.display())).unwrap_or_default()
    }

    fn folder(&self) -> PathBuf {
        match &self.output {
            Some(output) if output.is_dir() => output.clone(),
            Some(output) => folder_of(output),
            None => PathBuf::from("."),
        }
    }

    fn path(&self, task_id: &str, media_type: &str) -> PathBuf {
        let extension = match media_type {
            "video/quicktime" => "mov",
            "video/webm" => "webm",
            _ => "mp4",
        };
        // The id comes from the server or the user, and must not choose a folder.
        let id: String = task_id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let name = format!("videogen-{id}.{extension}");
        match &self.output {
            Some(output) if output.is_dir() => output.join(name),
            Some(output) => output.clone(),
            None => PathBuf::from(name),
        }
    }
}

/// Downloads the video of a task. `reached` says whether this server answered
/// before.
pub(super) async fn fetch(
    client: &Client,
    task_id: &str,
    target: &TargetArgs,
    reached: bool,
    progress: &Progress,
) -> Result<Saved, Trouble> {
    let mut outage = if reached { client.later_contact() } else { client.first_contact() };
    let mut part = Partial::create(&target.folder())?;
    loop {
        let before = part.written;
        let result = fetch_once(client, task_id, &mut part).await;
        if part.written > before {
            outage.over();
        }
        match result {
            Ok(()) => break,
            Err(Trouble::Status(status)) => wait(&mut outage, *status, progress).await?,
            Err(trouble) => return Err(trouble),
        }
    }
    part.keep(task_id, target)
}

/// One stream: to the end of the file, or to a status that tells how it broke.
async fn fetch_once(client: &Client, task_id: &str, part: &mut Partial) -> Result<(), Trouble> {
    let request = pb::DownloadVideoRequest { task_id: task_id.to_owned(), offset: part.written };
    let mut stub = client.stub();
    let mut stream = within(SILENCE, stub.download_video(request)).await?.into_inner();
    while let Some(message) = within(SILENCE, stream.message()).await? {
        match message.part {
            Some(Part::Header(header)) => part.begin(header)?,
            Some(Part::Chunk(bytes)) => part.write(&bytes)?,
            None => {}
        }
    }
    match part.is_whole() {
        true => Ok(()),
        false => Err(Status::unavailable("the stream ended early").into()),
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = || Status::unavailable("the server fell silent");
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
}

/// What has arrived so far; removed when dropped.
struct Partial {
    file: NamedTempFile,
    digest: Context,
    written: u64,
    artifact: Option<pb::Artifact>,
}

impl Partial {
    fn create(folder: &Path) -> Result<Self, Trouble> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".videogen-").suffix(".part");
        // As any file that a command makes: the umask decides.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder).map_err(|error| local(folder, &error))?;
        Ok(Self { file, digest: Context::new(&SHA256), written: 0, artifact: None })
    }

    fn begin(&mut self, header: pb::DownloadHeader) -> Result<(), Trouble> {
        let artifact = header.artifact.ok_or_else(|| wrong("the header does not describe the file"))?;
        if header.offset != self.written {
            return Err(wrong("the stream begins at another byte than was asked for"));
        }
        match &self.artifact {
            Some(first) if (first.size, &first.sha256) != (artifact.size, &artifact.sha256) => {
                Err(wrong("the stored file changed between two streams"))
            }
            _ => {
                self.artifact = Some(artifact);
                Ok(())
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let size = self.artifact.as_ref().map(|artifact| artifact.size);
        let written = self.written + bytes.len() as u64;
        if size.is_none_or(|size| written > size) {
            return Err(wrong("the stream holds more bytes than its header says"));
        }
        self.file.write_all(bytes).map_err(|error| local(self.file.path(), &error))?;
        self.digest.update(bytes);
        self.written = written;
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.artifact.as_ref().is_some_and(|artifact| artifact.size == self.written)
    }

    /// Checks, syncs, names.
    fn keep(self, task_id: &str, target: &TargetArgs) -> Result<Saved, Trouble> {
        let Self { file, digest, written: _, artifact } = self;
        let artifact = artifact.ok_or_else(|| wrong("the header is missing"))?;
        if hex(digest.finish().as_ref()) != artifact.sha256 {
            return Err(wrong("the bytes that arrived do not have the SHA-256 that the server recorded"));
        }
        let path = target.path(task_id, &artifact.media_type);
        file.as_file().sync_all().map_err(|error| local(&path, &error))?;
        let named = if target.force { file.persist(&path) } else { file.persist_noclobber(&path) };
        named.map_err(|refused| local(&path, &refused.error))?;
        // The new name is in the folder; without this a power cut may undo it.
        let folder = folder_of(&path);
        File::open(&folder).and_then(|folder| folder.sync_all()).map_err(|error| local(&folder, &error))?;
        Ok(Saved { path, artifact })
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn local(path: &Path, error: &std::io::Error) -> Trouble {
    Trouble::Local(format!("{}: {error}; the video stays on the server", path.display()))
}

fn wrong(what: &str) -> Trouble {
    Trouble::Local(format!("download: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn header(offset: u64, sha256: &str) -> pb::DownloadHeader {
        let artifact = pb::Artifact { size: 3, sha256: sha256.into(), ..Default::default() };
        pb::DownloadHeader { artifact: Some(artifact), offset }
    }

    fn target(output: PathBuf) -> TargetArgs {
        TargetArgs { output: Some(output), force: false }
    }

    #[test]
    fn a_file_that_came_in_two_streams_is_kept_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut part = Partial::create(folder.path()).unwrap();
        part.begin(header(0, ABC)).unwrap();
        part.write(b"ab").unwrap();
        assert!(!part.is_whole());
        part.begin(header(2, ABC)).unwrap();
        part.write(b"c").unwrap();
        assert!(part.is_whole());
        let saved = part.keep("0190", &target(folder.path().to_owned())).unwrap();
        assert_eq!(saved.path, folder.path().join("videogen-0190.mp4"));
        assert_eq!(std::fs::read(saved.path).unwrap(), b"abc");
    }

    #[test]
    fn what_is_not_the_file_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut part = Partial::create(folder.path()).unwrap();
        assert!(part.begin(header(1, ABC)).is_err());
        part.begin(header(0, ABC)).unwrap();
        assert!(part.begin(header(0, "00")).is_err());
        assert!(part.write(b"abcd").is_err());
        part.write(b"abd").unwrap();
        assert!(part.keep("0190", &target(folder.path().join("a.mp4"))).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_existing_file_is_not_overwritten_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp4");
        std::fs::write(&path, b"mine").unwrap();
        assert_eq!(target(path.clone()).check().unwrap_err().exit_code(), 2);
        let mut part = Partial::create(folder.path()).unwrap();
        part.begin(header(0, ABC)).unwrap();
        part.write(b"abc").unwrap();
        assert_eq!(part.keep("0190", &target(path.clone())).unwrap_err().exit_code(), 1);
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }
}
