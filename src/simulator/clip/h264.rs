//! A small H.264 encoder, constrained baseline: whole-macroblock intra prediction
//! with the full residual, and skipped macroblocks where nothing moved. It is
//! enough for drawn scenes and needs no library.

use super::bits::{Bits, unit};
use super::cavlc::{self, Context};
use super::picture::{Picture, Plane};
use super::transform::{self as t, Block, QUANTISER};

/// Where the n-th four by four block of a macroblock stands: column, row.
const ORDER: [(usize, usize); 16] = [
    (0, 0),
    (1, 0),
    (0, 1),
    (1, 1),
    (2, 0),
    (3, 0),
    (2, 1),
    (3, 1),
    (0, 2),
    (1, 2),
    (0, 3),
    (1, 3),
    (2, 2),
    (3, 2),
    (2, 3),
    (3, 3),
];

/// An encoder with what the player's picture looks like at this point.
pub(super) struct Encoder {
    seen: Picture,
    /// How many coefficients each four by four block of each plane has.
    counts: [Counts; 3],
    frame_number: u32,
    key_number: u32,
}

struct Counts {
    stride: usize,
    counts: Vec<u8>,
}

impl Counts {
    fn new(width: usize, height: usize) -> Self {
        Self { stride: width, counts: vec![0; width * height] }
    }

    /// The average of the blocks to the left and above, as far as there are any.
    fn context(&self, x: usize, y: usize) -> Context {
        let left = (x > 0).then(|| u32::from(self.counts[y * self.stride + x - 1]));
        let above = (y > 0).then(|| u32::from(self.counts[(y - 1) * self.stride + x]));
        Context::Neighbours(match (left, above) {
            (Some(left), Some(above)) => (left + above).div_ceil(2),
            (one, other) => one.or(other).unwrap_or(0),
        })
    }
}

/// One plane's share of a macroblock, coded but not yet written.
struct Coded {
    mode: u32,
    /// The constant terms in scan order.
    constants: Vec<i32>,
    /// The other coefficients of each block in scan order, block after block, row after row.
    others: Vec<[i32; 15]>,
}

impl Coded {
    fn has_constants(&self) -> bool {
        self.constants.iter().any(|&level| level != 0)
    }

    fn has_others(&self) -> bool {
        self.others.iter().flatten().any(|&level| level != 0)
    }
}

impl Encoder {
    /// An encoder for one group of pictures: a key picture, numbered here, and those that follow it.
    pub(super) fn new(columns: usize, rows: usize, key_number: u32) -> Self {
        let chroma = || Counts::new(columns * 2, rows * 2);
        Self {
            seen: Picture::new(columns, rows),
            counts: [Counts::new(columns * 4, rows * 4), chroma(), chroma()],
            frame_number: 0,
            key_number,
        }
    }

    /// Encodes one picture as a unit, without a start code.
    pub(super) fn encode(&mut self, picture: &Picture, key: bool) -> Vec<u8> {
        let mut bits = Bits::default();
        self.slice_header(&mut bits, key);
        let mut skipped = 0;
        for row in 0..picture.rows {
            for column in 0..picture.columns {
                if !key && self.looks_the_same(picture, column, row) {
                    skipped += 1;
                    self.forget_counts(column, row);
                    continue;
                }
                if !key {
                    bits.unsigned(skipped);
                    skipped = 0;
                }
                self.macroblock(&mut bits, picture, column, row, if key { 1 } else { 6 });
            }
        }
        if skipped > 0 {
            bits.unsigned(skipped);
        }
        self.frame_number += 1;
        unit(if key { 0x65 } else { 0x61 }, &bits.finish())
    }

    fn slice_header(&self, bits: &mut Bits, key: bool) {
        bits.unsigned(0);
        bits.unsigned(if key { 7 } else { 5 });
        bits.unsigned(0);
        bits.put(self.frame_number, 8);
        if key {
            bits.unsigned(self.key_number % 2);
            bits.put(0, 2);
        } else {
            // No other count of references, no reordering, no marking.
            bits.put(0, 3);
        }
        bits.signed(0);
        // The player's smoothing filter stays off, or it would see other pixels than we do.
        bits.unsigned(1);
    }

    /// Whether the player's picture is close enough here to what is wanted.
    fn looks_the_same(&self, wanted: &Picture, column: usize, row: usize) -> bool {
        let sides = [16, 8, 8];
        (0..3).all(|plane| {
            let (seen, wanted, side) = (&self.seen.planes[plane], &wanted.planes[plane], sides[plane]);
            let mut squares = 0;
            for y in row * side..(row + 1) * side {
                let line = y * seen.stride + column * side..y * seen.stride + (column + 1) * side;
                for (a, b) in seen.samples[line.clone()].iter().zip(&wanted.samples[line]) {
                    let difference = i32::from(*a) - i32::from(*b);
                    squares += difference * difference;
                    if difference.abs() > 6 {
                        return false;
                    }
                }
            }
            squares <= (side * side * 3) as i32
        })
    }

