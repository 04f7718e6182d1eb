//! Writes bits, most significant first, and wraps them as H.264 units.

/// A growing row of bits.
#[derive(Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    pending: u64,
    count: u32,
}

impl Bits {
    /// Appends the lowest `count` bits of `value`, at most 32.
    pub(super) fn put(&mut self, value: u32, count: u32) {
        debug_assert!(count <= 32);
        let masked = u64::from(value) & ((1_u64 << count) - 1);
        self.pending = (self.pending << count) | masked;
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            self.bytes.push((self.pending >> self.count) as u8);
        }
        self.pending &= (1_u64 << self.count) - 1;
    }

    /// An unsigned Exp-Golomb number.
    pub(super) fn unsigned(&mut self, value: u32) {
        let code = u64::from(value) + 1;
        let length = 64 - code.leading_zeros();
        self.put(0, length - 1);
        self.put(code as u32, length);
    }

    /// A signed Exp-Golomb number.
    pub(super) fn signed(&mut self, value: i32) {
        let code = if value > 0 { 2 * value - 1 } else { -2 * value };
        self.unsigned(code as u32);
    }

    /// Ends with a one and zeros up to the byte, as every unit does.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.put(1, 1);
        if self.count > 0 {
            self.put(0, 8 - self.count);
        }
        self.bytes
    }
}

/// A unit: its header byte, and the payload with the bytes that would look like a
/// start code kept apart.
pub(super) fn unit(header: u8, payload: &[u8]) -> Vec<u8> {
    let mut unit = Vec::with_capacity(payload.len() + 16);
    unit.push(header);
    let mut zeros = 0;
    for &byte in payload {
        if zeros >= 2 && byte <= 3 {
            unit.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        unit.push(byte);
    }
    unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_standard_says() {
        let mut bits = Bits::default();
        for value in [0, 1, 2, 3] {
            bits.unsigned(value);
        }
        // 1 010 011 00100, and the end: 1 000
        assert_eq!(bits.finish(), [0b1010_0110, 0b0100_1000]);
        let mut bits = Bits::default();
        bits.signed(-1);
        bits.signed(1);
        assert_eq!(bits.finish(), [0b0110_1010]);
    }

    #[test]
    fn start_codes_never_appear_inside_a_unit() {
        assert_eq!(unit(0x65, &[0, 0, 1, 0, 0, 0]), [0x65, 0, 0, 3, 1, 0, 0, 3, 0]);
    }
}
