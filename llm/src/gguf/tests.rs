//! Properties of the reader on damaged files, and the limits it promises.

use super::write::GgufWriter;
use super::{GgmlType, Gguf, GgufError, MAX_ENTRIES, ValueKind};
use alloc::{format, vec, vec::Vec};
use proptest::prelude::*;

/// A small file with every structure: scalars, strings, nested arrays, tensors of several types.
pub(crate) fn sample() -> Vec<u8> {
    let mut file = GgufWriter::new();
    file.string("general.name", "sample")
        .u32("llama.block_count", 2)
        .f32("llama.eps", 1e-5)
        .bool("flag", true);
    file.strings("tokens", ["a", "b", "ab", "<|end|>"])
        .i32s("types", [1, 1, 1, 3])
        .f32s("scores", [0.0, -1.0]);
    let mut nested = Vec::new();
    for inner in [1u64, 2] {
        nested.extend((ValueKind::U8 as u32).to_le_bytes());
        nested.extend(inner.to_le_bytes());
        nested.extend(vec![7u8; inner as usize]);
    }
    file.array("nested", ValueKind::Array, 2, &nested);
    file.tensor("a", GgmlType::F32, &[3, 2], &[1; 24]);
    file.tensor("b", GgmlType::Q4_1, &[64, 2], &[2; 80]);
    file.tensor("c", GgmlType::Q6_K, &[256], &[3; 210]);
    file.finish()
}

/// Reads everything that a parsed file offers, and checks that it lies where it should.
fn walk(gguf: &Gguf<'_>) {
    let mut entries = 0;
    for (key, value) in gguf.metadata() {
        entries += 1;
        assert!(gguf.get(key).is_some(), "{key}");
        if let Some(array) = value.as_array() {
            assert_eq!(array.iter().count(), array.len());
        }
    }
    assert_eq!(entries, gguf.metadata_len());
    let mut tensors = 0;
    for tensor in gguf.tensors() {
        tensors += 1;
        let blocks = tensor.elements() / tensor.kind.block_size() as u64;
        assert_eq!(blocks * tensor.kind.type_size() as u64, tensor.data.len() as u64);
        assert!(gguf.bytes().as_ptr_range().contains(&tensor.data.as_ptr()) || tensor.data.is_empty());
    }
    assert_eq!(tensors, gguf.tensors_len());
}

#[test]
fn nested_arrays_are_read_and_bounded() {
    let bytes = sample();
    let gguf = Gguf::parse(&bytes).unwrap();
    let nested = gguf.get("nested").unwrap().as_array().unwrap();
    let lens: Vec<usize> = nested.iter().map(|v| v.as_array().unwrap().len()).collect();
    assert_eq!(lens, [1, 2]);

    // An array in an array in an array …, a thousand deep: refused, not recursed into.
    let mut deep = Vec::new();
    for _ in 0..1000 {
        deep.extend((ValueKind::Array as u32).to_le_bytes());
        deep.extend(1u64.to_le_bytes());
    }
    let mut file = GgufWriter::new();
    file.raw("deep", ValueKind::Array, &deep);
    assert_eq!(Gguf::parse(&file.finish()).unwrap_err(), GgufError::ArraysTooDeep { limit: 4 });
}

#[test]
fn counts_are_bounded_before_memory_is_taken() {
    let mut bytes = sample();
    bytes[16..24].copy_from_slice(&(MAX_ENTRIES + 1).to_le_bytes());
    assert!(matches!(Gguf::parse(&bytes), Err(GgufError::TooMany { .. })));
    // A string array that claims 2^61 elements: the product overflows or exceeds the file, either is refused.
    let mut file = GgufWriter::new();
    file.array("huge", ValueKind::String, 1 << 61, &[0; 64]);
    assert!(matches!(Gguf::parse(&file.finish()), Err(GgufError::Truncated { .. })));
}

#[test]
fn many_entries_parse_and_long_values_are_jumped() {
    let mut file = GgufWriter::new();
    for i in 0..20 {
        file.strings(&format!("long_{i}"), (0..1000).map(|j| format!("{i}:{j}")));
    }
    for i in 0..5000 {
        file.u32(&format!("key_{i}"), i);
    }
    let bytes = file.finish();
    let gguf = Gguf::parse(&bytes).unwrap();
    assert_eq!(gguf.get("key_4999").unwrap().as_u32(), Some(4999));
    assert_eq!(
        gguf.get("long_19").unwrap().as_array().unwrap().strings().unwrap().nth(7),
        Some(&b"19:7"[..])
    );
    assert!(gguf.get("missing").is_none());
}

#[test]
fn version_2_is_read_alike() {
    let mut bytes = sample();
    bytes[4] = 2;
    let gguf = Gguf::parse(&bytes).unwrap();
    assert_eq!(gguf.version(), 2);
    walk(&gguf);
}

#[test]
fn errors_are_one_printable_line() {
    let mut file = GgufWriter::new();
    let name = "x\u{1b}[31m\n".repeat(30);
    file.tensor(&name, GgmlType::F32, &[1], &[0; 4]);
    let text = format!("{}", Gguf::parse(&file.finish()).unwrap_err());
    assert!(
        text.contains("tensor name") && text.chars().all(|c| !c.is_control()) && text.len() < 200,
        "{text}"
    );
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = sample();
    // The padding behind the last tensor may be missing: its data is whole.
    let data_end = bytes.len() - (bytes.len() - last_byte_of_data(&bytes));
    for len in 0..data_end {
        assert!(Gguf::parse(&bytes[..len]).is_err(), "{len} of {} bytes", bytes.len());
    }
    walk(&Gguf::parse(&bytes[..data_end]).unwrap());
}

fn last_byte_of_data(bytes: &[u8]) -> usize {
    let gguf = Gguf::parse(bytes).unwrap();
    let last = gguf.tensors().last().unwrap();
    last.data.as_ptr_range().end as usize - bytes.as_ptr() as usize
}

proptest! {
    #[test]
    fn damaged_files_parse_or_say_why(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = sample();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] ^= value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        match Gguf::parse(&bytes) {
            Ok(gguf) => walk(&gguf),
            Err(error) => {
                let text = format!("{error}");
                prop_assert!(!text.contains('\n'), "{}", text);
            }
        }
    }

    #[test]
    fn noise_behind_the_header_parses_or_says_why(noise in prop::collection::vec(any::<u8>(), 0..400), counts in any::<[u8; 2]>()) {
        let mut bytes = Vec::from(*b"GGUF\x03\0\0\0");
        bytes.extend(u64::from(counts[0] % 4).to_le_bytes());
        bytes.extend(u64::from(counts[1] % 4).to_le_bytes());
        bytes.extend(noise);
        if let Ok(gguf) = Gguf::parse(&bytes) {
            walk(&gguf);
        }
    }
}
