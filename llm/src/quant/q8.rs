//! Q8_0: blocks of 32 signed bytes.

use super::{Format, GroupScales, Kind, SIGN_BITS, half, word};

/// `f16 d; i8 codes[32]`: `value = d * code`. Read as unsigned codes under an offset of 128.
pub struct Q8_0;

impl Format for Q8_0 {
    const NAME: &'static str = "Q8_0";
    const KIND: Kind = Kind::Q8_0;
    const ELEMENTS: usize = 32;
    const BYTES: usize = 34;
    const MAX_CODE: u32 = 255;
    const OFFSET: i32 = 128;
    const HALVES: bool = false;
    const HAS_MIN: bool = false;
    const MAX_MULTIPLIER: u32 = 1;

    #[inline(always)]
    fn codes(block: &[u8], _group: usize) -> [u64; 4] {
        [2, 10, 18, 26].map(|at| word(block, at) ^ SIGN_BITS)
    }

    #[inline(always)]
    fn scales(block: &[u8], _group: usize) -> GroupScales {
        GroupScales { d: half(block, 0), dx: [1, 1], m: 0.0, mx: [0; 2] }
    }
}
