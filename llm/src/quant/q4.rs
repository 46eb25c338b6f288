//! Q4_0 and Q4_1: blocks of 32 four-bit codes; byte `j` holds element `j` (low) and `j + 16` (high).

use super::{Format, GroupScales, Kind, LOW_NIBBLES, half, word};

/// `f16 d; u8 codes[16]`: `value = d * (code - 8)`.
pub struct Q4_0;

/// `f16 d; f16 m; u8 codes[16]`: `value = d * code + m`.
pub struct Q4_1;

#[inline(always)]
fn nibbles(block: &[u8], at: usize) -> [u64; 4] {
    let (a, b) = (word(block, at), word(block, at + 8));
    [a & LOW_NIBBLES, b & LOW_NIBBLES, (a >> 4) & LOW_NIBBLES, (b >> 4) & LOW_NIBBLES]
}

impl Format for Q4_0 {
    const NAME: &'static str = "Q4_0";
    const KIND: Kind = Kind::Q4_0;
    const ELEMENTS: usize = 32;
    const BYTES: usize = 18;
    const MAX_CODE: u32 = 15;
    const OFFSET: i32 = 8;
    const HALVES: bool = false;
    const HAS_MIN: bool = false;
    const MAX_MULTIPLIER: u32 = 1;

    #[inline(always)]
    fn codes(block: &[u8], _group: usize) -> [u64; 4] {
        nibbles(block, 2)
    }

    #[inline(always)]
    fn scales(block: &[u8], _group: usize) -> GroupScales {
        GroupScales { d: half(block, 0), dx: [1, 1], m: 0.0, mx: [0; 2] }
    }
}

impl Format for Q4_1 {
    const NAME: &'static str = "Q4_1";
    const KIND: Kind = Kind::Q4_1;
    const ELEMENTS: usize = 32;
    const BYTES: usize = 20;
    const MAX_CODE: u32 = 15;
    const OFFSET: i32 = 0;
    const HALVES: bool = false;
    const HAS_MIN: bool = true;
    const MAX_MULTIPLIER: u32 = 1;

    #[inline(always)]
    fn codes(block: &[u8], _group: usize) -> [u64; 4] {
        nibbles(block, 4)
    }

    #[inline(always)]
    fn scales(block: &[u8], _group: usize) -> GroupScales {
        GroupScales { d: half(block, 0), dx: [1, 1], m: half(block, 2), mx: [1; 2] }
    }
}