    fn forget_counts(&mut self, column: usize, row: usize) {
        for (plane, side) in [(0, 4), (1, 2), (2, 2)] {
            let counts = &mut self.counts[plane];
            for y in row * side..(row + 1) * side {
                counts.counts[y * counts.stride + column * side..][..side].fill(0);
            }
        }
    }

    fn macroblock(&mut self, bits: &mut Bits, picture: &Picture, column: usize, row: usize, first_type: u32) {
        self.forget_counts(column, row);
        let luma = code(&picture.planes[0], &mut self.seen.planes[0], column, row, 16, None);
        let blue = code(&picture.planes[1], &mut self.seen.planes[1], column, row, 8, None);
        // Both planes of chroma share one mode.
        let red = code(&picture.planes[2], &mut self.seen.planes[2], column, row, 8, Some(blue.mode));
        let chroma = match () {
            () if blue.has_others() || red.has_others() => 2,
            () if blue.has_constants() || red.has_constants() => 1,
            () => 0,
        };
        bits.unsigned(first_type + luma.mode + 4 * chroma + 12 * u32::from(luma.has_others()));
        // Chroma numbers its modes in another order: flat, from the left, from above.
        bits.unsigned([2, 1, 0][blue.mode as usize]);
        bits.signed(0);
        let context = self.counts[0].context(column * 4, row * 4);
        cavlc::write(bits, &luma.constants, context);
        if luma.has_others() {
            for (x, y) in ORDER {
                self.block(bits, 0, (column * 4 + x, row * 4 + y), &luma.others[y * 4 + x]);
            }
        }
        if chroma > 0 {
            cavlc::write(bits, &blue.constants, Context::ChromaDc);
            cavlc::write(bits, &red.constants, Context::ChromaDc);
        }
        if chroma == 2 {
            for (plane, coded) in [(1, &blue), (2, &red)] {
                for (x, y) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                    self.block(bits, plane, (column * 2 + x, row * 2 + y), &coded.others[y * 2 + x]);
                }
            }
        }
    }

    fn block(&mut self, bits: &mut Bits, plane: usize, (x, y): (usize, usize), levels: &[i32; 15]) {
        let counts = &mut self.counts[plane];
        let count = cavlc::write(bits, levels, counts.context(x, y));
        counts.counts[y * counts.stride + x] = count as u8;
    }
}

/// Predicts, transforms and quantises one plane's share of a macroblock, and draws
/// what the player will draw.
fn code(wanted: &Plane, seen: &mut Plane, column: usize, row: usize, side: usize, mode: Option<u32>) -> Coded {
    let (left, top) = (column * side, row * side);
    let (mode, predicted) = predict(wanted, seen, left, top, side, mode);
    let across = side / 4;
    let mut blocks: Vec<Block> = Vec::with_capacity(16);
    for place in 0..across * across {
        let (x0, y0) = (place % across * 4, place / across * 4);
        let difference: Block = std::array::from_fn(|i| {
            let (x, y) = (x0 + i % 4, y0 + i / 4);
            wanted.at(left + x, top + y) - predicted[y * side + x]
        });
        blocks.push(t::forward(&difference));
    }
    let (constants, constant_values) = if side == 16 { luma_constants(&blocks) } else { chroma_constants(&blocks) };
    let mut others = Vec::with_capacity(blocks.len());
    for (place, block) in blocks.iter().enumerate() {
        let levels: [i32; 15] = std::array::from_fn(|n| t::level(block[t::SCAN[n + 1]], t::SCAN[n + 1]));
        let mut values: Block = [0; 16];
        values[0] = constant_values[place];
        for (n, level) in levels.iter().enumerate() {
            values[t::SCAN[n + 1]] = t::value(*level, t::SCAN[n + 1]);
        }
        let (x0, y0) = (place % across * 4, place / across * 4);
        for (i, difference) in t::inverse(&values).into_iter().enumerate() {
            let (x, y) = (x0 + i % 4, y0 + i / 4);
            seen.put(left + x, top + y, predicted[y * side + x] + difference);
        }
        others.push(levels);
    }
    Coded { mode, constants, others }
}

fn luma_constants(blocks: &[Block]) -> (Vec<i32>, Vec<i32>) {
    let constants: Block = std::array::from_fn(|place| blocks[place][0]);
    let levels = t::hadamard(&constants).map(|value| t::dc_level((value + 1) >> 1));
    let values = t::hadamard(&levels).map(t::luma_dc_value);
    (t::SCAN.iter().map(|&place| levels[place]).collect(), values.to_vec())
}

fn chroma_constants(blocks: &[Block]) -> (Vec<i32>, Vec<i32>) {
    let mix = |[a, b, c, d]: [i32; 4]| [a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d];
    let levels = mix(std::array::from_fn(|place| blocks[place][0])).map(t::dc_level);
    (levels.to_vec(), mix(levels).map(t::chroma_dc_value).to_vec())
}

