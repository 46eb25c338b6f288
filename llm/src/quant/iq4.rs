//! IQ4_NL, IQ4_XS and MXFP4: four-bit codes that name one of 16 signed values, which lie closer together near zero.

use super::{Format, GroupScales, Kind, half, word};

/// `f16 d; u8 codes[16]`: `value = d * VALUES[code]`; byte `j` holds element `j` (low) and `j + 16` (high).
pub struct Iq4Nl;

/// `f16 d; u16 scales_high; u8 scales_low[4]; u8 codes[128]`: superblocks of 256; each 32 have a six-bit scale, and codes
/// as in IQ4_NL: `value = d * (scale - 32) * VALUES[code]`.
pub struct Iq4Xs;

/// `u8 e; u8 codes[16]`: `value = 2^(e - 128) * DOUBLED_FP4[code]` (OCP Microscaling, E2M1 under an E8M0 scale).
pub struct Mxfp4;

/// What the codes of IQ4_NL and IQ4_XS stand for, plus 128.
const VALUES: [u8; 16] = [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241];

/// Twice what the codes of MXFP4 stand for (0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives), plus 16.
const DOUBLED_FP4: [u8; 16] = [16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4];

/// The 32 looked-up values of the 16 bytes that begin at `at`.
#[inline(always)]
fn look_up(table: &[u8; 16], block: &[u8], at: usize) -> [u64; 4] {
    let bytes = [word(block, at).to_le_bytes(), word(block, at + 8).to_le_bytes()];
    let low = bytes.map(|bytes| u64::from_le_bytes(bytes.map(|byte| table[usize::from(byte & 15)])));
    let high = bytes.map(|bytes| u64::from_le_bytes(bytes.map(|byte| table[usize::from(byte >> 4)])));
    [low[0], low[1], high[0], high[1]]
}

impl Format for Iq4Nl {
    const NAME: &'static str = "IQ4_NL";
    const KIND: Kind = Kind::Iq4Nl;
    const ELEMENTS: usize = 32;
    const BYTES: usize = 18;
    const MAX_CODE: u32 = 255;
    const OFFSET: i32 = 128;
    const HALVES: bool = false;
    const HAS_MIN: bool = false;
    const MAX_MULTIPLIER: u32 = 1;

    #[inline(always)]
    fn codes(block: &[u8], _group: usize) -> [u64; 4] {
        look_up(&VALUES, block, 2)
    }

    #[inline(always)]
    fn scales(block: &[u8], _group: usize) -> GroupScales {
        GroupScales { d: half(block, 0), dx: [1; 2], m: 0.0, mx: [0; 2] }
    }
}

impl Format for Iq4Xs {
    const NAME: &'static str = "IQ4_XS";
    const KIND: Kind = Kind::Iq4Xs;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 136;
    const MAX_CODE: u32 = 255;
    const OFFSET: i32 = 128;
    const HALVES: bool = false;
    const HAS_MIN: bool = false;
    const MAX_MULTIPLIER: u32 = 32;

    #[inline(always)]
    fn codes(block: &[u8], group: usize) -> [u64; 4] {
        look_up(&VALUES, block, 8 + 16 * group)
    }

    #[inline(always)]
    fn scales(block: &[u8], group: usize) -> GroupScales {
        let byte = |i: usize| i32::from(block.get(i).copied().unwrap_or(0));
        let low = (byte(4 + group / 2) >> (4 * (group % 2))) & 15;
        let high = (byte(2 + group / 4) >> (2 * (group % 4))) & 3;
        GroupScales { d: half(block, 0), dx: [(low | (high << 4)) - 32; 2], m: 0.0, mx: [0; 2] }
    }
}

impl Format for Mxfp4 {
    const NAME: &'static str = "MXFP4";
    const KIND: Kind = Kind::Mxfp4;
    const ELEMENTS: usize = 32;
    const BYTES: usize = 17;
    const MAX_CODE: u32 = 31;
    const OFFSET: i32 = 16;
    const HALVES: bool = false;
    const HAS_MIN: bool = false;
    const MAX_MULTIPLIER: u32 = 1;
    const HALF_FLOATS: bool = false;

    #[inline(always)]
    fn codes(block: &[u8], _group: usize) -> [u64; 4] {
        look_up(&DOUBLED_FP4, block, 1)
    }

    #[inline(always)]
    fn scales(block: &[u8], _group: usize) -> GroupScales {
        // Bits of 2^(e - 128); the two smallest are subnormal.
        let bits = match block.first().copied().unwrap_or(0) {
            0 => 0x0020_0000,
            1 => 0x0040_0000,
            e => (u32::from(e) - 1) << 23,
        };
        GroupScales { d: f32::from_bits(bits), dx: [1; 2], m: 0.0, mx: [0; 2] }
    }
}
