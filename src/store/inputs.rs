//! The pictures that came with requests: files beside the database, each named by
//! its SHA-256, so that what many tasks use is there once. A file is on the disk
//! before the task that needs it is stored, and goes after the last such task.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use ring::digest::{SHA256, digest};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::contract::TaskStore;
use crate::task::picture::ImageFormat;
use crate::task::spec::{Image, Spec, StoredImage, Submission};

/// The folder, in the store's own.
pub(super) const FOLDER: &str = "inputs";

/// How an unfinished file is called.
const UNFINISHED: &str = ".unfinished-";

/// How much of such files is in memory at once for orders that go out, in MiB. A
/// single spec may be larger and then goes alone.
const LOADED_MIB: u32 = 32;

/// The name of a file: SHA-256 of what is in it.
pub type Digest = [u8; 32];

/// Why a picture could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It is not there, or is not what it was.
    #[error("the stored image is missing or altered")]
    Lost,
    /// The disk refuses, for now.
    #[error("the stored image: {0}")]
    Io(#[from] io::Error),
}

/// The files of the tasks of one store.
pub struct Inputs {
    files: Files,
    store: Arc<dyn TaskStore>,
    /// Files of tasks that are just being stored, with the number of those.
    pins: Mutex<HashMap<Digest, u32>>,
    loaded: Arc<Semaphore>,
}

/// The files of a task that is being stored: nobody removes them meanwhile.
#[must_use = "pinned files are never removed"]
pub struct Pinned(Vec<Digest>);

/// A spec whose pictures are in memory, while it is held.
pub struct Loaded {
    /// The spec, without files.
    pub spec: Spec,
    _room: Option<OwnedSemaphorePermit>,
}

impl Loaded {
    /// A spec without files.
    pub fn of(spec: &Spec) -> Self {
        Self { spec: spec.clone(), _room: None }
    }
}

impl Inputs {
    /// Takes charge of a store's files, and removes those that no task uses: what a
    /// kill has left. Before anything is submitted.
    pub fn open(store: Arc<dyn TaskStore>, store_folder: &Path) -> io::Result<Self> {
        let loaded = Arc::new(Semaphore::new(LOADED_MIB as usize));
        let inputs = Self { files: Files::of(store_folder), store, pins: Mutex::default(), loaded };
        inputs.sweep()?;
        Ok(inputs)
    }

    /// Puts every picture of a submission into its file, durably.
    pub async fn keep(self: &Arc<Self>, submission: Submission) -> Result<(Submission, Pinned), InputError> {
        if !submission.spec.images().any(|(_, image)| matches!(image, Image::Data(_))) {
            return Ok((submission, Pinned(Vec::new())));
        }
        let own = Arc::clone(self);
        blocking(move || own.keep_now(submission)).await
    }

    fn keep_now(&self, mut submission: Submission) -> Result<(Submission, Pinned), InputError> {
        let mut pinned = Pinned(Vec::new());
        for image in submission.spec.images_mut() {
            let Image::Data(data) = image else { continue };
            let file = describe(data);
            self.pin(file.sha256);
            pinned.0.push(file.sha256);
            if let Err(error) = self.files.write(&file, data) {
                self.unpin(pinned);
                return Err(error.into());
            }
            *image = Image::File(file);
        }
        Ok((submission, pinned))
    }

    /// The task is stored, or will not be: whatever no task uses goes.
    pub async fn settle(self: &Arc<Self>, pinned: Pinned) {
        if !pinned.0.is_empty() {
            let own = Arc::clone(self);
            // Should it be cut off, the next start sweeps the folder.
            let _ = tokio::task::spawn_blocking(move || own.unpin(pinned)).await;
        }
    }

    /// The task that used these files is gone.
    pub async fn release(self: &Arc<Self>, submission: &Submission) {
        let used: Vec<_> = submission.spec.files().map(|file| file.sha256).collect();
        used.iter().for_each(|digest| self.pin(*digest));
        self.settle(Pinned(used)).await;
    }