/// The best of the predictions from above (0), from the left (1) and flat (2).
fn predict(wanted: &Plane, seen: &Plane, left: usize, top: usize, side: usize, mode: Option<u32>) -> (u32, Vec<i32>) {
    let mut best: Option<(i32, u32, Vec<i32>)> = None;
    for candidate in 0..3 {
        let possible = (candidate != 0 || top > 0) && (candidate != 1 || left > 0);
        if !possible || mode.is_some_and(|mode| mode != candidate) {
            continue;
        }
        let predicted: Vec<i32> = match candidate {
            0 => (0..side * side).map(|i| seen.at(left + i % side, top - 1)).collect(),
            1 => (0..side * side).map(|i| seen.at(left - 1, top + i / side)).collect(),
            _ if side == 16 => vec![flat(seen, left, top, (0, 0), 16, Prefer::Both); 256],
            _ => flat_chroma(seen, left, top),
        };
        let cost =
            (0..side * side).map(|i| (wanted.at(left + i % side, top + i / side) - predicted[i]).abs()).sum::<i32>();
        if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
            best = Some((cost, candidate, predicted));
        }
    }
    match best {
        Some((_, mode, predicted)) => (mode, predicted),
        // Only a mode that is forced and impossible leads here; flat is always possible.
        None => (2, vec![128; side * side]),
    }
}

/// Which neighbours a flat prediction is made from.
#[derive(Clone, Copy)]
enum Prefer {
    Both,
    Above,
    Left,
}

/// Each quarter of chroma has its own flat value.
fn flat_chroma(seen: &Plane, left: usize, top: usize) -> Vec<i32> {
    let quarters = [
        flat(seen, left, top, (0, 0), 4, Prefer::Both),
        flat(seen, left, top, (4, 0), 4, Prefer::Above),
        flat(seen, left, top, (0, 4), 4, Prefer::Left),
        flat(seen, left, top, (4, 4), 4, Prefer::Both),
    ];
    (0..64).map(|i| quarters[i / 32 * 2 + i % 8 / 4]).collect()
}

/// The average of the samples above and to the left of the macroblock, at this offset.
fn flat(seen: &Plane, left: usize, top: usize, (x, y): (usize, usize), length: usize, prefer: Prefer) -> i32 {
    let above = (top > 0).then(|| (0..length).map(|i| seen.at(left + x + i, top - 1)).sum::<i32>());
    let beside = (left > 0).then(|| (0..length).map(|i| seen.at(left - 1, top + y + i)).sum::<i32>());
    let length = length as i32;
    match (above, beside, prefer) {
        (Some(above), Some(beside), Prefer::Both) => (above + beside + length) / (2 * length),
        (Some(one), None, _) | (None, Some(one), _) => (one + length / 2) / length,
        (Some(one), Some(_), Prefer::Above) | (Some(_), Some(one), Prefer::Left) => (one + length / 2) / length,
        (None, None, _) => 128,
    }
}

/// What a player must know about all pictures: the size and the pace.
pub(super) fn sequence_parameters(width: usize, height: usize, frames_per_second: u32) -> Vec<u8> {
    let mut bits = Bits::default();
    // Baseline, constrained, level 3.1.
    bits.put(66, 8);
    bits.put(0b1100_0000, 8);
    bits.put(31, 8);
    bits.unsigned(0);
    bits.unsigned(4);
    bits.unsigned(2);
    bits.unsigned(1);
    bits.put(0, 1);
    let (columns, rows) = (width.div_ceil(16), height.div_ceil(16));
    bits.unsigned(columns as u32 - 1);
    bits.unsigned(rows as u32 - 1);
    // Frames only, and direct inference as the level asks.
    bits.put(0b11, 2);
    let (right, bottom) = ((columns * 16 - width) / 2, (rows * 16 - height) / 2);
    bits.put(u32::from(right + bottom > 0), 1);
    if right + bottom > 0 {
        for edge in [0, right, 0, bottom] {
            bits.unsigned(edge as u32);
        }
    }
    bits.put(1, 1);
    usability(&mut bits, frames_per_second);
    unit(0x67, &bits.finish())
}

/// Colours as in BT.709, and the pace.
fn usability(bits: &mut Bits, frames_per_second: u32) {
    bits.put(0b00, 2);
    // A description of the signal: unspecified format, limited range, and the colours.
    bits.put(1, 1);
    bits.put(5, 3);
    bits.put(0, 1);
    bits.put(1, 1);
    for _ in 0..3 {
        bits.put(1, 8);
    }
    bits.put(0, 1);
    bits.put(1, 1);
    bits.put(1, 32);
    bits.put(2 * frames_per_second, 32);
    bits.put(1, 1);
    // No buffer models, no structure, no restrictions.
    bits.put(0, 4);
}

/// What a player must know about coding.
pub(super) fn picture_parameters() -> Vec<u8> {
    let mut bits = Bits::default();
    bits.unsigned(0);
    bits.unsigned(0);
    bits.put(0, 2);
    bits.unsigned(0);
    bits.unsigned(0);
    bits.unsigned(0);
    bits.put(0, 3);
    bits.signed(QUANTISER as i32 - 26);
    bits.signed(0);
    bits.signed(0);
    bits.put(0b100, 3);
    unit(0x68, &bits.finish())
}
