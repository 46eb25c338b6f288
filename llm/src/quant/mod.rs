//! Block formats of GGUF tensors and the integer arithmetic on them.
//!
//! Every quantised format of ggml can be read as groups of 32 (or 16) small unsigned *codes* under two
//! scales: `value = D * (code - OFFSET) + M`. D and M are floats times small integers, so in units of
//! a power of two `2^-s` chosen for the whole tensor they are whole numbers, kept as `i32` in a table beside
//! the codes ([`scales`]). Activations are quantised the same way ([`activation`]): in each eight values
//! codes in -127..=127 under a whole-number scale `da`, in units of one float for the vector. Hence
//!
//! ```text
//! row . vector = 2^-s * unit * sum over groups of eight of  D*da*(sum code*a - OFFSET*sum a) + M*da*(sum a)
//! ```
//!
//! where the sum is one exact 64-bit integer: no rounding, so no order of summation, SIMD width or number
//! of threads can change the result. It is turned into a float once for each row.
//!
//! Layouts are those of ggml (`ggml-common.h`, `ggml-quants.c`); the tests compare with vectors
//! made by the `gguf` Python package.

pub mod activation;
pub mod float;
mod iq4;
pub mod panel;
mod q2_k;
mod q3_k;
mod q4;
mod q4_k;
mod q5;
mod q5_k;
mod q6_k;
mod q8;
mod q8_k;
pub mod scales;

pub use iq4::{Iq4Nl, Iq4Xs, Mxfp4};
pub use q2_k::Q2K;
pub use q3_k::Q3K;
pub use q4::{Q4_0, Q4_1};
pub use q4_k::Q4K;
pub use q5::{Q5_0, Q5_1};
pub use q5_k::Q5K;
pub use q6_k::Q6K;
pub use q8::Q8_0;
pub use q8_k::Q8K;

/// Elements in a group of codes that is multiplied at once.
pub const GROUP: usize = 32;

/// The scales of one group of 32 elements: `D[half] = d * dx[half]`, `M[half] = m * mx[half]`, the halves being the first
/// and the last 16 elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupScales {
    /// The float under both D.
    pub d: f32,
    /// Whole multipliers of `d`; equal where the format has no scales for halves.
    pub dx: [i32; 2],
    /// The float under both M.
    pub m: f32,
    /// Whole multipliers of `m`; equal where the format has no scales for halves.
    pub mx: [i32; 2],
}

/// A quantised block format. Implementations hold no state; they are type-level names.
pub trait Format {
    /// Name as ggml prints it.
    const NAME: &'static str;
    /// Which format it is, for code that selects instructions by format.
    const KIND: Kind;
    /// Elements in a block, a multiple of [`GROUP`].
    const ELEMENTS: usize;
    /// Bytes in a block.
    const BYTES: usize;
    /// Largest code; a power of two minus one.
    const MAX_CODE: u32;
    /// What is subtracted from a code.
    const OFFSET: i32;
    /// The two halves of a group have scales of their own.
    const HALVES: bool;
    /// There is an M.
    const HAS_MIN: bool;
    /// Largest magnitude of `dx` and `mx`.
    const MAX_MULTIPLIER: u32;
    /// `d` and `m` are half floats.
    const HALF_FLOATS: bool = true;

    /// The 32 codes of group `group` of a block, element `i` in byte `i` (little-endian words).
    /// `block` is [`BYTES`](Self::BYTES) long; a shorter one yields zeros.
    fn codes(block: &[u8], group: usize) -> [u64; 4];

    /// The scales of group `group` of a block.
    fn scales(block: &[u8], group: usize) -> GroupScales;

    /// Largest magnitude of a code less the offset.
    const MAX_MAGNITUDE: i32 = if Self::OFFSET > Self::MAX_CODE as i32 - Self::OFFSET {
        Self::OFFSET
    } else {
        Self::MAX_CODE as i32 - Self::OFFSET
    };
    /// Largest scale of the activations that it is multiplied with.
    const MAX_SCALE: i32 = activation::max_scale(Self::MAX_MAGNITUDE);
    /// Groups in a block.
    const GROUPS: usize = Self::ELEMENTS / GROUP;
    /// Entries of a group in the scale table: `[D]`, `[D, M]`, `[D, D']` or `[D, D', M, M']`.
    const ENTRIES: usize = (1 + Self::HALVES as usize) * (1 + Self::HAS_MIN as usize);
}

