//! Q5_K: as Q4_K, with the fifth bit of element `i` of group `g` in bit `g` of byte `i`.

use super::{Format, GroupScales, Kind, half, q4_k, word};

/// `f16 d; f16 dmin; u8 scales[12]; u8 high[32]; u8 low[128]`: `value = d * scale * code - dmin * min`.
pub struct Q5K;

impl Format for Q5K {
    const NAME: &'static str = "Q5_K";
    const KIND: Kind = Kind::Q5K;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 176;
    const MAX_CODE: u32 = 31;
    const OFFSET: i32 = 0;
    const HALVES: bool = false;
    const HAS_MIN: bool = true;
    const MAX_MULTIPLIER: u32 = 63;

    #[inline(always)]
    fn codes(block: &[u8], group: usize) -> [u64; 4] {
        let mut codes = q4_k::nibbles(block, 48, group);
        for (i, code) in codes.iter_mut().enumerate() {
            *code |= ((word(block, 16 + 8 * i) >> group) & 0x0101_0101_0101_0101) << 4;
        }
        codes
    }

    #[inline(always)]
    fn scales(block: &[u8], group: usize) -> GroupScales {
        let (scale, min) = q4_k::scale_min(block, group);
        GroupScales { d: half(block, 0), dx: [scale; 2], m: half(block, 2), mx: [-min; 2] }
    }
}
