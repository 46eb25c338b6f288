//! GGUF files (version 2 and 3), read in place.
//!
//! [`Gguf::parse`] checks the whole structure once: every length, count, offset, alignment, type and product of
//! dimensions. After that nothing about the structure can fail, so the accessors return plain values.
//! Nothing is copied and no heap memory is kept: a [`Gguf`] is the file's bytes and a few offsets, and is `Copy`.
//!
//! The rules are ggml's own (the format's specification, `docs/gguf.md`, where ggml is laxer): tensors lie in
//! the order of their entries, each at the end of the one before, padded to `general.alignment`.
//!
//! Limits, so that a hostile file costs little: 65,536 metadata entries, 65,536 tensors, four levels of nested
//! arrays. Parsing is O(n log n) in the number of names and linear in the file's metadata.
//!
//! ```
//! use llm::gguf::{Gguf, GgmlType, write::GgufWriter};
//!
//! let mut file = GgufWriter::new();
//! file.string("general.name", "tiny");
//! file.tensor("output", GgmlType::F32, &[2, 1], &[0; 8]);
//! let bytes = file.finish();
//!
//! let gguf = Gguf::parse(&bytes).unwrap();
//! assert_eq!(gguf.get("general.name").unwrap().as_str(), Some("tiny"));
//! assert_eq!(gguf.tensor("output").unwrap().elements(), 2);
//! assert!(Gguf::parse(&bytes[..bytes.len() / 2]).is_err());
//! ```

mod reader;
mod tensor;
mod types;
mod value;
pub mod write;

#[cfg(test)]
mod llama_cases;
#[cfg(test)]
mod tests;

pub use crate::error::GgufError;
use crate::error::Quoted;
use alloc::vec::Vec;
use reader::Reader;
pub use tensor::Tensor;
pub use types::GgmlType;
pub use value::{Array, Value, ValueKind};

/// Most metadata entries, and most tensors, that are accepted.
pub const MAX_ENTRIES: u64 = 65_536;
/// Longest key in bytes, by the format's specification.
pub const MAX_KEY: usize = 65_535;
/// Alignment of tensor data where the file does not say.
pub const DEFAULT_ALIGNMENT: u32 = 32;

/// Fewest bytes of an entry: key length, one byte of key, kind, one byte of value.
const LEAST_ENTRY: u64 = 8 + 1 + 4 + 1;
/// Values longer than this many bytes are jumped over, by a table, when entries are walked again.
const LONG_VALUE: usize = 4096;
/// Long values remembered (vocabulary, merges, types, scores: real files have four to six).
const JUMPS: usize = 8;

/// A validated GGUF file over borrowed bytes.
#[derive(Debug, Clone, Copy)]
pub struct Gguf<'a> {
    bytes: &'a [u8],
    version: u32,
    alignment: u32,
    entries: Section,
    tensors: Section,
    /// Offset of the tensor data section.
    data: usize,
    /// Start and end of the first long values: walking the entries need not step through 49,152 tokens.
    jumps: [(usize, usize); JUMPS],
}

/// A run of entries in the file.
#[derive(Debug, Clone, Copy)]
struct Section {
    start: usize,
    count: usize,
}

impl<'a> Gguf<'a> {
    /// Checks `bytes` and returns the reader over them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, GgufError> {
        let mut reader = Reader::new(bytes);
        let version = header(&mut reader, bytes)?;
        let tensor_count = reader.u64()?;
        let entry_count = reader.u64()?;
        let left = reader.remaining();
        let entry_count = check_count("metadata entries", entry_count, LEAST_ENTRY, left)?;
        let tensor_count = check_count("tensors", tensor_count, tensor::LEAST_INFO, left)?;

        let entries = Section { start: reader.position(), count: entry_count };
        let (alignment, jumps) = check_entries(&mut reader, entry_count)?;
        let tensors = Section { start: reader.position(), count: tensor_count };
        let end = check_tensors(&mut reader, tensor_count)?;

        // With no tensors there is no data, and files then need not be padded either.
        let padded = end.checked_next_multiple_of(alignment as usize).unwrap_or(usize::MAX);
        let data = if tensor_count == 0 { padded.min(bytes.len()) } else { padded };
        let gguf = Self { bytes, version, alignment, entries, tensors, data, jumps };
        gguf.check_layout()?;
        Ok(gguf)
    }

    /// Version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Alignment of tensor data in bytes (a power of two).
    pub fn alignment(&self) -> u32 {
        self.alignment
    }

    /// The whole file.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Metadata entries.
    pub fn metadata_len(&self) -> usize {
        self.entries.count
    }

    /// Tensors.
    pub fn tensors_len(&self) -> usize {
        self.tensors.count
    }

    /// The value of `key`. Linear in the number of entries, whatever their size.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        let mut reader = Reader::at(self.bytes, self.entries.start);
        for _ in 0..self.entries.count {
            let (found, kind) = entry_head(&mut reader).ok()?;
            if found == key {
                return reader.value(kind, 0).ok();
            }
            match self.jumps.iter().find(|jump| jump.0 == reader.position()) {
                Some(&(_, end)) => reader = Reader::at(self.bytes, end),
                None => drop(reader.value(kind, 0).ok()?),
            }
        }
        None
    }

    /// All metadata, in the file's order.
    pub fn metadata(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a> {
        let mut reader = Reader::at(self.bytes, self.entries.start);
        (0..self.entries.count).map_while(move |_| {
            let (key, kind) = entry_head(&mut reader).ok()?;
            Some((key, reader.value(kind, 0).ok()?))
        })
    }

    /// All tensors, in the file's order.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'a>> + use<'a> {
        let (bytes, data) = (self.bytes, self.data);
        let mut reader = Reader::at(bytes, self.tensors.start);
        (0..self.tensors.count)
            .map_while(move |_| tensor::Info::read(&mut reader).ok()?.in_file(bytes, data).ok())
    }

    /// The tensor called `name`. Linear in the number of tensors.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'a>> {
        self.tensors().find(|tensor| tensor.name == name)
    }

    /// Offsets: each tensor begins where the one before ends, and lies inside the file.
    fn check_layout(&self) -> Result<(), GgufError> {
        let mut reader = Reader::at(self.bytes, self.tensors.start);
        let mut expected = 0u64;
        for _ in 0..self.tensors.count {
            let info = tensor::Info::read(&mut reader)?;
            if info.offset != expected {
                let name = Quoted::new(info.name.as_bytes());
                return Err(GgufError::BadOffset { name, found: info.offset, expected });
            }
            let tensor = info.in_file(self.bytes, self.data)?;
            // Inside the file, so far below 2^64 even when padded to an alignment of 2^31.
            expected = (expected + tensor.data.len() as u64).next_multiple_of(self.alignment.into());
        }
        Ok(())
    }
}

