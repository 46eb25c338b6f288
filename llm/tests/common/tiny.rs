//! A tiny random llama model in any weight format, and its weights in f64.

use super::byte_vocabulary;
use llm::gguf::{GgmlType, write::GgufWriter};
use llm::quant::{
    self, Iq4Nl, Iq4Xs, Mxfp4, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Q8K, float,
};
use llm::random::SplitMix64;
use std::collections::HashMap;

/// Width of the residual stream.
pub const WIDTH: usize = 256;
/// Width of the feed-forward network.
pub const FFN: usize = 512;
/// Query heads.
pub const HEADS: usize = 4;
/// Key/value heads.
pub const KV_HEADS: usize = 2;
/// Width of a head.
pub const HEAD_DIM: usize = WIDTH / HEADS;
/// Dimensions of a head that are rotated.
pub const ROPE_DIMS: usize = 48;
/// Positions are divided by this.
pub const ROPE_SCALE: f32 = 2.0;
/// Blocks.
pub const LAYERS: usize = 2;
/// Tokens.
pub const VOCABULARY: usize = 264;
/// Values of each tensor by name.
pub type Weights = HashMap<String, Vec<f64>>;

/// Random blocks of a format, of about the size that trained weights have.
fn random_tensor(kind: GgmlType, elements: usize, random: &mut SplitMix64) -> Vec<u8> {
    if kind == GgmlType::F32 || kind == GgmlType::F16 || kind == GgmlType::BF16 {
        let values = (0..elements).map(|_| (random.next_f32() - 0.5) * 0.2);
        return values
            .flat_map(|v| match kind {
                GgmlType::F32 => v.to_le_bytes().to_vec(),
                GgmlType::F16 => half::f16::from_f32(v).to_le_bytes().to_vec(),
                _ => half::bf16::from_f32(v).to_le_bytes().to_vec(),
            })
            .collect();
    }
    let size = kind.type_size();
    let mut data: Vec<u8> =
        (0..elements / kind.block_size() * size).map(|_| random.next_u64() as u8).collect();
    // Scale so that values lie in about -0.1..0.1, and minimum so that they are centred.
    let (d, m): (f32, Option<f32>) = match kind {
        GgmlType::Q4_0 => (0.012, None),
        GgmlType::Q4_1 => (0.012, Some(-0.09)),
        GgmlType::Q5_0 => (0.006, None),
        GgmlType::Q5_1 => (0.006, Some(-0.09)),
        GgmlType::Q8_0 => (0.0008, None),
        GgmlType::Q4_K => (0.0004, Some(0.003)),
        GgmlType::Q5_K => (0.0002, Some(0.003)),
        GgmlType::Q2_K => (0.008, Some(0.012)),
        GgmlType::Q3_K => (0.001, None),
        GgmlType::Q8_K | GgmlType::IQ4_NL => (0.0008, None),
        _ => (0.00005, None),
    };
    let at = match kind {
        GgmlType::Q6_K => 208,
        GgmlType::Q2_K => 80,
        GgmlType::Q3_K => 108,
        _ => 0,
    };
    for block in data.chunks_exact_mut(size) {
        let spread = 0.5 + random.next_f32();
        match kind {
            GgmlType::MXFP4 => block[0] = 120 + block[0] % 3,
            GgmlType::Q8_K => block[..4].copy_from_slice(&(d * spread).to_le_bytes()),
            _ => block[at..at + 2].copy_from_slice(&half::f16::from_f32(d * spread).to_le_bytes()),
        }
        if let Some(m) = m {
            block[at + 2..at + 4].copy_from_slice(&half::f16::from_f32(m * spread).to_le_bytes());
        }
    }
    data
}

