//! The file as a row of records. Each has a length and a checksum; the last one
//! proves the whole. Nothing is allocated for a length that the file cannot hold.

use std::io::{self, Read};

use prost::Message;
use ring::digest::{Context, SHA256};

use super::Summary;
use crate::store::record::wire;

/// How the file begins.
pub(super) const MAGIC: &[u8; 8] = b"VGBACKUP";

/// How this version of the code writes the file. 2 added the announcements
/// and the pictures.
pub(super) const FORMAT: u32 = 2;

/// Larger than any task.
const RECORD_LIMIT: u32 = 2 << 20;

/// Length and checksum.
const PREFIX: u64 = 8;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Header = 1,
    Task = 2,
    Note = 3,
    Tombstone = 4,
    Announcement = 5,
    Input = 6,
    Trailer = 255,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [Self::Header, Self::Task, Self::Note, Self::Tombstone, Self::Announcement, Self::Input, Self::Trailer]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// Why a file is not believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadFile {
    #[error("it does not begin like a backup")]
    Foreign,
    #[error("format {0}")]
    Newer(u32),
    #[error("{reason} at byte {at}")]
    Damaged { reason: &'static str, at: u64 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Puts records together.
pub(super) struct Writer {
    bytes: Vec<u8>,
    digest: Context,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self::of(FORMAT)
    }

    /// As the version that wrote this format did.
    pub(super) fn of(format: u32) -> Self {
        let mut writer = Self { bytes: Vec::new(), digest: Context::new(&SHA256) };
        writer.append(MAGIC);
        writer.append(&format.to_be_bytes());
        writer
    }

    /// Adds a record.
    pub(super) fn record(&mut self, kind: Kind, message: &impl Message) {
        let mut body = vec![kind as u8];
        body.extend(message.encode_to_vec());
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        self.append(&length.to_be_bytes());
        self.append(&crc32c::crc32c(&body).to_be_bytes());
        self.append(&body);
    }

    /// Adds the last record, which proves the others.
    pub(super) fn trailer(&mut self, summary: &Summary) {
        let Summary { tasks, notes, tombstones, announcements, inputs, damaged: _ } = *summary;
        let sha256 = self.digest.clone().finish().as_ref().to_vec().into();
        self.record(Kind::Trailer, &wire::BackupTrailer { tasks, notes, tombstones, sha256, announcements, inputs });
    }

    /// Takes out what was put together since the last time.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    fn append(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.bytes.extend_from_slice(bytes);
    }
}

/// Takes records apart.
pub(super) struct Reader<R> {
    from: R,
    size: u64,
    position: u64,
    digest: Context,
}

impl<R: Read> Reader<R> {
    /// Begins to read a file of this size.
    pub(super) fn open(from: R, size: u64) -> Result<Self, BadFile> {
        let mut reader = Self { from, size, position: 0, digest: Context::new(&SHA256) };
        let begin = reader.take(MAGIC.len() as u64 + 4).map_err(|bad| match bad {
            BadFile::Damaged { .. } => BadFile::Foreign,
            other => other,
        })?;
        let Some((MAGIC, format)) = begin.split_first_chunk() else { return Err(BadFile::Foreign) };
        match u32::from_be_bytes(format.try_into().map_err(|_| BadFile::Foreign)?) {
            1..=FORMAT => Ok(reader),
            0 => Err(reader.damaged("there is no such format")),
            newer => Err(BadFile::Newer(newer)),
        }
    }

    /// The next record. The trailer comes only once it has proved the whole.
    pub(super) fn next(&mut self) -> Result<(Kind, Vec<u8>), BadFile> {
        let before = self.digest.clone();
        let prefix = self.take(PREFIX)?;
        let (length, checksum) = prefix.split_at(4);
        let [length, checksum] =
            [length, checksum].map(|four| four.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)));
        if length == 0 || length > RECORD_LIMIT {
            return Err(self.damaged("a record of an impossible length"));
        }
        let mut body = self.take(length.into())?;
        if crc32c::crc32c(&body) != checksum {
            return Err(self.damaged("a checksum that does not fit, before what ends"));
        }
        let kind = Kind::of(body[0]).ok_or_else(|| self.damaged("a record of an unknown kind"))?;
        body.drain(..1);
        if kind == Kind::Trailer {
            self.prove(&body, before)?;
        }
        Ok((kind, body))
    }

    fn prove(&self, trailer: &[u8], before: Context) -> Result<(), BadFile> {
        let trailer = wire::BackupTrailer::decode(trailer).map_err(|_| self.damaged("an unreadable trailer"))?;
        if trailer.sha256 != before.finish().as_ref() {
            return Err(self.damaged("a hash of the whole that does not fit"));
        }
        match self.position == self.size {
            true => Ok(()),
            false => Err(self.damaged("bytes after the end")),
        }
    }

    fn take(&mut self, count: u64) -> Result<Vec<u8>, BadFile> {
        if count > self.size - self.position {
            return Err(self.damaged("it ends early"));
        }
        let mut bytes = vec![0; usize::try_from(count).map_err(|_| self.damaged("a record is too large"))?];
        self.from.read_exact(&mut bytes)?;
        self.digest.update(&bytes);
        self.position += count;
        Ok(bytes)
    }

    /// What is wrong, and where.
    pub(super) fn damaged(&self, reason: &'static str) -> BadFile {
        BadFile::Damaged { reason, at: self.position }
    }
}
