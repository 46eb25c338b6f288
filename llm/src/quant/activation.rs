//! Activations as integers: the other factor of the integer products.
//!
//! A vector is cut into groups of 32, and each group into quarters of 8. A quarter has a whole scale `da` in
//! `1..=MAX_SCALE`, in units of one float `unit` of the vector, and codes `a = round(x / (da * unit))` in `-127..=127`. As `da` is
//! rounded up and the codes are made with the rounded scale, no error comes from rounding the scale.

use super::GROUP;

/// Values under one scale. Eight rather than 32 halve the error, and cost next to nothing: `vpmaddwd` applies a
/// scale to each pair of products anyway.
const QUARTER: usize = GROUP / 4;

/// Largest scale of a quarter: it must fit the `i16` factor of `pmaddwd`.
pub const MAX_SCALE: i32 = 32767;
/// Largest code magnitude.
pub const MAX_ACTIVATION: i32 = 127;

/// Scales and sums of a group of activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Factors {
    /// The scales `da` of the four quarters, the first in the lowest 16 bits.
    pub scales: u64,
    /// The sums of `da * code` over both halves.
    pub sums: [i32; 2],
}

impl Factors {
    /// The scale of quarter 0..=3.
    #[inline(always)]
    pub fn scale(&self, quarter: u32) -> i64 {
        ((self.scales >> (16 * quarter)) & 0xFFFF) as i64
    }
}

/// Quantised activations of some vectors ("tokens") of equal length, borrowed for reading.
#[derive(Clone, Copy)]
pub struct Activations<'a> {
    /// Number of vectors.
    pub tokens: usize,
    /// Blocks in a vector.
    pub groups: usize,
    /// Codes, `[token][32 * groups]`.
    pub codes: &'a [i8],
    /// The codes packed for the portable kernel (see [`pack`]), `[token][8 * groups]`.
    pub lanes: &'a [u64],
    /// Scales and sums, `[token][groups]`.
    pub factors: &'a [Factors],
    /// The scales once more, repeated for each pair of codes, `[token][groups]`.
    pub scale_lanes: &'a [[i16; 16]],
    /// Unit of each vector's scales.
    pub units: &'a [f32],
}

/// Writable buffers for [`Activations`] of up to a fixed number of values.
pub struct ActivationBuffers<'p> {
    codes: &'p mut [i8],
    lanes: &'p mut [u64],
    factors: &'p mut [Factors],
    scale_lanes: &'p mut [[i16; 16]],
    units: &'p mut [f32],
}

impl<'p> ActivationBuffers<'p> {
    /// Buffers for `tokens` vectors of up to `length` values (a multiple of 32) from the pool.
    pub fn new(
        pool: &mut crate::pool::Pool<'p>,
        tokens: usize,
        length: usize,
    ) -> Result<Self, crate::pool::PoolFull> {
        use crate::pool::Purpose::Activations;
        let groups = length.div_ceil(GROUP).saturating_mul(tokens);
        Ok(Self {
            codes: pool.take(Activations, groups.saturating_mul(GROUP))?,
            lanes: pool.take(Activations, groups.saturating_mul(8))?,
            factors: pool.take(Activations, groups)?,
            scale_lanes: pool.take(Activations, groups)?,
            units: pool.take(Activations, tokens)?,
        })
    }

    /// Quantises `x`, vectors of `length` values one after the other. Values past the last whole block of 32
    /// cannot occur: a quantised matrix has whole blocks.
    pub fn quantise(&mut self, x: &[f32], length: usize) -> Activations<'_> {
        let groups = length / GROUP;
        let tokens = x.len().checked_div(length).unwrap_or(0).min(self.units.len());
        let count = tokens * groups;
        let destinations = self.codes[..count * GROUP]
            .chunks_exact_mut(groups.max(1) * GROUP)
            .zip(self.lanes[..count * 8].chunks_exact_mut(groups.max(1) * 8))
            .zip(self.factors[..count].chunks_exact_mut(groups.max(1)))
            .zip(self.scale_lanes[..count].chunks_exact_mut(groups.max(1)));
        for ((x, unit), (((codes, lanes), factors), scale_lanes)) in
            x.chunks_exact(length.max(1)).zip(self.units.iter_mut()).zip(destinations)
        {
            *unit = quantise_vector(x, codes, lanes, factors, scale_lanes);
        }
        Activations {
            tokens,
            groups,
            codes: &self.codes[..count * GROUP],
            lanes: &self.lanes[..count * 8],
            factors: &self.factors[..count],
            scale_lanes: &self.scale_lanes[..count],
            units: &self.units[..tokens],
        }
    }
}

