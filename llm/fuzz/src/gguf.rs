//! A model file: parse, walk all of it, build the tokenizer and the engine, encode, generate two tokens.
//!
//! Pool, context, cache and variant are drawn from the input's own bytes, so that an input always runs alike. Now and
//! then it runs a second time on the portable variant and must choose the same tokens.

use crate::random::Random;
use crate::run::Target;
use llm::clock::StdClock;
use llm::engine::{Engine, EngineError, Flow, KvFormat, LoadError, LoadOptions, Origin, Variant};
use llm::gguf::write::GgufWriter;
use llm::gguf::{GgmlType, Gguf, ValueKind};
use llm::parallel::SingleThread;
use llm::pool::{Pool, Purpose};
use llm::sample::Sampling;
use llm::template::Template;
use llm::tokenizer::{Special, Tokenizer};
use std::fmt::Debug;

/// The target, with the memory that its pools are made of.
pub struct GgufTarget {
    memory: Vec<u8>,
    clock: StdClock,
    variants: Vec<Variant>,
}

/// Enough for every model made here, whose context is 16 unless a change made it longer.
const POOL: usize = 1 << 20;

impl GgufTarget {
    /// A target with all variants that this machine can run.
    pub fn new() -> Self {
        let variants = Variant::ALL.into_iter().filter(|variant| variant.is_usable()).collect();
        Self { memory: vec![0; POOL], clock: StdClock::new(), variants }
    }

    /// Loads the model into the first `pool` bytes and continues a prompt: the tokens chosen.
    fn generate_in(
        &mut self,
        gguf: &Gguf<'_>,
        pool: usize,
        options: LoadOptions,
    ) -> Result<Result<Vec<u32>, EngineError>, LoadError> {
        let memory = self.memory.get_mut(..pool).expect("no larger than the memory");
        let mut engine = Engine::load(*gguf, Pool::new(memory), &SingleThread, &self.clock, options)?;
        let info = engine.info();
        assert!(info.context <= info.config.context);
        let usage = engine.usage();
        assert_eq!(usage.free + Purpose::ALL.iter().map(|&purpose| usage.used(purpose)).sum::<usize>(), pool);
        let mut chosen = Vec::new();
        let generated = engine.generate(&[1, 2], &[3], &Sampling::greedy(), 2, &mut |piece| {
            assert!(std::str::from_utf8(piece.bytes).is_ok());
            if piece.origin == Origin::Model {
                chosen.push(piece.token);
            }
            Flow::Continue
        });
        Ok(generated.map(|_| chosen))
    }
}

