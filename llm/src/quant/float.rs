//! Float tensors: F32, F16 and BF16, stored little-endian.

/// A float element format.
pub trait Float {
    /// Bytes of an element.
    const BYTES: usize;
    /// The element at the beginning of `bytes` as f32 (exact); missing bytes are zero.
    fn load(bytes: &[u8]) -> f32;
}

/// IEEE 754 binary32.
pub struct F32;
/// IEEE 754 binary16.
pub struct F16;
/// The upper half of binary32.
pub struct Bf16;

impl Float for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    fn load(bytes: &[u8]) -> f32 {
        bytes.first_chunk().map_or(0.0, |chunk| f32::from_le_bytes(*chunk))
    }
}

impl Float for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    fn load(bytes: &[u8]) -> f32 {
        bytes.first_chunk().map_or(0.0, |chunk| f16_to_f32(u16::from_le_bytes(*chunk)))
    }
}

impl Float for Bf16 {
    const BYTES: usize = 2;
    #[inline(always)]
    fn load(bytes: &[u8]) -> f32 {
        bytes.first_chunk().map_or(0.0, |chunk| f32::from_bits(u32::from(u16::from_le_bytes(*chunk)) << 16))
    }
}

/// Half to single precision, exact. The same result on every machine, with or without F16C.
#[inline(always)]
pub fn f16_to_f32(bits: u16) -> f32 {
    half::f16::from_bits(bits).to_f32_const()
}

/// Single to half precision, rounded to nearest; exact for what came from a half.
pub fn f32_to_f16(value: f32) -> u16 {
    half::f16::from_f32_const(value).to_bits()
}

/// Writes the values of a float tensor to `out`.
pub fn dequantise<T: Float>(bytes: &[u8], out: &mut [f32]) {
    for (bytes, out) in bytes.chunks_exact(T::BYTES).zip(out.iter_mut()) {
        *out = T::load(bytes);
    }
}

/// Running sums of a float dot product. The order of the additions is part of the result, so it is fixed
/// here for every variant: lane `i` sums the elements `i, i + 8, ...`.
const LANES: usize = 8;

/// `row . x` in f32, multiplications and additions separate.
#[inline(always)]
pub fn dot<T: Float>(row: &[u8], x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = x.len() / LANES * LANES;
    let (x_whole, x_rest) = x.split_at(whole);
    let (row_whole, row_rest) = row.split_at((whole * T::BYTES).min(row.len()));
    for (w, x) in row_whole.chunks_exact(LANES * T::BYTES).zip(x_whole.chunks_exact(LANES)) {
        for ((lane, w), x) in lanes.iter_mut().zip(w.chunks_exact(T::BYTES)).zip(x) {
            *lane += T::load(w) * x;
        }
    }
    for ((lane, w), x) in lanes.iter_mut().zip(row_rest.chunks_exact(T::BYTES)).zip(x_rest) {
        *lane += T::load(w) * x;
    }
    sum(&lanes)
}

/// The sum of 8 lanes as a fixed tree.
#[inline(always)]
pub fn sum(lanes: &[f32; LANES]) -> f32 {
    let [a, b, c, d, e, f, g, h] = *lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}
