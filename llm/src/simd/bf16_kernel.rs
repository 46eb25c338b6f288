//! The kernel of [`super::bf16`]: a block of 6 × 64 sums in 24 registers, two factors of each at a time.

use core::arch::x86_64::*;
use core::mem::transmute;

use super::bf16::{COLUMNS, ROWS, Scratch, View, pack};

/// Registers side by side in a row of a block.
const WIDE: usize = COLUMNS / 16;

/// Adds to `c` the products of up to `most` pairs from pair `first` on; `b` with its rows and columns exchanged.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub fn add_products(
    a: View<'_>,
    b: View<'_>,
    first: usize,
    most: usize,
    scratch: &mut Scratch,
    c: &mut [f32],
) {
    let width = b.rows();
    let pairs = pack(a, ROWS, first, most, &mut scratch.a);
    pack(b, COLUMNS, first, most, &mut scratch.b);
    for (j, panel_b) in scratch.b.chunks_exact(pairs * COLUMNS).enumerate() {
        for (i, panel_a) in scratch.a.chunks_exact(pairs * ROWS).enumerate() {
            let sums = block(panel_a, panel_b);
            let columns = COLUMNS.min(width - j * COLUMNS);
            for (row, sums) in c[i * ROWS * width..].chunks_mut(width).zip(&sums) {
                let row = &mut row[j * COLUMNS..][..columns];
                for (sum, more) in row.iter_mut().zip(sums.as_flattened()) {
                    *sum += more;
                }
            }
        }
    }
}

/// The sums of one panel of each.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
fn block(a: &[u32], b: &[u32]) -> [[[f32; 16]; WIDE]; ROWS] {
    let mut sums = [[_mm512_setzero_ps(); WIDE]; ROWS];
    let (a, _) = a.as_chunks::<ROWS>();
    let (b, _) = b.as_chunks::<COLUMNS>();
    for (a, b) in a.iter().zip(b) {
        let (b, _) = b.as_chunks::<16>();
        let mut factors = [_mm512_setzero_si512(); WIDE];
        for (factor, b) in factors.iter_mut().zip(b) {
            // SAFETY: `b` is 16 times 32 bits; the load needs no alignment.
            *factor = unsafe { _mm512_loadu_si512(b.as_ptr().cast()) };
        }
        for (sums, a) in sums.iter_mut().zip(a) {
            let a = _mm512_set1_epi32(*a as i32);
            for (sum, b) in sums.iter_mut().zip(factors) {
                // SAFETY: both types are 512 bits, and any bits are 32 bf16.
                let (a, b) =
                    unsafe { (transmute::<__m512i, __m512bh>(a), transmute::<__m512i, __m512bh>(b)) };
                *sum = _mm512_dpbf16_ps(*sum, a, b);
            }
        }
    }
    // SAFETY: both types are 6 · 4 · 16 F32, in the same order.
    unsafe { transmute::<[[__m512; WIDE]; ROWS], [[[f32; 16]; WIDE]; ROWS]>(sums) }
}
