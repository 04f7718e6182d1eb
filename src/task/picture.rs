//! What a picture is, by its first bytes: how it is encoded and how large it is.
//! Told apart is what the bytes at hand do not tell yet from what is no picture,
//! because of a picture behind a link only the first part is looked at. The
//! turn of a photograph (Exif) is not read: it changes no limit, as all of them
//! hold for either side.

/// How a picture is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// `image/jpeg`
    Jpeg,
    /// `image/png`
    Png,
    /// `image/webp`
    WebP,
}

impl ImageFormat {
    /// What the first bytes of a file say that it is.
    pub fn of(data: &[u8]) -> Option<Self> {
        if data.starts_with(b"\xff\xd8\xff") {
            Some(Self::Jpeg)
        } else if data.starts_with(b"\x89PNG\r\n\x1a\n") {
            Some(Self::Png)
        } else if data.starts_with(b"RIFF") && data.get(8..12) == Some(b"WEBP") {
            Some(Self::WebP)
        } else {
            None
        }
    }

    /// The media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP => "image/webp",
        }
    }

    /// The word for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::WebP => "webp",
        }
    }
}

/// What is known of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    /// By its own signature.
    pub format: ImageFormat,
    /// The size of the file, when it is known.
    pub bytes: Option<u64>,
    /// Width and height in pixels, when the bytes at hand tell them.
    pub sides: Option<(u32, u32)>,
}

/// Why something is no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPicture {
    /// By its signature it is none that any model takes.
    #[error("is no jpeg, png or webp")]
    Signature,
    /// It begins like one and is none.
    #[error("is a damaged or cut off picture")]
    Broken,
}

impl Picture {
    /// Reads the beginning of a file of `bytes` bytes, as far as that is known.
    pub fn read(start: &[u8], bytes: Option<u64>) -> Result<Self, NoPicture> {
        let format = ImageFormat::of(start).ok_or(NoPicture::Signature)?;
        let read = match format {
            ImageFormat::Jpeg => jpeg(start),
            ImageFormat::Png => png(start),
            ImageFormat::WebP => webp(start),
        };
        let whole = bytes == Some(start.len() as u64);
        let sides = match read {
            Ok((width, height)) if width > 0 && height > 0 => Some((width, height)),
            Ok(_) | Err(Unread::Broken) => return Err(NoPicture::Broken),
            Err(Unread::Short) if whole => return Err(NoPicture::Broken),
            Err(Unread::Short) => None,
        };
        Ok(Self { format, bytes, sides })
    }
}

enum Unread {
    /// The bytes end before they tell.
    Short,
    Broken,
}

type Sides = Result<(u32, u32), Unread>;

fn png(data: &[u8]) -> Sides {
    match take::<8>(data, 8)? {
        [0, 0, 0, 13, b'I', b'H', b'D', b'R'] => {
            Ok((u32::from_be_bytes(take(data, 16)?), u32::from_be_bytes(take(data, 20)?)))
        }
        _ => Err(Unread::Broken),
    }
}

/// Goes from segment to segment up to the frame header.
fn jpeg(data: &[u8]) -> Sides {
    let mut at = 2;
    loop {
        let [0xff] = take(data, at)? else { return Err(Unread::Broken) };
        // Any number of fill bytes may stand before a marker.
        while take(data, at)? == [0xff] {
            at += 1;
        }
        let [marker] = take(data, at)?;
        at += 1;
        match marker {
            // Tables that have no frame header's number: Huffman, arithmetic, and JPG itself.
            0xc4 | 0xc8 | 0xcc => {}
            0xc0..=0xcf => {
                let [height, width] =
                    [u16::from_be_bytes(take(data, at + 3)?), u16::from_be_bytes(take(data, at + 5)?)];
                return Ok((width.into(), height.into()));
            }
            // These stand alone.
            0x01 | 0xd0..=0xd7 => continue,
            // A second beginning, the end, or the scan before its frame.
            0x00 | 0xd8..=0xda => return Err(Unread::Broken),
            _ => {}
        }
        match u16::from_be_bytes(take(data, at)?) {
            0 | 1 => return Err(Unread::Broken),
            length => at += usize::from(length),
        }
    }
}

