//! Weight matrices: where the codes lie, and products with activations shared among the CPUs.

use super::architecture::Activation;
use super::error::LoadError;
use super::math::{gelu, silu};
use crate::gguf::{GgmlType, Gguf, Tensor};
use crate::parallel::{Parallel, for_items};
use crate::pool::{Pool, Purpose};
use crate::quant::activation::{ActivationBuffers, Activations};
use crate::quant::float::{self, Bf16, F16, F32};
use crate::quant::{self, GROUP, Kind, with_format};
use crate::simd::{QuantRows, Variant, multiply, multiply_float};
use alloc::borrow::ToOwned;

/// How a matrix's elements are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Elements {
    F32,
    F16,
    Bf16,
    Quantised(Kind),
}

impl Elements {
    fn new(kind: GgmlType) -> Option<Self> {
        Some(match kind {
            GgmlType::F32 => Self::F32,
            GgmlType::F16 => Self::F16,
            GgmlType::BF16 => Self::Bf16,
            GgmlType::Q4_0 => Self::Quantised(Kind::Q4_0),
            GgmlType::Q4_1 => Self::Quantised(Kind::Q4_1),
            GgmlType::Q5_0 => Self::Quantised(Kind::Q5_0),
            GgmlType::Q5_1 => Self::Quantised(Kind::Q5_1),
            GgmlType::Q8_0 => Self::Quantised(Kind::Q8_0),
            GgmlType::Q4_K => Self::Quantised(Kind::Q4K),
            GgmlType::Q5_K => Self::Quantised(Kind::Q5K),
            GgmlType::Q6_K => Self::Quantised(Kind::Q6K),
            GgmlType::Q2_K => Self::Quantised(Kind::Q2K),
            GgmlType::Q3_K => Self::Quantised(Kind::Q3K),
            GgmlType::Q8_K => Self::Quantised(Kind::Q8K),
            GgmlType::IQ4_NL => Self::Quantised(Kind::Iq4Nl),
            GgmlType::IQ4_XS => Self::Quantised(Kind::Iq4Xs),
            GgmlType::MXFP4 => Self::Quantised(Kind::Mxfp4),
            _ => return None,
        })
    }
}

/// The types that [`Matrix`] reads, for messages.
pub const MATRIX_TYPES: &str = "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K, IQ4_NL, IQ4_XS or MXFP4";

/// A matrix of `rows` outputs over `columns` inputs; the elements stay in the GGUF.
#[derive(Clone, Copy)]
pub struct Matrix<'p> {
    elements: Elements,
    rows: usize,
    columns: usize,
    row_bytes: usize,
    data: &'p [u8],
    /// Scale table entries of a row and of the whole matrix; empty for float elements.
    row_entries: usize,
    scales: &'p [i32],
    unit: f32,
}

impl<'p> Matrix<'p> {
    /// Checks the type of a tensor of two dimensions, and builds its scale table in the pool.
    pub fn new(tensor: Tensor<'p>, pool: &mut Pool<'p>, parallel: &dyn Parallel) -> Result<Self, LoadError> {
        let (name, columns, rows) = (tensor.name, tensor.dims[0] as usize, tensor.dims[1] as usize);
        let bad_type = || LoadError::BadType {
            name: name.to_owned(),
            found: tensor.kind.name(),
            expected: MATRIX_TYPES,
        };
        let elements = Elements::new(tensor.kind).ok_or_else(bad_type)?;
        let groups = columns / GROUP;
        let (row_entries, scales, unit) = match elements {
            Elements::Quantised(kind) => with_format!(kind, F => {
                use quant::Format;
                let row_entries = groups * F::ENTRIES;
                let entries = row_entries.saturating_mul(rows);
                let table = pool.take_unzeroed::<i32>(Purpose::Weights, entries)?;
                let unit = quant::scales::build::<F>(tensor.data, groups, table, parallel)
                    .map_err(|_| LoadError::NotFinite { name: name.to_owned() })?;
                (row_entries, &*table, unit)
            }),
            _ => (0, Default::default(), 0.0),
        };
        let row_bytes = tensor.row_bytes();
        Ok(Self { elements, rows, columns, row_bytes, data: tensor.data, row_entries, scales, unit })
    }

    /// Number of outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of inputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes that a product with all rows reads.
    pub fn bytes(&self) -> usize {
        size_of_val(self.data) + size_of_val(self.scales)
    }

    /// Whether products need integer activations.
    pub fn is_quantised(&self) -> bool {
        matches!(self.elements, Elements::Quantised(_))
    }

    /// The matrix's `count` rows from `first` on, as a matrix.
    pub fn part(&self, first: usize, count: usize) -> Self {
        let (first, end) = (first.min(self.rows), first.saturating_add(count).min(self.rows));
        Self {
            rows: end - first,
            data: self.data.get(first * self.row_bytes..end * self.row_bytes).unwrap_or_default(),
            scales: self.scales.get(first * self.row_entries..end * self.row_entries).unwrap_or_default(),
            ..*self
        }
    }

