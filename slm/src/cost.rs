//! What a shape costs: floating-point operations and memory, by formula.
//!
//! A product of a matrix with `p` parameters and one vector takes `2·p` operations (a multiplication and an
//! addition each). Attention at position `n` multiplies the query with `n` keys and sums `n` values:
//! `4·n·query_width` operations in each layer. Norms, rotation and softmax are left out: together they are
//! under 1 % for every shape in `slm/configs/`.

use llm::gguf::GgmlType;

use crate::shape::Shape;

/// Quantisations that the memory table shows.
pub const TYPES: [GgmlType; 7] = [
    GgmlType::F32,
    GgmlType::F16,
    GgmlType::Q8_0,
    GgmlType::Q5_0,
    GgmlType::Q4_1,
    GgmlType::Q4_0,
    GgmlType::Q4_K,
];

/// Tokens that prefill puts through the network together, for the size of the activations.
pub const BATCH: u64 = 32;

/// Operations to generate one token when `context` tokens are already there.
pub fn decode_flops(shape: &Shape, context: u64) -> u64 {
    let head = 2 * shape.vocabulary * shape.width;
    2 * shape.layers * shape.block_matrix_parameters() + head + attention(shape, context + 1)
}

/// Operations for each token of a prompt of `prompt` tokens: the output matrix is needed for the last only.
pub fn prefill_flops(shape: &Shape, prompt: u64) -> u64 {
    let prompt = prompt.max(1);
    let head = 2 * shape.vocabulary * shape.width / prompt;
    2 * shape.layers * shape.block_matrix_parameters() + head + attention(shape, prompt.div_ceil(2))
}

fn attention(shape: &Shape, positions: u64) -> u64 {
    4 * positions * shape.query_width() * shape.layers
}

/// Bytes of all weights with their matrices in `kind` and their norms in F32.
pub fn weight_bytes(shape: &Shape, kind: GgmlType) -> u64 {
    let matrices = shape.parameters() - shape.norm_parameters();
    matrices / kind.block_size() as u64 * kind.type_size() as u64 + 4 * shape.norm_parameters()
}

/// Bytes of the KV cache for `context` positions, `bytes` for each number.
pub fn kv_bytes(shape: &Shape, context: u64, bytes: u64) -> u64 {
    2 * shape.layers * shape.kv_width() * context * bytes
}

/// Bytes of the activations in F32: for each token of a batch the residual stream, its norm, queries and
/// attention output, keys and values, gate and up; besides, the attention weights of every head over the
/// context, and the logits.
pub fn activation_bytes(shape: &Shape, context: u64) -> u64 {
    let per_token = 2 * shape.width + 2 * shape.query_width() + 2 * shape.kv_width() + 2 * shape.ffn;
    4 * (BATCH * per_token + shape.heads * context + shape.vocabulary)
}

/// The context sizes worth a row: powers of four from 128, and the longest.
pub fn contexts(shape: &Shape) -> Vec<u64> {
    let mut sizes: Vec<u64> =
        [128, 512, 2048, 8192, 32_768].into_iter().filter(|n| *n < shape.context).collect();
    sizes.push(shape.context);
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_agree_with_arithmetic_done_by_hand() {
        let shape = Shape::from_toml(include_str!("../configs/smollm2_135M.toml")).unwrap();
        // 30 blocks of 3,538,944 matrix parameters, an output matrix of 28,311,552, attention over one position.
        let blocks = 30 * (2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536);
        assert_eq!(decode_flops(&shape, 0), 2 * (blocks + 49_152 * 576) + 4 * 576 * 30);
        assert!(prefill_flops(&shape, 512) < decode_flops(&shape, 256));
        // 2 · 30 layers · 192 · 2048 positions · 2 bytes = 45 MiB.
        assert_eq!(kv_bytes(&shape, 2048, 2), 45 << 20);
        assert_eq!(weight_bytes(&shape, GgmlType::F32), 4 * 134_515_008);
        assert_eq!(contexts(&shape), [128, 512, 2048, 8192]);
    }
}