/// A number that depends on all bytes of an input.
fn fingerprint(input: &[u8]) -> u64 {
    let (words, rest) = input.as_chunks::<8>();
    let numbers = words.iter().map(|word| u64::from_le_bytes(*word)).chain(rest.iter().map(|&b| b.into()));
    numbers.fold(input.len() as u64, |hash, n| (hash ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
}

const TOKENS: usize = 48;

/// What a generated file may get wrong on purpose.
struct Shape {
    width: u64,
    kind: GgmlType,
    odd: u32,
}

impl Target for GgufTarget {
    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let mut random = Random::new(7);
        let kinds = GgmlType::ALL.iter().map(|&kind| Shape {
            width: (kind.block_size() as u64).max(32),
            kind,
            odd: 0,
        });
        kinds.map(|shape| file(&shape, &mut random)).collect()
    }

    fn words(&self) -> Vec<&'static [u8]> {
        vec![
            b"general.alignment",
            b"tokenizer.ggml.tokens",
            b"llama",
            b"GGUF",
            b"gpt2",
            b"smollm",
            b"default",
            b"\x09\0\0\0\x08\0\0\0",
        ]
    }

    fn generate(&mut self, random: &mut Random) -> Option<Vec<u8>> {
        let kind = random.pick(GgmlType::ALL);
        let width = (kind.block_size() as u64).max(8);
        let odd = if random.one_in(3) { 0 } else { random.next() as u32 };
        Some(file(&Shape { width, kind, odd }, random))
    }

    fn execute(&mut self, input: &[u8]) -> String {
        let gguf = match Gguf::parse(input) {
            Ok(gguf) => gguf,
            Err(error) => {
                assert!(!error.to_string().contains('\n'));
                return name("parse", &error);
            }
        };
        walk(&gguf);
        Template::from_gguf(&gguf).ask("hi");
        let mut ids = Vec::new();
        match Tokenizer::from_gguf(&gguf, &mut Pool::new(&mut self.memory)) {
            Err(error) => drop(error.to_string()),
            Ok(tokenizer) => {
                tokenizer.encode("hello <s>the 12 hé", Special::Parse, &mut ids);
                assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
                let mut text = Vec::new();
                (0..TOKENS as u32 + 2).for_each(|id| tokenizer.decode(id, &mut text));
            }
        }
        let mut draw = Random::new(fingerprint(input));
        let pool = if draw.one_in(8) { draw.below(POOL) } else { POOL };
        let options = LoadOptions {
            context: if draw.one_in(2) { Some(8) } else { None },
            variant: Some(draw.pick(&self.variants)),
            kv: if draw.one_in(4) { KvFormat::Float } else { KvFormat::Integer },
        };
        match self.generate_in(&gguf, pool, options) {
            Err(error) => {
                assert!(!error.to_string().contains('\n'));
                name("load", &error)
            }
            Ok(generated) => {
                if draw.one_in(8) {
                    self.memory.fill(draw.next() as u8);
                    let portable = LoadOptions { variant: Some(Variant::Portable), ..options };
                    assert_eq!(self.generate_in(&gguf, pool, portable), Ok(generated.clone()), "{options:?}");
                }
                match generated {
                    Ok(_) => "ok".into(),
                    Err(error) => {
                        assert!(!error.to_string().contains('\n'));
                        name("generate", &error)
                    }
                }
            }
        }
    }
}

/// Reads everything that a parsed file offers.
fn walk(gguf: &Gguf<'_>) {
    let entries = gguf.metadata().map(|(key, value)| {
        assert!(gguf.metadata_len() > 100 || gguf.get(key).is_some());
        let array = value.as_array();
        assert!(array.is_none_or(|array| array.iter().count() == array.len()));
        (value.as_u64(), value.as_f32().is_some(), value.as_str().is_some())
    });
    assert_eq!(entries.count(), gguf.metadata_len());
    let inside = gguf.bytes().as_ptr_range();
    let tensors = gguf.tensors().map(|tensor| {
        let range = tensor.data.as_ptr_range();
        assert!(tensor.data.is_empty() || (inside.start <= range.start && range.end <= inside.end));
        let blocks = tensor.elements() / tensor.kind.block_size() as u64;
        assert_eq!(blocks * tensor.kind.type_size() as u64, tensor.data.len() as u64);
    });
    assert_eq!(tensors.count(), gguf.tensors_len());
}

/// The variant of an error, without its fields.
fn name(stage: &str, error: &impl Debug) -> String {
    let text = format!("{error:?}");
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '(').unwrap_or(text.len());
    format!("{stage}: {}", text[..end].trim_end_matches('('))
}

