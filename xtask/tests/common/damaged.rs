//! Model files with one thing wrong each.

use super::scratch;
use llm::clock::StdClock;
use llm::engine::{Engine, LoadOptions};
use llm::gguf::{GgmlType, Gguf, Value, write::GgufWriter};
use llm::pool::Pool;
use llm::threads::Threads;
use std::path::PathBuf;
use xtask::model::fetch;

/// A damaged model file.
pub struct Damaged {
    /// What was done to it.
    pub name: &'static str,
    /// What the line about it must say.
    pub clue: &'static str,
    bytes: Vec<u8>,
}

impl Damaged {
    /// The file, written where QEMU can read it.
    pub fn file(&self) -> PathBuf {
        let path = scratch().join(format!("{}.gguf", self.name.replace(' ', "-")));
        std::fs::write(&path, &self.bytes).unwrap();
        path
    }

    /// What this crate's reader and engine say about it on the host.
    pub fn error_on_host(&self) -> String {
        let gguf = match Gguf::parse(&self.bytes) {
            Ok(gguf) => gguf,
            Err(error) => return error.to_string(),
        };
        let mut memory = vec![0; 64 << 20];
        let (threads, clock) = (Threads::new(1), StdClock::new());
        match Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, LoadOptions::default()) {
            Ok(_) => panic!("{}: the host loads it", self.name),
            Err(error) => error.to_string(),
        }
    }
}

/// One file for each way in which a model can be wrong.
pub fn damaged_models() -> Vec<Damaged> {
    let good = std::fs::read(fetch::fetch().unwrap()).unwrap();
    let gguf = Gguf::parse(&good).unwrap();
    let case = |name, clue, bytes| Damaged { name, clue, bytes };

    // The kind of the first metadata value (behind magic, version, counts, and its key): 8, a string, becomes 72.
    let mut flipped = good[..4 << 20].to_vec();
    let key = u64::from_le_bytes(flipped[24..32].try_into().unwrap()) as usize;
    flipped[32 + key] ^= 0x40;
    let mut tensors = good[..1 << 20].to_vec();
    tensors[8..16].copy_from_slice(&(i64::MAX as u64).to_le_bytes());

    // Of a small file with one tensor: where the tensor's entry has the number of dimensions (4 bytes), two
    // dimensions (8 each), the type (4), the offset (8).
    let small = tiny(&gguf, |_| true);
    let name = b"token_embd.weight";
    let entry = small.windows(name.len()).rposition(|window| window == name).unwrap() + name.len();
    let patched = |at: usize, value: &[u8]| {
        let mut bytes = small.clone();
        bytes[entry + at..][..value.len()].copy_from_slice(value);
        bytes
    };
    let huge_product: Vec<u8> = [1u64 << 40, 1 << 40].into_iter().flat_map(u64::to_le_bytes).collect();
    // Five arrays, each the only element of the one around it.
    let mut nested = GgufWriter::new();
    let mut value = Vec::new();
    for _ in 0..5 {
        value = [&9u32.to_le_bytes()[..], &1u64.to_le_bytes(), &value].concat();
    }
    nested.raw("general.loop", llm::gguf::ValueKind::Array, &value);

    vec![
        case("truncated", "but the file has 41943040 bytes", good[..40 << 20].to_vec()),
        case("bit flipped", "metadata value kind 72 at offset", flipped),
        case("2^63 tensors", "the GGUF header claims 9223372036854775807 tensors", tensors),
        case("no GGUF", "not a GGUF file: it begins with", b"this is only a line of text".to_vec()),
        case("four billion dimensions", "has 4294967295 dimensions", patched(0, &u32::MAX.to_le_bytes())),
        case("a dimension of 2^63", "which is 2^63 or more", patched(4, &(1u64 << 63).to_le_bytes())),
        case("2^80 weights", "multiply to more than 2^63", patched(4, &huge_product)),
        case("unknown type", "unsupported type 77 of tensor", patched(20, &77u32.to_le_bytes())),
        case(
            "offset past the end",
            "is at data offset 1099511627776, but",
            patched(24, &(1u64 << 40).to_le_bytes()),
        ),
        case("endless nesting", "metadata arrays are nested deeper than", nested.finish()),
        case(
            "no architecture",
            "metadata key general.architecture is missing",
            tiny(&gguf, |key| key != "general.architecture"),
        ),
        case(
            "no embedding length",
            "metadata key llama.embedding_length is missing",
            tiny(&gguf, |key| key != "llama.embedding_length"),
        ),
        case(
            "no vocabulary",
            "metadata tokenizer.ggml.tokens is missing",
            tiny(&gguf, |key| key != "tokenizer.ggml.tokens"),
        ),
        case(
            "vocabulary mismatch",
            "the vocabulary has 49152 tokens, but the embedding has 8 rows",
            tiny(&gguf, |_| true),
        ),
    ]
}

/// The good model's metadata as far as `keep` wants it, with an embedding of only 8 rows.
fn tiny(good: &Gguf<'_>, keep: impl Fn(&str) -> bool) -> Vec<u8> {
    const ROWS: u64 = 8;
    let mut file = GgufWriter::new();
    for (key, value) in good.metadata() {
        // Repeats the rows of the embedding; a file may leave it out.
        if key == "llama.vocab_size" || !keep(key) {
            continue;
        }
        match value {
            Value::U32(v) => file.u32(key, v),
            Value::F32(v) => file.f32(key, v),
            Value::Bool(v) => file.bool(key, v),
            Value::String(v) => file.string(key, std::str::from_utf8(v).unwrap()),
            Value::Array(v) => file.array(key, v.kind(), v.len() as u64, v.bytes()),
            other => panic!("{key}: {other:?}"),
        };
    }
    let width = good.tensor("token_embd.weight").unwrap().dims[0];
    let data = vec![0; (width * ROWS * 4) as usize];
    file.tensor("token_embd.weight", GgmlType::F32, &[width, ROWS], &data);
    file.finish()
}
