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

/// A description: a 640 by 360 video of 5.5 s, 132 frames at 24 a second.
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
    let mut mdhd = vec![0; 24];
    mdhd[12..16].copy_from_slice(&12_288_u32.to_be_bytes());
    let stts: Vec<u8> = [0, 2, 100, 512, 32, 512].into_iter().flat_map(u32::to_be_bytes).collect();
    let minf = boxed(b"minf", &boxed(b"stbl", &boxed(b"stts", &stts)));
    let mdia = boxed(b"mdia", &[boxed(b"mdhd", &mdhd), boxed(b"hdlr", &hdlr), minf].concat());
    boxed(b"trak", &[boxed(b"tkhd", &tkhd), mdia].concat())
}

/// An element of a WebM file, its size written in 8 bytes.
pub(super) fn element(id: u32, content: &[u8]) -> Vec<u8> {
    let id: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    let size = (content.len() as u64 | 1 << 56).to_be_bytes();
    [&id[..], &size, content].concat()
}

/// A whole WebM file, 640 by 360, of 5.5 s at 25 frames a second.
pub(super) fn webm(data: usize) -> Vec<u8> {
    let info = element(
        0x1549_a966,
        &[element(0x2ad7b1, &1_000_000_u32.to_be_bytes()), element(0x4489, &5500_f64.to_be_bytes())].concat(),
    );
    let picture =
        element(0xe0, &[element(0xb0, &640_u16.to_be_bytes()), element(0xba, &360_u16.to_be_bytes())].concat());
    let sound = element(0xae, &element(0x83, &[2]));
    let video =
        element(0xae, &[element(0x83, &[1]), element(0x23e383, &40_000_000_u32.to_be_bytes()), picture].concat());
    let tracks = element(0x1654_ae6b, &[sound, video].concat());
    let segment = [info, tracks, element(0x1f43_b675, &vec![7; data])].concat();
    [element(0x1a45_dfa3, &element(0x4282, b"webm")), element(0x1853_8067, &segment)].concat()
}

/// A whole MP4 file whose pictures take that many bytes.
pub(crate) fn mp4(data: usize) -> Vec<u8> {
    let pictures: Vec<u8> = (0..data).map(|i| (i % 251) as u8).collect();
    [ftyp(b"isom"), moov(), boxed(b"mdat", &pictures)].concat()
}
