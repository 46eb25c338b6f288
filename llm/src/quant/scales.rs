//! Scales of a quantised tensor as whole numbers: the table that stands beside its codes.

use super::activation::MAX_ACTIVATION;
use super::{Format, GROUP};
use crate::parallel::{Parallel, for_items};
use core::sync::atomic::{AtomicU32, Ordering};

/// The tensor holds an infinite or undefined scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFinite;

const EXPONENT: u32 = 0x7F80_0000;
const MAGNITUDE: u32 = 0x7FFF_FFFF;

/// A float in units of `2^-shift`; exact where the bits reach that far, else rounded to nearest, ties to even, as
/// `cvtps2dq` rounds. The result must fit 40 bits.
#[inline(always)]
pub fn whole(value: f32, shift: i32) -> i64 {
    let bits = value.to_bits();
    let exponent = (bits >> 23 & 255) as i32;
    // value = mantissa * 2^(max(exponent, 1) - 150); subnormals have no hidden bit.
    let mantissa = i64::from(bits & 0x7F_FFFF) | i64::from(exponent != 0) << 23;
    let left = exponent.max(1) - 150 + shift;
    let magnitude = match left {
        0..=40 => mantissa << left,
        -40..0 => {
            let down = -left;
            let below_half = (1 << (down - 1)) - 1;
            (mantissa + below_half + (mantissa >> down & 1)) >> down
        }
        _ => 0,
    };
    if bits >> 31 == 1 { -magnitude } else { magnitude }
}

/// Bits that a table entry of this format may have, sign not counted, so that the 64-bit sum over
/// `groups` groups cannot overflow.
const fn entry_bits<F: Format>(groups: usize) -> u32 {
    // |da * sum code*a| <= F::MAX_SCALE * 32 * MAX_ACTIVATION * MAX_CODE. The offset term is smaller, the M
    // term is smaller, their sum at most doubles it twice.
    let term = F::MAX_SCALE as u64 * GROUP as u64 * MAX_ACTIVATION as u64 * F::MAX_CODE as u64;
    let used = (u64::BITS - term.leading_zeros()) + (usize::BITS - groups.leading_zeros()) + 2;
    let left = 63u32.saturating_sub(used);
    if left > 30 { 30 } else { left }
}

/// The `s` of the unit `2^-s` for the scales of a tensor with rows of `groups` groups.
pub fn shift<F: Format>(data: &[u8], groups: usize, parallel: &dyn Parallel) -> Result<i32, NotFinite> {
    // The largest magnitude decides. Magnitudes of floats order as their bits do.
    let blocks = data.len() / F::BYTES;
    let largest = AtomicU32::new(0);
    parallel.run(&|part, parts| {
        let (first, end) = (blocks * part / parts, blocks * (part + 1) / parts);
        let bytes = data.get(first * F::BYTES..end * F::BYTES).unwrap_or_default();
        let max = bytes.chunks_exact(F::BYTES).fold(0u32, |max, block| {
            let scales = F::scales(block, 0);
            max.max(scales.d.to_bits() & MAGNITUDE).max(scales.m.to_bits() & MAGNITUDE)
        });
        largest.fetch_max(max, Ordering::Relaxed);
    });
    let largest = largest.load(Ordering::Relaxed);
    if largest >= EXPONENT {
        return Err(NotFinite);
    }
    // |value| < 2^(exponent - 126), so |entry| < 2^(exponent - 126 + multiplier bits + shift). The unit must be a normal
    // float.
    let exponent = ((largest >> 23) as i32).max(1);
    let multiplier_bits = (u32::BITS - (F::MAX_MULTIPLIER - 1).leading_zeros()) as i32;
    Ok((entry_bits::<F>(groups) as i32 - (exponent - 126) - multiplier_bits).min(126))
}

/// Fills the scale table of a tensor, in units of `2^-shift`. `table` has `F::ENTRIES` entries for each group of
/// the tensor.
pub fn build<F: Format>(data: &[u8], shift: i32, table: &mut [i32], parallel: &dyn Parallel) {
    for_items(parallel, table, F::ENTRIES * F::GROUPS, &|first, table| {
        let bytes = data.get(first * F::BYTES..).unwrap_or_default();
        for (block, entries) in
            bytes.chunks_exact(F::BYTES).zip(table.chunks_exact_mut(F::ENTRIES * F::GROUPS))
        {
            for (group, entry) in entries.chunks_exact_mut(F::ENTRIES).enumerate() {
                let scales = F::scales(block, group);
                let [d, m] = [scales.d, scales.m].map(|value| whole(value, shift));
                let [d, d_below] = scales.dx.map(|multiplier| d * i64::from(multiplier));
                let [m, m_below] = scales.mx.map(|multiplier| m * i64::from(multiplier));
                let entries = if F::HALVES { [d, d_below, m, m_below] } else { [d, m, d_below, m_below] };
                for (slot, value) in entry.iter_mut().zip(entries) {
                    // Fits: entry_bits is at most 30.
                    *slot = value as i32;
                }
            }
        }
    });
}

/// `2^exponent` as f32; infinite above its range, which shows in the logits, and never below it (see the limit of
/// [`shift`]).
pub fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127).clamp(1, 255) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::float::f16_to_f32;

    #[test]
    fn whole_is_exact_where_the_bits_reach_and_else_the_nearest() {
        for bits in 0..=u16::MAX {
            let value = f16_to_f32(bits);
            if !value.is_finite() {
                continue;
            }
            // 24 fractional bits hold every half float.
            assert_eq!(whole(value, 24) as f64 / f64::from(1 << 24), f64::from(value), "{bits:#x}");
            assert_eq!(whole(value, 5) as f32, (value * 32.0).round_ties_even(), "{bits:#x}");
        }
        assert_eq!(whole(1.0 + f32::EPSILON, 23), (1 << 23) + 1);
        assert_eq!(whole(f32::from_bits(3), 149), 3);
        assert_eq!(whole(f32::MIN_POSITIVE, 30), 0);
    }
}
