//! Pictures made from nothing, each of them whole: any viewer shows them, grey.

/// A png of this size, with enough ancillary bytes to be a file of `bytes`, unless
/// it is larger already.
pub fn png(width: u32, height: u32, bytes: usize) -> Vec<u8> {
    let line = [&[0_u8][..], &vec![0x80; width as usize]].concat();
    let lines = line.repeat(height as usize);
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    file.extend(chunk(b"IHDR", &header));
    let (pixels, end) = (chunk(b"IDAT", &stored(&lines)), chunk(b"IEND", &[]));
    let so_far = file.len() + pixels.len() + end.len();
    // After the header, so that it does not hide the sides, and before the pixels.
    if let Some(padding) = bytes.checked_sub(so_far + 12) {
        file.extend(chunk(b"prVt", &vec![0x20; padding]));
    }
    file.extend(pixels);
    file.extend(end);
    file
}

/// A baseline jpeg of this size.
pub fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let quantization = [&[0_u8][..], &[1; 64]].concat();
    let frame = [&[8_u8][..], &height.to_be_bytes(), &width.to_be_bytes(), &[1, 1, 0x11, 0]].concat();
    // One code of one bit in either table: "no difference" and "end of block".
    let huffman = |table: u8| [&[table, 1][..], &[0; 15], &[0]].concat();
    let blocks = usize::from(width.div_ceil(8)) * usize::from(height.div_ceil(8));
    let mut file = b"\xff\xd8".to_vec();
    for (marker, content) in [
        (0xdb, quantization),
        (0xc0, frame),
        (0xc4, huffman(0)),
        (0xc4, huffman(0x10)),
        (0xda, vec![1, 1, 0, 0, 63, 0]),
    ] {
        file.extend([0xff, marker]);
        file.extend((content.len() as u16 + 2).to_be_bytes());
        file.extend(content);
    }
    // Two bits a block, and ones to fill the last byte.
    let mut scan = vec![0_u8; (2 * blocks).div_ceil(8)];
    if let (Some(last), used @ 1..) = (scan.last_mut(), 2 * blocks % 8) {
        *last = 0xff >> used;
    }
    file.extend(scan);
    file.extend(b"\xff\xd9");
    file
}

/// A zlib stream that is not compressed.
fn stored(data: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let mut blocks = data.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        stream.push(u8::from(blocks.peek().is_none()));
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
    }
    let (a, b) = data.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (b + a) % 65521)
    });
    stream.extend((b << 16 | a).to_be_bytes());
    stream
}

fn chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let named = [&name[..], content].concat();
    let crc = !named.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    [&(content.len() as u32).to_be_bytes()[..], &named, &crc.to_be_bytes()].concat()
}
