//! Q5_0 and Q5_1: as Q4, with the fifth bit of element `i` in bit `i` of a 32-bit word.

use super::{Format, GroupScales, Kind, LOW_NIBBLES, fifth_bits, half, word};

/// `f16 d; u8 high[4]; u8 low[16]`: `value = d * (code - 16)`.
pub struct Q5_0;

/// `f16 d; f16 m; u8 high[4]; u8 low[16]`: `value = d * code + m`.
pub struct Q5_1;

#[inline(always)]
fn five_bits(block: &[u8], at: usize) -> [u64; 4] {
    let [h0, h1, h2, h3, ..] = word(block, at).to_le_bytes();
    let (a, b) = (word(block, at + 4), word(block, at + 12));
    [
        (a & LOW_NIBBLES) | fifth_bits(h0),
        (b & LOW_NIBBLES) | fifth_bits(h1),
        ((a >> 4) & LOW_NIBBLES) | fifth_bits(h2),
        ((b >> 4) & LOW_NIBBLES) | fifth_bits(h3),
    ]
}

impl Format for Q5_0 {
    const NAME: &'static str = "Q5_0";
    const KIND: Kind = Kind::Q5_0;
    const ELEMENTS: usize = 32;
    const BYTES: usize = 22;
    const MAX_CODE: u32 = 31;
    const OFFSET: i32 = 16;
    const HALVES: bool = false;
    const HAS_MIN: bool = false;
    const MAX_MULTIPLIER: u32 = 1;

    #[inline(always)]
    fn codes(block: &[u8], _group: usize) -> [u64; 4] {
        five_bits(block, 2)
    }

    #[inline(always)]
    fn scales(block: &[u8], _group: usize) -> GroupScales {
        GroupScales { d: half(block, 0), dx: [1, 1], m: 0.0, mx: [0; 2] }
    }
}

impl Format for Q5_1 {
    const NAME: &'static str = "Q5_1";
    const KIND: Kind = Kind::Q5_1;
    const ELEMENTS: usize = 32;
    const BYTES: usize = 24;
    const MAX_CODE: u32 = 31;
    const OFFSET: i32 = 0;
    const HALVES: bool = false;
    const HAS_MIN: bool = true;
    const MAX_MULTIPLIER: u32 = 1;

    #[inline(always)]
    fn codes(block: &[u8], _group: usize) -> [u64; 4] {
        five_bits(block, 4)
    }

    #[inline(always)]
    fn scales(block: &[u8], _group: usize) -> GroupScales {
        GroupScales { d: half(block, 0), dx: [1, 1], m: half(block, 2), mx: [1; 2] }
    }
}
