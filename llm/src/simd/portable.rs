//! Four multiply-adds in one 64-bit multiplication, in safe Rust.
//!
//! Let `w` hold four codes in 16-bit lanes, `w0 + w1*2^16 + w2*2^32 + w3*2^48`, and `a` four activations in reverse
//! order, `a3 + a2*2^16 + a1*2^32 + a0*2^48`. The top lane of `w * a` (mod 2^64) is `w0*a0 + w1*a1 + w2*a2 + w3*a3`.
//! With codes up to 31 the sum of two such products still fits the lane; the lower lanes may be
//! negative and then borrow one from the top lane, which rounding instead of truncating undoes.
//!
//! Under QEMU's TCG this is several times faster than vector code: a multiplication is one instruction of
//! the host, while vector instructions are calls of helper functions.

use super::{QuantRows, finish, group_sum};
use crate::quant::activation::{Activations, Factors};
use crate::quant::{Format, LOW_NIBBLES};

const EVEN_BYTES: u64 = 0x00FF_00FF_00FF_00FF;

/// The top lane of a sum of products.
#[inline(always)]
fn top_lane(sum: u64) -> i64 {
    (sum.wrapping_add(1 << 47) as i64) >> 48
}

/// `sum code * a` over 8 elements: a word of codes, two words of packed activations (even and odd elements).
#[inline(always)]
fn dot8<F: Format>(codes: u64, even: u64, odd: u64) -> i64 {
    if F::MAX_CODE > 63 {
        // Eight-bit codes: by nibbles.
        let (low, high) = (codes & LOW_NIBBLES, (codes >> 4) & LOW_NIBBLES);
        return top_lane(products(low, even, odd)) + 16 * top_lane(products(high, even, odd));
    }
    if F::MAX_CODE > 31 {
        let even = (codes & EVEN_BYTES).wrapping_mul(even);
        let odd = ((codes >> 8) & EVEN_BYTES).wrapping_mul(odd);
        return top_lane(even) + top_lane(odd);
    }
    top_lane(products(codes, even, odd))
}

/// Eight products, added up in the top lane; codes up to 31.
#[inline(always)]
fn products(codes: u64, even: u64, odd: u64) -> u64 {
    let even = (codes & EVEN_BYTES).wrapping_mul(even);
    let odd = ((codes >> 8) & EVEN_BYTES).wrapping_mul(odd);
    even.wrapping_add(odd)
}

/// See [`super::multiply`].
pub fn multiply<F: Format>(rows: QuantRows<'_>, x: Activations<'_>, out: &mut [f32]) {
    let row_bytes = x.groups / F::GROUPS * F::BYTES;
    let row_entries = x.groups * F::ENTRIES;
    if row_bytes == 0 || x.tokens == 0 {
        return;
    }
    let tables = rows.data.chunks_exact(row_bytes).zip(rows.scales.chunks_exact(row_entries));
    for ((data, scales), out) in tables.zip(out.chunks_exact_mut(x.tokens)) {
        let vectors = x.lanes.chunks_exact(x.groups * 8).zip(x.factors.chunks_exact(x.groups)).zip(x.units);
        for (((lanes, factors), unit), out) in vectors.zip(out) {
            *out = finish(row::<F>(data, scales, lanes, factors), rows.unit * unit);
        }
    }
}

#[inline(always)]
fn row<F: Format>(data: &[u8], scales: &[i32], lanes: &[u64], factors: &[Factors]) -> i64 {
    let mut total = 0i64;
    let activations = lanes.chunks_exact(8 * F::GROUPS).zip(factors.chunks_exact(F::GROUPS));
    let blocks = data.chunks_exact(F::BYTES).zip(scales.chunks_exact(F::ENTRIES * F::GROUPS));
    for ((block, entries), (lanes, factors)) in blocks.zip(activations) {
        let groups = entries.chunks_exact(F::ENTRIES).zip(lanes.chunks_exact(8)).zip(factors);
        for (group, ((entry, a), factors)) in groups.enumerate() {
            let codes = F::codes(block, group);
            let quarter = |q: usize| factors.scale(q as u32) * dot8::<F>(codes[q], a[2 * q], a[2 * q + 1]);
            let (low, high) = (quarter(0) + quarter(1), quarter(2) + quarter(3));
            total += group_sum::<F>(entry, low, high, factors.sums);
        }
    }
    total
}
