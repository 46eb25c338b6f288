//! Tensor entries: name, shape, type and place of a tensor's data.

use super::reader::Reader;
use super::types::GgmlType;
use crate::error::{GgufError, Quoted};

/// ggml's `GGML_MAX_DIMS`.
pub(super) const MAX_DIMS: usize = 4;
/// ggml's `GGML_MAX_NAME`, which counts a terminating zero byte.
pub(super) const MAX_NAME: usize = 64;
/// Fewest bytes of an entry: name length, one byte of name, dimensions, type, offset.
pub(super) const LEAST_INFO: u64 = 8 + 1 + 4 + 4 + 8;

/// One tensor of a file; `data` lies in the file's bytes.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    /// Name, 1 to 63 bytes.
    pub name: &'a str,
    /// Sizes in ggml's order: `dims[0]` is contiguous (a matrix's columns). Unused ones are 1.
    pub dims: [u64; 4],
    /// How many of `dims` the file gives.
    pub n_dims: u32,
    /// Element type.
    pub kind: GgmlType,
    /// The tensor's bytes exactly, as stored; not necessarily aligned in memory.
    pub data: &'a [u8],
}

impl Tensor<'_> {
    /// Number of values (the product of the dimensions, checked when the file was parsed).
    pub fn elements(&self) -> u64 {
        self.dims.iter().product()
    }

    /// Bytes of one row (`dims[0]` values).
    pub fn row_bytes(&self) -> usize {
        // Below `data.len()` for every tensor that has data, so it fits.
        (self.dims[0] / self.kind.block_size() as u64) as usize * self.kind.type_size()
    }
}

/// A tensor's entry, checked in itself but not yet against the file's data section.
pub(super) struct Info<'a> {
    pub name: &'a str,
    pub offset: u64,
    dims: [u64; MAX_DIMS],
    n_dims: u32,
    kind: GgmlType,
    bytes: u64,
}

impl<'a> Info<'a> {
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, GgufError> {
        let raw = reader.string()?;
        let name = core::str::from_utf8(raw).ok().filter(|name| (1..MAX_NAME).contains(&name.len()));
        let name = name.ok_or_else(|| GgufError::BadTensorName { name: Quoted::new(raw) })?;

        let n_dims = reader.u32()?;
        let mut dims = [1u64; MAX_DIMS];
        let Some(given) = dims.get_mut(..n_dims as usize) else {
            return Err(GgufError::TooManyDimensions { name: Quoted::new(raw), n_dims });
        };
        for (dim, size) in (0u32..).zip(given) {
            *size = reader.u64()?;
            if *size > i64::MAX as u64 {
                return Err(GgufError::BadDimension { name: Quoted::new(raw), dim, size: *size });
            }
        }
        let id = reader.u32()?;
        let kind =
            GgmlType::from_id(id).ok_or_else(|| GgufError::UnknownType { name: Quoted::new(raw), id })?;
        let offset = reader.u64()?;
        let bytes = data_bytes(name, &dims, kind)?;
        Ok(Self { name, offset, dims, n_dims, kind, bytes })
    }

    /// Finds the data in the file, whose data section begins at `data`.
    pub fn in_file(self, file: &'a [u8], data: usize) -> Result<Tensor<'a>, GgufError> {
        let at = (data as u64).checked_add(self.offset);
        let range = at.and_then(|at| {
            Some(usize::try_from(at).ok()?..usize::try_from(at.checked_add(self.bytes)?).ok()?)
        });
        let data = range.and_then(|range| file.get(range)).ok_or_else(|| GgufError::DataPastEnd {
            name: Quoted::new(self.name.as_bytes()),
            bytes: self.bytes,
            at: at.unwrap_or(u64::MAX),
            file: file.len() as u64,
        })?;
        Ok(Tensor { name: self.name, dims: self.dims, n_dims: self.n_dims, kind: self.kind, data })
    }
}

/// Bytes of a tensor's data; both the number of values and the bytes stay below 2^63, as in ggml.
fn data_bytes(name: &str, dims: &[u64; MAX_DIMS], kind: GgmlType) -> Result<u64, GgufError> {
    let quoted = || Quoted::new(name.as_bytes());
    let block = kind.block_size();
    let row = dims[0];
    if !row.is_multiple_of(block as u64) {
        return Err(GgufError::PartialBlock { name: quoted(), row, kind: kind.name(), block });
    }
    // Partial products count too: 2^40 · 2^40 · 0 is refused, whatever the order of the factors.
    let product = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim.max(1)));
    let fits = product
        .and_then(|values| (values / block as u64).max(1).checked_mul(kind.type_size() as u64))
        .filter(|&bytes| bytes.max(product.unwrap_or(u64::MAX)) <= i64::MAX as u64);
    match fits {
        None => Err(GgufError::ShapeOverflow { name: quoted() }),
        Some(_) if dims.contains(&0) => Ok(0),
        Some(bytes) => Ok(bytes),
    }
}
