//! 256-bit vectors: `vpmaddubsw` multiplies 32 codes and activations, `vpmaddwd` applies the activation's scale,
//! `vpmuldq` the weight's, and everything is added up in four 64-bit lanes.
//!
//! No step can overflow or saturate: pairs of products are at most `2 * 63 * 127` (codes up to 63) or
//! `2 * 128 * 127` (eight-bit codes, signed), both below 2^15; times a scale (see `max_scale`), in pairs, below 2^31.

use super::{QuantRows, finish, float_rows, group_sum};
use crate::quant::activation::{Activations, Factors, quantise_vector};
use crate::quant::float::Float;
use crate::quant::panel::ROWS;
use crate::quant::{Format, Kind, SIGN_BITS};
use core::arch::x86_64::*;

/// Vectors that one pass over a row multiplies, so that its codes are unpacked once for all of them.
const TILE: usize = 4;

/// See [`super::multiply`].
#[target_feature(enable = "avx2")]
pub fn multiply<F: Format>(rows: QuantRows<'_>, x: Activations<'_>, out: &mut [f32]) {
    let row_bytes = x.groups / F::GROUPS * F::BYTES;
    let row_entries = x.groups * F::ENTRIES;
    if row_bytes == 0 || x.tokens == 0 {
        return;
    }
    let tables = rows.data.chunks_exact(row_bytes).zip(rows.scales.chunks_exact(row_entries));
    for (row, (data, scales)) in tables.enumerate() {
        // Where this row's products lie: one in each 16 values of its panel.
        let Some(out) = out.get_mut(row / ROWS * ROWS * x.tokens + row % ROWS..) else { return };
        let mut token = 0;
        while token + TILE <= x.tokens {
            tile::<F, TILE>(data, scales, x, token, rows.unit, out);
            token += TILE;
        }
        while token < x.tokens {
            tile::<F, 1>(data, scales, x, token, rows.unit, out);
            token += 1;
        }
    }
}

/// One row times `N` vectors, from vector `token` on.
#[target_feature(enable = "avx2")]
#[inline]
fn tile<F: Format, const N: usize>(
    data: &[u8],
    scales: &[i32],
    x: Activations<'_>,
    token: usize,
    unit: f32,
    out: &mut [f32],
) {
    let groups = x.groups;
    let mut codes: [&[[i8; 32]]; N] = [&[]; N];
    let mut factors: [&[Factors]; N] = [&[]; N];
    for n in 0..N {
        let here = (token + n) * groups..(token + n + 1) * groups;
        codes[n] = &x.codes.as_chunks::<32>().0[here.clone()];
        factors[n] = &x.factors[here];
    }
    let mut lanes = [_mm256_setzero_si256(); N];
    let mut totals = [0i64; N];
    let signed = is_signed::<F>();
    let mut g = 0;
    for (block, entries) in data.chunks_exact(F::BYTES).zip(scales.chunks_exact(F::ENTRIES * F::GROUPS)) {
        for (group, entry) in entries.chunks_exact(F::ENTRIES).enumerate() {
            let w = unpack::<F>(block, group);
            let magnitude = if signed { _mm256_abs_epi8(w) } else { w };
            let d = if F::HALVES {
                _mm256_set_m128i(_mm_set1_epi32(entry[1]), _mm_set1_epi32(entry[0]))
            } else {
                _mm256_set1_epi32(entry[0])
            };
            for n in 0..N {
                let a: __m256i = bytemuck::cast(codes[n][g]);
                let a = if signed { _mm256_sign_epi8(a, w) } else { a };
                let pairs = _mm256_maddubs_epi16(magnitude, a);
                let quads = _mm256_madd_epi16(pairs, scale_lanes(factors[n][g].scales));
                let even = _mm256_mul_epi32(quads, d);
                let odd = _mm256_mul_epi32(_mm256_srli_epi64(quads, 32), d);
                lanes[n] = _mm256_add_epi64(lanes[n], _mm256_add_epi64(even, odd));
                // What the codes' offset and M add; signed codes have neither.
                if !signed {
                    totals[n] += group_sum::<F>(entry, 0, 0, factors[n][g].sums);
                }
            }
            g += 1;
        }
    }
    for n in 0..N {
        let [a, b, c, d]: [i64; 4] = bytemuck::cast(lanes[n]);
        out[(token + n) * ROWS] = finish(totals[n] + a + b + c + d, unit * x.units[token + n]);
    }
}

/// Each quarter's scale for its four pairs of products.
#[target_feature(enable = "avx2")]
#[inline]
fn scale_lanes(scales: [i32; 4]) -> __m256i {
    // Scales are below 2^15: the lower halves of the four, each four times.
    const PICK: [u8; 32] = [
        0, 1, 0, 1, 0, 1, 0, 1, 4, 5, 4, 5, 4, 5, 4, 5, 8, 9, 8, 9, 8, 9, 8, 9, 12, 13, 12, 13, 12, 13, 12,
        13,
    ];
    _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytemuck::cast(scales)), bytemuck::cast(PICK))
}

/// See [`super::quantise`]; the same code, compiled for wider registers.
#[target_feature(enable = "avx2")]
pub fn quantise(x: &[f32], max_scale: i32, codes: &mut [i8], factors: &mut [Factors]) -> f32 {
    quantise_vector(x, max_scale, codes, factors)
}

/// Eight-bit codes, all of which have an offset of 128, are multiplied as signed numbers.
const fn is_signed<F: Format>() -> bool {
    F::MAX_CODE > 127 && F::OFFSET == 128
}

/// The 32 codes of a group, signed or unsigned.
#[target_feature(enable = "avx2")]
#[inline]
fn unpack<F: Format>(block: &[u8], group: usize) -> __m256i {
    match F::KIND {
        Kind::Q4_0 | Kind::Q4_1 => {
            let at = if F::HAS_MIN { 4 } else { 2 };
            let bytes: __m128i = bytemuck::cast(block[at..].first_chunk::<16>().copied().unwrap_or_default());
            let both = _mm256_set_m128i(_mm_srli_epi16(bytes, 4), bytes);
            _mm256_and_si256(both, _mm256_set1_epi8(15))
        }
        Kind::Q8_0 => bytemuck::cast(block[2..].first_chunk::<32>().copied().unwrap_or_default()),
        Kind::Q4K => {
            let at = 16 + 32 * (group / 2);
            let bytes: __m256i = bytemuck::cast(block[at..].first_chunk::<32>().copied().unwrap_or_default());
            let bytes = if group.is_multiple_of(2) { bytes } else { _mm256_srli_epi16(bytes, 4) };
            _mm256_and_si256(bytes, _mm256_set1_epi8(15))
        }
        _ if is_signed::<F>() => bytemuck::cast(F::codes(block, group).map(|codes| codes ^ SIGN_BITS)),
        _ => bytemuck::cast(F::codes(block, group)),
    }
}

/// See [`super::multiply_float`]; the same code, compiled for wider registers.
#[target_feature(enable = "avx2")]
pub fn multiply_float<T: Float>(data: &[u8], x: &[f32], length: usize, out: &mut [f32]) {
    float_rows::<T>(data, x, length, out);
}
