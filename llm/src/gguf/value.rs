//! Metadata values: what a key maps to, read in place.

use super::reader::Reader;

/// Number of a metadata value's type, as stored in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ValueKind {
    /// 8-bit unsigned.
    U8 = 0,
    /// 8-bit signed.
    I8 = 1,
    /// 16-bit unsigned.
    U16 = 2,
    /// 16-bit signed.
    I16 = 3,
    /// 32-bit unsigned.
    U32 = 4,
    /// 32-bit signed.
    I32 = 5,
    /// 32-bit float.
    F32 = 6,
    /// One byte, zero is false.
    Bool = 7,
    /// Length-prefixed bytes.
    String = 8,
    /// Element kind, count, elements.
    Array = 9,
    /// 64-bit unsigned.
    U64 = 10,
    /// 64-bit signed.
    I64 = 11,
    /// 64-bit float.
    F64 = 12,
}

impl ValueKind {
    /// The kind with number `id`, `None` where the format has no such kind.
    pub const fn from_id(id: u32) -> Option<Self> {
        use ValueKind::*;
        Some(match id {
            0 => U8,
            1 => I8,
            2 => U16,
            3 => I16,
            4 => U32,
            5 => I32,
            6 => F32,
            7 => Bool,
            8 => String,
            9 => Array,
            10 => U64,
            11 => I64,
            12 => F64,
            _ => return None,
        })
    }

    /// Bytes of one value, `None` where that depends on the value (strings, arrays).
    pub const fn fixed_size(self) -> Option<usize> {
        use ValueKind::*;
        match self {
            U8 | I8 | Bool => Some(1),
            U16 | I16 => Some(2),
            U32 | I32 | F32 => Some(4),
            U64 | I64 | F64 => Some(8),
            String | Array => None,
        }
    }

    /// Fewest bytes that one value takes in a file: bounds element counts before anything is read.
    pub(super) const fn least_size(self) -> usize {
        match self.fixed_size() {
            Some(n) => n,
            None if matches!(self, ValueKind::String) => 8,
            None => 12,
        }
    }
}

/// One metadata value. Strings and arrays point into the file's bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// 8-bit unsigned.
    U8(u8),
    /// 8-bit signed.
    I8(i8),
    /// 16-bit unsigned.
    U16(u16),
    /// 16-bit signed.
    I16(i16),
    /// 32-bit unsigned.
    U32(u32),
    /// 32-bit signed.
    I32(i32),
    /// 32-bit float.
    F32(f32),
    /// Truth value.
    Bool(bool),
    /// Text. Bytes, because files may hold any: [`Value::as_str`] checks.
    String(&'a [u8]),
    /// Elements of one kind.
    Array(Array<'a>),
    /// 64-bit unsigned.
    U64(u64),
    /// 64-bit signed.
    I64(i64),
    /// 64-bit float.
    F64(f64),
}

impl<'a> Value<'a> {
    /// Any integer kind that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::U8(v) => Some(v.into()),
            Value::U16(v) => Some(v.into()),
            Value::U32(v) => Some(v.into()),
            Value::U64(v) => Some(v),
            Value::I8(v) => v.try_into().ok(),
            Value::I16(v) => v.try_into().ok(),
            Value::I32(v) => v.try_into().ok(),
            Value::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// Any integer kind whose value fits 32 bits unsigned.
    pub fn as_u32(&self) -> Option<u32> {
        self.as_u64().and_then(|v| v.try_into().ok())
    }

    /// Either float kind.
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Value::F32(v) => Some(v),
            Value::F64(v) => Some(v as f32),
            _ => None,
        }
    }

    /// A truth value.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Value::Bool(v) => Some(v),
            _ => None,
        }
    }

    /// A string that is valid UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        self.as_bytes().and_then(|b| core::str::from_utf8(b).ok())
    }

    /// A string's bytes.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match *self {
            Value::String(b) => Some(b),
            _ => None,
        }
    }

    /// An array.
    pub fn as_array(&self) -> Option<Array<'a>> {
        match *self {
            Value::Array(a) => Some(a),
            _ => None,
        }
    }
}

/// An array value: `len` elements of one kind, still in the file's bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Array<'a> {
    pub(super) kind: ValueKind,
    pub(super) len: usize,
    /// The elements exactly, already validated.
    pub(super) bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// Kind of the elements.
    pub fn kind(&self) -> ValueKind {
        self.kind
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for an array of no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements' bytes as stored (little-endian).
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The elements in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let (kind, mut reader) = (self.kind, Reader::new(self.bytes));
        // The bytes were validated when the file was parsed, so `ok()` ends nothing early.
        (0..self.len).map_while(move |_| reader.value(kind, 0).ok())
    }

    /// The elements of a string array, `None` for other kinds.
    pub fn strings(&self) -> Option<impl Iterator<Item = &'a [u8]> + use<'a>> {
        let mut reader = Reader::new(self.bytes);
        (self.kind == ValueKind::String).then(|| (0..self.len).map_while(move |_| reader.string().ok()))
    }

    /// The elements of an `i32` or `u32` array as `u32` (bits kept), `None` for other kinds.
    pub fn words(&self) -> Option<impl Iterator<Item = u32> + use<'a>> {
        let fits = matches!(self.kind, ValueKind::U32 | ValueKind::I32);
        fits.then(|| self.bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)))
    }

    /// The elements of an `f32` array, `None` for other kinds.
    pub fn floats(&self) -> Option<impl Iterator<Item = f32> + use<'a>> {
        let fits = self.kind == ValueKind::F32;
        fits.then(|| self.bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)))
    }
}
