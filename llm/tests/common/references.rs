//! The tiny models of `architectures/references.json`.

use super::byte_vocabulary;
use llm::gguf::{GgmlType, write::GgufWriter};
use llm::random::SplitMix64;
use serde_json::Value;

/// The model of a case as a file, with F32 weights; metadata keys that `stays` refuses are left out.
pub fn file(case: &Value, vocabulary: usize, stays: &dyn Fn(&str) -> bool) -> Vec<u8> {
    let architecture = case["architecture"].as_str().unwrap();
    let mut file = GgufWriter::new();
    file.string("general.architecture", architecture);
    for (key, value) in case["metadata"].as_object().unwrap() {
        let full = format!("{architecture}.{key}");
        match value {
            _ if !stays(key) => continue,
            Value::String(text) => file.string(&full, text),
            Value::Number(number) if number.is_f64() => file.f32(&full, number.as_f64().unwrap() as f32),
            _ => file.u32(&full, value.as_u64().unwrap() as u32),
        };
    }
    byte_vocabulary(&mut file, vocabulary);
    let seed = case["seed"].as_u64().unwrap() << 32;
    for (index, tensor) in case["tensors"].as_array().unwrap().iter().enumerate() {
        let size = |i: usize| tensor[i].as_u64().unwrap();
        let float = |i: usize| tensor[i].as_f64().unwrap() as f32;
        let mut random = SplitMix64::new(seed + index as u64);
        let values = (0..size(1) * size(2).max(1)).map(|_| (random.next_f32() - 0.5) * float(3) + float(4));
        let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        let dims = [size(1), size(2)];
        let dims = if size(2) == 0 { &dims[..1] } else { &dims };
        file.tensor(tensor[0].as_str().unwrap(), GgmlType::F32, dims, &bytes);
    }
    file.finish()
}

/// Every case with the name that it is reported under, the vocabulary and the prompt.
pub fn each_case(mut each: impl FnMut(&str, &Value, usize, &[u32])) {
    let all: Value = serde_json::from_str(include_str!("../architectures/references.json")).unwrap();
    let prompt: Vec<u32> =
        all["prompt"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect();
    let vocabulary = all["vocabulary"].as_u64().unwrap() as usize;
    let cases = all["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 17);
    for case in cases {
        each(case["name"].as_str().unwrap(), case, vocabulary, &prompt);
    }
}
