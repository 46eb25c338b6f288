//! The tensors of a model.

use super::architecture::RopeFactors;
use super::config::Config;
use super::error::LoadError;
use super::matrix::{Matrix, Placing, Table};
use super::tensors::Tensors;
use crate::gguf::Gguf;
use crate::pool::Pool;
use alloc::format;
use alloc::vec::Vec;

/// One transformer block. Vectors that the architecture or the file does without are empty.
pub struct Layer<'p> {
    /// Norm before attention, `[width]`.
    pub attention_norm: &'p [f32],
    /// Query projection, `[query width x width]`.
    pub query: Matrix<'p>,
    /// Key projection, `[kv width x width]`.
    pub key: Matrix<'p>,
    /// Value projection, `[kv width x width]`.
    pub value: Matrix<'p>,
    /// Biases of the three projections.
    pub biases: [&'p [f32]; 3],
    /// Norms of a query head and of a key head, `[head_dim]`.
    pub query_key_norms: [&'p [f32]; 2],
    /// Projection of the heads' results, `[width x query width]`.
    pub output: Matrix<'p>,
    /// Its bias, `[width]`.
    pub output_bias: &'p [f32],
    /// Norm of what attention adds to the stream, `[width]`.
    pub attention_post_norm: &'p [f32],
    /// Norm before the feed-forward network, `[width]`.
    pub ffn_norm: &'p [f32],
    /// Gate projection, `[ffn x width]`.
    pub gate: Matrix<'p>,
    /// Up projection, `[ffn x width]`.
    pub up: Matrix<'p>,
    /// Down projection, `[width x ffn]`.
    pub down: Matrix<'p>,
    /// Norm of what the feed-forward network adds to the stream, `[width]`.
    pub ffn_post_norm: &'p [f32],
}

/// Most heap bytes for each block: SmolLM2's 30 take under 24 KiB.
pub const LAYER_BYTES: usize = 800;
const _: () = assert!(size_of::<Layer<'_>>() <= LAYER_BYTES);

/// Fewest tensors of a block: two norms, queries with keys and values, output, gate with up, and down.
const LEAST_TENSORS: usize = 6;

/// All tensors. Norms are copied to the pool (a GGUF need not align them); where matrices lie, [`Matrix`] says.
pub struct Weights<'p> {
    /// Token embedding, `[vocabulary x width]`.
    pub embedding: Table<'p>,
    /// The blocks: where each matrix lies, [`LAYER_BYTES`] at most a block. This table is the one thing of a loaded
    /// model that is on the heap: the pool hands out plain numbers, and these are borrows.
    pub layers: Vec<Layer<'p>>,
    /// Norm before the head, `[width]`.
    pub output_norm: &'p [f32],
    /// The head, `[vocabulary x width]`: `output.weight`, or the embedding where the file has none ("tied").
    pub head: Matrix<'p>,
    /// Its bias, `[vocabulary]`, or empty.
    pub head_bias: &'p [f32],
    /// Divisors of the rotation frequencies for this context, or empty.
    pub rope_factors: &'p [f32],
}

impl<'p> Weights<'p> {
    /// Finds and checks all tensors. `context` is the context asked for, which some models' rotation depends on.
    pub fn load(
        gguf: &Gguf<'p>,
        config: &Config,
        context: usize,
        pool: &mut Pool<'p>,
        placing: Placing<'_>,
    ) -> Result<Self, LoadError> {
        let architecture = config.architecture;
        let mut tensors = Tensors::new(gguf, pool, placing);
        let (width, vocabulary) = (config.width, config.vocabulary);
        let embedding = tensors.table("token_embd.weight", width, vocabulary)?;
        let separate = architecture.separate_head && tensors.has("output.weight");
        let head = if separate { "output.weight" } else { "token_embd.weight" };
        let head = tensors.matrix(head, width, vocabulary)?;
        let head_bias =
            if architecture.head_bias { tensors.optional_vector("output.bias", vocabulary)? } else { &[] };
        let output_norm = tensors.vector("output_norm.weight", width)?;
        let rope_factors = rope_factors(&mut tensors, config, context)?;
        // A file cannot make this table larger than a multiple of its own list of tensors.
        let mut layers = Vec::with_capacity(config.layers.min(gguf.tensors_len() / LEAST_TENSORS));
        for index in 0..config.layers {
            layers.push(layer(&mut tensors, config, index)?);
        }
        tensors.none_left(architecture.name)?;
        Ok(Self { embedding, layers, output_norm, head, head_bias, rope_factors })
    }
}

/// The tensors of block `index`.
fn layer<'p>(tensors: &mut Tensors<'_, 'p>, config: &Config, index: usize) -> Result<Layer<'p>, LoadError> {
    let architecture = config.architecture;
    let (width, ffn, head_dim) = (config.width, config.ffn, config.head_dim);
    let (query_width, kv_width) = (config.query_width(), config.kv_width());
    let name = |tensor: &str| format!("blk.{index}.{tensor}");

    let attention_norm = tensors.vector(&name("attn_norm.weight"), width)?;
    let [query, key, value] = if tensors.has(&name("attn_qkv.weight")) {
        // One tensor, the queries' rows first, then the keys'.
        let (keys, values) = (query_width + kv_width, query_width + 2 * kv_width);
        let mut part = |part| tensors.rows(&name("attn_qkv.weight"), width, values, part);
        [part(0..query_width)?, part(query_width..keys)?, part(keys..values)?]
    } else {
        [
            tensors.matrix(&name("attn_q.weight"), width, query_width)?,
            tensors.matrix(&name("attn_k.weight"), width, kv_width)?,
            tensors.matrix(&name("attn_v.weight"), width, kv_width)?,
        ]
    };
    let biases = if tensors.has(&name("attn_qkv.weight")) && tensors.has(&name("attn_qkv.bias")) {
        let all = tensors.vector(&name("attn_qkv.bias"), query_width + 2 * kv_width)?;
        let (query, rest) = all.split_at(query_width);
        let (key, value) = rest.split_at(kv_width);
        [query, key, value]
    } else {
        [
            tensors.optional_vector(&name("attn_q.bias"), query_width)?,
            tensors.optional_vector(&name("attn_k.bias"), kv_width)?,
            tensors.optional_vector(&name("attn_v.bias"), kv_width)?,
        ]
    };
    let query_key_norms = if architecture.query_key_norm {
        [
            tensors.vector(&name("attn_q_norm.weight"), head_dim)?,
            tensors.vector(&name("attn_k_norm.weight"), head_dim)?,
        ]
    } else {
        [&[][..]; 2]
    };
    let output = tensors.matrix(&name("attn_output.weight"), query_width, width)?;
    let output_bias = if architecture.output_bias {
        tensors.optional_vector(&name("attn_output.bias"), width)?
    } else {
        &[]
    };
    let [attention_post_norm, ffn_post_norm] = if architecture.post_norms {
        [
            tensors.vector(&name("post_attention_norm.weight"), width)?,
            tensors.vector(&name("post_ffw_norm.weight"), width)?,
        ]
    } else {
        [&[][..]; 2]
    };
    let ffn_norm = tensors.vector(&name("ffn_norm.weight"), width)?;
    let [gate, up] = if architecture.fused_gate {
        let mut part = |part| tensors.rows(&name("ffn_up.weight"), width, 2 * ffn, part);
        [part(0..ffn)?, part(ffn..2 * ffn)?]
    } else {
        [
            tensors.matrix(&name("ffn_gate.weight"), width, ffn)?,
            tensors.matrix(&name("ffn_up.weight"), width, ffn)?,
        ]
    };
    let down = tensors.matrix(&name("ffn_down.weight"), ffn, width)?;
    Ok(Layer {
        attention_norm,
        query,
        key,
        value,
        biases,
        query_key_norms,
        output,
        output_bias,
        attention_post_norm,
        ffn_norm,
        gate,
        up,
        down,
        ffn_post_norm,
    })
}

/// The divisors of the rotation frequencies for a context of this length.
fn rope_factors<'p>(
    tensors: &mut Tensors<'_, 'p>,
    config: &Config,
    context: usize,
) -> Result<&'p [f32], LoadError> {
    let pairs = config.rope.dims / 2;
    match config.rope.factors {
        RopeFactors::None => Ok(&[]),
        RopeFactors::Frequencies => tensors.divisors("rope_freqs.weight", pairs),
        RopeFactors::LongShort => {
            // Both are checked, whichever is used.
            let long = tensors.divisors("rope_factors_long.weight", pairs)?;
            let short = tensors.divisors("rope_factors_short.weight", pairs)?;
            Ok(if context > config.rope.original_context { long } else { short })
        }
    }
}
