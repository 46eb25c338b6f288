//! Models that are absurd or damaged: each is refused in one sentence that names what is wrong.

mod common;

use common::tiny::{VOCABULARY, model};
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
        "tokenizer.ggml.pre",
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
