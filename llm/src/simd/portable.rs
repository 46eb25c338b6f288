//! Four multiply-adds in one 64-bit multiplication, in safe Rust.
//!
//! Let `w` hold four codes in 16-bit lanes, `w0 + w1*2^16 + w2*2^32 + w3*2^48`, and `a` four activations in reverse
//! order, `a3 + a2*2^16 + a1*2^32 + a0*2^48`. The top lane of `w * a` (mod 2^64) is `w0*a0 + w1*a1 + w2*a2 + w3*a3`.
//! With codes up to 15 the sums of four such products still fit the lane; the lower lanes may be
//! negative and then borrow one from the top lane, which rounding instead of truncating undoes.
//!
//! Under QEMU's TCG this is several times faster than vector code: a multiplication is one instruction of
//! the host, while vector instructions are calls of helper functions.

use super::{QuantRows, finish, offset_factors};
use crate::quant::activation::Activations;
use crate::quant::{Format, LOW_NIBBLES};

const EVEN_BYTES: u64 = 0x00FF_00FF_00FF_00FF;

/// The top lane of a sum of products.
#[inline(always)]
fn top_lane(sum: u64) -> i64 {
    (sum.wrapping_add(1 << 47) as i64) >> 48
}

/// `sum code * a` over 16 elements: two words of codes, four words of packed activations.
#[inline(always)]
fn dot16<F: Format>(codes: [u64; 2], a: [u64; 4]) -> i64 {
    if F::MAX_CODE > 63 {
        // Eight-bit codes: by nibbles.
        let low = codes.map(|c| c & LOW_NIBBLES);
        let high = codes.map(|c| (c >> 4) & LOW_NIBBLES);
        return top_lane(products(low, a).into_iter().fold(0, u64::wrapping_add))
            + 16 * top_lane(products(high, a).into_iter().fold(0, u64::wrapping_add));
    }
    let [p, q, r, s] = products(codes, a);
    // As many products are added in the lanes as cannot overflow them.
    match F::MAX_CODE {
        0..=15 => top_lane(p.wrapping_add(q).wrapping_add(r).wrapping_add(s)),
        16..=31 => top_lane(p.wrapping_add(q)) + top_lane(r.wrapping_add(s)),
        _ => top_lane(p) + top_lane(q) + top_lane(r) + top_lane(s),
    }
}

#[inline(always)]
fn products(codes: [u64; 2], a: [u64; 4]) -> [u64; 4] {
    [
        (codes[0] & EVEN_BYTES).wrapping_mul(a[0]),
        ((codes[0] >> 8) & EVEN_BYTES).wrapping_mul(a[1]),
        (codes[1] & EVEN_BYTES).wrapping_mul(a[2]),
        ((codes[1] >> 8) & EVEN_BYTES).wrapping_mul(a[3]),
    ]
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
        let vectors = x
            .lanes
            .chunks_exact(x.groups * 8)
            .zip(x.scales.chunks_exact(x.groups))
            .zip(x.sums.chunks_exact(x.groups))
            .zip(x.units);
        for ((((lanes, das), sums), unit), out) in vectors.zip(out) {
            *out = finish(row::<F>(data, scales, lanes, das, sums), rows.unit * unit);
        }
    }
}

#[inline(always)]
fn row<F: Format>(data: &[u8], scales: &[i32], lanes: &[u64], das: &[i32], sums: &[[i32; 2]]) -> i64 {
    let mut total = 0i64;
    let activations =
        lanes.chunks_exact(8 * F::GROUPS).zip(das.chunks_exact(F::GROUPS)).zip(sums.chunks_exact(F::GROUPS));
    let blocks = data.chunks_exact(F::BYTES).zip(scales.chunks_exact(F::ENTRIES * F::GROUPS));
    for ((block, entries), ((lanes, das), sums)) in blocks.zip(activations) {
        let groups = entries.chunks_exact(F::ENTRIES).zip(lanes.chunks_exact(8)).zip(das.iter().zip(sums));
        for (group, ((entry, a), (&da, sum))) in groups.enumerate() {
            let [c0, c1, c2, c3] = F::codes(block, group);
            let low = dot16::<F>([c0, c1], [a[0], a[1], a[2], a[3]]);
            let high = dot16::<F>([c2, c3], [a[4], a[5], a[6], a[7]]);
            let factors = offset_factors::<F>(entry, F::OFFSET);
            let (da, d) = (i64::from(da), i64::from(entry[0]));
            total += if F::HALVES {
                let d1 = i64::from(entry[1]);
                d * da * low
                    + d1 * da * high
                    + factors[0] * i64::from(sum[0])
                    + factors[1] * i64::from(sum[1])
            } else {
                d * (da * (low + high)) + factors[0] * i64::from(sum[0] + sum[1])
            };
        }
    }
    total
}
