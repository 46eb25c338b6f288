//! A trained model as a GGUF file: metadata, vocabulary, tensors under GGUF's names.
//!
//! Rotation: Hugging Face's llama turns dimension `i` of a head with `i + dim/2`, GGUF's architecture "llama" turns
//! `2i` with `2i + 1`. The rows of the q and k matrices change places accordingly, so that the products of queries and
//! keys stay what they were.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use llm::gguf::GgmlType;
use llm::gguf::write::GgufWriter;

use super::vocabulary::{PRE_TOKENIZER, Vocabulary};
use crate::trained::{self, Place, Trained};

/// What RMSNorm adds to the mean square, in every model of ours.
pub const EPSILON: f32 = 1e-5;

/// The layout of quantised blocks that ggml has had since 2023.
const QUANTISATION_VERSION: u32 = 2;

/// ChatML, as the conversations of the corpus are written; the kernel and llama.cpp know it by its marks.
const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + \
message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// A tensor in the form in which a file holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Its type.
    pub kind: GgmlType,
    /// Its rows, one behind the other.
    pub data: Vec<u8>,
}

/// What a file says about itself beside its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The type of most matrices.
    pub kind: GgmlType,
    /// How they were rounded: "plain", or "gptq".
    pub method: String,
    /// SPDX expression.
    pub license: String,
    /// The run's folder, its last part.
    pub run: String,
    /// The seed that the data were drawn with, where the run records it.
    pub seed: Option<u64>,
    /// Whether conversations were trained on: a question is then wrapped as they are.
    pub chat: bool,
}

/// The file's bytes. `tensors` holds every tensor of the model by its Hugging Face name.
pub fn write(
    model: &Trained,
    vocabulary: &Vocabulary,
    facts: &Facts,
    tensors: &BTreeMap<String, Encoded>,
) -> Result<Vec<u8>> {
    let mut file = GgufWriter::new();
    describe(&mut file, model, facts);
    shape(&mut file, model);
    tokenizer(&mut file, vocabulary);
    if facts.chat {
        file.string("tokenizer.chat_template", CHAT_TEMPLATE);
    }
    let head_dim = model.shape.head_dim() as usize;
    for Place { name, gguf, rows, columns } in trained::places(&model.shape) {
        let tensor = tensors.get(&name).with_context(|| format!("tensor '{name}' was not encoded"))?;
        let rotated = gguf.contains("attn_q.") || gguf.contains("attn_k.");
        let swapped;
        let data = if rotated {
            swapped = interleave(&tensor.data, rows, head_dim);
            &swapped
        } else {
            &tensor.data
        };
        let dims = [columns as u64, rows as u64];
        let vector = gguf.ends_with("norm.weight");
        file.tensor(&gguf, tensor.kind, if vector { &dims[..1] } else { &dims }, data);
    }
    Ok(file.finish())
}

/// Rows `i` and `i + dim/2` of each head side by side.
fn interleave(data: &[u8], rows: usize, head_dim: usize) -> Vec<u8> {
    let half = head_dim / 2;
    let all: Vec<&[u8]> = data.chunks_exact((data.len() / rows.max(1)).max(1)).collect();
    let heads = all.chunks_exact(head_dim);
    heads.flat_map(|head| (0..half).flat_map(|i| [head[i], head[i + half]])).flatten().copied().collect()
}

/// What the model is, and where it comes from. Nothing of it depends on the time or the place.
fn describe(file: &mut GgufWriter, model: &Trained, facts: &Facts) {
    file.string("general.architecture", "llama");
    file.string("general.type", "model");
    file.string("general.name", &model.shape.name);
    file.string("general.size_label", &size_label(model.shape.parameters()));
    file.string("general.license", &facts.license);
    file.u32("general.file_type", file_type(facts.kind));
    file.u32("general.quantization_version", QUANTISATION_VERSION);
    file.string("auton.version", env!("CARGO_PKG_VERSION"));
    file.string("auton.run", &facts.run);
    if let Some(seed) = facts.seed {
        file.u64("auton.seed", seed);
    }
    file.string("auton.weights_sha256", &model.sha256);
    file.string("auton.rounding", &facts.method);
}

fn shape(file: &mut GgufWriter, model: &Trained) {
    let s = &model.shape;
    let numbers = [
        ("context_length", s.context),
        ("embedding_length", s.width),
        ("block_count", s.layers),
        ("feed_forward_length", s.ffn),
        ("attention.head_count", s.heads),
        ("attention.head_count_kv", s.kv_heads),
        ("attention.key_length", s.head_dim()),
        ("attention.value_length", s.head_dim()),
        ("rope.dimension_count", s.head_dim()),
        ("vocab_size", s.vocabulary),
    ];
    for (key, number) in numbers {
        // A shape's dimensions are far below 2^32: `Shape::check`.
        file.u32(&format!("llama.{key}"), number as u32);
    }
    file.f32("llama.attention.layer_norm_rms_epsilon", EPSILON);
    file.f32("llama.rope.freq_base", s.rope_base as f32);
}

fn tokenizer(file: &mut GgufWriter, vocabulary: &Vocabulary) {
    file.string("tokenizer.ggml.model", "gpt2");
    file.string("tokenizer.ggml.pre", PRE_TOKENIZER);
    file.strings("tokenizer.ggml.tokens", &vocabulary.tokens);
    file.i32s("tokenizer.ggml.token_type", vocabulary.kinds.iter().copied());
    file.strings("tokenizer.ggml.merges", &vocabulary.merges);
    for role in ["bos", "eos", "unknown", "padding"] {
        file.u32(&format!("tokenizer.ggml.{role}_token_id"), vocabulary.end);
    }
    file.bool("tokenizer.ggml.add_bos_token", false);
    file.bool("tokenizer.ggml.add_eos_token", false);
    file.bool("tokenizer.ggml.add_space_prefix", false);
}

/// llama.cpp's number of a file whose matrices are mostly of this type (`enum llama_ftype`).
fn file_type(kind: GgmlType) -> u32 {
    match kind {
        GgmlType::F32 => 0,
        GgmlType::F16 => 1,
        GgmlType::Q4_0 => 2,
        GgmlType::Q8_0 => 7,
        GgmlType::Q4_K => 14,
        // LLAMA_FTYPE_GUESSED.
        _ => 1024,
    }
}

/// Parameters in the manner of file names: 850K, 10M, 1.5B.
fn size_label(parameters: u64) -> String {
    let p = parameters as f64;
    match parameters {
        0..1_000_000 => format!("{:.0}K", p / 1e3),
        1_000_000..1_000_000_000 => format!("{:.0}M", p / 1e6),
        _ => format!("{:.1}B", p / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_of_each_head_interleave() {
        // Two heads of four rows of two bytes: rows 0 1 2 3 become 0 2 1 3.
        let data: Vec<u8> = (0..8).flat_map(|row| [row, row + 100]).collect();
        let order: Vec<u8> = interleave(&data, 8, 4).chunks(2).map(|row| row[0]).collect();
        assert_eq!(order, [0, 2, 1, 3, 4, 6, 5, 7]);
    }

    #[test]
    fn sizes_are_told_in_short() {
        assert_eq!([849_000, 9_967_104, 1_540_000_000].map(size_label), ["849K", "10M", "1.5B"]);
    }
}
