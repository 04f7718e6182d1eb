//! Where the files lie: a local folder, or a bucket of an object store.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{Attribute, Attributes, MultipartUpload, ObjectStore, PutMultipartOptions};

use crate::task::id::TaskId;
use crate::task::state::Media;

use super::error::ArchiveError;
use super::{ArchiveSettings, bucket, folder};

/// How much of a file goes to a bucket at a time: the least that S3 takes.
const PART_BYTES: usize = 5 << 20;
/// How much is written to a folder at a time.
const WRITE_BYTES: usize = 1 << 20;

/// Where the files lie.
pub(super) struct Home {
    /// The way to them.
    pub store: Arc<dyn ObjectStore>,
    /// What stands before each name in a bucket; empty in a folder.
    pub prefix: Path,
    /// The folder, unless it is a bucket.
    pub folder: Option<PathBuf>,
    /// What signs links, where there are any to sign.
    pub signer: Option<Arc<dyn Signer>>,
}

impl Home {
    /// Makes the folder if there is none, and tidies it. A bucket is not called.
    pub fn open(settings: &ArchiveSettings) -> Result<Self, ArchiveError> {
        if bucket::is_meant(&settings.url) {
            return bucket::open(settings);
        }
        let folder = folder::open(&settings.url)?;
        folder::sweep(&folder, "")?;
        let store = folder::store(&folder)?;
        Ok(Self { store, prefix: Path::default(), folder: Some(folder), signer: None })
    }

    /// The name of a task's file: made of its id, never of anything from outside.
    pub fn place(&self, task: TaskId, media: Media) -> Path {
        self.prefix.clone().join(file_name(task, media))
    }

    /// Begins a file. It appears under its name when it is completed.
    pub async fn begin(&self, task: TaskId, media: Media) -> object_store::Result<Box<dyn MultipartUpload>> {
        let mut options = PutMultipartOptions::default();
        if self.folder.is_none() {
            options.attributes = served_as(task, media);
        }
        self.store.put_multipart_opts(&self.place(task, media), options).await
    }

    /// How much of a file is collected before it is sent on.
    pub fn part_bytes(&self) -> usize {
        if self.folder.is_some() { WRITE_BYTES } else { PART_BYTES }
    }
}

pub(super) fn file_name(task: TaskId, media: Media) -> String {
    format!("{task}.{}", media.extension())
}

/// What the bucket says of the file to whoever has a link: its type by its own
/// signature, and that it is to be saved rather than shown.
fn served_as(task: TaskId, media: Media) -> Attributes {
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::ContentType, media.media_type().into());
    let disposition = format!("attachment; filename=\"{}\"", file_name(task, media));
    attributes.insert(Attribute::ContentDisposition, disposition.into());
    attributes
}
