//! The tensors of a llama-family model.

use super::config::Config;
use super::error::LoadError;
use super::matrix::{Matrix, find};
use crate::gguf::{GgmlType, Gguf};
use crate::parallel::Parallel;
use crate::pool::{Pool, Purpose};
use crate::quant::float::{self, F32};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::vec::Vec;

/// One transformer block.
pub struct Layer<'p> {
    /// Norm before attention, `[width]`.
    pub attention_norm: &'p [f32],
    /// Query projection, `[query width x width]`.
    pub query: Matrix<'p>,
    /// Key projection, `[kv width x width]`.
    pub key: Matrix<'p>,
    /// Value projection, `[kv width x width]`.
    pub value: Matrix<'p>,
    /// Projection of the heads' results, `[width x query width]`.
    pub output: Matrix<'p>,
    /// Norm before the feed-forward network, `[width]`.
    pub ffn_norm: &'p [f32],
    /// Gate projection, `[ffn x width]`.
    pub gate: Matrix<'p>,
    /// Up projection, `[ffn x width]`.
    pub up: Matrix<'p>,
    /// Down projection, `[width x ffn]`.
    pub down: Matrix<'p>,
}

/// Most heap bytes for each block: SmolLM2's 30 take under 18 KiB.
pub const LAYER_BYTES: usize = 600;
const _: () = assert!(size_of::<Layer<'_>>() <= LAYER_BYTES);

/// All tensors; matrices stay in the GGUF, norms are copied to the pool (a GGUF need not align them).
pub struct Weights<'p> {
    /// Token embedding, `[vocabulary x width]`.
    pub embedding: Matrix<'p>,
    /// The blocks: where each matrix lies, [`LAYER_BYTES`] at most a block. This table is the one thing of a loaded
    /// model that is on the heap: the pool hands out plain numbers, and these are borrows.
    pub layers: Vec<Layer<'p>>,
    /// Norm before the head, `[width]`.
    pub output_norm: &'p [f32],
    /// The head, `[vocabulary x width]`: `output.weight`, or the embedding where the file has none ("tied").
    pub head: Matrix<'p>,
    /// Divisors of the rotation frequencies (`rope_freqs.weight`), or empty.
    pub rope_factors: &'p [f32],
}

impl<'p> Weights<'p> {
    /// Finds and checks all tensors.
    pub fn load(
        gguf: &Gguf<'p>,
        config: &Config,
        pool: &mut Pool<'p>,
        parallel: &dyn Parallel,
    ) -> Result<Self, LoadError> {
        let (width, ffn) = (config.width, config.ffn);
        let (query_width, kv_width) = (config.query_width(), config.kv_width());
        let embedding = Matrix::load(gguf, "token_embd.weight", width, config.vocabulary, pool, parallel)?;
        let head = match gguf.tensor("output.weight") {
            Some(_) => Matrix::load(gguf, "output.weight", width, config.vocabulary, pool, parallel)?,
            None => embedding,
        };
        let output_norm = vector(gguf, "output_norm.weight", width, pool)?;
        let rope_factors = match gguf.tensor("rope_freqs.weight") {
            Some(_) => rope_factors(gguf, config, pool)?,
            None => &[],
        };
        // A block takes nine tensors, so a file cannot make this table larger than itself.
        let mut layers = Vec::with_capacity(config.layers.min(gguf.tensors_len() / 9));
        for layer in 0..config.layers {
            let mut matrix = |name: &str, columns, rows| {
                Matrix::load(gguf, &format!("blk.{layer}.{name}.weight"), columns, rows, pool, parallel)
            };
            let query = matrix("attn_q", width, query_width)?;
            let key = matrix("attn_k", width, kv_width)?;
            let value = matrix("attn_v", width, kv_width)?;
            let output = matrix("attn_output", query_width, width)?;
            let gate = matrix("ffn_gate", width, ffn)?;
            let up = matrix("ffn_up", width, ffn)?;
            let down = matrix("ffn_down", ffn, width)?;
            let attention_norm = vector(gguf, &format!("blk.{layer}.attn_norm.weight"), width, pool)?;
            let ffn_norm = vector(gguf, &format!("blk.{layer}.ffn_norm.weight"), width, pool)?;
            layers.push(Layer { attention_norm, query, key, value, output, ffn_norm, gate, up, down });
        }
        Ok(Self { embedding, layers, output_norm, head, rope_factors })
    }
}

/// The divisors of the rotation frequencies, none of them zero or negative.
fn rope_factors<'p>(gguf: &Gguf<'p>, config: &Config, pool: &mut Pool<'p>) -> Result<&'p [f32], LoadError> {
    let name = "rope_freqs.weight";
    let factors = vector(gguf, name, config.rope_dims / 2, pool)?;
    if factors.iter().any(|&factor| factor < f32::MIN_POSITIVE) {
        return Err(LoadError::NotPositive { name });
    }
    Ok(factors)
}

/// Copies an F32 vector to the pool.
fn vector<'p>(
    gguf: &Gguf<'p>,
    name: &str,
    length: usize,
    pool: &mut Pool<'p>,
) -> Result<&'p [f32], LoadError> {
    let tensor = find(gguf, name, length, 1)?;
    if tensor.kind != GgmlType::F32 {
        let found = tensor.kind.name();
        return Err(LoadError::BadType { name: name.to_owned(), found, expected: "F32" });
    }
    let values = pool.take(Purpose::Weights, length)?;
    float::dequantise::<F32>(tensor.data, values);
    if values.iter().any(|v| !v.is_finite()) {
        return Err(LoadError::NotFinite { name: name.to_owned() });
    }
    Ok(values)
}
