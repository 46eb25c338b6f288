//! The float arithmetic between the matrix products: norm, rotation, exponential.
//!
//! Every function has one order of operations on all machines (Rust neither reorders nor fuses float
//! operations), and takes `sqrt`, `sin` and `cos` from `libm` in software, so results are the same everywhere.

use crate::quant::float::sum;

/// `out = x / sqrt(mean(x^2) + epsilon) * weight` (Zhang and Sennrich 2019), for one vector.
pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let mut lanes = [0.0f32; 8];
    for chunk in x.chunks(8) {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += v * v;
        }
    }
    let mean = sum(&lanes) / x.len().max(1) as f32;
    let scale = 1.0 / libm::sqrtf(mean + epsilon);
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * scale * weight;
    }
}

/// `e^x` to about 2 units in the last place (the polynomial of Cephes' `expf`); 0 below -87, limited above 88.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // e^x = 2^n * e^r, n = round(x / ln 2), |r| <= ln(2) / 2. Adding 1.5 * 2^23 rounds to a whole number.
    const MAGIC: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped * core::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_2e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    let e_r = p * r * r + r + 1.0;
    // The low bits of `shifted` are n; n + 127 is 1..=254.
    let two_n = f32::from_bits((shifted.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(127)) << 23);
    if x < -87.0 { 0.0 } else { e_r * two_n }
}

/// `x / (1 + e^-x)`.
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// The rotation frequencies `base^(-2i/dims) / scale`, divided by `factors[i]` where the model has such factors
/// (Su et al. 2021; `out` has one entry for each pair of dimensions).
pub fn frequencies(base: f64, scale: f64, factors: &[f32], out: &mut [f64]) {
    let pairs = out.len().max(1) as f64;
    for (i, out) in out.iter_mut().enumerate() {
        let factor = f64::from(factors.get(i).copied().unwrap_or(1.0));
        *out = libm::pow(base, -(i as f64) / pairs) / (scale * factor);
    }
}

/// Cosine and sine of `position * frequency`.
pub fn rotation(position: usize, frequencies: &[f64], out: &mut [[f32; 2]]) {
    for (out, frequency) in out.iter_mut().zip(frequencies) {
        let (sin, cos) = libm::sincos(position as f64 * frequency);
        *out = [cos as f32, sin as f32];
    }
}

/// Rotates the interleaved pairs `(2i, 2i + 1)` of one head.
pub fn rotate(head: &mut [f32], rotation: &[[f32; 2]]) {
    for (pair, [cos, sin]) in head.chunks_exact_mut(2).zip(rotation) {
        let (a, b) = (pair[0], pair[1]);
        pair[0] = a * cos - b * sin;
        pair[1] = a * sin + b * cos;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_libm_over_its_range() {
        let mut x = -87.0f32;
        while x < 88.0 {
            let (got, want) = (f64::from(exp(x)), libm::exp(f64::from(x)));
            assert!((got - want).abs() <= 2.5e-7 * want, "exp({x}) = {got}, should be {want}");
            x += 0.0137;
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-1000.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(1000.0).is_finite());
    }
}
