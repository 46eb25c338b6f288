//! Models of every architecture with absurd metadata or tensors: each is refused in one sentence that names what is wrong.

mod common;

use common::references::{each_case, file};
use common::tiny;
use llm::clock::StdClock;
use llm::engine::{Engine, LoadOptions};
use llm::gguf::{GgmlType, Gguf, write::GgufWriter};
use llm::pool::Pool;
use llm::threads::Threads;

/// Why a file that parses does not load; empty where it does.
fn complaint(file: &[u8]) -> String {
    let (threads, clock, mut memory) = (Threads::new(1), StdClock::new(), vec![0u8; 16 << 20]);
    let gguf = Gguf::parse(file).unwrap();
    let error = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, LoadOptions::default()).err();
    let text = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(!text.contains('\n'), "{text}");
    text
}

/// The same file with an entry more.
fn with(good: &[u8], add: impl FnOnce(&mut GgufWriter)) -> Vec<u8> {
    without_tensor(good, "", add)
}

/// The same file without a tensor, and with an entry more.
fn without_tensor(good: &[u8], name: &str, add: impl FnOnce(&mut GgufWriter)) -> Vec<u8> {
    let gguf = Gguf::parse(good).unwrap();
    let mut file = GgufWriter::new();
    for (key, value) in gguf.metadata() {
        common::copy_value(&mut file, key, value);
    }
    for tensor in gguf.tensors().filter(|tensor| tensor.name != name) {
        file.tensor(tensor.name, tensor.kind, &tensor.dims[..tensor.n_dims as usize], tensor.data);
    }
    add(&mut file);
    file.finish()
}

/// The keys that the architectures brought with them, which of them may have each, and whole numbers that are absurd.
const WHOLE: [(&str, &[&str], &[u32]); 4] = [
    ("rope.scaling.original_context_length", &[], &[0, u32::MAX]),
    ("attention.sliding_window", &["gemma2"], &[0, u32::MAX]),
    ("attention.sliding_window_pattern", &["gemma2"], &[1025, u32::MAX]),
    ("expert_count", &[], &[1, 8]),
];

/// The same of those that are numbers. An empty list of architectures stands for all.
const NUMBERS: [(&str, &[&str]); 8] = [
    ("rope.scaling.attn_factor", &[]),
    ("rope.scaling.factor", &[]),
    ("rope.scaling.yarn_beta_fast", &["mistral3"]),
    ("rope.scaling.yarn_beta_slow", &["mistral3"]),
    ("rope.scaling.yarn_log_multiplier", &["mistral3"]),
    ("attention.temperature_scale", &["mistral3"]),
    ("attn_logit_softcapping", &["gemma2"]),
    ("final_logit_softcapping", &["gemma2"]),
];

#[test]
fn absurd_metadata_is_refused_by_name() {
    each_case(|name, case, vocabulary, _| {
        let architecture = case["architecture"].as_str().unwrap();
        let good = file(case, vocabulary, &|_| true);
        assert_eq!(complaint(&good), "", "{name}");
        // Where YaRN's keys are read, its scaling is on.
        let yarn = case["metadata"]["rope.scaling.type"] == "yarn";
        let read = |key: &str, by: &[&str]| {
            (by.is_empty() || by.contains(&architecture)) && (!key.contains("yarn") || yarn)
        };
        let absurd = |key: &str, add: &dyn Fn(&mut GgufWriter, &str)| {
            let full = format!("{architecture}.{key}");
            let complaint = complaint(&with(&file(case, vocabulary, &|k| k != key), |file| add(file, &full)));
            assert!(complaint.contains(&full), "{name}, {key}: {complaint:?}");
        };
        for (key, _, values) in WHOLE.into_iter().filter(|row| read(row.0, row.1)) {
            for &value in values {
                absurd(key, &|file, key| {
                    file.u32(key, value);
                });
            }
            absurd(key, &|file, key| {
                file.string(key, "four");
            });
        }
        for (key, _) in NUMBERS.into_iter().filter(|row| read(row.0, row.1)) {
            for value in [-1.0, f32::NAN, f32::INFINITY, f32::MAX] {
                absurd(key, &|file, key| {
                    file.f32(key, value);
                });
            }
        }
        absurd("rope.scaling.type", &|file, key| {
            file.string(key, "su");
        });
        absurd("attention.causal", &|file, key| {
            file.bool(key, false);
        });
        if yarn {
            absurd("rope.freq_base", &|file, key| {
                file.f32(key, 1.0);
            });
        }
        if architecture == "gemma2" {
            absurd("rope.freq_base_swa", &|file, key| {
                file.f32(key, 5000.0);
            });
        }
    });
}