fn webp(data: &[u8]) -> Sides {
    match &take::<4>(data, 12)? {
        b"VP8 " => match take(data, 23)? {
            [0x9d, 0x01, 0x2a] => {
                let side = |at| Ok(u32::from(u16::from_le_bytes(take(data, at)?) & 0x3fff));
                Ok((side(26)?, side(28)?))
            }
            _ => Err(Unread::Broken),
        },
        b"VP8L" => match take(data, 20)? {
            [0x2f] => {
                let bits = u32::from_le_bytes(take(data, 21)?);
                Ok(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
            }
            _ => Err(Unread::Broken),
        },
        b"VP8X" => {
            let side = |at| {
                let [a, b, c] = take(data, at)?;
                Ok(u32::from_le_bytes([a, b, c, 0]) + 1)
            };
            Ok((side(24)?, side(27)?))
        }
        _ => Err(Unread::Broken),
    }
}

fn take<const N: usize>(data: &[u8], at: usize) -> Result<[u8; N], Unread> {
    data.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(Unread::Short)
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The first bytes of a png of this size; nothing behind its header.
    pub fn png_head(width: u32, height: u32) -> Vec<u8> {
        let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
        [b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".as_slice(), &sides, &[8, 2, 0, 0, 0]].concat()
    }

    fn jpeg_head(width: u16, height: u16, before: &[u8]) -> Vec<u8> {
        let sides = [height.to_be_bytes(), width.to_be_bytes()].concat();
        [b"\xff\xd8".as_slice(), before, b"\xff\xc2\0\x11\x08", &sides, &[3, 1, 0x22, 0]].concat()
    }

    fn sides(data: &[u8]) -> Result<Option<(u32, u32)>, NoPicture> {
        Picture::read(data, Some(data.len() as u64)).map(|picture| picture.sides)
    }

    #[test]
    fn each_format_tells_its_sides() {
        assert_eq!(sides(&png_head(640, 360)), Ok(Some((640, 360))));
        let app = [b"\xff\xe1\0\x08Exif\0\0".as_slice(), b"\xff\xff\xff\xc4\0\x04\0\0", b"\xff\x01"].concat();
        assert_eq!(sides(&jpeg_head(4000, 3000, &app)), Ok(Some((4000, 3000))));
        let lossy = b"RIFF\x1a\0\0\0WEBPVP8 \x0e\0\0\0\x30\x01\0\x9d\x01\x2a\x80\x02\x68\x41";
        assert_eq!(sides(lossy), Ok(Some((640, 360))), "the two bits of scaling are no part of it");
        let lossless =
            [b"RIFF\x1a\0\0\0WEBPVP8L\x0e\0\0\0\x2f".as_slice(), &(639_u32 | 359 << 14).to_le_bytes()].concat();
        assert_eq!(sides(&lossless), Ok(Some((640, 360))));
        let extended = b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x7f\x02\0\x67\x01\0";
        assert_eq!(sides(extended), Ok(Some((640, 360))));
    }

    #[test]
    fn what_is_no_picture_is_not_taken_for_one() {
        let none: [&[u8]; 4] = [b"", b"GIF89a", b"<!doctype html>", b"RIFF\x1a\0\0\0WAVEfmt "];
        for data in none {
            assert_eq!(sides(data), Err(NoPicture::Signature), "{data:?}");
        }
        let broken: [&[u8]; 6] = [
            b"\x89PNG\r\n\x1a\n",
            b"\x89PNG\r\n\x1a\n\0\0\0\x0dIDAT\0\0\0\0\0\0\0\0",
            b"\xff\xd8\xff\xda\0\x08",
            b"\xff\xd8\xff\xe0\0\x01",
            b"\xff\xd8\xff\xe0\0\x04\0\0nothing",
            b"RIFF\x1a\0\0\0WEBPVP9 ",
        ];
        for data in broken {
            assert_eq!(sides(data), Err(NoPicture::Broken), "{data:?}");
        }
        assert_eq!(sides(&png_head(0, 5)), Err(NoPicture::Broken));
        assert_eq!(sides(&jpeg_head(5, 0, b"")), Err(NoPicture::Broken));
    }

    #[test]
    fn a_first_part_that_does_not_tell_yet_is_no_fault() {
        let app = [b"\xff\xe1\xff\xff".as_slice(), &[0; 0xfffd]].concat();
        let whole = jpeg_head(640, 360, &app);
        let part = &whole[..1000];
        assert_eq!(Picture::read(part, Some(whole.len() as u64)).map(|picture| picture.sides), Ok(None));
        assert_eq!(Picture::read(part, None).map(|picture| picture.sides), Ok(None));
        assert_eq!(sides(part), Err(NoPicture::Broken));
        assert_eq!(sides(&whole), Ok(Some((640, 360))));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(kind in 0..3usize, rest in prop::collection::vec(any::<u8>(), 0..200)) {
            let start: &[u8] = [b"\xff\xd8\xff".as_slice(), b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8"][kind];
            let data = [start, &rest].concat();
            let _ = (sides(&data), Picture::read(&data, None));
        }
    }
}