/// Magic and version.
fn header(reader: &mut Reader<'_>, bytes: &[u8]) -> Result<u32, GgufError> {
    if !bytes.starts_with(b"GGUF") {
        let mut found = [0; 4];
        found.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        return Err(GgufError::BadMagic { found });
    }
    reader.take(4)?;
    match reader.u32()? {
        version @ (2 | 3) => Ok(version),
        // Versions are small: one with only high bits set was written in the other byte order.
        version if version != 0 && version & 0xffff == 0 => Err(GgufError::BigEndian),
        version => Err(GgufError::UnsupportedVersion { version }),
    }
}

/// Refuses a count that the rest of the file cannot hold, before anything of that size is done.
fn check_count(what: &'static str, count: u64, least: u64, left: usize) -> Result<usize, GgufError> {
    let limit = (left as u64 / least).min(MAX_ENTRIES);
    if count > limit {
        return Err(GgufError::TooMany { what, count, limit });
    }
    Ok(count as usize)
}

/// Key and value kind of the entry at the cursor.
fn entry_head<'a>(reader: &mut Reader<'a>) -> Result<(&'a str, ValueKind), GgufError> {
    let key = reader.string()?;
    let text = core::str::from_utf8(key).ok().filter(|text| (1..=MAX_KEY).contains(&text.len()));
    let text = text.ok_or_else(|| GgufError::BadKey { key: Quoted::new(key) })?;
    let id = reader.u32()?;
    let kind = ValueKind::from_id(id).ok_or(GgufError::UnknownValueKind { id, at: reader.position() })?;
    Ok((text, kind))
}

/// Walks the metadata once: structure, duplicate keys, alignment, and where the long values are.
fn check_entries(reader: &mut Reader<'_>, count: usize) -> Result<(u32, [(usize, usize); JUMPS]), GgufError> {
    let mut keys = name_list(count)?;
    let mut alignment = DEFAULT_ALIGNMENT;
    // (usize::MAX, _) is no entry's position: an unused slot.
    let mut jumps = [(usize::MAX, 0); JUMPS];
    let mut jumps_used = 0;
    for _ in 0..count {
        let (key, kind) = entry_head(reader)?;
        keys.push(key);
        let start = reader.position();
        let value = reader.value(kind, 0)?;
        if reader.position() - start > LONG_VALUE
            && let Some(slot) = jumps.get_mut(jumps_used)
        {
            *slot = (start, reader.position());
            jumps_used += 1;
        }
        if key == "general.alignment" {
            alignment = match value {
                Value::U32(v) if v.is_power_of_two() => v,
                Value::U32(v) => return Err(bad_alignment(format_args!("{v}"))),
                _ => return Err(bad_alignment(format_args!("a value of kind {kind:?}"))),
            };
        }
    }
    match duplicate(&mut keys) {
        Some(key) => Err(GgufError::DuplicateKey { key: Quoted::new(key.as_bytes()) }),
        None => Ok((alignment, jumps)),
    }
}

fn bad_alignment(found: core::fmt::Arguments<'_>) -> GgufError {
    GgufError::BadAlignment { found: Quoted::new(alloc::fmt::format(found).as_bytes()) }
}

/// Walks the tensor entries once and returns where they end.
fn check_tensors(reader: &mut Reader<'_>, count: usize) -> Result<usize, GgufError> {
    let mut names = name_list(count)?;
    for _ in 0..count {
        names.push(tensor::Info::read(reader)?.name);
    }
    match duplicate(&mut names) {
        Some(name) => Err(GgufError::DuplicateTensor { name: Quoted::new(name.as_bytes()) }),
        None => Ok(reader.position()),
    }
}

/// Room for `count` names (at most [`MAX_ENTRIES`]), given back when parsing ends.
fn name_list<'a>(count: usize) -> Result<Vec<&'a str>, GgufError> {
    let mut names = Vec::new();
    names.try_reserve_exact(count).map_err(|_| GgufError::OutOfMemory { count })?;
    Ok(names)
}

/// A name that occurs twice, found by sorting.
fn duplicate<'a>(names: &mut [&'a str]) -> Option<&'a str> {
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}
