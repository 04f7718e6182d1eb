//! Checks a video's container while it streams by, in constant memory: the boxes
//! of an MP4 or QuickTime file are walked one header at a time, and only the small
//! `moov` box, which describes the video, is kept. WebM goes to `webm`, which does
//! the same. Decodes nothing.

use std::time::Duration;

use crate::task::state::Media;

use super::{moov, webm};

/// The largest description that is kept in memory.
const MAX_MOOV_BYTES: u64 = 16 << 20;

/// By here a file has told what it is; until then nothing of it is stored.
const MAX_PREAMBLE_BYTES: u64 = 4096;

/// What a container tells of its video.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Pixels; 0 when not told.
    pub width: u32,
    /// Pixels; 0 when not told.
    pub height: u32,
    /// Length, when told.
    pub duration: Option<Duration>,
    /// Frames in 1000 s, on average; 0 when not told.
    pub frame_rate_milli: u32,
}

/// Why the bytes are not an intact video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    /// Good as far as it goes: bytes are missing at the end.
    #[error("the file ends early")]
    Unfinished,
    /// More bytes would not help.
    #[error("{0}")]
    Wrong(&'static str),
}

/// Looks at a file's bytes as they pass.
pub(super) struct Scanner {
    header: Vec<u8>,
    place: Place,
    position: u64,
    media: Option<Media>,
    webm: webm::Walker,
    moov: Option<Vec<u8>>,
    has_data: bool,
}

/// Where in the file the next byte is.
#[derive(Clone, Copy)]
enum Place {
    /// In a box's header.
    Header,
    /// In a box's content.
    Body { kind: [u8; 4], left: u64 },
    /// In a box that lasts until the end of the file.
    Last { kind: [u8; 4] },
    /// In a WebM file, which is another kind of thing.
    WebM,
}

impl Scanner {
    /// At the start of a file.
    pub fn new() -> Self {
        Self {
            header: Vec::with_capacity(16),
            place: Place::Header,
            position: 0,
            media: None,
            webm: webm::Walker::new(),
            moov: None,
            has_data: false,
        }
    }

    /// What the file is, as soon as it has told.
    pub fn media(&self) -> Option<Media> {
        self.media
    }

    /// Takes the next bytes, in pieces of any size.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            let taken = match self.place {
                Place::Header => self.push_header(bytes)?,
                Place::Body { kind, left } => {
                    let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.push_body(kind, &bytes[..taken])?;
                    let left = left - taken as u64;
                    self.place = if left == 0 { Place::Header } else { Place::Body { kind, left } };
                    taken
                }
                Place::Last { kind } => {
                    self.push_body(kind, bytes)?;
                    bytes.len()
                }
                Place::WebM => {
                    self.webm.push(bytes)?;
                    bytes.len()
                }
            };
            self.position += taken as u64;
            bytes = &bytes[taken..];
            if self.media.is_none() && self.position > MAX_PREAMBLE_BYTES {
                return Err(Broken::Wrong("no file type near the start"));
            }
        }
        Ok(())
    }

    /// Judges the whole, once the last byte has passed.
    pub fn finish(self) -> Result<(Media, Facts), Broken> {
        let media = self.media.ok_or(Broken::Unfinished)?;
        match self.place {
            Place::WebM => return Ok((media, self.webm.finish()?)),
            Place::Header if self.header.is_empty() => {}
            Place::Last { .. } => {}
            Place::Header | Place::Body { .. } => return Err(Broken::Unfinished),
        }
        // A cut may fall exactly between two boxes.
        let moov = self.moov.filter(|_| self.has_data).ok_or(Broken::Unfinished)?;
        Ok((media, moov::parse(&moov)?))
    }

    /// Collects a header, 8 or 16 bytes long, and opens its box once it is whole.
    fn push_header(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let wanted = if self.header.starts_with(&[0, 0, 0, 1]) && self.header.len() >= 8 { 16 } else { 8 };
        let taken = bytes.len().min(wanted - self.header.len());
        self.header.extend_from_slice(&bytes[..taken]);
        if self.position < 8 && self.header.starts_with(&webm::MAGIC) {
            self.media = Some(Media::WebM);
            self.place = Place::WebM;
            self.webm.push(&self.header)?;
        } else if self.header.len() == wanted && !(wanted == 8 && self.header.starts_with(&[0, 0, 0, 1])) {
            self.open_box()?;
            self.header.clear();
        }
        Ok(taken)
    }

    fn open_box(&mut self) -> Result<(), Broken> {
        let (size, kind) = read_header(&self.header).ok_or(Broken::Wrong("a box without a header"))?;
        self.admit(kind, size)?;
        let header = self.header.len() as u64;
        self.place = match size {
            0 => Place::Last { kind },
            size if size < header => return Err(Broken::Wrong("a box smaller than its header")),
            size if size == header => Place::Header,
            size => Place::Body { kind, left: size - header },
        };
        Ok(())
    }

    /// Whether such a box may stand here.
    fn admit(&mut self, kind: [u8; 4], size: u64) -> Result<(), Broken> {
        if self.media.is_none() && !matches!(&kind, b"ftyp" | b"wide" | b"free" | b"skip") {
            return Err(Broken::Wrong("neither MP4, QuickTime nor WebM"));
        }
        match &kind {
            b"ftyp" if self.media.is_some() => Err(Broken::Wrong("two file types")),
            b"ftyp" if !(16..=MAX_PREAMBLE_BYTES).contains(&size) => Err(Broken::Wrong("a file type of a wrong size")),
            b"moov" if self.moov.is_some() => Err(Broken::Wrong("two descriptions")),
            b"moov" if size > MAX_MOOV_BYTES => Err(Broken::Wrong("the description is too large")),
            b"moov" => {
                // Grows with the bytes that come, not with the size that is claimed.
                self.moov = Some(Vec::new());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn push_body(&mut self, kind: [u8; 4], bytes: &[u8]) -> Result<(), Broken> {
        match &kind {
            b"mdat" => self.has_data = true,
            b"ftyp" if self.media.is_none() => {
                // The header is done with; its buffer collects the brand.
                let missing = 4 - self.header.len().min(4);
                self.header.extend_from_slice(&bytes[..missing.min(bytes.len())]);
                if self.header.len() >= 4 {
                    self.media = Some(if self.header == *b"qt  " { Media::QuickTime } else { Media::Mp4 });
                    self.header.clear();
                }
            }
            b"moov" => {
                let moov = self.moov.get_or_insert_default();
                if (moov.len() + bytes.len()) as u64 > MAX_MOOV_BYTES {
                    return Err(Broken::Wrong("the description is too large"));
                }
                moov.extend_from_slice(bytes);
            }
            _ => {}
        }
        Ok(())
    }
}

/// A box's whole size (0: to the end) and its kind, from its 8 or 16 bytes.
pub(super) fn read_header(header: &[u8]) -> Option<(u64, [u8; 4])> {
    let short = u32::from_be_bytes(*header.first_chunk()?);
    let kind = *header.get(4..8)?.first_chunk()?;
    let size = if short == 1 { u64::from_be_bytes(*header.get(8..16)?.first_chunk()?) } else { u64::from(short) };
    // Written in full, a size of 0 has no meaning; 1 is smaller than any header.
    Some((if short == 1 { size.max(1) } else { size }, kind))
}

#[cfg(test)]
mod tests;
