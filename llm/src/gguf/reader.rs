//! A cursor over the file's bytes: every read is checked, nothing is copied.

use super::value::{Array, Value, ValueKind};
use crate::error::GgufError;

/// Arrays may hold arrays; more levels than this are refused (no known file has even two).
pub(super) const MAX_ARRAY_DEPTH: u32 = 4;

/// Reads little-endian values from the front of a byte slice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A cursor that starts at `at`; past the end it reads nothing.
    pub fn at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at: at.min(bytes.len()) }
    }

    pub fn position(&self) -> usize {
        self.at
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub fn take(&mut self, n: u64) -> Result<&'a [u8], GgufError> {
        let end = usize::try_from(n).ok().and_then(|n| self.at.checked_add(n));
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(slice) => {
                self.at += slice.len();
                Ok(slice)
            }
            None => Err(GgufError::Truncated { at: self.at, wanted: n, left: self.remaining() }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        match self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>()) {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(GgufError::Truncated { at: self.at, wanted: N as u64, left: self.remaining() }),
        }
    }

    pub fn u32(&mut self) -> Result<u32, GgufError> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, GgufError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length-prefixed string's bytes.
    pub fn string(&mut self) -> Result<&'a [u8], GgufError> {
        let len = self.u64()?;
        self.take(len)
    }

    /// One value of `kind`; `depth` counts the arrays around it.
    pub fn value(&mut self, kind: ValueKind, depth: u32) -> Result<Value<'a>, GgufError> {
        Ok(match kind {
            ValueKind::U8 => Value::U8(u8::from_le_bytes(self.array()?)),
            ValueKind::I8 => Value::I8(i8::from_le_bytes(self.array()?)),
            ValueKind::U16 => Value::U16(u16::from_le_bytes(self.array()?)),
            ValueKind::I16 => Value::I16(i16::from_le_bytes(self.array()?)),
            ValueKind::U32 => Value::U32(self.u32()?),
            ValueKind::I32 => Value::I32(i32::from_le_bytes(self.array()?)),
            ValueKind::F32 => Value::F32(f32::from_le_bytes(self.array()?)),
            ValueKind::Bool => Value::Bool(u8::from_le_bytes(self.array()?) != 0),
            ValueKind::U64 => Value::U64(self.u64()?),
            ValueKind::I64 => Value::I64(i64::from_le_bytes(self.array()?)),
            ValueKind::F64 => Value::F64(f64::from_le_bytes(self.array()?)),
            ValueKind::String => Value::String(self.string()?),
            ValueKind::Array => Value::Array(self.array_value(depth)?),
        })
    }

    /// An array: element kind, count, elements. The recursion ends at [`MAX_ARRAY_DEPTH`].
    fn array_value(&mut self, depth: u32) -> Result<Array<'a>, GgufError> {
        if depth >= MAX_ARRAY_DEPTH {
            return Err(GgufError::ArraysTooDeep { limit: MAX_ARRAY_DEPTH });
        }
        let id = self.u32()?;
        let kind = ValueKind::from_id(id).ok_or(GgufError::UnknownValueKind { id, at: self.at })?;
        let count = self.u64()?;
        let least = count.checked_mul(kind.least_size() as u64);
        if least.is_none_or(|least| least > self.remaining() as u64) {
            let wanted = least.unwrap_or(u64::MAX);
            return Err(GgufError::Truncated { at: self.at, wanted, left: self.remaining() });
        }
        // Below the file's size now, so it fits a usize.
        let len = count as usize;
        let start = self.at;
        match kind {
            ValueKind::String => {
                for _ in 0..len {
                    self.string()?;
                }
            }
            ValueKind::Array => {
                for _ in 0..len {
                    self.array_value(depth + 1)?;
                }
            }
            _ => {
                self.take(least.unwrap_or(0))?;
            }
        }
        let bytes = self.bytes.get(start..self.at).unwrap_or_default();
        Ok(Array { kind, len, bytes })
    }
}