/// The quantised formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
    Q2K,
    Q3K,
    Q8K,
    Iq4Nl,
    Iq4Xs,
    Mxfp4,
}

/// Calls a generic function with the [`Format`] of a [`Kind`].
macro_rules! with_format {
    ($kind:expr, $name:ident => $body:expr) => {
        match $kind {
            $crate::quant::Kind::Q4_0 => {
                type $name = $crate::quant::Q4_0;
                $body
            }
            $crate::quant::Kind::Q4_1 => {
                type $name = $crate::quant::Q4_1;
                $body
            }
            $crate::quant::Kind::Q5_0 => {
                type $name = $crate::quant::Q5_0;
                $body
            }
            $crate::quant::Kind::Q5_1 => {
                type $name = $crate::quant::Q5_1;
                $body
            }
            $crate::quant::Kind::Q8_0 => {
                type $name = $crate::quant::Q8_0;
                $body
            }
            $crate::quant::Kind::Q4K => {
                type $name = $crate::quant::Q4K;
                $body
            }
            $crate::quant::Kind::Q5K => {
                type $name = $crate::quant::Q5K;
                $body
            }
            $crate::quant::Kind::Q6K => {
                type $name = $crate::quant::Q6K;
                $body
            }
            $crate::quant::Kind::Q2K => {
                type $name = $crate::quant::Q2K;
                $body
            }
            $crate::quant::Kind::Q3K => {
                type $name = $crate::quant::Q3K;
                $body
            }
            $crate::quant::Kind::Q8K => {
                type $name = $crate::quant::Q8K;
                $body
            }
            $crate::quant::Kind::Iq4Nl => {
                type $name = $crate::quant::Iq4Nl;
                $body
            }
            $crate::quant::Kind::Iq4Xs => {
                type $name = $crate::quant::Iq4Xs;
                $body
            }
            $crate::quant::Kind::Mxfp4 => {
                type $name = $crate::quant::Mxfp4;
                $body
            }
        }
    };
}
pub(crate) use with_format;

/// Writes the values of whole blocks to `out`, with the same float operations as ggml.
pub fn dequantise<F: Format>(blocks: &[u8], out: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(F::BYTES).zip(out.chunks_exact_mut(F::ELEMENTS)) {
        for (group, out) in out.chunks_exact_mut(GROUP).enumerate() {
            let scales = F::scales(block, group);
            let d = scales.dx.map(|x| scales.d * x as f32);
            let m = scales.mx.map(|x| scales.m * x as f32);
            let codes = F::codes(block, group);
            for (i, out) in out.iter_mut().enumerate() {
                let code = (codes[i / 8] >> (8 * (i % 8))) as u8;
                let value = d[i / 16] * (i32::from(code) - F::OFFSET) as f32;
                *out = if F::HAS_MIN { value + m[i / 16] } else { value };
            }
        }
    }
}

/// Reads a little-endian word; missing bytes are zero.
#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => 0,
    }
}

/// Reads a little-endian half float; missing bytes are zero.
#[inline(always)]
fn half(bytes: &[u8], at: usize) -> f32 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk::<2>()) {
        Some(chunk) => float::f16_to_f32(u16::from_le_bytes(*chunk)),
        None => 0.0,
    }
}

/// Reads a little-endian float; missing bytes are zero.
#[inline(always)]
fn single(bytes: &[u8], at: usize) -> f32 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        Some(chunk) => f32::from_le_bytes(*chunk),
        None => 0.0,
    }
}

/// Turns signed bytes into unsigned codes under an offset of 128, and back.
pub(crate) const SIGN_BITS: u64 = 0x8080_8080_8080_8080;

pub(crate) const LOW_NIBBLES: u64 = 0x0F0F_0F0F_0F0F_0F0F;

/// Spreads 8 bits to 8 bytes, each 0x10 where its bit is set: the fifth bit of Q5 codes.
#[inline(always)]
fn fifth_bits(bits: u8) -> u64 {
    let one_bit_per_byte = (u64::from(bits) * 0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
    ((one_bit_per_byte + 0x7F7F_7F7F_7F7F_7F7F) & 0x8080_8080_8080_8080) >> 3
}