/// A small model file; each bit of `shape.odd` makes one thing in it wrong (often, not always).
fn file(shape: &Shape, random: &mut Random) -> Vec<u8> {
    let mut bit = 0;
    let mut odd = |random: &mut Random| {
        bit += 1;
        shape.odd >> (bit % 32) & 1 == 1 && random.one_in(4)
    };
    let mut file =
        if odd(random) { GgufWriter::with_alignment(1 << random.below(9)) } else { GgufWriter::new() };
    file.string("general.architecture", if odd(random) { "gpt2" } else { "llama" });
    let width = shape.width;
    // Blocks of 256 make models as wide as one, but no larger than needed in everything else.
    let wide = width > 32;
    let (query, ffn) = if wide { (32, 32) } else { (width, width) };
    for (key, value) in [
        ("llama.block_count", 1),
        ("llama.embedding_length", width),
        ("llama.feed_forward_length", ffn),
        ("llama.context_length", 16),
        ("llama.attention.head_count", 2),
        ("llama.attention.head_count_kv", 1),
        ("llama.attention.key_length", query / 2),
        ("llama.attention.value_length", query / 2),
        ("llama.rope.dimension_count", query / 2),
        ("llama.vocab_size", TOKENS as u64),
        ("tokenizer.ggml.bos_token_id", 1),
        ("tokenizer.ggml.eos_token_id", 2),
    ] {
        if odd(random) {
            match random.below(4) {
                0 => continue,
                1 => drop(file.u64(key, random.next() >> random.below(64))),
                2 => drop(file.string(key, "x")),
                _ => drop(file.u32(key, random.below(9) as u32)),
            }
        } else {
            file.u32(key, value as u32);
        }
    }
    file.f32(
        "llama.attention.layer_norm_rms_epsilon",
        if odd(random) { f32::from_bits(random.next() as u32) } else { 1e-5 },
    );
    file.f32("llama.rope.freq_base", if odd(random) { f32::from_bits(random.next() as u32) } else { 1e4 });
    if odd(random) {
        file.u32("llama.block_count", 1);
    }
    file.string("tokenizer.chat_template", "{{'<|im_start|>system\\nhi<|im_end|>'}}");
    vocabulary(&mut file, &mut odd, random);

    if odd(random) {
        let mut nested = Vec::new();
        (0..random.below(6))
            .for_each(|_| nested.extend([9u32.to_le_bytes(), 1u32.to_le_bytes(), [0; 4]].concat()));
        file.array("nested", ValueKind::Array, 1, &nested);
    }
    let kind = shape.kind;
    let narrow = if wide { random.pick(&[GgmlType::Q4_0, GgmlType::Q5_1, GgmlType::F16]) } else { kind };
    let vocabulary = [width, TOKENS as u64];
    let matrices = [
        ("token_embd.weight", kind, vocabulary),
        ("blk.0.attn_q.weight", kind, [width, query]),
        ("blk.0.attn_k.weight", kind, [width, query / 2]),
        ("blk.0.attn_v.weight", kind, [width, query / 2]),
        ("blk.0.attn_output.weight", narrow, [query, width]),
        ("blk.0.ffn_gate.weight", kind, [width, ffn]),
        ("blk.0.ffn_up.weight", kind, [width, ffn]),
        ("blk.0.ffn_down.weight", narrow, [ffn, width]),
        ("output.weight", kind, vocabulary),
    ];
    for name in ["blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"] {
        tensor(&mut file, name, GgmlType::F32, &[width], &mut odd, random);
    }
    // Of types that no matrix may have, one is enough to see that; a wide model's head is its embedding.
    let count = match kind {
        GgmlType::Q2_K
        | GgmlType::Q3_K
        | GgmlType::Q4_K
        | GgmlType::Q5_K
        | GgmlType::Q6_K
        | GgmlType::Q8_K
        | GgmlType::IQ4_XS => matrices.len() - 1,
        _ if wide => 1,
        _ => matrices.len(),
    };
    for (name, kind, dims) in &matrices[..count] {
        tensor(&mut file, name, *kind, dims, &mut odd, random);
    }
    file.finish()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_of_each_type_of_matrix_comes_to_its_end() {
        let mut target = GgufTarget::new();
        let mut random = Random::new(3);
        use GgmlType::*;
        for kind in [
            F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K, IQ4_NL, IQ4_XS,
            MXFP4,
        ] {
            let width = (kind.block_size() as u64).max(32);
            let ends: Vec<String> =
                (0..64).map(|_| target.execute(&file(&Shape { width, kind, odd: 0 }, &mut random))).collect();
            assert!(ends.iter().any(|end| end == "ok"), "{kind:?}: {ends:?}");
        }
    }
}