    /// Dequantises row `index` into `out`.
    pub fn row(&self, index: usize, out: &mut [f32]) {
        let data = self.part(index, 1).data;
        match self.elements {
            Elements::F32 => float::dequantise::<F32>(data, out),
            Elements::F16 => float::dequantise::<F16>(data, out),
            Elements::Bf16 => float::dequantise::<Bf16>(data, out),
            Elements::Quantised(kind) => with_format!(kind, F => quant::dequantise::<F>(data, out)),
        }
    }

    /// `out[row][token] = row . input`, by the calling thread alone.
    pub fn multiply(&self, variant: Variant, input: Input<'_>, out: &mut [f32]) {
        match self.elements {
            Elements::F32 => multiply_float::<F32>(variant, self.data, input.floats, self.columns, out),
            Elements::F16 => multiply_float::<F16>(variant, self.data, input.floats, self.columns, out),
            Elements::Bf16 => multiply_float::<Bf16>(variant, self.data, input.floats, self.columns, out),
            Elements::Quantised(kind) => {
                let rows = QuantRows { kind, data: self.data, scales: self.scales, unit: self.unit };
                if let Some(x) = input.integers {
                    multiply(variant, rows, x, out);
                }
            }
        }
    }
}

/// Finds tensor `name` and checks its shape; a vector has one row.
pub fn find<'p>(gguf: &Gguf<'p>, name: &str, columns: usize, rows: usize) -> Result<Tensor<'p>, LoadError> {
    let expected = [columns as u64, rows as u64];
    let tensor =
        gguf.tensor(name).ok_or_else(|| LoadError::MissingTensor { name: name.to_owned(), expected })?;
    if tensor.dims != [expected[0], expected[1], 1, 1] {
        return Err(LoadError::BadShape { name: name.to_owned(), expected, found: tensor.dims });
    }
    Ok(tensor)
}

/// Activation vectors, `[token][columns]`, in both forms.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    floats: &'a [f32],
    integers: Option<Activations<'a>>,
}

impl<'a> Input<'a> {
    /// Quantises `x` if one of `matrices`, which it will be multiplied with, wants that.
    pub fn new(x: &'a [f32], matrices: &[&Matrix<'_>], buffers: &'a mut ActivationBuffers<'_>) -> Self {
        let wanted = matrices.iter().find(|matrix| matrix.is_quantised());
        Self { floats: x, integers: wanted.map(|matrix| buffers.quantise(x, matrix.columns)) }
    }
}

/// Who multiplies, and how.
#[derive(Clone, Copy)]
pub struct Compute<'p> {
    /// The CPUs.
    pub parallel: &'p dyn Parallel,
    /// The instructions.
    pub variant: Variant,
}

impl Compute<'_> {
    /// `out[row][token]` for the rows of all `matrices`, one matrix after the other, shared among the CPUs.
    pub fn multiply(&self, matrices: &[&Matrix<'_>], input: Input<'_>, tokens: usize, out: &mut [f32]) {
        for_items(self.parallel, out, tokens, &|first, mut out| {
            let mut first = first;
            for matrix in matrices {
                let part = matrix.part(first, out.len() / tokens.max(1));
                first = first.saturating_sub(matrix.rows);
                let (head, tail) = out.split_at_mut(part.rows * tokens);
                part.multiply(self.variant, input, head);
                out = tail;
            }
        });
    }

    /// `out[row][token] = activation(gate row . input) * (up row . input)`, shared among the CPUs.
    pub fn multiply_gated(
        &self,
        activation: Activation,
        gate: &Matrix<'_>,
        up: &Matrix<'_>,
        input: Input<'_>,
        tokens: usize,
        out: &mut [f32],
    ) {
        const AT_ONCE: usize = 512;
        let tokens = tokens.clamp(1, AT_ONCE);
        let rows_at_once = AT_ONCE / tokens;
        for_items(self.parallel, out, tokens, &|first, out| {
            let mut gates = [0.0f32; AT_ONCE];
            for (i, out) in out.chunks_mut(rows_at_once * tokens).enumerate() {
                let (first, rows) = (first + i * rows_at_once, out.len() / tokens);
                let gates = &mut gates[..out.len()];
                gate.part(first, rows).multiply(self.variant, input, gates);
                up.part(first, rows).multiply(self.variant, input, out);
                let gates = out.iter_mut().zip(gates);
                match activation {
                    Activation::Silu => gates.for_each(|(out, gate)| *out *= silu(*gate)),
                    Activation::Gelu => gates.for_each(|(out, gate)| *out *= gelu(*gate)),
                }
            }
        });
    }
}
