//! Wraps encoded pictures as an MP4 whose index stands before the pictures, so
//! that a player can begin while the file is still arriving.

/// What the container has to know.
pub(super) struct Track {
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) frames_per_second: u32,
    pub(super) sequence: Vec<u8>,
    pub(super) parameters: Vec<u8>,
    /// Each picture, and whether it is a key picture.
    pub(super) pictures: Vec<(Vec<u8>, bool)>,
}

/// Ticks of one picture.
const TICKS: u32 = 512;

/// The unit matrix of a picture that is not turned.
const MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// The whole file.
pub(super) fn file(track: &Track) -> Vec<u8> {
    let kind = container(b"ftyp", &[b"isom", &numbers(&[512]), b"isomiso2avc1mp41"]);
    // The index's length does not depend on the offset that it holds.
    let offset = kind.len() + index(track, 0).len() + 8;
    let mut data = Vec::new();
    for (picture, _) in &track.pictures {
        data.extend((picture.len() as u32).to_be_bytes());
        data.extend(picture);
    }
    [kind, index(track, offset as u32), container(b"mdat", &[&data])].concat()
}

/// A box: its length, its name, its content.
fn container(name: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    [&(content.len() as u32 + 8).to_be_bytes()[..], name, &content].concat()
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn index(track: &Track, offset: u32) -> Vec<u8> {
    let ticks = track.pictures.len() as u32 * TICKS;
    let scale = track.frames_per_second * TICKS;
    let movie_ms = (u64::from(ticks) * 1_000 / u64::from(scale)) as u32;
    let movie = container(
        b"mvhd",
        &[
            &numbers(&[0, 0, 0, 1_000, movie_ms, 0x1_0000, 0x0100_0000, 0, 0]),
            &numbers(&MATRIX),
            &[0; 24],
            &numbers(&[2]),
        ],
    );
    let header = container(
        b"tkhd",
        &[
            &numbers(&[3, 0, 0, 1, 0, movie_ms, 0, 0, 0, 0]),
            &numbers(&MATRIX),
            &numbers(&[u32::from(track.width) << 16, u32::from(track.height) << 16]),
        ],
    );
    let media_header = container(b"mdhd", &[&numbers(&[0, 0, 0, scale, ticks, 0x55c4_0000])]);
    let handler = container(b"hdlr", &[&numbers(&[0, 0]), b"vide", &[0; 12], b"VideoHandler\0"]);
    let video = container(b"vmhd", &[&numbers(&[1, 0, 0])]);
    let here = container(b"url ", &[&numbers(&[1])]);
    let references = container(b"dinf", &[&container(b"dref", &[&numbers(&[0, 1]), &here])]);
    let information = container(b"minf", &[&video, &references, &samples(track, offset)]);
    let media = container(b"mdia", &[&media_header, &handler, &information]);
    container(b"moov", &[&movie, &container(b"trak", &[&header, &media])])
}

fn samples(track: &Track, offset: u32) -> Vec<u8> {
    let count = track.pictures.len() as u32;
    let keys: Vec<u32> = (1..).zip(&track.pictures).filter(|(_, (_, key))| *key).map(|(number, _)| number).collect();
    let sizes: Vec<u32> = track.pictures.iter().map(|(picture, _)| picture.len() as u32 + 4).collect();
    container(
        b"stbl",
        &[
            &container(b"stsd", &[&numbers(&[0, 1]), &description(track)]),
            &container(b"stts", &[&numbers(&[0, 1, count, TICKS])]),
            &container(b"stss", &[&numbers(&[0, keys.len() as u32]), &numbers(&keys)]),
            &container(b"stsc", &[&numbers(&[0, 1, 1, count, 1])]),
            &container(b"stsz", &[&numbers(&[0, 0, count]), &numbers(&sizes)]),
            &container(b"stco", &[&numbers(&[0, 1, offset])]),
        ],
    )
}

fn description(track: &Track) -> Vec<u8> {
    let length = |unit: &[u8]| (unit.len() as u16).to_be_bytes();
    let settings = container(
        b"avcC",
        &[
            &[1, track.sequence[1], track.sequence[2], track.sequence[3], 0xff, 0xe1],
            &length(&track.sequence),
            &track.sequence,
            &[1],
            &length(&track.parameters),
            &track.parameters,
        ],
    );
    container(
        b"avc1",
        &[
            &[0, 0, 0, 0, 0, 0, 0, 1],
            &[0; 16],
            &track.width.to_be_bytes(),
            &track.height.to_be_bytes(),
            &numbers(&[0x48_0000, 0x48_0000, 0]),
            &[0, 1],
            &[0; 32],
            &[0, 24, 0xff, 0xff],
            &settings,
        ],
    )
}
