//! Checks a WebM file while it streams by, and reads size, length and frame rate of
//! its video. The elements are walked one header at a time; only the two small ones
//! that describe the video are kept.

use std::time::Duration;

use super::container::{Broken, Facts};

/// The first bytes of every WebM file.
pub(super) const MAGIC: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];

/// The largest description that is kept in memory.
const MAX_DESCRIPTION_BYTES: u64 = 1 << 20;

const HEAD: u32 = 0x1a45_dfa3;
const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_a966;
const TIMESTAMP_SCALE: u32 = 0x002a_d7b1;
const DURATION: u32 = 0x4489;
const TRACKS: u32 = 0x1654_ae6b;
const TRACK: u32 = 0xae;
const TRACK_TYPE: u32 = 0x83;
const FRAME_DURATION: u32 = 0x0023_e383;
const VIDEO: u32 = 0xe0;
const WIDTH: u32 = 0xb0;
const HEIGHT: u32 = 0xba;
const CLUSTER: u32 = 0x1f43_b675;

/// An element's id, its size unless it lasts until something else begins, and how
/// many bytes said so.
type Head = (u32, Option<u64>, usize);

/// Looks at a file's bytes as they pass.
pub(super) struct Walker {
    head: Vec<u8>,
    place: Place,
    /// What is left of the segment: None before it, Some(None) if it does not say.
    segment: Option<Option<u64>>,
    info: Vec<u8>,
    tracks: Vec<u8>,
    has_data: bool,
}

/// Where in the file the next byte is.
#[derive(Clone, Copy)]
enum Place {
    /// In an element's head.
    Head,
    /// In an element's content.
    Body { id: u32, left: u64 },
    /// In what has no size: nothing more is known until the end.
    Rest,
}

impl Walker {
    /// At the start of a file.
    pub fn new() -> Self {
        let (head, info, tracks) = Default::default();
        Self { head, place: Place::Head, segment: None, info, tracks, has_data: false }
    }

    /// Takes the next bytes, in pieces of any size.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            let taken = match self.place {
                Place::Head => {
                    self.head.push(bytes[0]);
                    if let Some(head) = read_head(&self.head)? {
                        self.head.clear();
                        self.place = self.open(head)?;
                    }
                    1
                }
                Place::Body { id, left } => {
                    let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    match id {
                        INFO => self.info.extend_from_slice(&bytes[..taken]),
                        TRACKS => self.tracks.extend_from_slice(&bytes[..taken]),
                        _ => {}
                    }
                    self.place = body(id, left - taken as u64);
                    taken
                }
                Place::Rest => return Ok(()),
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Judges the whole, once the last byte has passed.
    pub fn finish(&self) -> Result<Facts, Broken> {
        match (self.place, self.segment) {
            (Place::Head, Some(None | Some(0))) if self.head.is_empty() => {}
            (Place::Rest, _) => {}
            _ => return Err(Broken::Unfinished),
        }
        match self.has_data {
            true => describe(&self.info, &self.tracks),
            // A cut may fall exactly between two elements.
            false if self.segment == Some(None) => Err(Broken::Unfinished),
            false => Err(Broken::Wrong("no pictures")),
        }
    }

    fn open(&mut self, (id, size, head): Head) -> Result<Place, Broken> {
        let Some(segment) = self.segment else { return self.open_outside(id, size) };
        if let (Some(left), Some(size)) = (segment, size) {
            // What stands behind the segment is nobody's business.
            if left == 0 {
                return Ok(body(0, size));
            }
            let left = left.checked_sub(size.saturating_add(head as u64));
            self.segment = Some(Some(left.ok_or(Broken::Wrong("the elements do not fit together"))?));
        }
        self.has_data |= id == CLUSTER;
        match (id, size) {
            (CLUSTER, None) => Ok(Place::Rest),
            (_, None) => Err(Broken::Wrong("an element without a size")),
            (INFO | TRACKS, Some(size)) if size > MAX_DESCRIPTION_BYTES => {
                Err(Broken::Wrong("the description is too large"))
            }
            (INFO, _) if !self.info.is_empty() => Err(Broken::Wrong("two descriptions")),
            (TRACKS, _) if !self.tracks.is_empty() => Err(Broken::Wrong("two descriptions")),
            (id, Some(size)) => Ok(body(id, size)),
        }
    }

