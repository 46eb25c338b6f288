//! Q6_K: superblocks of 256 six-bit codes; each 16 have a signed eight-bit scale.

use super::{Format, GroupScales, Kind, LOW_NIBBLES, half, word};

/// `u8 low[128]; u8 high[64]; i8 scales[16]; f16 d`: `value = d * scale * (code - 32)`.
///
/// In each half of 128 elements, group `k` of 32 has its low four bits in nibble `k / 2` of bytes
/// `32 * (k % 2)..`, and its upper two in bits `2k..` of 32 bytes.
pub struct Q6K;

impl Format for Q6K {
    const NAME: &'static str = "Q6_K";
    const KIND: Kind = Kind::Q6K;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 210;
    const MAX_CODE: u32 = 63;
    const OFFSET: i32 = 32;
    const HALVES: bool = true;
    const HAS_MIN: bool = false;
    const MAX_MULTIPLIER: u32 = 128;

    #[inline(always)]
    fn codes(block: &[u8], group: usize) -> [u64; 4] {
        let (n, k) = (group / 4, group % 4);
        [0, 8, 16, 24].map(|i| {
            let low = word(block, 64 * n + 32 * (k % 2) + i) >> (4 * (k / 2));
            let high = word(block, 128 + 32 * n + i) >> (2 * k);
            (low & LOW_NIBBLES) | ((high & 0x0303_0303_0303_0303) << 4)
        })
    }

    #[inline(always)]
    fn scales(block: &[u8], group: usize) -> GroupScales {
        let scale = |i: usize| i32::from(block.get(192 + i).copied().unwrap_or(0) as i8);
        GroupScales { d: half(block, 208), dx: [scale(2 * group), scale(2 * group + 1)], m: 0.0, mx: [0; 2] }
    }
}
