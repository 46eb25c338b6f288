//! Q4_K: superblocks of 256 four-bit codes; each 32 have a six-bit scale and a six-bit minimum.

use super::{Format, GroupScales, Kind, LOW_NIBBLES, half, word};

/// `f16 d; f16 dmin; u8 scales[12]; u8 codes[128]`: `value = d * scale * code - dmin * min`.
///
/// 64 elements share 32 bytes: the low nibbles are the first 32, the high nibbles the next.
pub struct Q4K;

/// Scale and minimum of group `group`, unpacked from the 12 bytes that begin at 4 (also used by Q5_K).
#[inline(always)]
pub(super) fn scale_min(block: &[u8], group: usize) -> (i32, i32) {
    let byte = |i: usize| i32::from(block.get(4 + i).copied().unwrap_or(0));
    if group < 4 {
        (byte(group) & 63, byte(group + 4) & 63)
    } else {
        let low = byte(group + 4);
        ((low & 15) | ((byte(group - 4) >> 6) << 4), (low >> 4) | ((byte(group) >> 6) << 4))
    }
}

/// The nibbles of group `group` in the 128 bytes that begin at `at`.
#[inline(always)]
pub(super) fn nibbles(block: &[u8], at: usize, group: usize) -> [u64; 4] {
    let (at, shift) = (at + 32 * (group / 2), 4 * (group % 2));
    [0, 8, 16, 24].map(|i| (word(block, at + i) >> shift) & LOW_NIBBLES)
}

impl Format for Q4K {
    const NAME: &'static str = "Q4_K";
    const KIND: Kind = Kind::Q4K;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 144;
    const MAX_CODE: u32 = 15;
    const OFFSET: i32 = 0;
    const HALVES: bool = false;
    const HAS_MIN: bool = true;
    const MAX_MULTIPLIER: u32 = 63;

    #[inline(always)]
    fn codes(block: &[u8], group: usize) -> [u64; 4] {
        nibbles(block, 16, group)
    }

    #[inline(always)]
    fn scales(block: &[u8], group: usize) -> GroupScales {
        let (scale, min) = scale_min(block, group);
        GroupScales { d: half(block, 0), dx: [scale; 2], m: half(block, 2), mx: [-min; 2] }
    }
}
