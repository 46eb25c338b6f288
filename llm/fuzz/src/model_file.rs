//! Small model files of every architecture and type of matrix, with something wrong in them where that is asked for.

use crate::random::Random;
use llm::gguf::write::GgufWriter;
use llm::gguf::{GgmlType, ValueKind};
use llm::model::architecture::{Architecture, RopeFactors};

/// Tokens of the vocabulary.
pub const TOKENS: usize = 48;

/// What a generated file may get wrong on purpose.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Decides what the model has.
    pub architecture: &'static Architecture,
    /// Of the residual stream.
    pub width: u64,
    /// Of most matrices.
    pub kind: GgmlType,
    /// Each bit makes one thing wrong, often.
    pub odd: u32,
}

/// A small model file; each bit of `shape.odd` makes one thing in it wrong (often, not always).
pub fn file(shape: &Shape, random: &mut Random) -> Vec<u8> {
    let mut bit = 0;
    let mut odd = |random: &mut Random| {
        bit += 1;
        shape.odd >> (bit % 32) & 1 == 1 && random.one_in(4)
    };
    let mut file =
        if odd(random) { GgufWriter::with_alignment(1 << random.below(9)) } else { GgufWriter::new() };
    let row = shape.architecture;
    file.string("general.architecture", if odd(random) { "gpt2" } else { row.name });
    let key = |name: &str| format!("{}.{name}", row.name);
    let width = shape.width;
    // Blocks of 256 make models as wide as one, but no larger than needed in everything else.
    let wide = width > 32;
    let (query, ffn) = if wide { (32, 32) } else { (width, width) };
    for (key, value) in [
        (key("block_count"), 1),
        (key("embedding_length"), width),
        (key("feed_forward_length"), ffn),
        (key("context_length"), 16),
        (key("attention.head_count"), 2),
        (key("attention.head_count_kv"), 1),
        (key("attention.key_length"), query / 2),
        (key("attention.value_length"), query / 2),
        (key("rope.dimension_count"), query / 2),
        (key("vocab_size"), TOKENS as u64),
        ("tokenizer.ggml.bos_token_id".into(), 1),
        ("tokenizer.ggml.eos_token_id".into(), 2),
    ] {
        if odd(random) {
            match random.below(4) {
                0 => continue,
                1 => drop(file.u64(&key, random.next() >> random.below(64))),
                2 => drop(file.string(&key, "x")),
                _ => drop(file.u32(&key, random.below(9) as u32)),
            }
        } else {
            file.u32(&key, value as u32);
        }
    }
    file.f32(
        &key("attention.layer_norm_rms_epsilon"),
        if odd(random) { f32::from_bits(random.next() as u32) } else { 1e-5 },
    );
    file.f32(&key("rope.freq_base"), if odd(random) { f32::from_bits(random.next() as u32) } else { 1e4 });
    if odd(random) {
        file.u32(&key("block_count"), 1);
    }
    stretching(&mut file, row, &mut odd, random);
    file.string("tokenizer.chat_template", "{{'<|im_start|>system\\nhi<|im_end|>'}}");
    vocabulary(&mut file, &mut odd, random);

    if odd(random) {
        let mut nested = Vec::new();
        (0..random.below(6))
            .for_each(|_| nested.extend([9u32.to_le_bytes(), 1u32.to_le_bytes(), [0; 4]].concat()));
        file.array("nested", ValueKind::Array, 1, &nested);
    }
    let kind = shape.kind;
    let mut vectors = vec![
        ("output_norm.weight", width),
        ("blk.0.attn_norm.weight", width),
        ("blk.0.ffn_norm.weight", width),
    ];
    vectors.extend(optional_vectors(row, width, query, random));
    for (name, length) in vectors {
        tensor(&mut file, name, GgmlType::F32, &[length], &mut odd, random);
    }
    let narrow = if wide { random.pick(&[GgmlType::Q4_0, GgmlType::Q5_1, GgmlType::F16]) } else { kind };
    let vocabulary = [width, TOKENS as u64];
    let mut matrices = vec![("token_embd.weight", kind, vocabulary)];
    if random.one_in(3) {
        matrices.push(("blk.0.attn_qkv.weight", kind, [width, 2 * query]));
    } else {
        matrices.extend([
            ("blk.0.attn_q.weight", kind, [width, query]),
            ("blk.0.attn_k.weight", kind, [width, query / 2]),
            ("blk.0.attn_v.weight", kind, [width, query / 2]),
        ]);
    }
    matrices.push(("blk.0.attn_output.weight", narrow, [query, width]));
    if row.fused_gate {
        matrices.push(("blk.0.ffn_up.weight", kind, [width, 2 * ffn]));
    } else {
        matrices.extend([
            ("blk.0.ffn_gate.weight", kind, [width, ffn]),
            ("blk.0.ffn_up.weight", kind, [width, ffn]),
        ]);
    }
    matrices.push(("blk.0.ffn_down.weight", narrow, [ffn, width]));
    let all = matrices.len();
    if row.separate_head {
        matrices.push(("output.weight", kind, vocabulary));
    }
    // Of types that no matrix may have, one is enough to see that; a wide model's head is its embedding.
    let count = match kind {
        GgmlType::Q2_K
        | GgmlType::Q3_K
        | GgmlType::Q4_K
        | GgmlType::Q5_K
        | GgmlType::Q6_K
        | GgmlType::Q8_K
        | GgmlType::IQ4_XS => all,
        _ if wide => 1,
        _ => matrices.len(),
    };
    for (name, kind, dims) in &matrices[..count] {
        tensor(&mut file, name, *kind, dims, &mut odd, random);
    }
    file.finish()
}

