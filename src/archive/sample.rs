//! Small videos for the tests, built box by box.

/// A box.
pub(super) fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let size = u32::try_from(content.len() + 8).unwrap();
    [&size.to_be_bytes()[..], kind, content].concat()
}

/// A box whose size is written in 64 bits.
pub(super) fn boxed_large(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let size = content.len() as u64 + 16;
    [&1_u32.to_be_bytes()[..], kind, &size.to_be_bytes(), content].concat()
}

/// The file type.
pub(super) fn ftyp(brand: &[u8; 4]) -> Vec<u8> {
    boxed(b"ftyp", &[&brand[..], &[0, 0, 2, 0], b"mp41"].concat())
}

/// A description: a 640 by 360 video of 5.5 s.
pub(super) fn moov() -> Vec<u8> {
    let mut mvhd = vec![0; 100];
    mvhd[12..16].copy_from_slice(&1000_u32.to_be_bytes());
    mvhd[16..20].copy_from_slice(&5500_u32.to_be_bytes());
    boxed(b"moov", &[boxed(b"mvhd", &mvhd), track(b"soun", 0, 0), track(b"vide", 640, 360)].concat())
}

fn track(handler: &[u8; 4], width: u32, height: u32) -> Vec<u8> {
    let mut tkhd = vec![0; 84];
    tkhd[76..80].copy_from_slice(&(width << 16).to_be_bytes());
    tkhd[80..84].copy_from_slice(&(height << 16).to_be_bytes());
    let mut hdlr = vec![0; 25];
    hdlr[8..12].copy_from_slice(handler);
    boxed(b"trak", &[boxed(b"tkhd", &tkhd), boxed(b"mdia", &boxed(b"hdlr", &hdlr))].concat())
}

/// A whole MP4 file whose pictures take that many bytes.
pub(crate) fn mp4(data: usize) -> Vec<u8> {
    let pictures: Vec<u8> = (0..data).map(|i| (i % 251) as u8).collect();
    [ftyp(b"isom"), moov(), boxed(b"mdat", &pictures)].concat()
}
