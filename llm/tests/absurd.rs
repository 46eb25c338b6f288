//! Models that are absurd or damaged: each is refused in one sentence that names what is wrong.

mod common;

use common::tiny::{ROPE_DIMS, VOCABULARY, model};
use llm::clock::StdClock;
use llm::engine::{Engine, LoadError, LoadOptions};
use llm::error::GgufError;
use llm::gguf::{GgmlType, Gguf, ValueKind, write::GgufWriter};
use llm::pool::Pool;
use llm::threads::Threads;

/// The same file with other metadata: `change` is asked about every entry, and whether the old value stays.
fn with_metadata(good: &[u8], mut change: impl FnMut(&mut GgufWriter, &str) -> bool) -> GgufWriter {
    let gguf = Gguf::parse(good).unwrap();
    let mut file = GgufWriter::new();
    for (name, found) in gguf.metadata() {
        if change(&mut file, name) {
            common::copy_value(&mut file, name, found);
        }
    }
    for tensor in gguf.tensors() {
        file.tensor(tensor.name, tensor.kind, &tensor.dims[..tensor.n_dims as usize], tensor.data);
    }
    file
}

/// Loads a file that parses; `None` where that works.
fn load_error(file: &[u8]) -> Option<LoadError> {
    let (threads, clock, mut memory) = (Threads::new(1), StdClock::new(), vec![0u8; 16 << 20]);
    let gguf = Gguf::parse(file).unwrap();
    let error = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, LoadOptions::default()).err()?;
    assert!(!error.to_string().contains('\n'), "{error}");
    Some(error)
}

/// The file with one metadata value changed or removed, and what is said about it.
fn error_of(good: &[u8], key: &str, value: Option<u32>) -> String {
    let file = with_metadata(good, |file, name| {
        if let (true, Some(value)) = (name == key, value) {
            file.u32(name, value);
        }
        name != key
    });
    load_error(&file.finish()).map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn absurd_metadata_is_refused_by_name() {
    let (good, _) = model(GgmlType::Q8_0, false);
    assert_eq!(load_error(&good), None);
    for (key, value) in [
        ("general.architecture", 1),
        ("llama.block_count", 0),
        ("llama.block_count", u32::MAX),
        ("llama.embedding_length", 0),
        ("llama.embedding_length", u32::MAX),
        ("llama.feed_forward_length", u32::MAX),
        ("llama.context_length", 0),
        ("llama.context_length", u32::MAX),
        ("llama.attention.head_count", 0),
        ("llama.attention.head_count_kv", 3),
        ("llama.attention.head_count_kv", 0),
        ("llama.rope.dimension_count", 47),
        ("llama.rope.dimension_count", 1000),
        ("llama.vocab_size", VOCABULARY as u32 - 1),
        ("tokenizer.ggml.eos_token_id", VOCABULARY as u32),
    ] {
        // A key that the good file lacks is added.
        let mut there = false;
        let mut file = with_metadata(&good, |file, name| {
            if name == key {
                there = true;
                file.u32(name, value);
            }
            name != key
        });
        if !there {
            file.u32(key, value);
        }
        let error = load_error(&file.finish()).map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(key), "{key} = {value}: {error:?}");
    }
    // Plausible numbers that do not fit the tensors name the tensor.
    for (key, value) in [
        ("llama.block_count", 1),
        ("llama.block_count", 3),
        ("llama.embedding_length", 512),
        ("llama.feed_forward_length", 1024),
        ("llama.attention.head_count_kv", 4),
    ] {
        let error = error_of(&good, key, Some(value));
        assert!(error.contains(".weight"), "{key} = {value}: {error:?}");
    }
}

#[test]
fn tensors_of_layers_beyond_the_count_are_refused() {
    let (good, _) = model(GgmlType::Q8_0, false);
    let expected =
        "tensor \"blk.1.attn_q.weight\" lies outside the layers: llama.block_count is 1; the file is damaged";
    assert_eq!(error_of(&good, "llama.block_count", Some(1)), expected);
    let with_tensor = |name: &str| {
        let mut file = with_metadata(&good, |_, _| true);
        file.tensor(name, GgmlType::F32, &[32], &[0; 128]);
        load_error(&file.finish())
    };
    for name in ["blk.2.x", "blk.1024.attn_q.weight", "blk.99999999999999999999999.x"] {
        assert!(matches!(with_tensor(name), Some(LoadError::ExtraLayer { layers: 2, .. })), "{name}");
    }
    // What is not of a layer is not counted as one, but has no place in the model either.
    for name in ["blk..x", "blk.x.y", "blk.2", "other.7.x"] {
        assert!(matches!(with_tensor(name), Some(LoadError::UnknownTensor { .. })), "{name}");
    }
}

