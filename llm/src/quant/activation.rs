//! Activations as integers: the other factor of the integer products.
//!
//! A vector is cut into groups of 32, and each group into quarters of 8. A quarter has a whole scale `da` in
//! `1..=max_scale`, in units of one float `unit` of the vector, and codes `a = round(x / (da * unit))` in `-127..=127`. As `da` is
//! rounded up and the codes are made with the rounded scale, no error comes from rounding the scale.

use super::GROUP;
use crate::model::BATCH;
use crate::parallel::{Parallel, for_items};
use crate::simd::{self, Variant};

/// Values under one scale. Eight rather than 32 halve the error.
pub const QUARTER: usize = GROUP / 4;

/// Largest code magnitude.
pub const MAX_ACTIVATION: i32 = 127;

/// The largest scale of a quarter that leaves room in an `i32` for the sum of `weight * da * a` over a group, weights being
/// whole numbers of at most this magnitude; and it must fit the `i16` factor of `pmaddwd`.
pub const fn max_scale(magnitude: i32) -> i32 {
    let limit = i32::MAX / (GROUP as i32 * MAX_ACTIVATION * magnitude);
    let power = 1 << limit.ilog2();
    if power > 1 << 14 { 32767 } else { power - 1 }
}

/// Scales and sums of a group of activations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Factors {
    /// The scales `da` of the four quarters.
    pub scales: [i32; 4],
    /// The sums of `da * code` over both halves.
    pub sums: [i32; 2],
    /// Their sum.
    pub sum: i32,
    /// Fills the structure to 32 bytes, so that none lies across two cache lines.
    padding: i32,
}

impl Factors {
    /// The scale of quarter 0..=3.
    #[inline(always)]
    pub fn scale(&self, quarter: usize) -> i64 {
        i64::from(self.scales[quarter])
    }
}

/// Which form of the codes a product reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Bytes, for vector instructions.
    Codes,
    /// Packed for the portable kernel (see [`pack`]).
    Lanes,
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
    /// The codes packed for the portable kernel, `[token][LANES * groups]`; only in [`Form::Lanes`].
    pub lanes: &'a [u64],
    /// Scales and sums, `[token][groups]`.
    pub factors: &'a [Factors],
    /// Unit of each vector's scales.
    pub units: &'a [f32],
}

/// Writable buffers for [`Activations`] of up to a fixed number of values.
pub struct ActivationBuffers<'p> {
    codes: &'p mut [i8],
    lanes: &'p mut [u64],
    factors: &'p mut [Factors],
    units: &'p mut [f32],
}

impl<'p> ActivationBuffers<'p> {
    /// Buffers for `tokens` vectors, at most [`BATCH`], of up to `length` values (a multiple of 32) from the pool.
    pub fn new(
        pool: &mut crate::pool::Pool<'p>,
        tokens: usize,
        length: usize,
    ) -> Result<Self, crate::pool::PoolFull> {
        use crate::pool::Purpose::Activations;
        let groups = length.div_ceil(GROUP).saturating_mul(tokens);
        Ok(Self {
            codes: pool.take(Activations, groups.saturating_mul(GROUP))?,
            lanes: pool.take(Activations, groups.saturating_mul(LANES))?,
            factors: pool.take(Activations, groups)?,
            units: pool.take(Activations, tokens)?,
        })
    }

    /// Bytes of the buffers for one vector of `length` values.
    pub const fn bytes(length: usize) -> usize {
        length.div_ceil(GROUP) * (GROUP + LANES * size_of::<u64>() + size_of::<Factors>()) + size_of::<f32>()
    }

    /// Quantises `x`, vectors of `length` values one after the other, shared among the CPUs, with scales of at most `max_scale`, in the form that
    /// `variant` reads. Values past the last whole block of 32 cannot occur: a quantised matrix has whole blocks.
    pub fn quantise(
        &mut self,
        variant: Variant,
        x: &[f32],
        length: usize,
        max_scale: i32,
        parallel: &dyn Parallel,
    ) -> Activations<'_> {
        let groups = length / GROUP;
        let tokens = x.len().checked_div(length).unwrap_or(0).min(self.units.len());
        let count = tokens * groups;
        let (codes, lanes) = (&mut self.codes[..count * GROUP], &mut self.lanes[..count * LANES]);
        let (factors, units) = (&mut self.factors[..count], &mut self.units[..tokens]);
        let each = groups.max(1);
        let mut vectors: [Vector<'_>; BATCH] = [const { None }; BATCH];
        let destinations = codes.chunks_exact_mut(each * GROUP).zip(lanes.chunks_exact_mut(each * LANES));
        let destinations = destinations.zip(factors.chunks_exact_mut(each)).zip(units.iter_mut());
        for (vector, (x, (((codes, lanes), factors), unit))) in
            vectors.iter_mut().zip(x.chunks_exact(length.max(1)).zip(destinations))
        {
            *vector = Some((x, codes, lanes, factors, unit));
        }
        for_items(parallel, &mut vectors[..tokens.min(BATCH)], 1, &|_, vectors| {
            for (x, codes, lanes, factors, unit) in vectors.iter_mut().flatten() {
                **unit = simd::quantise(variant, x, max_scale, codes, factors);
                if variant.form() == Form::Lanes {
                    let groups = codes.chunks_exact(GROUP).zip(factors.iter());
                    for ((codes, factors), lanes) in groups.zip(lanes.chunks_exact_mut(LANES)) {
                        pack(codes, factors, lanes);
                    }
                }
            }
        });
        Activations { tokens, groups, codes, lanes, factors, units }
    }
}

