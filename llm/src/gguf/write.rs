//! Builds GGUF version 3 files in memory: for tests, for converted weights, for exported models.

use super::{DEFAULT_ALIGNMENT, GgmlType, ValueKind};
use alloc::vec::Vec;

/// Collects metadata and tensors, then lays the file out.
///
/// It writes what it is given: names and shapes are checked by whoever reads the file ([`super::Gguf::parse`]).
///
/// ```
/// use llm::gguf::{Gguf, write::GgufWriter};
/// let mut file = GgufWriter::new();
/// file.strings("tokenizer.ggml.tokens", ["a", "b"]);
/// let bytes = file.finish();
/// assert_eq!(Gguf::parse(&bytes).unwrap().get("tokenizer.ggml.tokens").unwrap().as_array().unwrap().len(), 2);
/// ```
#[derive(Debug, Clone)]
pub struct GgufWriter {
    alignment: u32,
    entries: Vec<u8>,
    entry_count: u64,
    infos: Vec<u8>,
    info_count: u64,
    data: Vec<u8>,
}

impl Default for GgufWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl GgufWriter {
    /// An empty file with the default alignment of 32 bytes.
    pub fn new() -> Self {
        Self {
            alignment: DEFAULT_ALIGNMENT,
            entries: Vec::new(),
            entry_count: 0,
            infos: Vec::new(),
            info_count: 0,
            data: Vec::new(),
        }
    }

    /// An empty file whose tensor data is aligned to `alignment` bytes, recorded as `general.alignment`.
    pub fn with_alignment(alignment: u32) -> Self {
        let mut writer = Self { alignment, ..Self::new() };
        writer.u32("general.alignment", alignment);
        writer
    }

    /// Adds an entry whose value bytes are already in the file's form.
    pub fn raw(&mut self, key: &str, kind: ValueKind, value: &[u8]) -> &mut Self {
        self.entry_count += 1;
        put_string(&mut self.entries, key.as_bytes());
        self.entries.extend((kind as u32).to_le_bytes());
        self.entries.extend(value);
        self
    }

    /// Adds a 32-bit unsigned value.
    pub fn u32(&mut self, key: &str, value: u32) -> &mut Self {
        self.raw(key, ValueKind::U32, &value.to_le_bytes())
    }

    /// Adds a 64-bit unsigned value.
    pub fn u64(&mut self, key: &str, value: u64) -> &mut Self {
        self.raw(key, ValueKind::U64, &value.to_le_bytes())
    }

    /// Adds a 32-bit float.
    pub fn f32(&mut self, key: &str, value: f32) -> &mut Self {
        self.raw(key, ValueKind::F32, &value.to_le_bytes())
    }

    /// Adds a truth value.
    pub fn bool(&mut self, key: &str, value: bool) -> &mut Self {
        self.raw(key, ValueKind::Bool, &[value.into()])
    }

    /// Adds a string.
    pub fn string(&mut self, key: &str, value: &str) -> &mut Self {
        let mut bytes = Vec::new();
        put_string(&mut bytes, value.as_bytes());
        self.raw(key, ValueKind::String, &bytes)
    }

    /// Adds an array of strings.
    pub fn strings<S: AsRef<[u8]>>(&mut self, key: &str, values: impl IntoIterator<Item = S>) -> &mut Self {
        let mut bytes = Vec::new();
        let mut count = 0;
        for value in values {
            put_string(&mut bytes, value.as_ref());
            count += 1;
        }
        self.array(key, ValueKind::String, count, &bytes)
    }

    /// Adds an array of 32-bit signed values.
    pub fn i32s(&mut self, key: &str, values: impl IntoIterator<Item = i32>) -> &mut Self {
        let bytes: Vec<u8> = values.into_iter().flat_map(i32::to_le_bytes).collect();
        self.array(key, ValueKind::I32, bytes.len() as u64 / 4, &bytes)
    }

    /// Adds an array of 32-bit floats.
    pub fn f32s(&mut self, key: &str, values: impl IntoIterator<Item = f32>) -> &mut Self {
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        self.array(key, ValueKind::F32, bytes.len() as u64 / 4, &bytes)
    }

    /// Adds an array of `count` elements whose bytes are already in the file's form.
    pub fn array(&mut self, key: &str, kind: ValueKind, count: u64, elements: &[u8]) -> &mut Self {
        let mut bytes = Vec::with_capacity(12 + elements.len());
        bytes.extend((kind as u32).to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(elements);
        self.raw(key, ValueKind::Array, &bytes)
    }

    /// Adds a tensor: `dims[0]` is the contiguous dimension, `data` its bytes in `kind`'s layout.
    pub fn tensor(&mut self, name: &str, kind: GgmlType, dims: &[u64], data: &[u8]) -> &mut Self {
        self.info_count += 1;
        put_string(&mut self.infos, name.as_bytes());
        self.infos.extend((dims.len() as u32).to_le_bytes());
        self.infos.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
        self.infos.extend(kind.id().to_le_bytes());
        self.infos.extend((self.data.len() as u64).to_le_bytes());
        self.data.extend(data);
        pad(&mut self.data, self.alignment);
        self
    }

    /// Lays the file out.
    pub fn finish(&self) -> Vec<u8> {
        let mut file = Vec::with_capacity(24 + self.entries.len() + self.infos.len() + self.data.len() + 64);
        file.extend(b"GGUF");
        file.extend(3u32.to_le_bytes());
        file.extend(self.info_count.to_le_bytes());
        file.extend(self.entry_count.to_le_bytes());
        file.extend(&self.entries);
        file.extend(&self.infos);
        pad(&mut file, self.alignment);
        file.extend(&self.data);
        file
    }
}

fn put_string(to: &mut Vec<u8>, text: &[u8]) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text);
}

fn pad(bytes: &mut Vec<u8>, alignment: u32) {
    let padded = bytes.len().checked_next_multiple_of(alignment as usize).unwrap_or(bytes.len());
    bytes.resize(padded, 0);
}
