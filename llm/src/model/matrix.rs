//! Weight matrices: where the codes lie, and products with activations shared among the CPUs.

use super::BATCH;
use super::architecture::Activation;
use super::error::LoadError;
use super::math::{gelu, silu};
use crate::gguf::{GgmlType, Gguf, Tensor};
use crate::parallel::{Parallel, for_items};
use crate::pool::{Pool, Purpose};
use crate::quant::activation::{ActivationBuffers, Activations};
use crate::quant::float::{self, Bf16, F16, F32};
use crate::quant::panel::{Layout, Panels, ROWS, has_panels};
use crate::quant::{self, GROUP, Kind, scales, with_format};
use crate::simd::{QuantRows, Variant, multiply, multiply_float, multiply_panels};
use alloc::borrow::ToOwned;
use core::ops::Range;

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

/// How weights are laid out for products, and by whom.
#[derive(Clone, Copy)]
pub struct Placing<'a> {
    /// Quantised rows are packed into panels where their format has them, for the variants that want that.
    pub panels: bool,
    /// The CPUs that pack.
    pub parallel: &'a dyn Parallel,
}

/// What products read.
#[derive(Clone, Copy)]
enum Packing<'p> {
    /// The file's elements: floats.
    Floats(Elements, &'p [u8]),
    /// The file's elements and the table of their scales.
    Rows(QuantRows<'p>),
    /// A copy in panels.
    Panels(Panels<'p>),
}

/// A matrix of `rows` outputs over `columns` inputs; its elements are in the GGUF, or in panels.
#[derive(Clone, Copy)]
pub struct Matrix<'p> {
    rows: usize,
    columns: usize,
    packing: Packing<'p>,
}

impl<'p> Matrix<'p> {
    /// Some rows of a tensor of two dimensions as a matrix: checks the type, and builds scale table or panels in the pool.
    pub fn new(
        tensor: &Tensor<'p>,
        rows: Range<usize>,
        pool: &mut Pool<'p>,
        placing: Placing<'_>,
    ) -> Result<Self, LoadError> {
        let Table { elements, data, .. } = Table::new(tensor)?.part(rows.start, rows.len());
        let (rows, columns) = (rows.len(), tensor.dims[0] as usize);
        let groups = columns / GROUP;
        let packing = match elements {
            Elements::Quantised(kind) => with_format!(kind, F => {
                use quant::Format;
                let shift = scales::shift::<F>(data, groups, placing.parallel)
                    .map_err(|_| LoadError::NotFinite { name: tensor.name.to_owned() })?;
                if placing.panels && has_panels(kind) {
                    Packing::Panels(Panels::new::<F>(data, rows, groups, shift, pool, placing.parallel)?)
                } else {
                    let entries = (groups * F::ENTRIES).saturating_mul(rows);
                    let table = pool.take_unzeroed::<i32>(Purpose::Weights, entries)?;
                    scales::build::<F>(data, shift, table, placing.parallel);
                    Packing::Rows(QuantRows { kind, data, scales: table, unit: scales::power_of_two(-shift) })
                }
            }),
            _ => Packing::Floats(elements, data),
        };
        Ok(Self { rows, columns, packing })
    }

    /// Number of outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of inputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of panels of 16 outputs.
    pub fn panels(&self) -> usize {
        self.rows.div_ceil(ROWS)
    }

    /// The largest scale of integer activations, where products need them.
    fn max_scale(&self) -> Option<i32> {
        let kind = match self.packing {
            Packing::Floats(..) => return None,
            Packing::Rows(rows) => rows.kind,
            Packing::Panels(panels) => panels.kind,
        };
        Some(with_format!(kind, F => <F as quant::Format>::MAX_SCALE))
    }

    /// Bytes that a product reads.
    pub fn bytes(&self) -> usize {
        match self.packing {
            Packing::Floats(_, data) => data.len(),
            Packing::Rows(rows) => rows.data.len() + size_of_val(rows.scales),
            Packing::Panels(panels) => panels.bytes(),
        }
    }

    /// `count` panels of 16 rows from panel `first` on, as a matrix.
    pub fn part(&self, first: usize, count: usize) -> Self {
        let start = first.saturating_mul(ROWS).min(self.rows);
        let end = first.saturating_add(count).saturating_mul(ROWS).min(self.rows);
        let packing = match self.packing {
            Packing::Floats(elements, data) => Packing::Floats(elements, self.rows_of(data, start..end)),
            Packing::Rows(rows) => Packing::Rows(QuantRows {
                data: self.rows_of(rows.data, start..end),
                scales: self.rows_of(rows.scales, start..end),
                ..rows
            }),
            Packing::Panels(panels) => Packing::Panels(panels.part(first, count)),
        };
        Self { rows: end - start, columns: self.columns, packing }
    }

    /// What belongs to some rows of something that holds equally much for each row.
    fn rows_of<'a, T>(&self, all: &'a [T], rows: Range<usize>) -> &'a [T] {
        let each = all.len() / self.rows.max(1);
        all.get(rows.start * each..rows.end * each).unwrap_or_default()
    }

    /// The products of all rows with the input, by the calling thread alone; `out` as in [`crate::simd`].
    pub fn multiply(&self, variant: Variant, input: Input<'_>, out: &mut [f32]) {
        let (x, length) = (input.floats, self.columns);
        match (self.packing, input.integers) {
            (Packing::Panels(panels), Some(x)) => multiply_panels(variant, panels, x, out),
            (Packing::Rows(rows), Some(x)) => multiply(variant, rows, x, out),
            (Packing::Floats(Elements::F16, data), _) => multiply_float::<F16>(variant, data, x, length, out),
            (Packing::Floats(Elements::Bf16, data), _) => {
                multiply_float::<Bf16>(variant, data, x, length, out)
            }
            (Packing::Floats(_, data), _) => multiply_float::<F32>(variant, data, x, length, out),
            // Cannot be: an input is quantised if any of the matrices wants that.
            (Packing::Panels(_) | Packing::Rows(_), None) => {}
        }
    }
}

