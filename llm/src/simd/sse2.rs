//! 128-bit vectors: `pmaddwd` on codes and activations widened to 16 bits.

use super::{QuantRows, finish, group_sum};
use crate::quant::Format;
use crate::quant::activation::{Activations, Factors};
use crate::quant::panel::ROWS;
use core::arch::x86_64::*;

/// `sum code * da * a` over 16 elements, two quarters with scales `first` and `second`.
#[target_feature(enable = "sse2")]
#[inline]
fn dot16(codes: [u64; 2], a: &[i8], first: i64, second: i64) -> i64 {
    let Some(a) = a.first_chunk::<16>() else { return 0 };
    let zero = _mm_setzero_si128();
    let codes: __m128i = bytemuck::cast(codes);
    let a: __m128i = bytemuck::cast(*a);
    let low = _mm_madd_epi16(_mm_unpacklo_epi8(codes, zero), _mm_srai_epi16(_mm_unpacklo_epi8(zero, a), 8));
    let high = _mm_madd_epi16(_mm_unpackhi_epi8(codes, zero), _mm_srai_epi16(_mm_unpackhi_epi8(zero, a), 8));
    // Both sums at once, in the two halves of one vector.
    let pairs = _mm_add_epi32(_mm_unpacklo_epi64(low, high), _mm_unpackhi_epi64(low, high));
    let sums = _mm_add_epi32(pairs, _mm_shuffle_epi32(pairs, 0b10_11_00_01));
    let [low, _, high, _]: [i32; 4] = bytemuck::cast(sums);
    first * i64::from(low) + second * i64::from(high)
}

/// See [`super::multiply`].
#[target_feature(enable = "sse2")]
pub fn multiply<F: Format>(rows: QuantRows<'_>, x: Activations<'_>, out: &mut [f32]) {
    let row_bytes = x.groups / F::GROUPS * F::BYTES;
    let row_entries = x.groups * F::ENTRIES;
    if row_bytes == 0 || x.tokens == 0 {
        return;
    }
    let tables = rows.data.chunks_exact(row_bytes).zip(rows.scales.chunks_exact(row_entries));
    for (row, (data, scales)) in tables.enumerate() {
        let Some(out) = out.get_mut(row / ROWS * ROWS * x.tokens + row % ROWS..) else { return };
        for (token, out) in out.iter_mut().step_by(ROWS).take(x.tokens).enumerate() {
            let groups = token * x.groups..(token + 1) * x.groups;
            let codes = x.codes.get(groups.start * 32..groups.end * 32).unwrap_or_default();
            let factors = x.factors.get(groups).unwrap_or_default();
            let unit = x.units.get(token).copied().unwrap_or(0.0);
            *out = finish(row_sum::<F>(data, scales, codes, factors), rows.unit * unit);
        }
    }
}

#[target_feature(enable = "sse2")]
#[inline]
fn row_sum<F: Format>(data: &[u8], scales: &[i32], codes: &[i8], factors: &[Factors]) -> i64 {
    let mut total = 0i64;
    let activations = codes.chunks_exact(32 * F::GROUPS).zip(factors.chunks_exact(F::GROUPS));
    let blocks = data.chunks_exact(F::BYTES).zip(scales.chunks_exact(F::ENTRIES * F::GROUPS));
    for ((block, entries), (codes, factors)) in blocks.zip(activations) {
        let groups = entries.chunks_exact(F::ENTRIES).zip(codes.chunks_exact(32)).zip(factors);
        for (group, ((entry, a), factors)) in groups.enumerate() {
            let [c0, c1, c2, c3] = F::codes(block, group);
            let (a_low, a_high) = a.split_at(16);
            let low = dot16([c0, c1], a_low, factors.scale(0), factors.scale(1));
            let high = dot16([c2, c3], a_high, factors.scale(2), factors.scale(3));
            total += group_sum::<F>(entry, low, high, factors.sums);
        }
    }
    total
}
