//! Q2_K: superblocks of 256 two-bit codes; each 16 have a four-bit scale and a four-bit minimum.

use super::{Format, GroupScales, Kind, half, word};

/// `u8 scales[16]; u8 codes[64]; f16 d; f16 dmin`: `value = d * scale * code - dmin * min`.
///
/// The low nibble of a scale byte is the scale, the high one the minimum. In each half of 128 elements, group `k` of 32
/// has its codes in bits `2k..` of 32 bytes.
pub struct Q2K;

impl Format for Q2K {
    const NAME: &'static str = "Q2_K";
    const KIND: Kind = Kind::Q2K;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 84;
    const MAX_CODE: u32 = 3;
    const OFFSET: i32 = 0;
    const HALVES: bool = true;
    const HAS_MIN: bool = true;
    const MAX_MULTIPLIER: u32 = 15;

    #[inline(always)]
    fn codes(block: &[u8], group: usize) -> [u64; 4] {
        let (n, k) = (group / 4, group % 4);
        [0, 8, 16, 24].map(|i| (word(block, 16 + 32 * n + i) >> (2 * k)) & 0x0303_0303_0303_0303)
    }

    #[inline(always)]
    fn scales(block: &[u8], group: usize) -> GroupScales {
        let both = |i: usize| i32::from(block.get(2 * group + i).copied().unwrap_or(0));
        GroupScales {
            d: half(block, 80),
            dx: [both(0) & 15, both(1) & 15],
            m: half(block, 82),
            mx: [-(both(0) >> 4), -(both(1) >> 4)],
        }
    }
}
