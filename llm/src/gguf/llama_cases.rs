//! The cases that llama.cpp's `tests/test-gguf.cpp` enumerates, one test row each under its name there, and
//! what this reader must say to it. The files are built here byte by byte.

use super::{DEFAULT_ALIGNMENT, GgmlType, Gguf, GgufError, Value, ValueKind};
use alloc::{format, string::String, vec, vec::Vec};

/// A file in parts, each of which a case may spoil before the bytes are put together.
struct Parts {
    magic: [u8; 4],
    version: u32,
    tensor_count: Option<u64>,
    entry_count: Option<u64>,
    entries: Vec<Entry>,
    infos: Vec<Info>,
    /// Alignment that the *writer* uses; the file says so only through an entry.
    alignment: u64,
    with_data: bool,
    drop_data: usize,
}

#[derive(Clone)]
struct Entry {
    key_len: Option<u64>,
    key: String,
    kind: u32,
    value: Vec<u8>,
}

#[derive(Clone)]
struct Info {
    name: String,
    n_dims: Option<u32>,
    dims: Vec<u64>,
    kind: u32,
    offset: Option<u64>,
}

fn entry(key: &str, kind: ValueKind, value: &[u8]) -> Entry {
    Entry { key_len: None, key: key.into(), kind: kind as u32, value: value.into() }
}

/// One entry of every kind and arrays of every scalar kind, with bytes that are neither text nor "nice" numbers.
fn all_kinds() -> Vec<Entry> {
    let noise: Vec<u8> = (0..64u8).map(|i| i.wrapping_mul(37) | 1).collect();
    let mut entries = Vec::new();
    for id in 0..=12 {
        let kind = ValueKind::from_id(id).unwrap();
        let name = format!("my_key_{id}");
        if let Some(size) = kind.fixed_size() {
            entries.push(entry(&name, kind, &noise[..size]));
            let count = 40 / size;
            let mut array = Vec::from(id.to_le_bytes());
            array.extend((count as u64).to_le_bytes());
            array.extend(&noise[..count * size]);
            entries.push(entry(&format!("{name}_array"), ValueKind::Array, &array));
        }
    }
    let mut text = Vec::from(20u64.to_le_bytes());
    text.extend(&noise[..20]);
    entries.push(entry("my_key_8", ValueKind::String, &text));
    let mut texts = Vec::from(8u32.to_le_bytes());
    texts.extend(3u64.to_le_bytes());
    for len in [0usize, 4, 2] {
        texts.extend((len as u64).to_le_bytes());
        texts.extend(&noise[..len]);
    }
    entries.push(entry("my_key_8_array", ValueKind::Array, &texts));
    entries
}

/// Every tensor type, in shapes of one to four dimensions; a plain one last, whose bytes fill the alignment.
fn all_types() -> Vec<Info> {
    let mut infos: Vec<Info> = (0u64..)
        .zip(GgmlType::ALL)
        .map(|(i, kind)| {
            let mut dims = vec![(1 + i % 3) * kind.block_size() as u64];
            dims.extend((0..i % 4).map(|j| 1 + (i + j) % 5));
            Info { name: format!("my_tensor_{i}"), n_dims: None, dims, kind: kind.id(), offset: None }
        })
        .collect();
    let kind = GgmlType::F32.id();
    infos.push(Info { name: "my_tensor_last".into(), n_dims: None, dims: vec![8], kind, offset: None });
    infos
}

fn header() -> Parts {
    Parts {
        magic: *b"GGUF",
        version: 3,
        tensor_count: None,
        entry_count: None,
        entries: vec![],
        infos: vec![],
        alignment: DEFAULT_ALIGNMENT.into(),
        with_data: false,
        drop_data: 0,
    }
}

fn kv() -> Parts {
    Parts { entries: all_kinds(), ..header() }
}

fn tensors() -> Parts {
    Parts { infos: all_types(), with_data: true, ..kv() }
}

