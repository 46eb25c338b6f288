//! Products of F32 matrices whose factors are rounded to bf16, with sums in F32: what training multiplies with on CPUs
//! that have `vdpbf16ps`, at twice the pace of F32.
//!
//! The usual mixed precision of training: weights and sums stay F32, a factor keeps 8 bits of mantissa.

use super::cpu;
use alloc::vec;
use alloc::vec::Vec;

/// Rows of A whose sums a block of the kernel holds.
pub(super) const ROWS: usize = 6;
/// Columns of B beside them: four registers of 16.
pub(super) const COLUMNS: usize = 64;
/// Pairs of factors in a panel: a panel of B (128 KiB) stays in the second-level cache, one of A (12 KiB) in the first.
const PAIRS: usize = 512;

/// A matrix in a slice, by the distances between its numbers.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_step: usize,
    column_step: usize,
}

impl<'a> View<'a> {
    /// `rows` × `columns` numbers, the next row `row_step` and the next column `column_step` numbers on; `None` where
    /// they do not lie inside `values`.
    pub fn new(
        values: &'a [f32],
        rows: usize,
        columns: usize,
        row_step: usize,
        column_step: usize,
    ) -> Option<Self> {
        let last = rows.checked_sub(1)?.checked_mul(row_step)?;
        let last = last.checked_add(columns.checked_sub(1)?.checked_mul(column_step)?)?;
        (last < values.len()).then_some(View { values, rows, columns, row_step, column_step })
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The matrix with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        let View { values, rows, columns, row_step, column_step } = self;
        View { values, rows: columns, columns: rows, row_step: column_step, column_step: row_step }
    }
}

/// Memory that products use again.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) a: Vec<u32>,
    pub(super) b: Vec<u32>,
}

/// Whether this CPU, as it is set up, has the instruction.
pub fn available() -> bool {
    cpu::has(cpu::AVX512_BF16)
}

/// A·B, row by row; `None` where the instruction is missing or the inner sizes differ.
pub fn product(a: View<'_>, b: View<'_>, scratch: &mut Scratch) -> Option<Vec<f32>> {
    if a.columns != b.rows || !available() {
        return None;
    }
    let mut c = vec![0.0; a.rows * b.columns];
    #[cfg(target_arch = "x86_64")]
    for first in (0..a.columns.div_ceil(2)).step_by(PAIRS) {
        // SAFETY: `available` said that the instructions are there.
        unsafe { super::bf16_kernel::add_products(a, b.transposed(), first, PAIRS, scratch, &mut c) };
    }
    Some(c)
}

/// Rounds to bf16, to nearest and to even; in the low half.
#[inline(always)]
fn round(x: f32) -> u32 {
    let bits = x.to_bits();
    bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16
}

/// Panels of `width` rows of `view`: `[panel][pair][row]`, a pair being two neighbours of a row from pair `first` on, the
/// earlier one in the low half. What is beyond the matrix is 0. Returns the pairs.
#[inline(always)]
pub(super) fn pack(view: View<'_>, width: usize, first: usize, most: usize, out: &mut Vec<u32>) -> usize {
    let View { values, rows, columns, row_step, column_step } = view;
    let from = 2 * first;
    let pairs = most.min(columns.div_ceil(2) - first);
    let whole = pairs.min((columns - from) / 2);
    out.clear();
    out.resize(rows.div_ceil(width) * pairs * width, 0);
    for (panel, out) in out.chunks_exact_mut(pairs * width).enumerate() {
        let here = width.min(rows - panel * width);
        let at = panel * width * row_step + from * column_step;
        if row_step == 1 {
            // Neighbours in memory are neighbours in the panel: two columns at a time.
            for (pair, out) in out.chunks_exact_mut(width).enumerate() {
                let left = &values[at + 2 * pair * column_step..][..here];
                let right =
                    if pair < whole { &values[at + (2 * pair + 1) * column_step..][..here] } else { &[][..] };
                for (i, out) in out[..here].iter_mut().enumerate() {
                    *out = round(left[i]) | right.get(i).map_or(0, |r| round(*r) << 16);
                }
            }
        } else {
            for i in 0..here {
                let row = &values[at + i * row_step..];
                for pair in 0..whole {
                    let (left, right) = (row[2 * pair * column_step], row[(2 * pair + 1) * column_step]);
                    out[pair * width + i] = round(left) | round(right) << 16;
                }
                if whole < pairs {
                    out[whole * width + i] = round(row[2 * whole * column_step]);
                }
            }
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    #[test]
    fn products_are_those_of_the_rounded_factors() {
        if !available() {
            return;
        }
        let mut random = SplitMix64::new(9);
        let mut scratch = Scratch::default();
        for (m, k, n) in [(1, 1, 1), (6, 2, 64), (7, 3, 65), (13, 1030, 70), (100, 64, 130), (5, 2049, 3)] {
            let mut draw = |n: usize| (0..n).map(|_| random.next_f32() - 0.5).collect::<Vec<f32>>();
            let (a, b) = (draw(m * k), draw(k * n));
            let rounded = |x: f32| f64::from(f32::from_bits(round(x) << 16));
            for turned in [[false, false], [true, false], [false, true], [true, true]] {
                let view = |values, rows, columns, turned: bool| {
                    let (row, column) = if turned { (1, rows) } else { (columns, 1) };
                    View::new(values, rows, columns, row, column).unwrap()
                };
                let (va, vb) = (view(&a, m, k, turned[0]), view(&b, k, n, turned[1]));
                let c = product(va, vb, &mut scratch).unwrap();
                for i in 0..m {
                    for j in 0..n {
                        let at = |v: &View<'_>, r: usize, c: usize| {
                            rounded(v.values[r * v.row_step + c * v.column_step])
                        };
                        let exact: f64 = (0..k).map(|p| at(&va, i, p) * at(&vb, p, j)).sum();
                        let apart = (f64::from(c[i * n + j]) - exact).abs();
                        assert!(apart < 1e-6 * k as f64, "{m} {k} {n} {turned:?}: {apart}");
                    }
                }
            }
        }
        let two = [1.0, 2.0];
        let (row, column) = (View::new(&two, 1, 2, 2, 1).unwrap(), View::new(&two, 1, 2, 2, 1).unwrap());
        assert!(product(row, column, &mut scratch).is_none(), "inner sizes 2 and 1");
        assert_eq!(product(row, column.transposed(), &mut scratch).unwrap(), [5.0]);
    }

    #[test]
    fn a_view_lies_inside_its_slice() {
        let values = [0.0; 12];
        assert!(View::new(&values, 3, 4, 4, 1).is_some() && View::new(&values, 4, 3, 1, 4).is_some());
        assert!(View::new(&values, 3, 5, 4, 1).is_none());
        assert!(View::new(&values, usize::MAX, 2, 2, 1).is_none());
        assert!(View::new(&values, 0, 4, 4, 1).is_none());
    }

    #[test]
    fn rounding_is_to_the_nearest_and_to_even() {
        let cases = [(1.0, 0x3f80), (1.003_906_3, 0x3f80), (1.011_718_8, 0x3f82), (-2.0, 0xc000), (0.0, 0)];
        for (x, expected) in cases {
            assert_eq!(round(x), expected, "{x}");
        }
        assert!(f32::from_bits(round(f32::NAN) << 16).is_nan());
    }
}
