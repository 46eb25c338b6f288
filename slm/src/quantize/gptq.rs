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
