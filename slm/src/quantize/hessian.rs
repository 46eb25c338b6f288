//! How much errors in a matrix's columns cost, and how columns can make up for each other.
//!
//! Rounding `W` to `V` changes the products with inputs `x` by `(W - V) x`. Summed over the inputs of the calibration,
//! the squared error of a row is `e H e'` with `H = sum x x'`, `e` the row's error. GPTQ (Frantar et al. 2022) rounds
//! column after column; an error in column `j` is best made up for in the later columns by the row `j` of the upper
//! Cholesky factor `U` of the inverse of `H`.

use anyhow::{Result, ensure};
use candle_core::Tensor;
use rayon::prelude::*;

/// The damping, as a share of the mean of the diagonal: inputs that the calibration hardly saw get a little weight.
pub const DAMPING: f64 = 0.01;

/// The sum of `x x'` over inputs seen so far.
pub struct Hessian {
    size: usize,
    sum: Vec<f64>,
    inputs: u64,
}

impl Hessian {
    /// Of inputs with `size` numbers.
    pub fn new(size: usize) -> Hessian {
        Hessian { size, sum: vec![0.0; size * size], inputs: 0 }
    }

    /// Counts inputs `[tokens, size]`.
    pub fn add(&mut self, inputs: &Tensor) -> Result<()> {
        let products = inputs.t()?.matmul(inputs)?.flatten_all()?.to_vec1::<f32>()?;
        self.sum.iter_mut().zip(products).for_each(|(sum, product)| *sum += f64::from(product));
        self.inputs += inputs.dim(0)? as u64;
        Ok(())
    }

    /// The factor `U`, damped.
    pub fn factor(&self) -> Result<Factor> {
        let n = self.size;
        let diagonal = || (0..n).map(|i| self.sum[i * n + i]);
        let mean = diagonal().sum::<f64>() / n.max(1) as f64;
        ensure!(
            self.inputs > 0 && mean.is_finite() && mean > 0.0,
            "the calibration saw no inputs that could be weighed: give it more tokens with --calibration"
        );
        // With the order of the columns reversed, H = L L'. Reversed again L is an upper M with H = M M', so the
        // inverse of H is U' U with U the inverse of M.
        let mut l = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                let mut entry = self.sum[(n - 1 - i) * n + (n - 1 - j)];
                if i == j {
                    entry += DAMPING * mean;
                }
                let (row_i, row_j) = (&l[i * n..i * n + j], &l[j * n..j * n + j]);
                let rest = entry - row_i.iter().zip(row_j).map(|(a, b)| a * b).sum::<f64>();
                if i == j {
                    ensure!(rest > 0.0, "the inputs of a layer are not finite: is the model damaged?");
                    l[i * n + i] = rest.sqrt();
                } else {
                    l[i * n + j] = rest / l[j * n + j];
                }
            }
        }
        let columns: Vec<Vec<f64>> = (0..n).into_par_iter().map(|j| inverse_column(&l, n, j)).collect();
        let mut rows = vec![0.0f32; n * n];
        for r in 0..n {
            for c in r..n {
                // M is L with the order of rows and of columns reversed, and so is its inverse.
                rows[r * n + c] = columns[n - 1 - c][n - 1 - r] as f32;
            }
        }
        Ok(Factor { size: n, rows })
    }
}

/// Column `j` of the inverse of the lower triangular `l`.
fn inverse_column(l: &[f64], n: usize, j: usize) -> Vec<f64> {
    let mut x = vec![0.0; n];
    x[j] = 1.0 / l[j * n + j];
    for i in j + 1..n {
        let row = &l[i * n..i * n + i];
        let sum: f64 = row[j..].iter().zip(&x[j..i]).map(|(a, b)| a * b).sum();
        x[i] = -sum / l[i * n + i];
    }
    x
}

/// The upper factor `U` of the inverse of a Hessian: `inverse(H) = U' U`.
pub struct Factor {
    size: usize,
    rows: Vec<f32>,
}

impl Factor {
    /// Row `j` from its diagonal on.
    pub fn row(&self, j: usize) -> &[f32] {
        self.rows.get(j * self.size + j..(j + 1) * self.size).unwrap_or_default()
    }

    /// How much the squared error of column `j` counts once later columns have made up for it: `1 / U[j][j]^2`.
    pub fn weights(&self) -> Vec<f32> {
        (0..self.size).map(|j| self.row(j).first().map_or(0.0, |u| 1.0 / (u * u))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_factor_is_that_of_the_inverse() {
        let (n, tokens) = (6, 40);
        let mut seed = 1u32;
        let mut even = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let x: Vec<f32> = (0..n * tokens).map(|i| even() + if i % n == 2 { 3.0 } else { 0.0 }).collect();
        let mut hessian = Hessian::new(n);
        hessian.add(&Tensor::from_slice(&x, (tokens, n), &Device::Cpu).unwrap()).unwrap();
        let factor = hessian.factor().unwrap();
        let u = |i: usize, j: usize| if j < i { 0.0 } else { f64::from(factor.row(i)[j - i]) };
        let mean = (0..n).map(|i| hessian.sum[i * n + i]).sum::<f64>() / n as f64;
        // H (U' U) is the identity.
        for i in 0..n {
            for j in 0..n {
                let inverse = |k: usize| (0..n).map(|m| u(m, k) * u(m, j)).sum::<f64>();
                let h = |k: usize| hessian.sum[i * n + k] + if i == k { DAMPING * mean } else { 0.0 };
                let product: f64 = (0..n).map(|k| h(k) * inverse(k)).sum();
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-4, "{i} {j}: {product}");
            }
        }
        assert!(Hessian::new(3).factor().is_err());
    }
}
