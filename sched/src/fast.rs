//! Logarithm and exponential in a few instructions, for numbers that tolerate an error of 0.01 %. Branch-free, so that loops over them
//! become vector code.

use core::f32::consts::{LN_2, LOG2_E};

const ROUND: f32 = 12_582_912.0;

/// Natural logarithm of a positive, normal number. What else comes gives some finite number.
#[must_use]
pub(crate) fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let exponent = (bits >> 23) as i32 - 127;
    // m in 1..2; ln m = 2·(t + t³/3 + t⁵/5 + t⁷/7) with t = (m − 1) / (m + 1).
    let m = f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000);
    let t = (m - 1.0) / (m + 1.0);
    let t2 = t * t;
    exponent as f32 * LN_2 + 2.0 * t * (1.0 + t2 * (1.0 / 3.0 + t2 * (0.2 + t2 * (1.0 / 7.0))))
}

/// e to the x, for any x; what would be smaller than 10⁻³⁷ or greater than 10³⁷ is cut off there.
#[must_use]
pub(crate) fn exp(x: f32) -> f32 {
    let y = (x * LOG2_E).clamp(-124.0, 124.0);
    // y = n + f with f in −0.5..0.5; adding 1.5 · 2²³ rounds, and leaves n in the lowest bits.
    let rounded = y + ROUND;
    let f = (y - (rounded - ROUND)) * LN_2;
    let power = 1.0 + f * (1.0 + f * (0.5 + f * (1.0 / 6.0 + f * (1.0 / 24.0 + f * (1.0 / 120.0)))));
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    f32::from_bits(exponent << 23) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_to_the_exact_functions() {
        let mut x = 1e-30_f32;
        while x < 1e30 {
            assert!((ln(x) - libm::logf(x)).abs() <= 1e-4 * libm::logf(x).abs().max(1.0), "ln {x}");
            x *= 1.37;
        }
        let mut x = -80.0_f32;
        while x < 80.0 {
            let exact = libm::expf(x);
            assert!((exp(x) - exact).abs() <= 1e-4 * exact, "exp {x}");
            x += 0.173;
        }
        assert!(exp(1e9).is_finite() && exp(-1e9) >= 0.0 && ln(0.0).is_finite());
    }
}
