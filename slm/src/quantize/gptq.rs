//! Rounding a matrix by what it is multiplied with, in the manner of GPTQ (Frantar et al. 2022), within block formats.
//!
//! A row is rounded from left to right. When the first column of a group of 32 is reached, the group's scales are fixed
//! for its numbers as they are by then, weighted by what an error in each will cost; a block's common scales are fixed
//! at its first column. The error of each rounded number is fed to the columns that are still to come.

use rayon::prelude::*;

use super::block::{Block, GROUP};
use super::hessian::Factor;
use crate::trained::Matrix;

/// A matrix rounded.
pub struct Rounded {
    /// Its blocks, row by row.
    pub data: Vec<u8>,
    /// The numbers that they stand for.
    pub values: Vec<f32>,
}

/// Rounds every row of `matrix`, whose columns are a multiple of the format's block.
pub fn round<B: Block>(matrix: &Matrix, factor: &Factor) -> Rounded {
    let weights = factor.weights();
    let columns = matrix.columns;
    let mut values = matrix.values.clone();
    let mut data = vec![0; values.len() / B::ELEMENTS * B::BYTES];
    let rows = values.par_chunks_mut(columns.max(1));
    let blocks = data.par_chunks_mut((columns / B::ELEMENTS * B::BYTES).max(1));
    rows.zip(blocks).for_each(|(row, out)| round_row::<B>(row, factor, &weights, out));
    Rounded { data, values }
}

/// Rounds one row in place and writes its blocks.
fn round_row<B: Block>(row: &mut [f32], factor: &Factor, weights: &[f32], out: &mut [u8]) {
    let mut codes = vec![0u8; B::ELEMENTS];
    for (index, out) in out.chunks_exact_mut(B::BYTES).enumerate() {
        let first = index * B::ELEMENTS;
        let mut block = B::default();
        block.open(&row[first..first + B::ELEMENTS], &weights[first..first + B::ELEMENTS]);
        for (at, code) in codes.iter_mut().enumerate() {
            let (column, group) = (first + at, at / GROUP);
            if at % GROUP == 0 {
                let range = column..column + GROUP;
                block.fix(group, &row[range.clone()], &weights[range]);
            }
            let Some((value, later)) = row[column..].split_first_mut() else { return };
            *code = block.code(group, *value);
            let rounded = block.value(group, *code);
            if let Some((own, others)) = factor.row(column).split_first() {
                let error = (*value - rounded) / own;
                later.iter_mut().zip(others).for_each(|(later, share)| *later -= error * share);
            }
            *value = rounded;
        }
        block.store(&codes, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::hessian::Hessian;
    use crate::quantize::plain;
    use crate::quantize::{q4_0::Q4_0, q4_k::Q4K, q8_0::Q8_0};
    use candle_core::{Device, Tensor};
    use llm::quant::{self, Format, dequantise};

    /// Seeded numbers, about normal.
    fn normal(seed: &mut u64) -> f32 {
        let mut even = || {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..6).map(|_| even()).sum::<f32>() / 2f32.sqrt()
    }

    /// The inputs of a layer are no white noise: here all follow 48 hidden numbers, with a little noise.
    fn inputs(tokens: usize, columns: usize) -> Tensor {
        let mut seed = 3;
        let hidden = 48;
        let mut take = |n: usize| (0..n).map(|_| normal(&mut seed)).collect::<Vec<f32>>();
        let factors = Tensor::from_vec(take(tokens * hidden), (tokens, hidden), &Device::Cpu).unwrap();
        let mixing = Tensor::from_vec(take(hidden * columns), (hidden, columns), &Device::Cpu).unwrap();
        let noise = Tensor::from_vec(take(tokens * columns), (tokens, columns), &Device::Cpu).unwrap();
        (factors.matmul(&mixing).unwrap() + noise).unwrap()
    }

    fn tensor(values: &[f32], columns: usize) -> Tensor {
        Tensor::from_slice(values, (values.len() / columns, columns), &Device::Cpu).unwrap()
    }

    /// The squared error of the products, plain and gptq, over that of rounding to nothing.
    fn errors<B: Block, F: Format>() -> (f64, f64) {
        let (rows, columns, mut seed) = (24, 512, 8);
        let values: Vec<f32> = (0..rows * columns).map(|_| 0.05 * normal(&mut seed)).collect();
        let matrix = Matrix { rows, columns, values };
        // Rounded by the first inputs, judged on the others.
        let all = inputs(2560, columns);
        let (seen, fresh) = (all.narrow(0, 0, 2048).unwrap(), all.narrow(0, 2048, 512).unwrap());
        let mut hessian = Hessian::new(columns);
        hessian.add(&seen).unwrap();
        let rounded = round::<B>(&matrix, &hessian.factor().unwrap());

        let mut read = vec![f32::NAN; rows * columns];
        dequantise::<F>(&rounded.data, &mut read);
        let same = read
            .iter()
            .zip(&rounded.values)
            .all(|(a, b)| a.to_bits() == b.to_bits() || *a == 0.0 && *b == 0.0);
        assert!(same, "{}: the blocks stand for other numbers than those that were rounded to", B::KIND);
        let mut plain = vec![f32::NAN; rows * columns];
        dequantise::<F>(&plain::encode("t", &matrix, B::KIND).unwrap(), &mut plain);

        let product = |values: &[f32]| fresh.matmul(&tensor(values, columns).t().unwrap()).unwrap();
        let exact = product(&matrix.values);
        let size = |t: Tensor| f64::from(t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap());
        let whole = size(exact.clone());
        let error = |values: &[f32]| size((&exact - product(values)).unwrap()) / whole;
        (error(&plain), error(&read))
    }

    #[test]
    fn products_lose_less_than_by_plain_rounding() {
        let found =
            [errors::<Q8_0, quant::Q8_0>(), errors::<Q4_0, quant::Q4_0>(), errors::<Q4K, quant::Q4K>()];
        for (plain, gptq) in found {
            assert!(gptq < 0.6 * plain, "{found:?}");
        }
    }
}