fn aligned(mut parts: Parts, kind: ValueKind, alignment: u32) -> Parts {
    parts.entries.push(entry("general.alignment", kind, &alignment.to_le_bytes()));
    parts.alignment = u64::from(alignment).max(1);
    parts
}

fn each_info(mut parts: Parts, change: impl Fn(usize, &mut Info)) -> Parts {
    parts.infos.iter_mut().enumerate().for_each(|(i, info)| change(i, info));
    parts
}

fn size_of(info: &Info) -> u64 {
    let Some(kind) = GgmlType::from_id(info.kind) else { return 0 };
    let elements = info.dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d)).unwrap_or(u64::MAX);
    (elements / kind.block_size() as u64).saturating_mul(kind.type_size() as u64)
}

/// The file, and the offset that each tensor was given.
fn build(parts: &Parts) -> (Vec<u8>, Vec<u64>) {
    let mut file = Vec::from(parts.magic);
    file.extend(parts.version.to_le_bytes());
    file.extend(parts.tensor_count.unwrap_or(parts.infos.len() as u64).to_le_bytes());
    file.extend(parts.entry_count.unwrap_or(parts.entries.len() as u64).to_le_bytes());
    for entry in &parts.entries {
        file.extend(entry.key_len.unwrap_or(entry.key.len() as u64).to_le_bytes());
        file.extend(entry.key.as_bytes());
        file.extend(entry.kind.to_le_bytes());
        file.extend(&entry.value);
    }
    let (mut offset, mut offsets) = (0u64, Vec::new());
    for info in &parts.infos {
        file.extend((info.name.len() as u64).to_le_bytes());
        file.extend(info.name.as_bytes());
        file.extend(info.n_dims.unwrap_or(info.dims.len() as u32).to_le_bytes());
        file.extend(info.dims.iter().flat_map(|d| d.to_le_bytes()));
        file.extend(info.kind.to_le_bytes());
        file.extend(info.offset.unwrap_or(offset).to_le_bytes());
        offsets.push(offset);
        offset = offset.saturating_add(size_of(info)).checked_next_multiple_of(parts.alignment).unwrap_or(0);
    }
    while !(file.len() as u64).is_multiple_of(parts.alignment) {
        file.push(0);
    }
    if parts.with_data {
        let len = (offset as usize).min(1 << 20).saturating_sub(parts.drop_data);
        file.extend((0..len).map(|i| i as u8));
    }
    (file, offsets)
}

