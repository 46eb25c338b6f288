//! Attention with AVX2: `vpmaddwd` multiplies 16 keys, values, queries and weights at a time.

use super::attention;
use crate::model::attention::{Integers, Scores, attend_integers};
use crate::model::stored::{CHUNK, Stored};
use core::arch::x86_64::*;
use core::ops::Range;

/// Numbers in a register.
const NUMBERS: usize = 16;

/// See [`super::attend`].
#[target_feature(enable = "avx2")]
pub fn attend<T: Stored>(
    query: &[f32],
    head: Integers<'_, T>,
    seen: Range<usize>,
    scores: Scores,
    out: &mut [f32],
) {
    attend_integers(
        query,
        head,
        seen,
        scores,
        out,
        |query, keys, out| dots(query, keys, out),
        |weights, values, out| add(weights, values, out),
    );
}

/// See [`attention::dots`].
#[target_feature(enable = "avx2")]
#[inline]
pub fn dots<T: Stored>(query: &[[i16; 2]], keys: &[T], out: &mut [i32; CHUNK]) {
    let mut sums = [_mm256_setzero_si256(); 2];
    for (&pair, keys) in query.iter().zip(keys.as_chunks::<{ 2 * CHUNK }>().0) {
        let pair = _mm256_set1_epi32(bytemuck::cast(pair));
        for (sum, keys) in sums.iter_mut().zip(keys.as_chunks::<NUMBERS>().0) {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(load(keys), pair));
        }
    }
    *out = bytemuck::cast(sums);
}

/// See [`attention::add`].
#[target_feature(enable = "avx2")]
#[inline]
pub fn add<T: Stored>(weights: &[[i16; 2]; CHUNK / 2], values: &[T], out: &mut [i32]) {
    let head_dim = out.len();
    let (whole, rest) = out.as_chunks_mut::<{ NUMBERS / 2 }>();
    if !rest.is_empty() {
        return attention::add(weights, values, out);
    }
    for (i, out) in whole.iter_mut().enumerate() {
        let mut sum = _mm256_setzero_si256();
        for (&pair, values) in weights.iter().zip(values.chunks_exact(2 * head_dim)) {
            let values = &values.as_chunks::<NUMBERS>().0[i];
            sum = _mm256_add_epi32(
                sum,
                _mm256_madd_epi16(load(values), _mm256_set1_epi32(bytemuck::cast(pair))),
            );
        }
        *out = bytemuck::cast(sum);
    }
}

/// Sixteen numbers as 16-bit lanes.
#[target_feature(enable = "avx2")]
#[inline]
fn load<T: Stored>(numbers: &[T; NUMBERS]) -> __m256i {
    let bytes: &[u8] = bytemuck::cast_slice(numbers);
    match bytes.first_chunk::<32>() {
        Some(shorts) => bytemuck::cast(*shorts),
        None => _mm256_cvtepi8_epi16(bytemuck::cast(bytes.first_chunk::<16>().copied().unwrap_or_default())),
    }
}