#[test]
fn tensors_that_the_model_would_do_without_are_refused_by_name() {
    let (good, _) = model(GgmlType::Q8_0, false);
    for name in [
        "blk.1.extra",
        "blk.0.ffn_gate.bias",
        "blk.0.ffn_gate_exps.weight",
        "blk.0.attn_q_norm.weight",
        "blk.1.post_ffw_norm.weight",
        "blk.0.attn_qkv.bias",
        "output.bias",
        "rope_factors_long.weight",
        "blk.0.attn_q.scale",
    ] {
        let mut file = with_metadata(&good, |_, _| true);
        file.tensor(name, GgmlType::F32, &[32], &[0; 128]);
        let error = load_error(&file.finish()).map(|error| error.to_string());
        let expected = format!("tensor \"{name}\" has no place in a llama model as this engine computes it");
        assert_eq!(error, Some(expected));
    }
}

#[test]
fn tokens_outside_the_vocabulary_are_refused_under_every_key() {
    let (good, _) = model(GgmlType::Q8_0, false);
    for name in [
        "bos",
        "eos",
        "eot",
        "eom",
        "unknown",
        "seperator",
        "separator",
        "padding",
        "cls",
        "mask",
        "prefix",
        "suffix",
        "middle",
        "fim_pre",
        "fim_suf",
        "fim_mid",
        "fim_pad",
        "fim_rep",
        "fim_sep",
    ] {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let with_id = |id: u32| {
            let mut file = with_metadata(&good, |_, found| found != key);
            file.u32(&key, id);
            load_error(&file.finish()).map(|error| error.to_string())
        };
        for id in [VOCABULARY as u32, i32::MAX as u32, u32::MAX - 1] {
            let expected = format!("metadata {key} is {id}, but the vocabulary has {VOCABULARY} tokens");
            assert_eq!(with_id(id), Some(expected));
        }
        assert_eq!(with_id(VOCABULARY as u32 - 1), None, "{key}");
        assert_eq!(with_id(u32::MAX), None, "{key}: converters write this for none");
        let absent = with_metadata(&good, |_, found| found != key).finish();
        assert_eq!(load_error(&absent), None, "without {key}");
    }
}

#[test]
fn numbers_that_divide_must_be_finite_and_above_zero() {
    let (good, _) = model(GgmlType::Q8_0, false);
    let with_number = |key: &str, value: f32| {
        let mut file = with_metadata(&good, |_, found| found != key);
        file.f32(key, value);
        load_error(&file.finish()).map(|error| error.to_string())
    };
    for key in [
        "llama.attention.layer_norm_rms_epsilon",
        "llama.rope.freq_base",
        "llama.rope.scale_linear",
        "llama.rope.scaling.factor",
    ] {
        for value in [0.0, -0.0, -1.0, 1e-40, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            let error = with_number(key, value).unwrap_or_default();
            assert!(error.contains(key), "{key} = {value}: {error:?}");
        }
        assert_eq!(with_number(key, 1.0), None, "{key}");
    }
    assert_eq!(with_number("llama.attention.layer_norm_rms_epsilon", 1e-12), None);
    // The rotation's own divisors are a tensor.
    let with_factors = |last: f32| {
        let mut file = with_metadata(&good, |_, _| true);
        let mut factors = [1.0f32; ROPE_DIMS / 2];
        factors[ROPE_DIMS / 2 - 1] = last;
        let bytes: Vec<u8> = factors.iter().flat_map(|v| v.to_le_bytes()).collect();
        file.tensor("rope_freqs.weight", GgmlType::F32, &[factors.len() as u64], &bytes);
        load_error(&file.finish())
    };
    for factor in [0.0, -1.0, 1e-40, f32::NAN, f32::INFINITY] {
        let error = with_factors(factor).map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("rope_freqs.weight"), "{factor}: {error:?}");
    }
    assert_eq!(with_factors(8.0), None);
}

