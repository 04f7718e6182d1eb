//! Reads size, length and frame rate of a video from the `moov` box of an MP4 or QuickTime
//! file, whose bytes are in memory. Walks it without recursion.

use std::time::Duration;

use super::container::{Broken, Facts, read_header};

/// Reads the content of a `moov` box.
pub(super) fn parse(moov: &[u8]) -> Result<Facts, Broken> {
    let movie = find(moov, b"mvhd")?.ok_or(Broken::Wrong("a description without a movie header"))?;
    let duration = read_duration(movie).ok_or(Broken::Wrong("a movie header that is too short"))?;
    let mut boxes = Boxes(moov);
    while let Some((kind, track)) = boxes.next()? {
        if kind == *b"trak" && is_video(track)? {
            let header = find(track, b"tkhd")?.ok_or(Broken::Wrong("a track without a header"))?;
            let (width, height) = read_size(header).ok_or(Broken::Wrong("a track header that is too short"))?;
            return Ok(Facts { width, height, duration, frame_rate_milli: frame_rate_milli(track)?.unwrap_or(0) });
        }
    }
    Err(Broken::Wrong("no video track"))
}

/// A box's kind and content.
type Entry<'a> = ([u8; 4], &'a [u8]);

/// The boxes of a slice.
struct Boxes<'a>(&'a [u8]);

impl<'a> Boxes<'a> {
    fn next(&mut self) -> Result<Option<Entry<'a>>, Broken> {
        // QuickTime may end a list with four zero bytes.
        if self.0.len() < 8 {
            return Ok(None);
        }
        let wrong = Broken::Wrong("the boxes of the description do not fit together");
        let (size, kind) = read_header(self.0).ok_or(wrong)?;
        let header = if self.0.starts_with(&[0, 0, 0, 1]) { 16 } else { 8 };
        let size = if size == 0 { self.0.len() } else { usize::try_from(size).map_err(|_| wrong)? };
        let content = self.0.get(header..size).ok_or(wrong)?;
        self.0 = &self.0[size..];
        Ok(Some((kind, content)))
    }
}

fn find<'a>(content: &'a [u8], wanted: &[u8; 4]) -> Result<Option<&'a [u8]>, Broken> {
    let mut boxes = Boxes(content);
    while let Some((kind, content)) = boxes.next()? {
        if kind == *wanted {
            return Ok(Some(content));
        }
    }
    Ok(None)
}

fn is_video(track: &[u8]) -> Result<bool, Broken> {
    let Some(media) = find(track, b"mdia")? else { return Ok(false) };
    let Some(handler) = find(media, b"hdlr")? else { return Ok(false) };
    Ok(handler.get(8..12) == Some(b"vide"))
}

/// Frames in 1000 s on average: the samples of a track's time table over what they
/// take. A fragmented file has its tables elsewhere, and tells nothing here.
fn frame_rate_milli(track: &[u8]) -> Result<Option<u32>, Broken> {
    let mut content = track;
    for kind in [b"mdia", b"minf", b"stbl", b"stts"] {
        let Some(found) = find(content, kind)? else { return Ok(None) };
        content = found;
    }
    let Some(media) = find(track, b"mdia")? else { return Ok(None) };
    let Some(scale) = find(media, b"mdhd")?.and_then(read_scale) else { return Ok(None) };
    let rows = content.get(8..).unwrap_or_default().chunks_exact(8);
    let (mut samples, mut ticks) = (0_u128, 0_u128);
    for row in rows {
        let (count, delta) = (read_u32(row, 0).unwrap_or(0), read_u32(row, 4).unwrap_or(0));
        samples += u128::from(count);
        ticks += u128::from(count) * u128::from(delta);
    }
    let milli = (samples * u128::from(scale) * 1000 + ticks / 2).checked_div(ticks);
    Ok(milli.and_then(|milli| u32::try_from(milli).ok()))
}

/// How many ticks a second has, by a media header.
fn read_scale(header: &[u8]) -> Option<u32> {
    read_u32(header, if *header.first()? == 1 { 20 } else { 12 })
}

/// The length by a movie header: None if it is too short, Some(None) if it does not
/// tell, as in a fragmented file.
fn read_duration(header: &[u8]) -> Option<Option<Duration>> {
    let (scale, length) = match header.first()? {
        1 => {
            let length = read_u64(header, 24)?;
            (read_u32(header, 20)?, (length != u64::MAX).then_some(length))
        }
        _ => {
            let length = read_u32(header, 16)?;
            (read_u32(header, 12)?, (length != u32::MAX).then_some(u64::from(length)))
        }
    };
    let Some(length) = length.filter(|&length| length > 0 && scale > 0) else { return Some(None) };
    let scale = u64::from(scale);
    // The rest is below 2^32, so that the product fits.
    let nanos = length % scale * 1_000_000_000 / scale;
    let nanos = u32::try_from(nanos).unwrap_or(0);
    Some(Some(Duration::new(length / scale, nanos)))
}

/// Width and height, 16.16 fixed point, at the end of a track header.
fn read_size(header: &[u8]) -> Option<(u32, u32)> {
    let place = if *header.first()? == 1 { 88 } else { 76 };
    Some((read_u32(header, place)? >> 16, read_u32(header, place + 4)? >> 16))
}

fn read_u32(bytes: &[u8], place: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(place..)?.first_chunk()?))
}

fn read_u64(bytes: &[u8], place: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(place..)?.first_chunk()?))
}
