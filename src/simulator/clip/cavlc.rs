//! Writes one block of quantised coefficients with H.264's variable length codes
//! (section 9.2 of the standard). The tables are the standard's own.

use super::bits::Bits;

/// Lengths and codes of coeff_token, by row of neighbours, then 4 * total + trailing ones.
const TOKEN_LENGTHS: [[u8; 68]; 3] = [
    [
        1, 0, 0, 0, 6, 2, 0, 0, 8, 6, 3, 0, 9, 8, 7, 5, 10, 9, 8, 6, 11, 10, 9, 7, 13, 11, 10, 8, 13, 13, 11, 9, 13,
        13, 13, 10, 14, 14, 13, 11, 14, 14, 14, 13, 15, 15, 14, 14, 15, 15, 15, 14, 16, 15, 15, 15, 16, 16, 16, 15, 16,
        16, 16, 16, 16, 16, 16, 16,
    ],
    [
        2, 0, 0, 0, 6, 2, 0, 0, 6, 5, 3, 0, 7, 6, 6, 4, 8, 6, 6, 4, 8, 7, 7, 5, 9, 8, 8, 6, 11, 9, 9, 6, 11, 11, 11, 7,
        12, 11, 11, 9, 12, 12, 12, 11, 12, 12, 12, 11, 13, 13, 13, 12, 13, 13, 13, 13, 13, 14, 13, 13, 14, 14, 14, 13,
        14, 14, 14, 14,
    ],
    [
        4, 0, 0, 0, 6, 4, 0, 0, 6, 5, 4, 0, 6, 5, 5, 4, 7, 5, 5, 4, 7, 5, 5, 4, 7, 6, 6, 4, 7, 6, 6, 4, 8, 7, 7, 5, 8,
        8, 7, 6, 9, 8, 8, 7, 9, 9, 8, 8, 9, 9, 9, 8, 10, 9, 9, 9, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10,
    ],
];
const TOKEN_CODES: [[u8; 68]; 3] = [
    [
        1, 0, 0, 0, 5, 1, 0, 0, 7, 4, 1, 0, 7, 6, 5, 3, 7, 6, 5, 3, 7, 6, 5, 4, 15, 6, 5, 4, 11, 14, 5, 4, 8, 10, 13,
        4, 15, 14, 9, 4, 11, 10, 13, 12, 15, 14, 9, 12, 11, 10, 13, 8, 15, 1, 9, 12, 11, 14, 13, 8, 7, 10, 9, 12, 4, 6,
        5, 8,
    ],
    [
        3, 0, 0, 0, 11, 2, 0, 0, 7, 7, 3, 0, 7, 10, 9, 5, 7, 6, 5, 4, 4, 6, 5, 6, 7, 6, 5, 8, 15, 6, 5, 4, 11, 14, 13,
        4, 15, 10, 9, 4, 11, 14, 13, 12, 8, 10, 9, 8, 15, 14, 13, 12, 11, 10, 9, 12, 7, 11, 6, 8, 9, 8, 10, 1, 7, 6, 5,
        4,
    ],
    [
        15, 0, 0, 0, 15, 14, 0, 0, 11, 15, 13, 0, 8, 12, 14, 12, 15, 10, 11, 11, 11, 8, 9, 10, 9, 14, 13, 9, 8, 10, 9,
        8, 15, 14, 13, 13, 11, 14, 10, 12, 15, 10, 13, 12, 11, 14, 9, 12, 8, 10, 13, 8, 13, 7, 9, 12, 9, 12, 11, 10, 5,
        8, 7, 6, 1, 4, 3, 2,
    ],
];
const CHROMA_TOKEN_LENGTHS: [u8; 20] = [2, 0, 0, 0, 6, 1, 0, 0, 6, 6, 3, 0, 6, 7, 7, 6, 6, 8, 8, 7];
const CHROMA_TOKEN_CODES: [u8; 20] = [1, 0, 0, 0, 7, 1, 0, 0, 4, 6, 1, 0, 3, 3, 2, 5, 2, 3, 2, 0];

/// Lengths and codes of total_zeros, by the number of coefficients less one.
const ZEROS_LENGTHS: [&[u8]; 15] = [
    &[1, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 9],
    &[3, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 6, 6, 6, 6],
    &[4, 3, 3, 3, 4, 4, 3, 3, 4, 5, 5, 6, 5, 6],
    &[5, 3, 4, 4, 3, 3, 3, 4, 3, 4, 5, 5, 5],
    &[4, 4, 4, 3, 3, 3, 3, 3, 4, 5, 4, 5],
    &[6, 5, 3, 3, 3, 3, 3, 3, 4, 3, 6],
    &[6, 5, 3, 3, 3, 2, 3, 4, 3, 6],
    &[6, 4, 5, 3, 2, 2, 3, 3, 6],
    &[6, 6, 4, 2, 2, 3, 2, 5],
    &[5, 5, 3, 2, 2, 2, 4],
    &[4, 4, 3, 3, 1, 3],
    &[4, 4, 2, 1, 3],
    &[3, 3, 1, 2],
    &[2, 2, 1],
    &[1, 1],
];
const ZEROS_CODES: [&[u8]; 15] = [
    &[1, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 1],
    &[7, 6, 5, 4, 3, 5, 4, 3, 2, 3, 2, 3, 2, 1, 0],
    &[5, 7, 6, 5, 4, 3, 4, 3, 2, 3, 2, 1, 1, 0],
    &[3, 7, 5, 4, 6, 5, 4, 3, 3, 2, 2, 1, 0],
    &[5, 4, 3, 7, 6, 5, 4, 3, 2, 1, 1, 0],
    &[1, 1, 7, 6, 5, 4, 3, 2, 1, 1, 0],
    &[1, 1, 5, 4, 3, 3, 2, 1, 1, 0],
    &[1, 1, 1, 3, 3, 2, 2, 1, 0],
    &[1, 0, 1, 3, 2, 1, 1, 1],
    &[1, 0, 1, 3, 2, 1, 1],
    &[0, 1, 1, 2, 1, 3],
    &[0, 1, 1, 1, 1],
    &[0, 1, 1, 1],
    &[0, 1, 1],
    &[0, 1],
];
const CHROMA_ZEROS_LENGTHS: [&[u8]; 3] = [&[1, 2, 3, 3], &[1, 2, 2], &[1, 1]];
const CHROMA_ZEROS_CODES: [&[u8]; 3] = [&[1, 1, 1, 0], &[1, 1, 0], &[1, 0]];