/// A tensor of rows to look up, as the file has them.
#[derive(Clone, Copy)]
pub struct Table<'p> {
    elements: Elements,
    row_bytes: usize,
    data: &'p [u8],
}

impl<'p> Table<'p> {
    /// Checks the type of a tensor.
    pub fn new(tensor: &Tensor<'p>) -> Result<Self, LoadError> {
        let bad_type = || LoadError::BadType {
            name: tensor.name.to_owned(),
            found: tensor.kind.name(),
            expected: MATRIX_TYPES,
        };
        let elements = Elements::new(tensor.kind).ok_or_else(bad_type)?;
        Ok(Self { elements, row_bytes: tensor.row_bytes(), data: tensor.data })
    }

    fn part(&self, first: usize, count: usize) -> Self {
        let bytes =
            first.saturating_mul(self.row_bytes)..first.saturating_add(count).saturating_mul(self.row_bytes);
        Self { data: self.data.get(bytes).unwrap_or_default(), ..*self }
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
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
}

/// Whether weights of this type can be packed into panels.
pub fn tensor_has_panels(kind: GgmlType) -> bool {
    matches!(Elements::new(kind), Some(Elements::Quantised(kind)) if has_panels(kind))
}

/// Bytes in the pool of a tensor's panels, or of its scale table where its format has none.
pub fn packed_bytes(kind: GgmlType, columns: usize, rows: usize) -> usize {
    match Elements::new(kind) {
        Some(Elements::Quantised(kind)) => with_format!(kind, F => {
            use quant::Format;
            let groups = columns / GROUP;
            if has_panels(kind) {
                Layout::<F>::bytes(groups).saturating_mul(rows.div_ceil(ROWS))
            } else {
                (4 * groups * F::ENTRIES).saturating_mul(rows)
            }
        }),
        _ => 0,
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
    /// Quantises `x` in the form that `compute` reads, if one of `matrices`, which it will be multiplied with, wants that.
    pub fn new(
        compute: &Compute<'_>,
        x: &'a [f32],
        matrices: &[&Matrix<'_>],
        buffers: &'a mut ActivationBuffers<'_>,
    ) -> Self {
        let limit = matrices.iter().filter_map(|matrix| Some((matrix.max_scale()?, matrix.columns))).min();
        let integers = limit.map(|(max_scale, length)| {
            buffers.quantise(compute.variant, x, length, max_scale, compute.parallel)
        });
        Self { floats: x, integers }
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
    /// The products of all `matrices`, one matrix after the other, shared among the CPUs; `out` as in [`crate::simd`], with
    /// room for whole panels of each.
    pub fn multiply(&self, matrices: &[&Matrix<'_>], input: Input<'_>, tokens: usize, out: &mut [f32]) {
        let panel = ROWS * tokens;
        for_items(self.parallel, out, panel, &|first, mut out| {
            let mut first = first;
            for matrix in matrices {
                let part = matrix.part(first, out.len() / panel.max(1));
                first = first.saturating_sub(matrix.panels());
                let (head, tail) = out.split_at_mut(part.panels() * panel);
                part.multiply(self.variant, input, head);
                out = tail;
            }
        });
    }

    /// `activation(gate row . input) * (up row . input)`, shared among the CPUs; `out` as in [`crate::simd`].
    pub fn multiply_gated(
        &self,
        activation: Activation,
        gate: &Matrix<'_>,
        up: &Matrix<'_>,
        input: Input<'_>,
        tokens: usize,
        out: &mut [f32],
    ) {
        const AT_ONCE: usize = ROWS * BATCH;
        let panel = ROWS * tokens.clamp(1, BATCH);
        let panels_at_once = AT_ONCE / panel;
        for_items(self.parallel, out, panel, &|first, out| {
            let mut gates = [0.0f32; AT_ONCE];
            for (i, out) in out.chunks_mut(panels_at_once * panel).enumerate() {
                let (first, panels) = (first + i * panels_at_once, out.len() / panel);
                let gates = &mut gates[..out.len()];
                gate.part(first, panels).multiply(self.variant, input, gates);
                up.part(first, panels).multiply(self.variant, input, out);
                let gates = out.iter_mut().zip(gates);
                match activation {
                    Activation::Silu => gates.for_each(|(out, gate)| *out *= silu(*gate)),
                    Activation::Gelu => gates.for_each(|(out, gate)| *out *= gelu(*gate)),
                }
            }
        });
    }
}
