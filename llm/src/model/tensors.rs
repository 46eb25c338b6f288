//! Takes tensors out of a file by name, each checked for shape and type, and knows which were left.

use super::error::LoadError;
use super::matrix::{Matrix, Placing, Table, find};
use crate::error::Quoted;
use crate::gguf::{GgmlType, Gguf, Tensor};
use crate::pool::{Pool, Purpose};
use crate::quant::float::{self, F32};
use alloc::borrow::ToOwned;
use alloc::vec::Vec;
use core::ops::Range;

/// The tensors of a file on their way into a model.
pub struct Tensors<'a, 'p> {
    gguf: &'a Gguf<'p>,
    pool: &'a mut Pool<'p>,
    placing: Placing<'a>,
    /// Names of those that were asked for and found.
    taken: Vec<&'p str>,
}

impl<'a, 'p> Tensors<'a, 'p> {
    /// All tensors of a file; what is copied goes to `pool`.
    pub fn new(gguf: &'a Gguf<'p>, pool: &'a mut Pool<'p>, placing: Placing<'a>) -> Self {
        Self { gguf, pool, placing, taken: Vec::new() }
    }

    /// Whether the file has a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.gguf.tensor(name).is_some()
    }

    fn take(&mut self, name: &str, columns: usize, rows: usize) -> Result<Tensor<'p>, LoadError> {
        let tensor = find(self.gguf, name, columns, rows)?;
        self.taken.push(tensor.name);
        Ok(tensor)
    }

    /// A table of rows to look up.
    pub fn table(&mut self, name: &str, columns: usize, rows: usize) -> Result<Table<'p>, LoadError> {
        Table::new(&self.take(name, columns, rows)?)
    }

    /// A matrix.
    pub fn matrix(&mut self, name: &str, columns: usize, rows: usize) -> Result<Matrix<'p>, LoadError> {
        self.rows(name, columns, rows, 0..rows)
    }

    /// The rows `part` of a tensor of `rows` rows, as a matrix of its own.
    pub fn rows(
        &mut self,
        name: &str,
        columns: usize,
        rows: usize,
        part: Range<usize>,
    ) -> Result<Matrix<'p>, LoadError> {
        let tensor = self.take(name, columns, rows)?;
        Matrix::new(&tensor, part, self.pool, self.placing)
    }

    /// A vector of finite numbers, stored as F32 and copied to the pool (a GGUF need not align it).
    pub fn vector(&mut self, name: &str, length: usize) -> Result<&'p [f32], LoadError> {
        let tensor = self.take(name, length, 1)?;
        if tensor.kind != GgmlType::F32 {
            let found = tensor.kind.name();
            return Err(LoadError::BadType { name: name.to_owned(), found, expected: "F32" });
        }
        let values = self.pool.take(Purpose::Weights, length)?;
        float::dequantise::<F32>(tensor.data, values);
        if values.iter().any(|v| !v.is_finite()) {
            return Err(LoadError::NotFinite { name: name.to_owned() });
        }
        Ok(values)
    }

    /// A vector, or an empty one where the file has none.
    pub fn optional_vector(&mut self, name: &str, length: usize) -> Result<&'p [f32], LoadError> {
        if self.has(name) { self.vector(name, length) } else { Ok(&[]) }
    }

    /// Divisors, all above zero, or none where the file has none.
    pub fn divisors(&mut self, name: &'static str, length: usize) -> Result<&'p [f32], LoadError> {
        let values = self.optional_vector(name, length)?;
        if values.iter().any(|&value| value < f32::MIN_POSITIVE) {
            return Err(LoadError::NotPositive { name });
        }
        Ok(values)
    }

    /// Refuses a file with a tensor that was not taken: without it the model would compute something else.
    pub fn none_left(mut self, architecture: &'static str) -> Result<(), LoadError> {
        self.taken.sort_unstable();
        match self.gguf.tensors().find(|tensor| self.taken.binary_search(&tensor.name).is_err()) {
            Some(tensor) => {
                Err(LoadError::UnknownTensor { name: Quoted::new(tensor.name.as_bytes()), architecture })
            }
            None => Ok(()),
        }
    }
}
