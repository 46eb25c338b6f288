//! In which precision the large matrices are multiplied.
//!
//! `f32`: candle's product. `bf16`: the factors are rounded to bf16, sums stay F32, as is usual in training; twice the pace
//! on CPUs with AVX512-BF16 (the `llm` crate's product), and the same rounding before candle's product elsewhere.

use std::cell::RefCell;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Storage, Tensor};
use llm::simd::bf16::{self, Scratch, View};
use serde::{Deserialize, Serialize};

/// The precision of factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 24 bits.
    #[default]
    F32,
    /// 8 bits, with the same range.
    Bf16,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Precision {
    /// The product of two matrices, each perhaps transposed.
    pub fn product(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        match self {
            Precision::F32 => Ok(a.matmul(b)?),
            Precision::Bf16 if bf16::available() => vectors(a, b),
            Precision::Bf16 => {
                let rounded = |t: &Tensor| t.to_dtype(DType::BF16)?.to_dtype(DType::F32);
                Ok(rounded(a)?.matmul(&rounded(b)?)?)
            }
        }
    }
}

fn vectors(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let shape = (a.dim(0)?, b.dim(1)?);
    ensure!(a.dim(1)? == b.dim(0)?, "a product of {:?} and {:?} is not defined", a.shape(), b.shape());
    let product =
        viewed(a, |a| viewed(b, |b| SCRATCH.with_borrow_mut(|scratch| bf16::product(a, b, scratch))))??;
    Ok(Tensor::from_vec(product.context("the product cannot be made")?, shape, &Device::Cpu)?)
}

/// Lends the matrix of an F32 tensor.
fn viewed<R>(tensor: &Tensor, f: impl FnOnce(View<'_>) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(cpu) = &*storage else { anyhow::bail!("a matrix is not in memory") };
    let values = &cpu.as_slice::<f32>()?[layout.start_offset()..];
    let (rows, columns) = layout.shape().dims2()?;
    let &[row_step, column_step] = layout.stride() else { anyhow::bail!("a matrix has two dimensions") };
    Ok(f(View::new(values, rows, columns, row_step, column_step).context("an empty matrix")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_round_agree_and_are_near_the_exact_product() {
        let tensor = |rows: usize, columns: usize, step: f32| {
            let values: Vec<f32> = (0..rows * columns).map(|i| (i as f32 * step).sin()).collect();
            Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
        };
        let (a, b) = (tensor(37, 70, 0.1), tensor(29, 70, 0.3).t().unwrap());
        let numbers = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let exact = numbers(Precision::F32.product(&a, &b).unwrap());
        let rounded = numbers(Precision::Bf16.product(&a, &b).unwrap());
        let round = |t: &Tensor| t.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
        let plain = numbers(round(&a).matmul(&round(&b)).unwrap());
        let apart = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(apart(&rounded, &plain) < 1e-4, "{}", apart(&rounded, &plain));
        assert!((1e-4..0.2).contains(&apart(&rounded, &exact)));
        assert!(Precision::Bf16.product(&a, &a).is_err());
    }
}