#[test]
fn every_tensor_is_needed_or_optional_and_checked() {
    each_case(|name, case, vocabulary, _| {
        let good = file(case, vocabulary, &|_| true);
        let gguf = Gguf::parse(&good).unwrap();
        let optional = |tensor: &str| {
            tensor.ends_with(".bias") || tensor.starts_with("rope_") || tensor == "output.weight"
        };
        // Without the embedding, it is the vocabulary that does not fit.
        for tensor in gguf.tensors().filter(|tensor| tensor.name != "token_embd.weight") {
            let complaint = |file: &[u8]| {
                let complaint = complaint(file);
                // Without a fused tensor, its parts are missed.
                let named = complaint.contains(tensor.name)
                    || tensor.name.contains("attn_qkv") && complaint.contains("attn_q");
                (named, complaint)
            };
            let (named, text) = complaint(&without_tensor(&good, tensor.name, |_| ()));
            assert!(named || optional(tensor.name) && text.is_empty(), "{name}: {}: {text:?}", tensor.name);
            // Of another shape.
            let (named, text) = complaint(&without_tensor(&good, tensor.name, |file| {
                file.tensor(tensor.name, GgmlType::F32, &[32, 3], &[0; 32 * 3 * 4]);
            }));
            assert!(named, "{name}: {} of another shape: {text:?}", tensor.name);
            // Vectors hold numbers, and divisors do not hold zero.
            if tensor.n_dims == 1 {
                let bad = if tensor.name.starts_with("rope_") { 0.0f32 } else { f32::NAN };
                let data = bad.to_le_bytes().repeat(tensor.dims[0] as usize);
                let (named, text) = complaint(&without_tensor(&good, tensor.name, |file| {
                    file.tensor(tensor.name, GgmlType::F32, &tensor.dims[..1], &data);
                }));
                assert!(named, "{name}: {} full of {bad}: {text:?}", tensor.name);
            }
        }
    });
}

#[test]
fn what_is_outside_the_lists_is_named_with_the_lists() {
    let (good, _) = tiny::model(GgmlType::Q8_0, false);
    let gguf = Gguf::parse(&good).unwrap();
    let mut file = GgufWriter::new();
    for (key, value) in gguf.metadata().filter(|(key, _)| *key != "general.architecture") {
        common::copy_value(&mut file, key, value);
    }
    file.string("general.architecture", "mamba2");
    let architectures = complaint(&file.finish());
    assert!(architectures.contains("mamba2"), "{architectures}");
    for known in ["llama", "mistral3", "smollm3", "qwen2", "qwen3", "phi3", "gemma2"] {
        assert!(architectures.contains(known), "{architectures}");
    }
    let name = "blk.0.ffn_up.weight";
    let tensor = gguf.tensor(name).unwrap();
    let other = without_tensor(&good, name, |file| {
        let blocks = (tensor.elements() / 256) as usize;
        let data = vec![0; blocks * GgmlType::IQ3_S.type_size()];
        file.tensor(name, GgmlType::IQ3_S, &tensor.dims[..2], &data);
    });
    let types = complaint(&other);
    for word in [name, "IQ3_S", "Q2_K", "IQ4_XS", "MXFP4"] {
        assert!(types.contains(word), "{types}");
    }
}
