//! The float arithmetic between the matrix products: norm, rotation, exponential.
//!
//! Every function has one order of operations on all machines (Rust neither reorders nor fuses float
//! operations), and takes `sqrt`, `sin` and `cos` from `libm` in software, so results are the same everywhere.

use crate::quant::float::sum;

/// `1 / sqrt(mean(x^2) + epsilon)` of one vector.
pub fn rms_scale(x: &[f32], epsilon: f32) -> f32 {
    let mut lanes = [0.0f32; 8];
    for chunk in x.chunks(8) {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += v * v;
        }
    }
    let mean = sum(&lanes) / x.len().max(1) as f32;
    1.0 / libm::sqrtf(mean + epsilon)
}

/// `out = x / sqrt(mean(x^2) + epsilon) * weight` (Zhang and Sennrich 2019), for one vector.
pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let scale = rms_scale(x, epsilon);
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

/// `tanh x` to about 2 units in the last place.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let squared = x * x;
    // Near zero the exponential form cancels: there the Taylor series, whose next term is below 3e-8 of the sum.
    let mut p = 62.0 / 2835.0;
    for c in [-17.0 / 315.0, 2.0 / 15.0, -1.0 / 3.0, 1.0] {
        p = p * squared + c;
    }
    if squared < 0.0784 { x * p } else { 1.0 - 2.0 / (exp(2.0 * x) + 1.0) }
}

/// The Gaussian error linear unit in its tanh form (Hendrycks and Gimpel 2016).
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    const ROOT_OF_2_BY_PI: f32 = 0.797_884_6;
    0.5 * x * (1.0 + tanh(ROOT_OF_2_BY_PI * x * (1.0 + 0.044_715 * x * x)))
}

/// Limits values to `cap` smoothly: `cap * tanh(x / cap)`; a cap of 0 leaves them.
pub fn soft_cap(values: &mut [f32], cap: f32) {
    if cap != 0.0 {
        values.iter_mut().for_each(|value| *value = cap * tanh(*value / cap));
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
    #[test]
    fn tanh_is_close_to_libm() {
        let mut x = -12.0f32;
        while x < 12.0 {
            let (got, want) = (f64::from(tanh(x)), libm::tanh(f64::from(x)));
            assert!((got - want).abs() <= 4e-7 * want.abs(), "tanh({x}) = {got}, should be {want}");
            x += 0.0007;
        }
        assert_eq!((tanh(0.0), tanh(f32::INFINITY), tanh(f32::NEG_INFINITY)), (0.0, 1.0, -1.0));
    }
}
