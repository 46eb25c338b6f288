//! Panels without vector instructions: what [`super::panel_kernel`] computes, one row at a time. It is there so that every
//! variant can multiply every matrix, and as the plain statement of the layout; nothing chooses it for speed.

use super::{finish, group_sum};
use crate::quant::activation::{Activations, QUARTER};
use crate::quant::float::f16_to_f32;
use crate::quant::panel::{Layout, Panels, ROWS, VECTOR};
use crate::quant::scales::{power_of_two, whole};
use crate::quant::{Format, GROUP};

/// See [`super::multiply_panels`].
pub fn multiply<F: Format>(panels: Panels<'_>, x: Activations<'_>, out: &mut [f32]) {
    if x.tokens == 0 {
        return;
    }
    for (panel, out) in panels.iter().zip(out.chunks_exact_mut(ROWS * x.tokens)) {
        for (token, out) in out.chunks_exact_mut(ROWS).enumerate() {
            let unit = power_of_two(-panels.shift) * x.units[token];
            for (row, out) in out.iter_mut().enumerate() {
                *out = finish(row_sum::<F>(panel, panels.shift, row, x, token), unit);
            }
        }
    }
}

fn row_sum<F: Format>(
    (scales, codes): (&[u8], &[u8]),
    shift: i32,
    row: usize,
    x: Activations<'_>,
    token: usize,
) -> i64 {
    let mut sum = 0;
    for (group, codes) in codes.chunks_exact(Layout::<F>::CODES).enumerate().take(x.groups) {
        let scales = &scales[group / F::GROUPS * Layout::<F>::SCALES..];
        let half_float = |at: usize| {
            let at = 2 * (at * ROWS + row);
            whole(f16_to_f32(u16::from_le_bytes([scales[at], scales[at + 1]])), shift) as i32
        };
        let multiplier = |entry: usize| match F::GROUPS {
            1 => 1,
            groups => {
                let at = Layout::<F>::FLOATS + group % groups * Layout::<F>::MULTIPLIERS + entry * ROWS;
                i32::from(scales[at + row] as i8)
            }
        };
        let mut entry = [half_float(0) * multiplier(0), 0, 0, 0];
        if F::ENTRIES > 1 {
            entry[1] = half_float(usize::from(F::HAS_MIN)) * multiplier(1);
        }
        let at = token * x.groups + group;
        let factors = &x.factors[at];
        let mut halves = [0i64; 2];
        for (column, &a) in x.codes[at * GROUP..(at + 1) * GROUP].iter().enumerate() {
            let product = i64::from(code::<F>(codes, row, column)) * i64::from(a);
            halves[column / (GROUP / 2)] += product * factors.scale(column / QUARTER);
        }
        sum += group_sum::<F>(&entry, halves[0], halves[1], factors.sums);
    }
    sum
}

/// The code of one column of a group.
fn code<F: Format>(codes: &[u8], row: usize, column: usize) -> u8 {
    let byte = |vector: usize| codes[vector * VECTOR + 4 * row + column % 4];
    let quad = column / 4;
    if Layout::<F>::BITS == 8 {
        return byte(quad);
    }
    let nibble = byte(quad % 4) >> (4 * (quad / 4)) & 15;
    if Layout::<F>::BITS == 4 {
        return nibble;
    }
    nibble | (byte(4 + quad / 4) >> (2 * (quad % 4)) & 3) << 4
}
