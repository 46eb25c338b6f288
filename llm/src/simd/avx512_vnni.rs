//! Panels with AVX-512 VNNI: as AVX-VNNI, with all 16 rows of a panel in one register.

use core::arch::x86_64::*;

super::panel_kernel::panel_kernel! {
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c", quarter, unsigned, __m512i, __m512, 64, 8;
    _mm512_setzero_si512, _mm512_set1_epi32, _mm512_mullo_epi32, _mm512_add_epi64, _mm512_mul_epi32, _mm512_srli_epi64,
    _mm512_and_si512, _mm512_or_si512, _mm512_slli_epi16, _mm512_srli_epi16, _mm512_cvtepi8_epi32, _mm512_cvtph_ps,
    _mm512_mul_ps, _mm512_set1_ps, _mm512_cvtps_epi32
}

const fn unsigned(_bits: usize) -> i32 {
    0
}

/// See [`super::panel_kernel`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn quarter<F: Format>(codes: [__m512i; 2], a: [i32; 2], scale: i32, sum: __m512i) -> __m512i {
    let products = _mm512_dpbusd_epi32(_mm512_setzero_si512(), codes[0], _mm512_set1_epi32(a[0]));
    let products = _mm512_dpbusd_epi32(products, codes[1], _mm512_set1_epi32(a[1]));
    let scale = _mm512_set1_epi32(scale);
    if Layout::<F>::BITS == 4 {
        // As in `avx_vnni`.
        _mm512_dpwssd_epi32(sum, products, scale)
    } else {
        _mm512_add_epi32(sum, _mm512_mullo_epi32(products, scale))
    }
}