    fn open_outside(&mut self, id: u32, size: Option<u64>) -> Result<Place, Broken> {
        match (id, size) {
            (HEAD, Some(size)) if size <= 4096 => Ok(body(id, size)),
            (SEGMENT, size) => {
                self.segment = Some(size);
                Ok(Place::Head)
            }
            _ => Err(Broken::Wrong("a WebM file without a segment")),
        }
    }
}

fn body(id: u32, left: u64) -> Place {
    if left == 0 { Place::Head } else { Place::Body { id, left } }
}

/// Reads an element's head; nothing as long as bytes are missing.
fn read_head(bytes: &[u8]) -> Result<Option<Head>, Broken> {
    let wrong = Broken::Wrong("an element without a head");
    let Some(&first) = bytes.first() else { return Ok(None) };
    let id_bytes = first.leading_zeros() as usize + 1;
    if id_bytes > 4 {
        return Err(wrong);
    }
    let Some(&second) = bytes.get(id_bytes) else { return Ok(None) };
    let size_bytes = second.leading_zeros() as usize + 1;
    if size_bytes > 8 {
        return Err(wrong);
    }
    let Some(size) = bytes.get(id_bytes..id_bytes + size_bytes) else { return Ok(None) };
    let all_ones = (1_u64 << (7 * size_bytes)) - 1;
    let size = number(size) & all_ones;
    let id = u32::try_from(number(&bytes[..id_bytes])).map_err(|_| wrong)?;
    Ok(Some((id, (size != all_ones).then_some(size), id_bytes + size_bytes)))
}

/// The number that bytes make, the most significant first.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The elements of a slice.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    fn next(&mut self) -> Result<Option<(u32, &'a [u8])>, Broken> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let wrong = Broken::Wrong("the elements of the description do not fit together");
        let Some((id, Some(size), head)) = read_head(self.0)? else { return Err(wrong) };
        let end = usize::try_from(size).ok().and_then(|size| size.checked_add(head)).ok_or(wrong)?;
        let content = self.0.get(head..end).ok_or(wrong)?;
        self.0 = &self.0[end..];
        Ok(Some((id, content)))
    }
}

fn find(content: &[u8], wanted: u32) -> Result<Option<&[u8]>, Broken> {
    let mut elements = Elements(content);
    while let Some((id, content)) = elements.next()? {
        if id == wanted {
            return Ok(Some(content));
        }
    }
    Ok(None)
}

fn describe(info: &[u8], tracks: &[u8]) -> Result<Facts, Broken> {
    let mut elements = Elements(tracks);
    while let Some((id, track)) = elements.next()? {
        if id == TRACK && find(track, TRACK_TYPE)?.map(number) == Some(1) {
            let picture = find(track, VIDEO)?.unwrap_or_default();
            let pixels = |id| Ok(find(picture, id)?.and_then(|bytes| u32::try_from(number(bytes)).ok()).unwrap_or(0));
            let frame_ns = find(track, FRAME_DURATION)?.map_or(0, number);
            let rate = 1_000_000_000_000_u64.saturating_add(frame_ns / 2).checked_div(frame_ns);
            return Ok(Facts {
                width: pixels(WIDTH)?,
                height: pixels(HEIGHT)?,
                duration: length(info)?,
                frame_rate_milli: rate.and_then(|rate| u32::try_from(rate).ok()).unwrap_or(0),
            });
        }
    }
    Err(Broken::Wrong("no video track"))
}

/// The length, a number of ticks with a fraction; a recorder may leave it out.
fn length(info: &[u8]) -> Result<Option<Duration>, Broken> {
    let tick_ns = find(info, TIMESTAMP_SCALE)?.map_or(1_000_000, number);
    let ticks = find(info, DURATION)?.and_then(|bytes| match bytes.len() {
        4 => Some(f64::from(f32::from_be_bytes(*bytes.first_chunk()?))),
        8 => Some(f64::from_be_bytes(*bytes.first_chunk()?)),
        _ => None,
    });
    let seconds = ticks.map(|ticks| ticks * tick_ns as f64 / 1e9).filter(|seconds| *seconds > 0.0);
    // To the microsecond: a float knows no more.
    let rounded = seconds.map(|seconds| (seconds * 1e6).round() / 1e6);
    Ok(rounded.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
}
