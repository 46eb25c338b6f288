//! Metadata of a model, looked up under its architecture's name and checked.

use super::architecture::{ARCHITECTURES, Architecture};
use super::error::LoadError;
use crate::error::Quoted;
use crate::gguf::{Gguf, Value};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Checked look-ups of keys, given without the architecture's name.
pub(super) struct Keys<'a> {
    /// The file.
    pub(super) gguf: &'a Gguf<'a>,
    /// Whose keys they are.
    pub(super) architecture: &'static Architecture,
}

impl<'a> Keys<'a> {
    /// The keys of the architecture that the file names.
    pub(super) fn new(gguf: &'a Gguf<'a>) -> Result<Self, LoadError> {
        Ok(Self { gguf, architecture: architecture(gguf)? })
    }

    /// The key with the architecture's name.
    pub(super) fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture.name)
    }

    /// What the file holds there.
    pub(super) fn get(&self, key: &str) -> Option<Value<'a>> {
        self.gguf.get(&self.full(key))
    }

    /// The complaint about a key.
    pub(super) fn bad(&self, key: &str, expected: String) -> LoadError {
        match self.get(key) {
            None => LoadError::MissingKey { key: self.full(key), expected },
            Some(value) => LoadError::BadKey { key: self.full(key), expected, found: show(&value) },
        }
    }

    /// A whole number; a missing key is an error where there is no default.
    pub(super) fn count(
        &self,
        key: &str,
        range: core::ops::RangeInclusive<usize>,
        default: Option<usize>,
    ) -> Result<usize, LoadError> {
        let found = match (self.get(key), default) {
            (None, Some(default)) => return Ok(default),
            (found, _) => found.and_then(|value| value.as_u64()).and_then(|v| usize::try_from(v).ok()),
        };
        found
            .filter(|v| range.contains(v))
            .ok_or_else(|| self.bad(key, format!("a whole number from {} to {}", range.start(), range.end())))
    }

    /// A number; a missing key is an error where there is no default.
    pub(super) fn number(
        &self,
        key: &str,
        range: core::ops::RangeInclusive<f64>,
        default: Option<f64>,
    ) -> Result<f64, LoadError> {
        let found = match (self.get(key), default) {
            (None, Some(default)) => return Ok(default),
            (found, _) => found.and_then(|value| value.as_f32()).map(f64::from),
        };
        found
            .filter(|v| range.contains(v))
            .ok_or_else(|| self.bad(key, format!("a number from {} to {}", range.start(), range.end())))
    }

    /// One of some words.
    pub(super) fn text(
        &self,
        key: &str,
        allowed: &[&'static str],
        default: &'static str,
    ) -> Result<&'static str, LoadError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let found = allowed.iter().copied().find(|&word| value.as_str() == Some(word));
        found.ok_or_else(|| self.bad(key, format!("\"{}\"", allowed.join("\" or \""))))
    }
}

/// The row of the architecture that the file names.
fn architecture(gguf: &Gguf<'_>) -> Result<&'static Architecture, LoadError> {
    let key = "general.architecture";
    let found = gguf.get(key);
    let name = found.and_then(|value| value.as_str());
    ARCHITECTURES.iter().find(|row| Some(row.name) == name).ok_or_else(|| {
        let names: Vec<&str> = ARCHITECTURES.iter().map(|row| row.name).collect();
        let expected = format!("\"{}\"", names.join("\" or \""));
        match found {
            None => LoadError::MissingKey { key: key.into(), expected },
            Some(value) => LoadError::BadKey { key: key.into(), expected, found: show(&value) },
        }
    })
}

/// A value as a short text.
fn show(value: &Value<'_>) -> Quoted {
    match value.as_bytes() {
        Some(bytes) => Quoted::new(bytes),
        None if value.as_array().is_some() => Quoted::new(b"an array"),
        None => Quoted::new(format!("{value:?}").as_bytes()),
    }
}
