//! Plain rounding: every number by itself, as llama.cpp's reference quantisers do it.

use anyhow::{Result, bail, ensure};
use llm::gguf::GgmlType;
use llm::quant::float::f32_to_f16;

use super::block::Block;
use super::q4_0::Q4_0;
use super::q4_k::Q4K;
use super::q8_0::Q8_0;
use crate::tensor;
use crate::trained::Matrix;

/// The largest half float: scales, and F16 numbers, lie below.
const LARGEST_HALF: f32 = 65_504.0;

/// The matrix in `kind`'s layout, row by row. `name` is for the complaint.
pub fn encode(name: &str, matrix: &Matrix, kind: GgmlType) -> Result<Vec<u8>> {
    check(name, matrix, kind)?;
    let values = &matrix.values;
    Ok(match kind {
        GgmlType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        GgmlType::F16 => values.iter().flat_map(|v| f32_to_f16(*v).to_le_bytes()).collect(),
        GgmlType::Q8_0 => blocks::<Q8_0>(values),
        GgmlType::Q4_0 => blocks::<Q4_0>(values),
        GgmlType::Q4_K => blocks::<Q4K>(values),
        other => bail!("tensor '{name}': nothing here writes {other}"),
    })
}

/// Refuses what the format cannot hold.
pub fn check(name: &str, matrix: &Matrix, kind: GgmlType) -> Result<()> {
    let block = kind.block_size();
    ensure!(
        matrix.columns.is_multiple_of(block),
        "tensor '{name}' has rows of {}, which {kind} cannot cut into blocks of {block}: take q4_0 or q8_0",
        matrix.columns
    );
    let greatest = tensor::check_finite(name, &matrix.values)?;
    ensure!(
        kind == GgmlType::F32 || greatest <= LARGEST_HALF,
        "tensor '{name}' holds {greatest}, too large for the half floats of {kind}: take f32"
    );
    Ok(())
}

fn blocks<B: Block>(values: &[f32]) -> Vec<u8> {
    let mut data = vec![0; values.len() / B::ELEMENTS * B::BYTES];
    for (values, block) in values.chunks_exact(B::ELEMENTS).zip(data.chunks_exact_mut(B::BYTES)) {
        B::plain(values, block);
    }
    data
}