fn quantise_vector(
    x: &[f32],
    codes: &mut [i8],
    lanes: &mut [u64],
    factors: &mut [Factors],
    scale_lanes: &mut [[i16; 16]],
) -> f32 {
    let largest = absolute_maximum(x);
    // Not finite or zero: all codes zero; the unit carries NaN on to the logits, where it is reported.
    let usable = largest > f32::MIN_POSITIVE && largest < f32::MAX;
    let unit = if usable { largest / (MAX_ACTIVATION * MAX_SCALE) as f32 } else { largest * 0.0 };
    let to_steps = if usable { MAX_SCALE as f32 / largest } else { 0.0 };
    let groups = x.chunks_exact(GROUP).zip(codes.chunks_exact_mut(GROUP)).zip(lanes.chunks_exact_mut(8));
    for (((x, codes), lanes), (factors, scale_lanes)) in groups.zip(factors.iter_mut().zip(scale_lanes)) {
        *factors = Factors { scales: 0, sums: [0; 2] };
        let quarters = x.chunks_exact(QUARTER).zip(codes.chunks_exact_mut(QUARTER));
        for (quarter, (x, codes)) in quarters.enumerate() {
            // Rounds up: `as` truncates, and turns what is not a number to 0.
            let scale = ((absolute_maximum(x) * to_steps) as i32).saturating_add(1).min(MAX_SCALE);
            let inverse = if usable { 1.0 / (scale as f32 * unit) } else { 0.0 };
            for (code, x) in codes.iter_mut().zip(x) {
                *code = round(x * inverse);
            }
            factors.scales |= (scale as u64) << (16 * quarter);
            factors.sums[quarter / 2] += scale * codes.iter().map(|&code| i32::from(code)).sum::<i32>();
            scale_lanes[quarter * 4..(quarter + 1) * 4].fill(scale as i16);
        }
        pack(codes, lanes);
    }
    unit
}

/// The largest magnitude; NaN counts as infinite.
fn absolute_maximum(x: &[f32]) -> f32 {
    // Magnitudes of floats order as their bits do, and NaN lies above infinity.
    let bits = x.iter().fold(0u32, |max, v| max.max(v.to_bits() & 0x7FFF_FFFF));
    if bits > f32::INFINITY.to_bits() { f32::NAN } else { f32::from_bits(bits) }
}

/// Nearest whole number (ties to even) of a value of magnitude below 2^22, limited to the codes.
#[inline(always)]
fn round(x: f32) -> i8 {
    // Adding 1.5 * 2^23 leaves the rounded value in the low bits of the float.
    const MAGIC: f32 = 12_582_912.0;
    let whole = (x + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i32;
    whole.clamp(-MAX_ACTIVATION, MAX_ACTIVATION) as i8
}

/// Packs 32 codes for the portable kernel: eight words, each four signed 16-bit lanes *added* into one number
/// (so that a negative lane borrows from the one above), in reverse order. Words `2j` and `2j + 1` hold the
/// even and the odd elements of `8j..8j + 8`.
///
/// Multiplied by a word with four unsigned codes in its lanes, the top lane of the product is the dot product
/// of the four pairs.
#[inline(always)]
pub fn pack(codes: &[i8], lanes: &mut [u64]) {
    for (codes, lanes) in codes.chunks_exact(8).zip(lanes.chunks_exact_mut(2)) {
        for (parity, lane) in lanes.iter_mut().enumerate() {
            *lane = codes
                .iter()
                .skip(parity)
                .step_by(2)
                .fold(0u64, |word, &code| (word << 16).wrapping_add(i64::from(code) as u64));
        }
    }
}
