//! Panels with AVX2: `vpmaddubsw` multiplies codes and activations, `vpmaddwd` applies the activations' scale.

use core::arch::x86_64::*;

super::panel_kernel::panel_kernel! {
    "avx2,f16c", quarter, shifted, __m256i, __m256, 32, 4;
    _mm256_setzero_si256, _mm256_set1_epi32, _mm256_mullo_epi32, _mm256_add_epi64, _mm256_mul_epi32, _mm256_srli_epi64,
    _mm256_and_si256, _mm256_or_si256, _mm256_slli_epi16, _mm256_srli_epi16, _mm256_cvtepi8_epi32, _mm256_cvtph_ps,
    _mm256_mul_ps, _mm256_set1_ps, _mm256_cvtps_epi32
}

/// Codes of eight bits are multiplied as signed bytes, because pairs of products of unsigned ones do not fit 16 bits.
const fn shifted(bits: usize) -> i32 {
    if bits == 8 { 128 } else { 0 }
}

/// See [`super::panel_kernel`].
#[target_feature(enable = "avx2")]
#[inline]
fn quarter<F: Format>(codes: [__m256i; 2], a: [i32; 2], scale: i32, sum: __m256i) -> __m256i {
    let a = a.map(|a| _mm256_set1_epi32(a));
    // The scale in both halves of a lane.
    let scale = _mm256_set1_epi32(scale * 0x1_0001);
    if Layout::<F>::BITS == 8 {
        let mut sum = sum;
        for (codes, a) in codes.into_iter().zip(a) {
            let signed = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
            // Pairs of at most 2 * 128 * 127.
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(signed), _mm256_sign_epi8(a, signed));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, scale));
        }
        return sum;
    }
    // At most 4 * 63 * 127.
    let pairs = _mm256_add_epi16(_mm256_maddubs_epi16(codes[0], a[0]), _mm256_maddubs_epi16(codes[1], a[1]));
    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, scale))
}