/// A check of the answer: the error demanded, or success.
type Expect = fn(&Result<Gguf<'_>, GgufError>) -> bool;

fn ok(answer: &Result<Gguf<'_>, GgufError>) -> bool {
    answer.is_ok()
}

macro_rules! error {
    ($pattern:pat) => {
        |answer| matches!(answer, Err($pattern))
    };
}

/// Every file that `test_handcrafted_file` of llama.cpp (in llama-cpp-python 0.3.36) goes through, which is every
/// value of `handcrafted_file_type`, in its order.
const NAMES: [&str; 34] = [
    "HEADER_BAD_MAGIC",
    "HEADER_BAD_VERSION_0",
    "HEADER_BAD_VERSION_1",
    "HEADER_BAD_VERSION_FUTURE",
    "HEADER_BAD_N_KV",
    "HEADER_BAD_N_TENSORS",
    "HEADER_EMPTY",
    "KV_BAD_KEY_SIZE",
    "KV_EMPTY_KEY",
    "KV_BAD_TYPE",
    "KV_DUPLICATE_KEY",
    "KV_BAD_ALIGN",
    "KV_WRONG_TYPE_ALIGN",
    "KV_SUCCESS",
    "TENSORS_BAD_NAME_SIZE",
    "TENSORS_BAD_N_DIMS",
    "TENSORS_BAD_SHAPE",
    "TENSORS_ZERO_DIM",
    "TENSORS_NE_TOO_BIG",
    "TENSORS_NBYTES_TOO_BIG",
    "TENSORS_NBYTES_PAD_WRAP",
    "TENSORS_BAD_TYPE",
    "TENSORS_BAD_OFFSET",
    "TENSORS_DUPLICATE_NAME",
    "TENSORS_BAD_ALIGN",
    "TENSORS_INCONSISTENT_ALIGN",
    "TENSORS_SUCCESS",
    "TENSORS_CUSTOM_ALIGN",
    "DATA_NOT_ENOUGH_DATA",
    "DATA_BAD_ALIGN",
    "DATA_INCONSISTENT_ALIGN",
    "DATA_MEM_SIZE_OVERFLOW",
    "DATA_SUCCESS",
    "DATA_CUSTOM_ALIGN",
];

#[test]
fn every_case_of_llama_cpp() {
    use GgufError::*;
    let i64_max = i64::MAX as u64;
    let cases: Vec<(&str, Parts, Expect)> = vec![
        (
            "HEADER_BAD_MAGIC",
            Parts { magic: *b"FUGG", ..header() },
            error!(BadMagic { found: [b'F', b'U', b'G', b'G'] }),
        ),
        ("HEADER_BAD_VERSION_0", Parts { version: 0, ..header() }, error!(UnsupportedVersion { version: 0 })),
        ("HEADER_BAD_VERSION_1", Parts { version: 1, ..header() }, error!(UnsupportedVersion { version: 1 })),
        (
            "HEADER_BAD_VERSION_FUTURE",
            Parts { version: 4, ..header() },
            error!(UnsupportedVersion { version: 4 }),
        ),
        (
            "HEADER_BAD_N_TENSORS",
            Parts { tensor_count: Some(u64::MAX), ..header() },
            error!(TooMany { what: "tensors", .. }),
        ),
        (
            "HEADER_BAD_N_KV",
            Parts { entry_count: Some(u64::MAX), ..header() },
            error!(TooMany { what: "metadata entries", .. }),
        ),
        ("HEADER_EMPTY", header(), ok),
        (
            "KV_BAD_KEY_SIZE",
            {
                let mut parts = kv();
                parts.entries[0].key_len = Some(u64::MAX);
                parts
            },
            error!(Truncated { wanted: u64::MAX, .. }),
        ),
        (
            "KV_EMPTY_KEY",
            {
                let mut parts = kv();
                parts.entries[3].key.clear();
                parts
            },
            error!(BadKey { .. }),
        ),
        (
            "KV_BAD_TYPE",
            {
                let mut parts = kv();
                parts.entries[2].kind = 13;
                parts
            },
            error!(UnknownValueKind { id: 13, .. }),
        ),
        (
            "KV_BAD_TYPE (of array elements)",
            {
                let mut parts = kv();
                parts.entries[1].value[0] = 13;
                parts
            },
            error!(UnknownValueKind { id: 13, .. }),
        ),
        (
            "KV_BAD_VALUE_SIZE",
            {
                let mut parts = kv();
                let last = parts.entries.len() - 2;
                parts.entries[last].value[..8].copy_from_slice(&u64::MAX.to_le_bytes());
                parts
            },
            error!(Truncated { .. }),
        ),
        (
            "KV_DUPLICATE_KEY",
            {
                let mut parts = kv();
                parts.entries[5].key = parts.entries[0].key.clone();
                parts
            },
            error!(DuplicateKey { .. }),
        ),
        ("KV_BAD_ALIGN", aligned(kv(), ValueKind::U32, 13), error!(BadAlignment { .. })),
        ("KV_BAD_ALIGN (zero)", aligned(kv(), ValueKind::U32, 0), error!(BadAlignment { .. })),
        ("KV_WRONG_TYPE_ALIGN", aligned(kv(), ValueKind::I32, 32), error!(BadAlignment { .. })),
        ("KV_SUCCESS", kv(), ok),
        (
            "TENSORS_BAD_NAME_SIZE",
            each_info(tensors(), |_, info| info.name.push_str(&"_with_a_very_long_name".repeat(4))),
            error!(BadTensorName { .. }),
        ),
        (
            "TENSORS_BAD_N_DIMS",
            each_info(tensors(), |_, info| info.n_dims = Some(5)),
            error!(TooManyDimensions { n_dims: 5, .. }),
        ),
        (
            "TENSORS_BAD_SHAPE",
            each_info(tensors(), |_, info| info.dims.fill(u64::MAX)),
            error!(BadDimension { dim: 0, size: u64::MAX, .. }),
        ),
        ("TENSORS_ZERO_DIM", each_info(tensors(), |_, info| info.dims = vec![info.dims[0], 0]), ok),
        (
            "TENSORS_NE_TOO_BIG",
            each_info(tensors(), |_, info| info.dims = vec![4 * 0x7fff_ffff; 2]),
            error!(ShapeOverflow { .. }),
        ),
        (
            "TENSORS_NBYTES_TOO_BIG",
            each_info(tensors(), |_, info| {
                info.kind = GgmlType::I64.id();
                // Fewer than 2^63 values, but more than 2^63 bytes of them.
                info.dims = vec![1 << 31, (1 << 29) + 1];
            }),
            error!(ShapeOverflow { .. }),
        ),
        (
            // 2^64 - 16 bytes: rounding that up to the alignment would wrap to 0.
            "TENSORS_NBYTES_PAD_WRAP",
            {
                let mut parts = kv();
                let dims = vec![4, (1 << 30) - 1, (1 << 30) + 1];
                let (name, kind) = ("my_tensor_0".into(), GgmlType::F32.id());
                parts.infos.push(Info { name, n_dims: None, dims, kind, offset: None });
                parts
            },
            error!(ShapeOverflow { .. }),
        ),
        (
            "TENSORS_BAD_TYPE",
            each_info(tensors(), |_, info| info.kind = 43),
            error!(UnknownType { id: 43, .. }),
        ),
        (
            "TENSORS_BAD_OFFSET",
            each_info(tensors(), |_, info| info.offset = Some(u64::MAX)),
            error!(BadOffset { found: u64::MAX, expected: 0, .. }),
        ),
        (
            "TENSORS_DUPLICATE_NAME",
            each_info(tensors(), |_, info| info.name = "my_tensor".into()),
            error!(DuplicateTensor { .. }),
        ),
        ("TENSORS_BAD_ALIGN", aligned(tensors(), ValueKind::U32, 13), error!(BadAlignment { .. })),
        ("TENSORS_INCONSISTENT_ALIGN", Parts { alignment: 1, ..tensors() }, error!(BadOffset { .. })),
        ("TENSORS_SUCCESS", tensors(), ok),
        ("TENSORS_CUSTOM_ALIGN", aligned(tensors(), ValueKind::U32, 1), ok),
        ("DATA_NOT_ENOUGH_DATA", Parts { drop_data: 1, ..tensors() }, error!(DataPastEnd { .. })),
        ("DATA_BAD_ALIGN", aligned(tensors(), ValueKind::U32, 13), error!(BadAlignment { .. })),
        ("DATA_INCONSISTENT_ALIGN", Parts { alignment: 1, ..tensors() }, error!(BadOffset { .. })),
        (
            "DATA_MEM_SIZE_OVERFLOW",
            {
                let mut parts = tensors();
                parts.infos.truncate(2);
                each_info(parts, |_, info| {
                    info.kind = GgmlType::I8.id();
                    info.dims = vec![0x7fff_ffff_ffff_ffc0];
                })
            },
            error!(DataPastEnd { .. }),
        ),
        ("DATA_SUCCESS", tensors(), ok),
        ("DATA_CUSTOM_ALIGN", aligned(tensors(), ValueKind::U32, 1), ok),
        // Not in that list (neither are KV_BAD_VALUE_SIZE and the two with brackets), but of the same family:
        ("HEADER big-endian", Parts { version: 3u32.swap_bytes(), ..header() }, error!(BigEndian)),
        (
            "2^63 dimensions",
            each_info(tensors(), |_, info| info.dims = vec![1 << 63]),
            error!(BadDimension { .. }),
        ),
        (
            "2^63 - 1 values",
            each_info(tensors(), |_, info| {
                info.kind = GgmlType::I8.id();
                info.dims = vec![i64_max; 4];
            }),
            error!(ShapeOverflow { .. }),
        ),
        (
            "row not a multiple of the block",
            each_info(tensors(), |_, info| {
                info.kind = GgmlType::Q4_K.id();
                info.dims = vec![576, 2];
            }),
            error!(PartialBlock { row: 576, block: 256, .. }),
        ),
        ("removed type", each_info(tensors(), |_, info| info.kind = 31), error!(UnknownType { id: 31, .. })),
        (
            "empty tensor name",
            each_info(tensors(), |_, info| info.name.clear()),
            error!(BadTensorName { .. }),
        ),
    ];
    let missing: Vec<_> = NAMES.iter().filter(|name| !cases.iter().any(|case| case.0 == **name)).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
    for (name, parts, expected) in &cases {
        let (file, offsets) = build(parts);
        let answer = Gguf::parse(&file);
        assert!(expected(&answer), "{name}: {answer:?}");
        let Ok(gguf) = answer else { continue };
        check_contents(name, parts, &offsets, &gguf);
        // Bytes behind the data change nothing.
        let mut longer = file.clone();
        longer.extend([0; 100]);
        assert!(Gguf::parse(&longer).is_ok(), "{name} with trailing bytes");
    }
}

/// Everything that was written is read back: keys, kinds, values, shapes, data.
fn check_contents(name: &str, parts: &Parts, offsets: &[u64], gguf: &Gguf<'_>) {
    assert_eq!(gguf.version(), 3);
    assert_eq!(gguf.metadata().count(), parts.entries.len(), "{name}");
    assert_eq!(gguf.tensors().count(), parts.infos.len(), "{name}");
    assert_eq!(u64::from(gguf.alignment()), parts.alignment, "{name}");
    for (entry, (key, value)) in parts.entries.iter().zip(gguf.metadata()) {
        assert_eq!(entry.key, key, "{name}");
        assert_eq!(value_bytes(&value), entry.value, "{name}: {key}");
        assert_eq!(gguf.get(key).map(|v| value_bytes(&v)), Some(entry.value.clone()));
    }
    for ((info, offset), tensor) in parts.infos.iter().zip(offsets).zip(gguf.tensors()) {
        assert_eq!(info.name, tensor.name);
        assert_eq!(info.kind, tensor.kind.id());
        assert_eq!(info.dims, tensor.dims[..tensor.n_dims as usize]);
        let expected = (0..size_of(info)).map(|i| (offset + i) as u8);
        assert!(tensor.data.iter().copied().eq(expected), "{name}: data of {}", tensor.name);
        assert!(gguf.tensor(&info.name).is_some());
    }
}

/// A value in the form it has in the file.
fn value_bytes(value: &Value<'_>) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes(), bytes].concat();
    match *value {
        Value::U8(v) => vec![v],
        Value::I8(v) => v.to_le_bytes().into(),
        Value::U16(v) => v.to_le_bytes().into(),
        Value::I16(v) => v.to_le_bytes().into(),
        Value::U32(v) => v.to_le_bytes().into(),
        Value::I32(v) => v.to_le_bytes().into(),
        Value::F32(v) => v.to_le_bytes().into(),
        // Any byte but zero is true; the noise's first byte is 1.
        Value::Bool(v) => vec![v.into()],
        Value::U64(v) => v.to_le_bytes().into(),
        Value::I64(v) => v.to_le_bytes().into(),
        Value::F64(v) => v.to_le_bytes().into(),
        Value::String(bytes) => sized(bytes),
        Value::Array(array) => {
            let mut bytes = Vec::from((array.kind() as u32).to_le_bytes());
            bytes.extend((array.len() as u64).to_le_bytes());
            if array.kind() == ValueKind::Bool {
                bytes.extend(array.bytes());
                assert!(array.iter().zip(array.bytes()).all(|(v, b)| v.as_bool() == Some(*b != 0)));
            } else {
                array.iter().for_each(|v| bytes.extend(value_bytes(&v)));
            }
            bytes
        }
    }
}
