//! Where the model file and the golden data are.
#![allow(dead_code)]

pub mod counting;
pub mod references;
pub mod simple_grammar;
pub mod tiny;

use llm::gguf::{GgmlType, Gguf, Value, write::GgufWriter};
use llm::quant::{self, float};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The medium model's file: `AUTON_MODEL_FILE`, or the one that `xtask model fetch` puts in place.
pub fn medium_model() -> Option<Vec<u8>> {
    if let Some(path) = std::env::var_os("AUTON_MODEL_FILE") {
        return Some(fs::read(&path).unwrap_or_else(|error| panic!("AUTON_MODEL_FILE {path:?}: {error}")));
    }
    let default = workspace().join("target/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if !default.exists() {
        fetch(&default);
    }
    Some(fs::read(&default).unwrap_or_else(|error| panic!("{}: {error}", default.display())))
}

/// Fetches the model by the project's own command; test programs that start together take turns.
fn fetch(to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let lock: File =
        OpenOptions::new().create(true).truncate(false).write(true).open(to.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if to.exists() {
        return;
    }
    // A target directory of its own: the test run holds the lock of the usual one.
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--release", "-p", "xtask", "--", "model", "fetch"])
        .current_dir(workspace())
        .env("CARGO_TARGET_DIR", workspace().join("target/fetch"))
        .output()
        .unwrap();
    assert!(output.status.success(), "model fetch failed: {}", String::from_utf8_lossy(&output.stderr));
    let path = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    assert!(path.exists(), "model fetch printed {}, which does not exist", path.display());
    if path != to && !to.exists() {
        fs::copy(&path, to).unwrap();
    }
}

/// A folder of the recorded data, or `None` (said on the terminal) where it is absent.
pub fn data_folder(name: &str) -> Option<PathBuf> {
    let data =
        std::env::var_os("AUTON_DATA").map_or_else(|| workspace().join("../shared/data"), PathBuf::from);
    let folder = data.join(name);
    if !folder.exists() {
        static SAID: Once = Once::new();
        // Not `eprintln!`: the test harness would keep it to itself.
        SAID.call_once(|| {
            let _ = writeln!(std::io::stderr(), "skipped: no AUTON_DATA ({} is not there)", folder.display());
        });
        return None;
    }
    Some(folder)
}

/// llama.cpp's vocabularies with their expected numbers: `AUTON_VOCABULARIES`, or where `xtask model vocabularies`
/// puts them. `None` (said on the terminal) where they are absent.
pub fn vocabularies() -> Option<PathBuf> {
    let folder = std::env::var_os("AUTON_VOCABULARIES").map(PathBuf::from).or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").filter(|dir| Path::new(dir).is_absolute());
        let cache = cache.map(PathBuf::from);
        let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
        Some(cache.join("auton/llama.cpp-0.3.36/llama_cpp_python-0.3.36/vendor/llama.cpp/models"))
    })?;
    if !folder.join("ggml-vocab-qwen2.gguf").exists() {
        static SAID: Once = Once::new();
        SAID.call_once(|| {
            let _ = writeln!(
                std::io::stderr(),
                "skipped: no vocabularies in {} (`cargo xtask model vocabularies` fetches them)",
                folder.display()
            );
        });
        return None;
    }
    Some(folder)
}

/// A golden JSON file: token ids and greedy tokens, committed here.
pub fn golden(name: &str) -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Golden logits, little-endian f32; `None` (said on the terminal) where the data is absent.
pub fn golden_logits(name: &str) -> Option<Vec<f32>> {
    let bytes = fs::read(data_folder("golden")?.join(format!("logits/{name}.f32"))).unwrap();
    Some(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

/// The largest difference between two vectors.
pub fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Adds a `gpt2` vocabulary of `size` tokens: the 256 bytes, then control tokens, the last of which ends a text.
pub fn byte_vocabulary(file: &mut GgufWriter, size: usize) {
    // GPT-2's letters for bytes: printable ones stand for themselves, the others for 256 and up.
    let printable = |b: u32| matches!(b, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut others = 0x100u32..;
    let mut tokens: Vec<String> = (0..256u32)
        .map(|b| char::from_u32(if printable(b) { b } else { others.next().unwrap() }).unwrap().to_string())
        .collect();
    tokens.extend((256..size).map(|i| format!("<{i}>")));
    file.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", "smollm");
    file.i32s("tokenizer.ggml.token_type", (0..size).map(|i| if i < 256 { 1 } else { 3 }));
    file.strings("tokenizer.ggml.tokens", tokens).strings("tokenizer.ggml.merges", ["a b"; 0]);
    file.u32("tokenizer.ggml.eos_token_id", size as u32 - 1);
}

/// Copies a metadata value of the kinds that model files have.
pub fn copy_value(file: &mut GgufWriter, key: &str, value: Value<'_>) {
    match value {
        Value::U32(v) => {
            file.u32(key, v);
        }
        Value::F32(v) => {
            file.f32(key, v);
        }
        Value::Bool(v) => {
            file.bool(key, v);
        }
        Value::String(v) => {
            file.string(key, std::str::from_utf8(v).unwrap());
        }
        Value::Array(v) => {
            file.array(key, v.kind(), v.len() as u64, v.bytes());
        }
        other => panic!("{key}: {other:?}"),
    }
}

/// The same model with every tensor dequantised to F32.
pub fn with_f32_weights(gguf: &Gguf<'_>) -> Vec<u8> {
    let mut file = GgufWriter::new();
    for (key, value) in gguf.metadata() {
        copy_value(&mut file, key, value);
    }
    for tensor in gguf.tensors() {
        let mut values = vec![0.0f32; tensor.elements() as usize];
        match tensor.kind {
            GgmlType::F32 => float::dequantise::<float::F32>(tensor.data, &mut values),
            GgmlType::Q4_1 => quant::dequantise::<quant::Q4_1>(tensor.data, &mut values),
            GgmlType::Q8_0 => quant::dequantise::<quant::Q8_0>(tensor.data, &mut values),
            other => panic!("{}: {other:?}", tensor.name),
        }
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        file.tensor(tensor.name, GgmlType::F32, &tensor.dims[..tensor.n_dims as usize], &bytes);
    }
    file.finish()
}
