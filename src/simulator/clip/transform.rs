//! H.264's whole-number transform of four by four samples and its quantiser, both
//! ways: the encoder has to see exactly what a player will see.

/// The quantiser's step: the smaller, the better the picture and the larger the file.
/// At most 29, where luma and chroma use the same.
pub(super) const QUANTISER: u32 = 25;

const ROW: usize = (QUANTISER % 6) as usize;
const SHIFT: u32 = QUANTISER / 6;
/// By the place's class: both even, both odd, mixed.
const FORWARD: [[i32; 3]; 6] = [
    [13_107, 5_243, 8_066],
    [11_916, 4_660, 7_490],
    [10_082, 4_194, 6_554],
    [9_362, 3_647, 5_825],
    [8_192, 3_355, 5_243],
    [7_282, 2_893, 4_559],
];
const BACK: [[i32; 3]; 6] = [[10, 16, 13], [11, 18, 14], [13, 20, 16], [14, 23, 18], [16, 25, 20], [18, 29, 23]];

/// Where the n-th coefficient of the scan stands in the block.
pub(super) const SCAN: [usize; 16] = [0, 1, 4, 8, 5, 2, 3, 6, 9, 12, 13, 10, 7, 11, 14, 15];

/// Sixteen numbers, row after row.
pub(super) type Block = [i32; 16];

fn class(place: usize) -> usize {
    match (place / 4 % 2, place % 2) {
        (0, 0) => 0,
        (1, 1) => 1,
        _ => 2,
    }
}

/// The transform of differences.
pub(super) fn forward(block: &Block) -> Block {
    let pass = |a: i32, b: i32, c: i32, d: i32| {
        let (s0, s1, d0, d1) = (a + d, b + c, a - d, b - c);
        [s0 + s1, 2 * d0 + d1, s0 - s1, d0 - 2 * d1]
    };
    both_ways(block, pass)
}

/// The differences again, rounded as every player does.
pub(super) fn inverse(block: &Block) -> Block {
    let pass = |a: i32, b: i32, c: i32, d: i32| {
        let (e, f) = (a + c, a - c);
        let (g, h) = ((b >> 1) - d, b + (d >> 1));
        [e + h, f + g, f - g, e - h]
    };
    both_ways(block, pass).map(|value| (value + 32) >> 6)
}

/// The transform of constant terms, which is its own inverse but for the scale.
pub(super) fn hadamard(block: &Block) -> Block {
    both_ways(block, |a, b, c, d| [a + b + c + d, a + b - c - d, a - b - c + d, a - b + c - d])
}

/// Rows first, then columns, as the standard's inverse does.
fn both_ways(block: &Block, pass: impl Fn(i32, i32, i32, i32) -> [i32; 4]) -> Block {
    let mut rows = [0; 16];
    for y in 0..4 {
        let line = pass(block[4 * y], block[4 * y + 1], block[4 * y + 2], block[4 * y + 3]);
        rows[4 * y..4 * y + 4].copy_from_slice(&line);
    }
    let mut out = [0; 16];
    for x in 0..4 {
        let column = pass(rows[x], rows[x + 4], rows[x + 8], rows[x + 12]);
        for y in 0..4 {
            out[4 * y + x] = column[y];
        }
    }
    out
}

fn quantise(value: i32, factor: i32, bits: u32, rounding: i64) -> i32 {
    let scaled = (i64::from(value.abs()) * i64::from(factor) + (1_i64 << bits) / rounding) >> bits;
    scaled as i32 * value.signum()
}

/// A coefficient that is not a constant term.
pub(super) fn level(value: i32, place: usize) -> i32 {
    quantise(value, FORWARD[ROW][class(place)], 15 + SHIFT, 3)
}

/// And back.
pub(super) fn value(level: i32, place: usize) -> i32 {
    (level * BACK[ROW][class(place)]) << SHIFT
}

/// A constant term that went through a second transform.
pub(super) fn dc_level(value: i32) -> i32 {
    quantise(value, FORWARD[ROW][0], 16 + SHIFT, 3)
}

/// Luma's constant term after its second transform back.
pub(super) fn luma_dc_value(level: i32) -> i32 {
    let scaled = level * BACK[ROW][0];
    if SHIFT >= 2 { scaled << (SHIFT - 2) } else { (scaled + (1 << (1 - SHIFT))) >> (2 - SHIFT) }
}

/// Chroma's constant term after its second transform back.
pub(super) fn chroma_dc_value(level: i32) -> i32 {
    ((level * BACK[ROW][0]) << SHIFT) >> 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_nearly_as_it_was() {
        let block: Block = std::array::from_fn(|place| (place as i32 * 37 % 101) - 50);
        let there = forward(&block);
        let levels: Block = std::array::from_fn(|place| level(there[place], place));
        let back = inverse(&std::array::from_fn(|place| value(levels[place], place)));
        for place in 0..16 {
            assert!((block[place] - back[place]).abs() <= 10, "{block:?} {back:?}");
        }
    }
}
