//! Keys and values as small integers, and how 16 positions of them lie together.
//!
//! A *chunk* holds 16 positions of a head, in the order in which `vpmaddwd` multiplies: with keys, a register has two
//! dimensions of each of the 16 positions, so that scores need no adding up of lanes; with values, two positions of 16
//! dimensions.
//!
//! ```text
//! keys    [dimension / 2][position of 16][2]
//! values  [position / 2][dimension][2]
//! ```

use crate::quant::activation::absolute_maximum;

/// Positions in a chunk.
pub const CHUNK: usize = 16;

/// An integer that keys and values are stored as.
pub trait Stored: bytemuck::Pod + Into<i32> {
    /// Largest magnitude.
    const MAX: i32;
    /// The nearest of these integers; the caller limits the magnitude.
    fn new(value: i32) -> Self;
}

impl Stored for i16 {
    // 16 weights of at most 16383 (see `attention`) times this stay below 2^31.
    const MAX: i32 = 8191;
    fn new(value: i32) -> Self {
        value as i16
    }
}

impl Stored for i8 {
    const MAX: i32 = 127;
    fn new(value: i32) -> Self {
        value as i8
    }
}

/// Where dimension `d` of the key at position `p` of a chunk lies.
pub const fn key_index(p: usize, d: usize) -> usize {
    (d / 2 * CHUNK + p) * 2 + d % 2
}

/// Where dimension `d` of the value at position `p` of a chunk lies.
pub const fn value_index(p: usize, d: usize, head_dim: usize) -> usize {
    (p / 2 * head_dim + d) * 2 + p % 2
}

/// Writes `round(x / scale)` with magnitudes up to `limit` to `put` and returns the scale. All of it in a written order, so
/// that it is the same on every machine.
#[inline(always)]
pub fn to_integers(x: &[f32], limit: i32, mut put: impl FnMut(usize, i32)) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    // Not a number where one of `x` is: the scale carries it on to the logits, where it is reported.
    let largest = absolute_maximum(x);
    let inverse = if largest > f32::MIN_POSITIVE { limit as f32 / largest } else { 0.0 };
    for (i, x) in x.iter().enumerate() {
        let whole = (x * inverse + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i32;
        put(i, whole.clamp(-limit, limit));
    }
    largest / limit as f32
}
