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
use crate::quant::activation::{Activations, Factors, LANES};
use crate::quant::panel::ROWS;
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
///
/// Rows are taken in pairs, so that an activation is loaded once for two rows: under emulation a load costs as much as
/// all the arithmetic on what it loads.
pub fn multiply<F: Format>(rows: QuantRows<'_>, x: Activations<'_>, out: &mut [f32]) {
    let row_bytes = x.groups / F::GROUPS * F::BYTES;
    let row_entries = x.groups * F::ENTRIES;
    if row_bytes == 0 || x.tokens == 0 {
        return;
    }
    let pairs = rows.data.chunks(2 * row_bytes).zip(rows.scales.chunks(2 * row_entries));
    for (pair, (data, scales)) in pairs.enumerate() {
        let (data, data_below) = data.split_at(row_bytes.min(data.len()));
        let (scales, scales_below) = scales.split_at(row_entries.min(scales.len()));
        // The last of an odd number of rows is paired with itself; its panel has room for the second result.
        let (data_below, scales_below) =
            if data_below.is_empty() { (data, scales) } else { (data_below, scales_below) };
        let row = 2 * pair;
        let Some(out) = out.get_mut(row / ROWS * ROWS * x.tokens + row % ROWS..) else { return };
        let vectors =
            x.lanes.chunks_exact(x.groups * LANES).zip(x.factors.chunks_exact(x.groups)).zip(x.units);
        for (((lanes, factors), unit), out) in vectors.zip(out.chunks_mut(ROWS)) {
            let unit = rows.unit * unit;
            let sums = two_rows::<F>([data, data_below], [scales, scales_below], lanes, factors);
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = finish(sum, unit);
            }
        }
    }
}

/// The sums of two rows with one vector.
#[inline(always)]
fn two_rows<F: Format>(
    data: [&[u8]; 2],
    scales: [&[i32]; 2],
    lanes: &[u64],
    factors: &[Factors],
) -> [i64; 2] {
    let mut totals = [0i64; 2];
    let activations = lanes.chunks_exact(LANES * F::GROUPS).zip(factors.chunks_exact(F::GROUPS));
    let blocks = data[0].chunks_exact(F::BYTES).zip(data[1].chunks_exact(F::BYTES));
    let [upper, lower] = scales.map(|scales| scales.chunks_exact(F::ENTRIES * F::GROUPS));
    for (((upper_block, lower_block), (upper, lower)), (lanes, factors)) in
        blocks.zip(upper.zip(lower)).zip(activations)
    {
        let entries = upper.chunks_exact(F::ENTRIES).zip(lower.chunks_exact(F::ENTRIES));
        let groups = entries.zip(lanes.as_chunks::<LANES>().0).zip(factors);
        for (group, (((upper, lower), a), factors)) in groups.enumerate() {
            let codes = [F::codes(upper_block, group), F::codes(lower_block, group)];
            let mut halves = [[0i64; 2]; 2];
            for quarter in 0..4 {
                let (even, odd) = (a[2 * quarter], a[2 * quarter + 1]);
                let scale = (a[LANES - 1] >> (16 * quarter) & 0xFFFF) as i64;
                for (sums, codes) in halves.iter_mut().zip(&codes) {
                    sums[quarter / 2] += scale * dot8::<F>(codes[quarter], even, odd);
                }
            }
            for ((total, entry), [low, high]) in totals.iter_mut().zip([upper, lower]).zip(halves) {
                *total += group_sum::<F>(entry, low, high, factors.sums);
            }
        }
    }
    totals
}
