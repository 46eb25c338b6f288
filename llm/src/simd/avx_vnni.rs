//! Panels with AVX-VNNI: `vpdpbusd` adds four products of a code and an activation to each 32-bit lane.

use core::arch::x86_64::*;

super::panel_kernel::panel_kernel! {
    "avx2,f16c,avxvnni", quarter, unsigned, __m256i, __m256, 32, 4;
    _mm256_setzero_si256, _mm256_set1_epi32, _mm256_mullo_epi32, _mm256_add_epi64, _mm256_mul_epi32, _mm256_srli_epi64,
    _mm256_and_si256, _mm256_or_si256, _mm256_slli_epi16, _mm256_srli_epi16, _mm256_cvtepi8_epi32, _mm256_cvtph_ps,
    _mm256_mul_ps, _mm256_set1_ps, _mm256_cvtps_epi32
}

const fn unsigned(_bits: usize) -> i32 {
    0
}

/// See [`super::panel_kernel`].
#[target_feature(enable = "avx2,avxvnni")]
#[inline]
fn quarter<F: Format>(codes: [__m256i; 2], a: [i32; 2], scale: i32, sum: __m256i) -> __m256i {
    let products = _mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), codes[0], _mm256_set1_epi32(a[0]));
    let products = _mm256_dpbusd_avx_epi32(products, codes[1], _mm256_set1_epi32(a[1]));
    let scale = _mm256_set1_epi32(scale);
    if Layout::<F>::BITS == 4 {
        // Below 2^15, so the product of the lower halves is the whole product: that of the upper halves is a sign
        // times the zeros above the scale.
        _mm256_dpwssd_avx_epi32(sum, products, scale)
    } else {
        _mm256_add_epi32(sum, _mm256_mullo_epi32(products, scale))
    }
}
