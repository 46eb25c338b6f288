//! A model of a shape that holds K-quants: SmolLM2's width of 576 is no multiple of their 256. Its weights are random, which
//! is good for measuring speed and for nothing else.

use anyhow::{Context, Result};
use llm::gguf::{GgmlType, Gguf, write::GgufWriter};
use llm::random::SplitMix64;

/// Changes whenever the file does: the seed and the shape.
pub const VERSION: &str = "random 1: seed 2026, 12 x 1024/2816, 16/4 heads, tied";
const SEED: u64 = 2026;
const LAYERS: u64 = 12;
const WIDTH: u64 = 1024;
const FFN: u64 = 2816;
const HEADS: u64 = 16;
const KV_HEADS: u64 = 4;
const CONTEXT: u64 = 8192;

/// A GGUF in F16 with the vocabulary and the tokenizer of `smollm2`; the head is the embedding, as there.
pub fn write(smollm2: &Gguf<'_>) -> Result<Vec<u8>> {
    let mut file = GgufWriter::new();
    file.string("general.architecture", "llama").string("general.name", "Wide-186M, random weights");
    let shape = [
        ("block_count", LAYERS),
        ("context_length", CONTEXT),
        ("embedding_length", WIDTH),
        ("feed_forward_length", FFN),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", KV_HEADS),
        ("rope.dimension_count", WIDTH / HEADS),
    ];
    for (key, value) in shape {
        file.u32(&format!("llama.{key}"), value as u32);
    }
    file.f32("llama.attention.layer_norm_rms_epsilon", 1e-5).f32("llama.rope.freq_base", 1e5);
    for (key, value) in smollm2.metadata().filter(|(key, _)| key.starts_with("tokenizer.")) {
        copy(&mut file, key, value)?;
    }
    let vocabulary =
        smollm2.tensor("token_embd.weight").context("the model has no token_embd.weight")?.dims[1];

    let mut random = SplitMix64::new(SEED);
    let mut matrix = |name: &str, columns: u64, rows: u64| {
        let data = weights(&mut random, columns, rows);
        file.tensor(name, GgmlType::F16, &[columns, rows], &data);
    };
    matrix("token_embd.weight", WIDTH, vocabulary);
    let kv_width = WIDTH / HEADS * KV_HEADS;
    for layer in 0..LAYERS {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        matrix(&name("attn_q"), WIDTH, WIDTH);
        matrix(&name("attn_k"), WIDTH, kv_width);
        matrix(&name("attn_v"), WIDTH, kv_width);
        matrix(&name("attn_output"), WIDTH, WIDTH);
        matrix(&name("ffn_gate"), WIDTH, FFN);
        matrix(&name("ffn_up"), WIDTH, FFN);
        matrix(&name("ffn_down"), FFN, WIDTH);
    }
    let ones: Vec<u8> = (0..WIDTH).flat_map(|_| 1f32.to_le_bytes()).collect();
    for layer in 0..LAYERS {
        for part in ["attn_norm", "ffn_norm"] {
            file.tensor(&format!("blk.{layer}.{part}.weight"), GgmlType::F32, &[WIDTH], &ones);
        }
    }
    file.tensor("output_norm.weight", GgmlType::F32, &[WIDTH], &ones);
    Ok(file.finish())
}

/// Evenly distributed weights of variance `1 / columns`, so that a product is about as large as its input.
fn weights(random: &mut SplitMix64, columns: u64, rows: u64) -> Vec<u8> {
    let largest = (3.0 / columns as f32).sqrt();
    let mut data = Vec::with_capacity((columns * rows * 2) as usize);
    for _ in 0..columns * rows {
        let weight = (2.0 * random.next_f32() - 1.0) * largest;
        data.extend(half::f16::from_f32(weight).to_le_bytes());
    }
    data
}

/// Copies a metadata value of the kinds that vocabularies have.
fn copy(file: &mut GgufWriter, key: &str, value: llm::gguf::Value<'_>) -> Result<()> {
    use llm::gguf::Value;
    match value {
        Value::U32(number) => file.u32(key, number),
        Value::F32(number) => file.f32(key, number),
        Value::Bool(truth) => file.bool(key, truth),
        Value::String(_) => file.string(key, value.as_str().with_context(|| format!("{key} is not UTF-8"))?),
        Value::Array(array) => file.array(key, array.kind(), array.len() as u64, array.bytes()),
        other => anyhow::bail!("{key} is {other:?}, which is not expected of a vocabulary"),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_the_same_every_time_and_of_the_right_size() {
        let data = weights(&mut SplitMix64::new(1), 1024, 8);
        assert_eq!(data, weights(&mut SplitMix64::new(1), 1024, 8));
        let values: Vec<f64> =
            data.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f64()).collect();
        assert_eq!(values.len(), 1024 * 8);
        let variance = values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
        assert!((variance * 1024.0 - 1.0).abs() < 0.1, "{variance}");
    }
}
