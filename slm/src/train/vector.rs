//! Vector arithmetic on slices: products of small matrices and the sums that a compiler may not reorder itself.
//!
//! Candle multiplies the large matrices. What is too small for a call of its own (a tile of attention) or goes over
//! memory once (norms, gates) is here, for the widest vectors the machine has (`pulp` chooses at run time).

use pulp::{Arch, Simd, WithSimd};

/// An expression whose loops are compiled for the widest vectors of this machine.
macro_rules! vectorised {
    ($body:expr) => {
        $crate::train::vector::widest(
            #[inline(always)]
            || $body,
        )
    };
}
pub(crate) use vectorised;

/// Runs `f` for the widest vectors of this machine, if it is marked `#[inline(always)]`: see [`vectorised`].
pub fn widest<R>(f: impl FnMut() -> R) -> R {
    struct Op<F>(F);
    impl<R, F: FnMut() -> R> WithSimd for Op<F> {
        type Output = R;

        // NOTE: `FnMut`, because the call of a closure as `FnOnce` goes through a shim that is not inlined, and what
        // is not inlined here is compiled without vectors.
        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _: S) -> R {
            (self.0)()
        }
    }
    Arch::new().dispatch(Op(f))
}

/// Rows of C that one block of the product holds in registers.
const ROWS: usize = 4;

/// Where the numbers of a matrix lie in its slice.
#[derive(Debug, Clone, Copy)]
pub struct Steps {
    /// From one row to the next.
    pub row: usize,
    /// From one column to the next.
    pub column: usize,
}

/// `C += A·B`, where A is `m`×`k` by `steps`, B is `k`×`n` and C is `m`×`n`, both with rows that lie `b_row` and
/// `c_row` numbers apart.
pub struct Product<'a> {
    /// A.
    pub a: &'a [f32],
    /// How A is read; a transposed matrix has row and column exchanged.
    pub steps: Steps,
    /// B.
    pub b: &'a [f32],
    /// From one row of B to the next.
    pub b_row: usize,
    /// C.
    pub c: &'a mut [f32],
    /// From one row of C to the next.
    pub c_row: usize,
    /// Rows of A and C.
    pub m: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// Columns of B and C.
    pub n: usize,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let pair = 2 * S::F32_LANES;
        let whole = self.n / pair * pair;
        let mut row = 0;
        while row + ROWS <= self.m {
            for column in (0..whole).step_by(pair) {
                self.block::<S, ROWS>(simd, row, column);
            }
            row += ROWS;
        }
        for row in row..self.m {
            for column in (0..whole).step_by(pair) {
                self.block::<S, 1>(simd, row, column);
            }
        }
        for row in 0..self.m {
            for column in whole..self.n {
                let at = |i: usize| self.a[row * self.steps.row + i * self.steps.column];
                let sum: f32 = (0..self.k).map(|i| at(i) * self.b[i * self.b_row + column]).sum();
                self.c[row * self.c_row + column] += sum;
            }
        }
    }
}

impl Product<'_> {
    /// `R` rows and two vectors' width of C.
    #[inline(always)]
    fn block<S: Simd, const R: usize>(&mut self, simd: S, row: usize, column: usize) {
        let pair = 2 * S::F32_LANES;
        let mut sums = [[simd.splat_f32s(0.0); 2]; R];
        for i in 0..self.k {
            let at = i * self.b_row + column;
            let (b, _) = S::as_simd_f32s(&self.b[at..at + pair]);
            let [left, right] = [b[0], b[1]];
            for (r, sum) in sums.iter_mut().enumerate() {
                let a = simd.splat_f32s(self.a[(row + r) * self.steps.row + i * self.steps.column]);
                sum[0] = simd.mul_add_f32s(a, left, sum[0]);
                sum[1] = simd.mul_add_f32s(a, right, sum[1]);
            }
        }
        for (r, sum) in sums.iter().enumerate() {
            let at = (row + r) * self.c_row + column;
            let (c, _) = S::as_mut_simd_f32s(&mut self.c[at..at + pair]);
            c[0] = simd.add_f32s(c[0], sum[0]);
            c[1] = simd.add_f32s(c[1], sum[1]);
        }
    }
}

/// Partial sums that a loop keeps apart, so that it may be done in vectors.
const LANES: usize = 16;

/// The sum of `f` over two slices of the same length.
#[inline(always)]
pub fn sum_of(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0f32; LANES];
    let (chunks_a, chunks_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = chunks_a.remainder().iter().zip(chunks_b.remainder()).map(|(a, b)| f(*a, *b)).sum();
    for (a, b) in chunks_a.zip(chunks_b) {
        for i in 0..LANES {
            sums[i] += f(a[i], b[i]);
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// The greatest of a slice.
#[inline(always)]
pub fn greatest(a: &[f32]) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    let chunks = a.chunks_exact(LANES);
    let rest = chunks.remainder().iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
    for chunk in chunks {
        for i in 0..LANES {
            most[i] = if chunk[i] > most[i] { chunk[i] } else { most[i] };
        }
    }
    most.iter().fold(rest, |m, v| m.max(*v))
}

/// e^x for x ≤ 88, to 2 units in the last place; 0 below −87. Cody and Waite's reduction to |r| ≤ ln 2 / 2 and a
/// polynomial of degree 6; no branches, so that loops over it are vectorised.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding this leaves round(x) + 127 in the low bits of the mantissa: the exponent of 2^round(x).
    const ROUND: f32 = 12_582_912.0 + 127.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.3, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let r = whole.mul_add(-LN2_HIGH, x);
    let r = whole.mul_add(-LN2_LOW, r);
    let p = 1.388_889e-3f32.mul_add(r, 8.333_334e-3);
    let p = p.mul_add(r, 4.166_666_7e-2);
    let p = p.mul_add(r, 1.666_666_7e-1);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r, 1.0).mul_add(r, 1.0);
    p * f32::from_bits(shifted.to_bits() << 23)
}

#[cfg(test)]
mod tests {
    use super::*;
    use llm::random::SplitMix64;

    #[test]
    fn products_of_any_size_are_those_of_the_definition() {
        let mut random = SplitMix64::new(1);
        for (m, k, n) in [(1, 1, 1), (4, 3, 32), (5, 7, 33), (32, 64, 96), (3, 2, 100)] {
            let a: Vec<f32> = (0..m * k).map(|_| random.next_f32() - 0.5).collect();
            let b: Vec<f32> = (0..k * n).map(|_| random.next_f32() - 0.5).collect();
            for steps in [Steps { row: k, column: 1 }, Steps { row: 1, column: m }] {
                let mut c = vec![1.0; m * n];
                let product = Product { a: &a, steps, b: &b, b_row: n, c: &mut c, c_row: n, m, k, n };
                Arch::new().dispatch(product);
                for row in 0..m {
                    for column in 0..n {
                        let terms = (0..k).map(|i| a[row * steps.row + i * steps.column] * b[i * n + column]);
                        let expected = 1.0 + terms.sum::<f32>();
                        assert!((c[row * n + column] - expected).abs() < 1e-5);
                    }
                }
            }
        }
    }

    #[test]
    fn the_exponential_is_exact_to_two_units() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) / expected - 1.0).abs() < 2.5e-7, "{x}");
        }
        assert!(exp(-1e9) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn sums_and_maxima_cover_the_rest_beyond_whole_vectors() {
        let a: Vec<f32> = (0..37).map(|i| i as f32).collect();
        assert_eq!(sum_of(&a, &a, |x, _| x), 666.0);
        assert_eq!(greatest(&a), 36.0);
    }
}