    /// Reads a spec's pictures from their files, once there is room for them.
    pub async fn load(self: &Arc<Self>, spec: &Spec) -> Result<Loaded, InputError> {
        let bytes: u64 = spec.files().map(|file| file.size).sum();
        if spec.files().next().is_none() {
            return Ok(Loaded::of(spec));
        }
        let mib = u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX).min(LOADED_MIB);
        let room = Arc::clone(&self.loaded).acquire_many_owned(mib).await.ok();
        let (own, mut spec) = (Arc::clone(self), spec.clone());
        let read = blocking(move || {
            for image in spec.images_mut() {
                if let Image::File(file) = image {
                    *image = Image::Data(own.files.read(file)?);
                }
            }
            Ok(spec)
        });
        Ok(Loaded { spec: read.await?, _room: room })
    }

    fn pin(&self, digest: Digest) {
        *self.pins.lock().unwrap_or_else(PoisonError::into_inner).entry(digest).or_default() += 1;
    }

    /// Under the lock: a submit that needs the same file has pinned it before it
    /// looked whether it is there.
    fn unpin(&self, Pinned(digests): Pinned) {
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        for digest in digests {
            let left = pins.get(&digest).map_or(0, |pins| pins - 1);
            if left > 0 {
                pins.insert(digest, left);
                continue;
            }
            pins.remove(&digest);
            if !self.store.uses_input(&digest) {
                self.files.remove(&digest);
            }
        }
    }

    /// A task that is set aside may use any of them, so that then none is removed.
    fn sweep(&self) -> io::Result<()> {
        let keep_all = !self.store.damaged_tasks().is_empty();
        for name in self.files.names()? {
            let orphaned = match read_hex(&name) {
                Some(digest) => !keep_all && !self.store.uses_input(&digest),
                None => name.starts_with(UNFINISHED),
            };
            if orphaned {
                fs::remove_file(self.files.folder.join(&name))?;
            }
        }
        Ok(())
    }
}

/// What a picture will be called.
fn describe(data: &[u8]) -> StoredImage {
    let format = ImageFormat::of(data).unwrap_or(ImageFormat::Jpeg);
    StoredImage { sha256: sha256(data), size: data.len() as u64, format }
}

/// The folder itself.
#[derive(Clone, Debug)]
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// Those of a store.
    pub fn of(store_folder: &Path) -> Self {
        Self { folder: store_folder.join(FOLDER) }
    }

    /// Writes a file that only its owner may read, under its name once it is whole
    /// and on the disk. One that is there and intact is left alone.
    pub(super) fn write(&self, file: &StoredImage, data: &[u8]) -> io::Result<()> {
        if self.read(file).is_err() {
            self.make_folder()?;
            let mut unfinished = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.folder)?;
            unfinished.write_all(data)?;
            unfinished.as_file().sync_all()?;
            unfinished.persist(self.place(&file.sha256)).map_err(|error| error.error)?;
        }
        // Also for one that was there: whoever made it may not have come so far yet.
        File::open(&self.folder)?.sync_all()
    }

    /// Reads a file and proves that it is what was written.
    pub(super) fn read(&self, file: &StoredImage) -> Result<Bytes, InputError> {
        match fs::read(self.place(&file.sha256)) {
            Ok(data) if data.len() as u64 == file.size && sha256(&data) == file.sha256 => Ok(data.into()),
            Ok(_) => Err(InputError::Lost),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(InputError::Lost),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the next part of a file that is read back. The last one proves the
    /// whole and gives it its name.
    pub(super) fn write_part(&self, sha256: &Digest, size: u64, offset: u64, part: &[u8]) -> Result<(), InputError> {
        self.make_folder()?;
        let unfinished = self.folder.join(format!("{UNFINISHED}{}", hex(sha256)));
        let begun = offset > 0;
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(!begun).mode(0o600);
        let mut file = options.open(&unfinished)?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(part)?;
        if offset + part.len() as u64 != size {
            return Ok(());
        }
        file.sync_all()?;
        fs::rename(unfinished, self.place(sha256))?;
        File::open(&self.folder)?.sync_all()?;
        self.prove(sha256, size)
    }

    /// Whether a file is there and is what its name says.
    pub(super) fn prove(&self, sha256: &Digest, size: u64) -> Result<(), InputError> {
        let data = fs::read(self.place(sha256))?;
        if data.len() as u64 == size && self::sha256(&data) == *sha256 { Ok(()) } else { Err(InputError::Lost) }
    }

    /// What is wrong with a file: with its size, or, `deep`, with what is in it.
    pub fn fault(&self, file: &StoredImage, deep: bool) -> Option<String> {
        if deep {
            return self.read(file).err().map(|error| error.to_string());
        }
        match fs::metadata(self.place(&file.sha256)) {
            Ok(meta) if meta.len() == file.size => None,
            Ok(meta) => Some(format!("{} bytes instead of {}", meta.len(), file.size)),
            Err(error) => Some(error.to_string()),
        }
    }

    fn make_folder(&self) -> io::Result<()> {
        if self.folder.is_dir() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let parent = self.folder.parent().unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()
    }

    /// Should it fail, the next start does it.
    fn remove(&self, digest: &Digest) {
        match fs::remove_file(self.place(digest)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(%error, "an image that no task uses cannot be removed now");
            }
            _ => {}
        }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        match fs::read_dir(&self.folder) {
            Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        self.folder.join(hex(digest))
    }
}

fn hex(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_hex(name: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    if name.len() != 64 || !name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(name.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

fn sha256(data: &[u8]) -> Digest {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest(&SHA256, data).as_ref());
    sha256
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, InputError> + Send + 'static,
) -> Result<T, InputError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(io::Error::other(panic).into()))
}

#[cfg(test)]
#[path = "inputs_tests.rs"]
mod tests;
