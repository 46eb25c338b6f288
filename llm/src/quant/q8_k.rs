//! Q8_K: superblocks of 256 signed bytes under one f32, ggml's intermediate type.

use super::{Format, GroupScales, Kind, SIGN_BITS, single, word};

/// `f32 d; i8 codes[256]; i16 sums[16]`: `value = d * code`. Read as unsigned codes under an offset of 128; the sums are
/// for ggml's own products.
pub struct Q8K;

impl Format for Q8K {
    const NAME: &'static str = "Q8_K";
    const KIND: Kind = Kind::Q8K;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 292;
    const MAX_CODE: u32 = 255;
    const OFFSET: i32 = 128;
    const HALVES: bool = false;
    const HAS_MIN: bool = false;
    const MAX_MULTIPLIER: u32 = 1;
    const HALF_FLOATS: bool = false;

    #[inline(always)]
    fn codes(block: &[u8], group: usize) -> [u64; 4] {
        [4, 12, 20, 28].map(|at| word(block, 32 * group + at) ^ SIGN_BITS)
    }

    #[inline(always)]
    fn scales(block: &[u8], _group: usize) -> GroupScales {
        GroupScales { d: single(block, 0), dx: [1; 2], m: 0.0, mx: [0; 2] }
    }
}