/// The metadata that stretches a rotation over longer contexts, and what some architectures have beside it.
fn stretching(
    file: &mut GgufWriter,
    row: &Architecture,
    odd: &mut impl FnMut(&mut Random) -> bool,
    random: &mut Random,
) {
    let key = |name: &str| format!("{}.{name}", row.name);
    if random.one_in(2) {
        file.string(&key("rope.scaling.type"), random.pick(&["none", "linear", "yarn", "yarn", "longrope"]));
    }
    for (name, value) in [
        ("rope.scaling.factor", 4.0),
        ("rope.scaling.attn_factor", 1.5),
        ("rope.scaling.yarn_beta_fast", 8.0),
        ("rope.scaling.yarn_beta_slow", 0.5),
        ("rope.scaling.yarn_log_multiplier", 1.0),
        ("attention.temperature_scale", 0.25),
        ("attn_logit_softcapping", 2.0),
        ("final_logit_softcapping", 3.0),
    ] {
        if random.one_in(2) {
            file.f32(&key(name), if odd(random) { f32::from_bits(random.next() as u32) } else { value });
        }
    }
    for (name, value) in [
        ("rope.scaling.original_context_length", 4),
        ("attention.sliding_window", 2),
        ("attention.sliding_window_pattern", 0),
    ] {
        if random.one_in(2) {
            file.u32(&key(name), if odd(random) { random.next() as u32 } else { value });
        }
    }
    if odd(random) {
        file.bool(&key("attention.causal"), random.one_in(2));
    }
}

/// Vectors that the architecture has or may have.
fn optional_vectors(
    row: &Architecture,
    width: u64,
    query: u64,
    random: &mut Random,
) -> Vec<(&'static str, u64)> {
    let (head, pairs) = (query / 2, query / 4);
    let mut vectors = Vec::new();
    let mut add = |these: &[(&'static str, u64)]| vectors.extend_from_slice(these);
    if row.query_key_norm {
        add(&[("blk.0.attn_q_norm.weight", head), ("blk.0.attn_k_norm.weight", head)]);
    }
    if row.post_norms {
        add(&[("blk.0.post_attention_norm.weight", width), ("blk.0.post_ffw_norm.weight", width)]);
    }
    for bias in [("blk.0.attn_q.bias", query), ("blk.0.attn_k.bias", head), ("blk.0.attn_v.bias", head)] {
        if random.one_in(3) {
            add(&[bias]);
        }
    }
    if row.output_bias && random.one_in(3) {
        add(&[("blk.0.attn_output.bias", width)]);
    }
    if row.head_bias && random.one_in(3) {
        add(&[("output.bias", TOKENS as u64)]);
    }
    match row.factors {
        RopeFactors::Frequencies if random.one_in(4) => add(&[("rope_freqs.weight", pairs)]),
        RopeFactors::LongShort if random.one_in(2) => {
            add(&[("rope_factors_long.weight", pairs), ("rope_factors_short.weight", pairs)]);
        }
        _ => {}
    }
    vectors
}

fn tensor(
    file: &mut GgufWriter,
    name: &str,
    kind: GgmlType,
    dims: &[u64],
    odd: &mut impl FnMut(&mut Random) -> bool,
    random: &mut Random,
) {
    let (kind, mut dims) = (if odd(random) { random.pick(GgmlType::ALL) } else { kind }, dims.to_vec());
    let values: u64 = dims.iter().product();
    let bytes = (values / kind.block_size() as u64) as usize * kind.type_size();
    if odd(random)
        && let Some(dim) = dims.get_mut(random.below(2))
    {
        *dim = random.pick(&[0, 1, 3, 64, 1 << 62, u64::MAX]);
    }
    let fill = random.next() as u8 & 0x3f;
    file.tensor(name, kind, &dims, &vec![fill; bytes]);
}

/// Tokens, types and merges or scores of a small vocabulary.
fn vocabulary(file: &mut GgufWriter, odd: &mut impl FnMut(&mut Random) -> bool, random: &mut Random) {
    let spm = random.one_in(4);
    file.string("tokenizer.ggml.model", if spm { "llama" } else { "gpt2" });
    file.string("tokenizer.ggml.pre", random.pick(&["smollm", "gpt-2", "default"]));
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>", "<|im_end|>"].map(String::from).into();
    tokens.extend(('a'..='z').map(String::from));
    tokens.extend(
        ["Ġ", "▁", "th", "the", "he", "ll", "hell", "hello", "<0x31>", "Ã", "©", "Ġthe", "1", "2"]
            .map(String::from),
    );
    if odd(random) {
        let (from, to) = (random.below(tokens.len()), random.below(tokens.len()));
        tokens[to] = tokens[from].clone();
    }
    while tokens.len() < TOKENS {
        tokens.push(format!("<unused{}>", tokens.len()));
    }
    let kinds = (0..TOKENS as i32).map(|id| match id {
        0 => 2,
        1..=3 => 3,
        38 => 6,
        44.. => 4,
        _ => 1,
    });
    let kinds: Vec<i32> = kinds.collect();
    file.strings("tokenizer.ggml.tokens", &tokens);
    file.i32s("tokenizer.ggml.token_type", kinds.into_iter().skip(usize::from(odd(random))));
    if spm {
        file.f32s(
            "tokenizer.ggml.scores",
            (0..TOKENS).map(|id| if odd(random) { f32::NAN } else { -(id as f32) }),
        );
    } else {
        let mut merges = vec!["t h", "th e", "h e", "l l", "he ll", "hell o", "Ġ the"];
        if odd(random) {
            merges.push(random.pick(&["x y", "", " ", "a", "the ll", "h e"]));
        }
        file.strings("tokenizer.ggml.merges", merges);
    }
}
