//! Q3_K: superblocks of 256 three-bit codes; each 16 have a signed six-bit scale.

use super::{Format, GroupScales, Kind, half, word};

/// `u8 high[32]; u8 low[64]; u8 scales[12]; f16 d`: `value = d * (scale - 32) * (code - 4)`.
///
/// In each half of 128 elements, group `k` of 32 has its low two bits in bits `2k..` of 32 bytes; the third bit of
/// element `i` of group `g` is bit `g` of byte `i`. The low nibbles of scales 0..8 and 8..16 are the nibbles of eight
/// bytes, their upper two bits lie in the last four.
pub struct Q3K;

impl Format for Q3K {
    const NAME: &'static str = "Q3_K";
    const KIND: Kind = Kind::Q3K;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 110;
    const MAX_CODE: u32 = 7;
    const OFFSET: i32 = 4;
    const HALVES: bool = true;
    const HAS_MIN: bool = false;
    const MAX_MULTIPLIER: u32 = 32;

    #[inline(always)]
    fn codes(block: &[u8], group: usize) -> [u64; 4] {
        let (n, k) = (group / 4, group % 4);
        [0, 8, 16, 24].map(|i| {
            let low = (word(block, 32 + 32 * n + i) >> (2 * k)) & 0x0303_0303_0303_0303;
            let high = (word(block, i) >> group) & 0x0101_0101_0101_0101;
            low | (high << 2)
        })
    }

    #[inline(always)]
    fn scales(block: &[u8], group: usize) -> GroupScales {
        let byte = |i: usize| i32::from(block.get(96 + i).copied().unwrap_or(0));
        let scale = |i: usize| {
            let low = (byte(i % 8) >> (4 * (i / 8))) & 15;
            let high = (byte(8 + i % 4) >> (2 * (i / 4))) & 3;
            (low | (high << 4)) - 32
        };
        GroupScales { d: half(block, 108), dx: [scale(2 * group), scale(2 * group + 1)], m: 0.0, mx: [0; 2] }
    }
}