/// Lengths and codes of run_before, by the zeros that are left, less one.
const RUN_LENGTHS: [&[u8]; 7] = [
    &[1, 1],
    &[1, 2, 2],
    &[2, 2, 2, 2],
    &[2, 2, 2, 3, 3],
    &[2, 2, 3, 3, 3, 3],
    &[2, 3, 3, 3, 3, 3, 3],
    &[3, 3, 3, 3, 3, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11],
];
const RUN_CODES: [&[u8]; 7] = [
    &[1, 0],
    &[1, 1, 0],
    &[3, 2, 1, 0],
    &[3, 2, 1, 1, 0],
    &[3, 2, 3, 2, 1, 0],
    &[3, 0, 1, 3, 2, 5, 4],
    &[7, 6, 5, 4, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1],
];

/// What surrounds a block: it chooses the table for the block's first code.
#[derive(Clone, Copy)]
pub(super) enum Context {
    /// How many coefficients the blocks beside have on average.
    Neighbours(u32),
    /// The four constant terms of one chroma plane.
    ChromaDc,
}

/// Writes the coefficients of one block in scan order; says how many are not zero.
pub(super) fn write(bits: &mut Bits, coefficients: &[i32], context: Context) -> u32 {
    let places: Vec<usize> = (0..coefficients.len()).filter(|&place| coefficients[place] != 0).collect();
    let total = places.len();
    let ones = places.iter().rev().take(3).take_while(|&&place| coefficients[place].abs() == 1).count();
    token(bits, total, ones, context);
    if total == 0 {
        return 0;
    }
    for &place in places.iter().rev().take(ones) {
        bits.put(u32::from(coefficients[place] < 0), 1);
    }
    levels(bits, places.iter().rev().skip(ones).map(|&place| coefficients[place]), total, ones);
    let mut zeros = places[total - 1] + 1 - total;
    if total < coefficients.len() {
        let (lengths, codes) = match context {
            Context::ChromaDc => (CHROMA_ZEROS_LENGTHS[total - 1], CHROMA_ZEROS_CODES[total - 1]),
            Context::Neighbours(_) => (ZEROS_LENGTHS[total - 1], ZEROS_CODES[total - 1]),
        };
        bits.put(codes[zeros].into(), lengths[zeros].into());
    }
    for pair in places.windows(2).rev() {
        if zeros == 0 {
            break;
        }
        let run = pair[1] - pair[0] - 1;
        let row = zeros.min(7) - 1;
        bits.put(RUN_CODES[row][run].into(), RUN_LENGTHS[row][run].into());
        zeros -= run;
    }
    total as u32
}

fn token(bits: &mut Bits, total: usize, ones: usize, context: Context) {
    let place = 4 * total + ones;
    let row = match context {
        Context::ChromaDc => {
            bits.put(CHROMA_TOKEN_CODES[place].into(), CHROMA_TOKEN_LENGTHS[place].into());
            return;
        }
        Context::Neighbours(0..=1) => 0,
        Context::Neighbours(2..=3) => 1,
        Context::Neighbours(4..=7) => 2,
        Context::Neighbours(_) => {
            let code = if total == 0 { 3 } else { 4 * (total - 1) + ones };
            bits.put(code as u32, 6);
            return;
        }
    };
    bits.put(TOKEN_CODES[row][place].into(), TOKEN_LENGTHS[row][place].into());
}

/// The levels that are not trailing ones, from the highest frequency down.
fn levels(bits: &mut Bits, levels: impl Iterator<Item = i32>, total: usize, ones: usize) {
    let mut suffix = u32::from(total > 10 && ones < 3);
    for (turn, level) in levels.enumerate() {
        let mut code = if level > 0 { 2 * level - 2 } else { -2 * level - 1 } as u32;
        if turn == 0 && ones < 3 {
            // It cannot be one, or it would be a trailing one.
            code -= 2;
        }
        match (suffix, code) {
            (0, 0..14) => bits.put(1, code + 1),
            (0, 14..30) => {
                bits.put(1, 15);
                bits.put(code - 14, 4);
            }
            (0, _) => {
                bits.put(1, 16);
                bits.put(code - 30, 12);
            }
            (suffix, code) if code < 15 << suffix => {
                bits.put(1, (code >> suffix) + 1);
                bits.put(code & ((1 << suffix) - 1), suffix);
            }
            (suffix, code) => {
                bits.put(1, 16);
                bits.put(code - (15 << suffix), 12);
            }
        }
        suffix = suffix.max(1);
        if level.unsigned_abs() > 3 << (suffix - 1) && suffix < 6 {
            suffix += 1;
        }
    }
}
