//! What a quantised format is to the encoders: how a block is rounded at once, and how it is fixed step by step.
//!
//! Each format has two ways. `plain` is llama.cpp's reference rounding of a whole block, byte for byte. The other fixes
//! the scales of 32 numbers when the first of them is reached and then rounds one number after the other, so that
//! whoever rounds ([`super::gptq`]) can let later numbers make up for the errors of earlier ones.

use llm::gguf::GgmlType;

/// Numbers under one scale.
pub const GROUP: usize = 32;

/// A block format, and the scales of one block of it while it is being fixed.
pub trait Block: Default {
    /// The format.
    const KIND: GgmlType;
    /// Numbers in a block, a multiple of [`GROUP`].
    const ELEMENTS: usize;
    /// Bytes of a block.
    const BYTES: usize;

    /// Rounds [`ELEMENTS`](Self::ELEMENTS) numbers as llama.cpp's reference does. `out` is [`BYTES`](Self::BYTES) long.
    fn plain(values: &[f32], out: &mut [u8]);

    /// Fixes what all groups of the block share. `weights` says how much the squared error of each number counts.
    fn open(&mut self, values: &[f32], weights: &[f32]);

    /// Fixes the scales of group `group`, whose numbers are now `values`.
    fn fix(&mut self, group: usize, values: &[f32], weights: &[f32]);

    /// The code of a number in group `group`: of those that there are, the nearest.
    fn code(&self, group: usize, value: f32) -> u8;

    /// The number that a code stands for, by the float operations of [`llm::quant::dequantise`].
    fn value(&self, group: usize, code: u8) -> f32;

    /// Writes the block with its codes.
    fn store(&self, codes: &[u8], out: &mut [u8]);
}

/// The nearest whole number, of two the even one; for magnitudes below 2^22.
pub fn nearest(value: f32) -> i32 {
    value.round_ties_even() as i32
}

/// Writes a half float to the first two bytes of `out` from `at` on.
pub fn put_half(out: &mut [u8], at: usize, value: f32) {
    let bytes = llm::quant::float::f32_to_f16(value).to_le_bytes();
    out.iter_mut().skip(at).zip(bytes).for_each(|(slot, byte)| *slot = byte);
}

/// The number as a half float holds it.
pub fn half(value: f32) -> f32 {
    llm::quant::float::f16_to_f32(llm::quant::float::f32_to_f16(value))
}

/// The number of greatest magnitude, the first of them; 0 of none.
pub fn extreme(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most: f32, &v| if v.abs() > most.abs() { v } else { most })
}