/// A vector and where its integers go: codes, lanes, factors and unit.
type Vector<'a> = Option<(&'a [f32], &'a mut [i8], &'a mut [u64], &'a mut [Factors], &'a mut f32)>;

/// Writes codes and factors of one vector, and returns its unit. The same operations in every variant: this is only
/// compiled several times, for registers of different widths.
#[inline(always)]
pub(crate) fn quantise_vector(x: &[f32], max_scale: i32, codes: &mut [i8], factors: &mut [Factors]) -> f32 {
    let largest = absolute_maximum(x);
    // Not finite or zero: all codes zero; the unit carries NaN on to the logits, where it is reported.
    let usable = largest > f32::MIN_POSITIVE && largest < f32::MAX;
    let unit = if usable { largest / (MAX_ACTIVATION * max_scale) as f32 } else { largest * 0.0 };
    let to_steps = if usable { max_scale as f32 / largest } else { 0.0 };
    let groups = x.as_chunks::<GROUP>().0.iter().zip(codes.as_chunks_mut::<GROUP>().0);
    for ((x, codes), factors) in groups.zip(factors) {
        let (mut scales, mut inverses, mut sums) = ([0i32; 4], [0.0f32; 4], [0i32; 4]);
        let quarters = x.as_chunks::<QUARTER>().0;
        for (scale, x) in scales.iter_mut().zip(quarters) {
            // Rounds up: `as` truncates, and turns what is not a number to 0.
            *scale = ((absolute_maximum(x) * to_steps) as i32).saturating_add(1).min(max_scale);
        }
        if usable {
            for (inverse, &scale) in inverses.iter_mut().zip(&scales) {
                *inverse = 1.0 / (scale as f32 * unit);
            }
        }
        let outputs = quarters.iter().zip(codes.as_chunks_mut::<QUARTER>().0);
        for (((x, codes), &inverse), sum) in outputs.zip(&inverses).zip(&mut sums) {
            let whole = x.map(|x| round(x * inverse));
            *sum = whole.iter().sum();
            *codes = whole.map(|code| code as i8);
        }
        let [a, b, c, d] = core::array::from_fn(|quarter| sums[quarter] * scales[quarter]);
        *factors = Factors { scales, sums: [a + b, c + d], sum: a + b + c + d, padding: 0 };
    }
    unit
}

/// The largest magnitude; NaN if one of them is.
#[inline(always)]
pub fn absolute_maximum(x: &[f32]) -> f32 {
    // Magnitudes of floats order as their bits do, and NaN lies above infinity.
    let bits = x.iter().fold(0u32, |max, v| max.max(v.to_bits() & 0x7FFF_FFFF));
    if bits > f32::INFINITY.to_bits() { f32::NAN } else { f32::from_bits(bits) }
}

/// Nearest whole number (ties to even) of a value of magnitude below 2^22, limited to the codes.
#[inline(always)]
fn round(x: f32) -> i32 {
    // Adding 1.5 * 2^23 leaves the rounded value in the low bits of the float.
    const MAGIC: f32 = 12_582_912.0;
    let whole = (x + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i32;
    whole.clamp(-MAX_ACTIVATION, MAX_ACTIVATION)
}

/// Words of a group for the portable kernel.
pub const LANES: usize = 9;

/// Packs 32 codes for the portable kernel: eight words, each four signed 16-bit lanes *added* into one number
/// (so that a negative lane borrows from the one above), in reverse order. Words `2j` and `2j + 1` hold the
/// even and the odd elements of `8j..8j + 8`. The ninth word holds the four scales, the first in the lowest 16 bits: one
/// load instead of four, and under emulation a load costs as much as several multiplications.
///
/// Multiplied by a word with four unsigned codes in its lanes, the top lane of the product is the dot product
/// of the four pairs.
#[inline(always)]
pub fn pack(codes: &[i8], factors: &Factors, lanes: &mut [u64]) {
    for (codes, lanes) in codes.chunks_exact(8).zip(lanes.chunks_exact_mut(2)) {
        for (parity, lane) in lanes.iter_mut().enumerate() {
            *lane = codes
                .iter()
                .skip(parity)
                .step_by(2)
                .fold(0u64, |word, &code| (word << 16).wrapping_add(i64::from(code) as u64));
        }
    }
    if let Some(scales) = lanes.get_mut(LANES - 1) {
        *scales = factors.scales.iter().rev().fold(0u64, |word, &scale| word << 16 | scale as u64);
    }
}