fn dequantise(kind: GgmlType, data: &[u8], elements: usize) -> Vec<f64> {
    let mut out = vec![0.0f32; elements];
    match kind {
        GgmlType::F32 => float::dequantise::<float::F32>(data, &mut out),
        GgmlType::F16 => float::dequantise::<float::F16>(data, &mut out),
        GgmlType::BF16 => float::dequantise::<float::Bf16>(data, &mut out),
        GgmlType::Q4_0 => quant::dequantise::<Q4_0>(data, &mut out),
        GgmlType::Q4_1 => quant::dequantise::<Q4_1>(data, &mut out),
        GgmlType::Q5_0 => quant::dequantise::<Q5_0>(data, &mut out),
        GgmlType::Q5_1 => quant::dequantise::<Q5_1>(data, &mut out),
        GgmlType::Q8_0 => quant::dequantise::<Q8_0>(data, &mut out),
        GgmlType::Q4_K => quant::dequantise::<Q4K>(data, &mut out),
        GgmlType::Q5_K => quant::dequantise::<Q5K>(data, &mut out),
        GgmlType::Q6_K => quant::dequantise::<Q6K>(data, &mut out),
        GgmlType::Q2_K => quant::dequantise::<Q2K>(data, &mut out),
        GgmlType::Q3_K => quant::dequantise::<Q3K>(data, &mut out),
        GgmlType::Q8_K => quant::dequantise::<Q8K>(data, &mut out),
        GgmlType::IQ4_NL => quant::dequantise::<Iq4Nl>(data, &mut out),
        GgmlType::IQ4_XS => quant::dequantise::<Iq4Xs>(data, &mut out),
        GgmlType::MXFP4 => quant::dequantise::<Mxfp4>(data, &mut out),
        other => panic!("no {other:?} here"),
    }
    out.into_iter().map(f64::from).collect()
}

/// A model file and its weights.
pub fn model(kind: GgmlType, separate_head: bool) -> (Vec<u8>, Weights) {
    let mut file = GgufWriter::new();
    file.string("general.architecture", "llama").string("general.name", "tiny");
    for (key, value) in [
        ("block_count", LAYERS),
        ("context_length", 512),
        ("embedding_length", WIDTH),
        ("feed_forward_length", FFN),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", KV_HEADS),
        ("rope.dimension_count", ROPE_DIMS),
    ] {
        file.u32(&format!("llama.{key}"), value as u32);
    }
    file.f32("llama.attention.layer_norm_rms_epsilon", 1e-5).f32("llama.rope.freq_base", 10_000.0);
    file.string("llama.rope.scaling.type", "linear").f32("llama.rope.scaling.factor", ROPE_SCALE);
    byte_vocabulary(&mut file, VOCABULARY);
    let mut random = SplitMix64::new(kind.id() as u64);
    let mut weights = Weights::new();
    let mut tensor = |name: String, kind: GgmlType, columns: usize, rows: usize| {
        let data = if rows == 1 {
            (0..columns).flat_map(|_| (0.8 + 0.4 * random.next_f32()).to_le_bytes()).collect()
        } else {
            random_tensor(kind, columns * rows, &mut random)
        };
        weights.insert(name.clone(), dequantise(kind, &data, columns * rows));
        let dims = [columns as u64, rows as u64];
        file.tensor(&name, kind, if rows == 1 { &dims[..1] } else { &dims }, &data);
    };
    tensor("token_embd.weight".into(), kind, WIDTH, VOCABULARY);
    tensor("output_norm.weight".into(), GgmlType::F32, WIDTH, 1);
    if separate_head {
        tensor("output.weight".into(), kind, WIDTH, VOCABULARY);
    }
    for layer in 0..LAYERS {
        for (name, columns, rows) in [
            ("attn_q", WIDTH, WIDTH),
            ("attn_k", WIDTH, KV_HEADS * HEAD_DIM),
            ("attn_v", WIDTH, KV_HEADS * HEAD_DIM),
            ("attn_output", WIDTH, WIDTH),
            ("ffn_gate", WIDTH, FFN),
            ("ffn_up", WIDTH, FFN),
            ("ffn_down", FFN, WIDTH),
        ] {
            tensor(format!("blk.{layer}.{name}.weight"), kind, columns, rows);
        }
        for name in ["attn_norm", "ffn_norm"] {
            tensor(format!("blk.{layer}.{name}.weight"), GgmlType::F32, WIDTH, 1);
        }
    }
    (file.finish(), weights)
}