#[test]
fn missing_metadata_is_named() {
    let (good, _) = model(GgmlType::Q8_0, false);
    for key in [
        "general.architecture",
        "llama.block_count",
        "llama.context_length",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.layer_norm_rms_epsilon",
        "tokenizer.ggml.model",
        "tokenizer.ggml.tokens",
        "tokenizer.ggml.merges",
    ] {
        let error = error_of(&good, key, None);
        assert!(error.contains(key), "without {key}: {error:?}");
    }
    let nothing = GgufWriter::new().finish();
    assert!(matches!(load_error(&nothing), Some(LoadError::MissingKey { .. })));
}

#[test]
fn vocabulary_and_embedding_must_agree() {
    let (good, _) = model(GgmlType::Q4_0, true);
    for tokens in [VOCABULARY - 1, VOCABULARY + 1, 257, 10 * VOCABULARY] {
        let mut file = with_metadata(&good, |_, name| !name.starts_with("tokenizer."));
        common::byte_vocabulary(&mut file, tokens);
        let expected = LoadError::VocabularyMismatch { tokens, rows: VOCABULARY };
        assert_eq!(load_error(&file.finish()), Some(expected));
    }
}

/// Where the entry of tensor `name` goes on behind its name: dimensions, sizes, type, offset.
fn entry(file: &[u8], name: &str) -> usize {
    let wanted = [&(name.len() as u64).to_le_bytes(), name.as_bytes()].concat();
    file.windows(wanted.len()).position(|window| window == wanted).unwrap() + wanted.len()
}

#[test]
fn absurd_tensors_are_refused_by_name() {
    let (good, _) = model(GgmlType::Q6_K, false);
    let name = "blk.1.ffn_down.weight";
    let at = entry(&good, name);
    // Two dimensions: 4 + 2 · 8 bytes, then the type, then the offset.
    let (sizes, kind, offset) = (at + 4, at + 20, at + 24);
    let error = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        let error = Gguf::parse(&file).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(name) && !text.contains('\n'), "{text}");
        error
    };
    let past_end = (good.len() as u64).next_multiple_of(32);
    for found in [past_end, 1 << 40, 1 << 63, u64::MAX] {
        assert!(
            matches!(error(offset, &found.to_le_bytes()), GgufError::BadOffset { found: f, .. } if f == found)
        );
    }
    // Tensors that lie in each other.
    assert!(matches!(error(offset, &0u64.to_le_bytes()), GgufError::BadOffset { found: 0, .. }));
    assert!(matches!(error(sizes, &(1u64 << 63).to_le_bytes()), GgufError::BadDimension { dim: 0, .. }));
    assert!(matches!(error(sizes + 8, &(1u64 << 63).to_le_bytes()), GgufError::BadDimension { dim: 1, .. }));
    assert!(matches!(error(sizes + 8, &(1u64 << 60).to_le_bytes()), GgufError::ShapeOverflow { .. }));
    for id in [4, 5, 31, 43, u32::MAX] {
        assert!(matches!(error(kind, &id.to_le_bytes()), GgufError::UnknownType { id: i, .. } if i == id));
    }
    // 2^32 - 1 dimensions.
    assert!(matches!(error(at, &u32::MAX.to_le_bytes()), GgufError::TooManyDimensions { .. }));
    // The last tensor is there in part.
    assert!(matches!(Gguf::parse(&good[..good.len() - 64]), Err(GgufError::DataPastEnd { .. })));
}

/// Metadata cannot point, so a cycle can only be pretended: by arrays in arrays without end.
#[test]
fn endless_metadata_is_refused() {
    let (good, _) = model(GgmlType::F16, false);
    for depth in [5, 100, 10_000] {
        let mut file = with_metadata(&good, |_, _| true);
        let level = [&(ValueKind::Array as u32).to_le_bytes()[..], &1u64.to_le_bytes()].concat();
        file.raw("endless", ValueKind::Array, &level.repeat(depth));
        assert!(matches!(Gguf::parse(&file.finish()), Err(GgufError::ArraysTooDeep { .. })), "{depth}");
    }
}
