//! Reads stored videos back, in constant memory, and notices when they are not
//! what was stored.

use std::fs::File;
use std::io::SeekFrom;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::{BoxStream, try_unfold};
use object_store::path::Path;
use object_store::signer::Method;
use object_store::{Error as StoreError, GetOptions, GetRange, GetResult, GetResultPayload};
use ring::digest::{Context, SHA256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::task::id::TaskId;
use crate::task::state::{Artifact, Media};

use super::container::Scanner;
use super::error::{ReadError, told};
use super::fetch::artifact;
use super::{Archive, MEDIA};

/// The largest piece that a reader gets.
const PIECE_BYTES: usize = 64 << 10;

/// The pieces of a stored video.
pub type Pieces = BoxStream<'static, Result<Bytes, ReadError>>;

impl Archive {
    /// Reads a task's video from an offset to its end, in pieces of at most 64 KiB.
    /// A file that is gone or has another size is refused; one read from its start
    /// ends with [`ReadError::Damaged`] unless its digest is the one recorded.
    pub async fn read(&self, task: TaskId, artifact: &Artifact, offset: u64) -> Result<Pieces, ReadError> {
        if offset > artifact.size {
            return Err(ReadError::BehindEnd);
        }
        let (size, pieces) = self.pieces(task, artifact.media, offset).await?;
        if size != artifact.size {
            return Err(ReadError::Damaged);
        }
        let digest = (offset == 0).then_some(artifact.sha256);
        Ok(verified(pieces, size - offset, digest))
    }

    /// Looks for a task's file that no record speaks of, as a crash between storing
    /// and recording leaves it, and checks it like a fetched one.
    pub async fn find(&self, task: TaskId) -> Option<Artifact> {
        for media in MEDIA {
            if let Some(found) = self.examine(task, media).await.ok().flatten() {
                return Some(found);
            }
        }
        None
    }

    async fn examine(&self, task: TaskId, media: Media) -> Result<Option<Artifact>, ReadError> {
        let (size, mut pieces) = self.pieces(task, media, 0).await?;
        let (mut scanner, mut digest) = (Scanner::new(), Context::new(&SHA256));
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            digest.update(&piece);
            scanner.push(&piece).map_err(|_| ReadError::Damaged)?;
        }
        let (told, facts) = scanner.finish().map_err(|_| ReadError::Damaged)?;
        Ok((told == media).then(|| artifact(size, &digest, media, facts)))
    }

    /// The size of a file and its pieces from an offset on.
    async fn pieces(&self, task: TaskId, media: Media, offset: u64) -> Result<(u64, Pieces), ReadError> {
        let place = self.home.place(task, media);
        // The store refuses ranges of nothing; the end of a file is a good place to
        // resume from. So a bucket is asked for the size first.
        let first = self.get(&place, GetOptions { head: offset > 0, ..GetOptions::default() }).await?;
        let size = first.meta.size;
        match first.payload {
            GetResultPayload::File(file, _) => Ok((size, of_file(file, offset).await?)),
            GetResultPayload::Stream(all) if offset == 0 => Ok((size, of_stream(all))),
            GetResultPayload::Stream(_) if offset >= size => Ok((size, futures::stream::empty().boxed())),
            GetResultPayload::Stream(_) => {
                let (range, if_match) = (Some(GetRange::Offset(offset)), first.meta.e_tag);
                let part = self.get(&place, GetOptions { range, if_match, ..GetOptions::default() }).await?;
                Ok((size, of_stream(part.into_stream())))
            }
        }
    }

    /// Signs a link to a task's video that works for so long; nothing if there is
    /// nobody to sign it, as in a folder.
    pub async fn link(
        &self,
        task: TaskId,
        artifact: &Artifact,
        lifetime: Duration,
    ) -> Result<Option<String>, ReadError> {
        let Some(signer) = &self.home.signer else { return Ok(None) };
        let place = self.home.place(task, artifact.media);
        let there = self.get(&place, GetOptions { head: true, ..GetOptions::default() }).await?;
        if there.meta.size != artifact.size {
            return Err(ReadError::Damaged);
        }
        let link = signer.signed_url(Method::GET, &place, lifetime).await;
        link.map(|link| Some(link.into())).map_err(|error| ReadError::Storage(told(&error)))
    }

    async fn get(&self, place: &Path, options: GetOptions) -> Result<GetResult, ReadError> {
        self.home.store.get_opts(place, options).await.map_err(missing)
    }
}

async fn of_file(file: File, offset: u64) -> Result<Pieces, ReadError> {
    let mut file = tokio::fs::File::from_std(file);
    file.set_max_buf_size(PIECE_BYTES);
    file.seek(SeekFrom::Start(offset)).await.map_err(|error| ReadError::Storage(error.to_string()))?;
    let pieces = try_unfold(file, |mut file| async move {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        match file.read_buf(&mut piece).await {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some((piece.freeze(), file))),
            Err(error) => Err(ReadError::Storage(error.to_string())),
        }
    });
    Ok(pieces.boxed())
}

/// Cuts what a remote store gives into pieces of our size.
fn of_stream(stream: BoxStream<'static, object_store::Result<Bytes>>) -> Pieces {
    let cut = stream.flat_map(|piece| {
        let mut rest = piece.map_err(missing);
        let pieces = std::iter::from_fn(move || match &mut rest {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => Some(Ok(bytes.split_to(bytes.len().min(PIECE_BYTES)))),
            Err(_) => Some(std::mem::replace(&mut rest, Ok(Bytes::new()))),
        });
        futures::stream::iter(pieces)
    });
    cut.boxed()
}

/// Passes the pieces on and ends with an error unless they are what was stored.
fn verified(pieces: Pieces, left: u64, sha256: Option<[u8; 32]>) -> Pieces {
    let digest = sha256.map(|sha256| (sha256, Context::new(&SHA256)));
    let checked = try_unfold((pieces, left, digest), |(mut pieces, left, mut digest)| async move {
        let Some(piece) = pieces.next().await.transpose()? else {
            let same = digest.is_none_or(|(sha256, digest)| digest.finish().as_ref() == sha256);
            return if left == 0 && same { Ok(None) } else { Err(ReadError::Damaged) };
        };
        // Longer than it was: somebody writes to it at this moment.
        let left = left.checked_sub(piece.len() as u64).ok_or(ReadError::Damaged)?;
        if let Some((_, digest)) = &mut digest {
            digest.update(&piece);
        }
        Ok(Some((piece, (pieces, left, digest))))
    });
    checked.boxed()
}

fn missing(error: StoreError) -> ReadError {
    match error {
        StoreError::NotFound { .. } | StoreError::Precondition { .. } => ReadError::Damaged,
        error => ReadError::Storage(told(&error)),
    }
}
