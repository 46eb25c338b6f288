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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::block::extreme;
    use llm::quant::{self, Format, dequantise};
    use proptest::prelude::*;

    fn row(values: Vec<f32>) -> Matrix {
        Matrix { rows: 1, columns: values.len(), values }
    }

    fn decoded<F: Format>(values: &[f32], kind: GgmlType) -> Vec<f32> {
        let data = encode("t", &row(values.to_vec()), kind).unwrap();
        assert_eq!(data.len(), values.len() / F::ELEMENTS * F::BYTES);
        let mut back = vec![f32::NAN; values.len()];
        dequantise::<F>(&data, &mut back);
        back
    }

    /// Blocks of 256 of all magnitudes that weights may have, some with outliers, some of one sign, some all zero.
    fn blocks() -> impl Strategy<Value = Vec<f32>> {
        let number =
            (-1.0f32..1.0, 0u32..40).prop_map(|(v, outlier)| if outlier == 0 { 20.0 * v } else { v });
        let block = prop::collection::vec(number, 256);
        (block, -20i32..12, -1.0f32..1.0, any::<bool>()).prop_map(|(block, exponent, shift, some)| {
            let scale = if some { 2f32.powi(exponent) } else { 0.0 };
            block.iter().map(|v| (v + shift) * scale).collect()
        })
    }

    /// What rounding a scale to a half float may cost a code of magnitude `most`: 2^-11 of it, or half the least half.
    fn half_error(d: f32, most: f32) -> f32 {
        most * (d * 2f32.powi(-11)).max(2f32.powi(-25))
    }

    proptest! {
        #[test]
        fn errors_are_bounded_by_the_scale(values in blocks()) {
            let q8 = decoded::<quant::Q8_0>(&values, GgmlType::Q8_0);
            let q4 = decoded::<quant::Q4_0>(&values, GgmlType::Q4_0);
            for at in (0..values.len()).step_by(32) {
                let greatest = extreme(&values[at..at + 32]).abs();
                let (d8, d4) = (greatest / 127.0, greatest / 8.0);
                for i in at..at + 32 {
                    let error = (values[i] - q8[i]).abs();
                    prop_assert!(error <= 0.5001 * d8 + half_error(d8, 127.0), "Q8_0: {error} of {greatest}");
                    // The end that the code 16 would be for is cut off: a whole step.
                    let error = (values[i] - q4[i]).abs();
                    prop_assert!(error <= 1.0001 * d4 + half_error(d4, 8.0), "Q4_0: {error} of {greatest}");
                }
            }
            let q4k = decoded::<quant::Q4K>(&values, GgmlType::Q4_K);
            let greatest = extreme(&values).abs();
            for (v, back) in values.iter().zip(&q4k) {
                // A step of the group is 1/15 of its range, which is at most twice the greatest; scales and minima are
                // steps of 1/63 themselves; and d and dmin are half floats, under codes and scales up to 15 * 63 and 63.
                let error = (v - back).abs();
                let bound = 0.25 * greatest + half_error(greatest / 945.0, 945.0) + half_error(greatest / 63.0, 63.0);
                prop_assert!(error <= bound, "Q4_K: {error} of {greatest}");
            }
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let zeros = vec![0.0; 256];
        assert_eq!(decoded::<quant::Q8_0>(&zeros, GgmlType::Q8_0), zeros);
        assert_eq!(decoded::<quant::Q4_0>(&zeros, GgmlType::Q4_0), zeros);
        assert!(decoded::<quant::Q4K>(&zeros, GgmlType::Q4_K).iter().all(|v| *v == 0.0));
    }

    #[test]
    fn what_cannot_be_held_is_refused_by_name() {
        let mut values = vec![0.5; 256];
        values[100] = f32::NAN;
        for kind in [GgmlType::F32, GgmlType::F16, GgmlType::Q8_0, GgmlType::Q4_0, GgmlType::Q4_K] {
            let error = encode("the.weight", &row(values.clone()), kind).unwrap_err().to_string();
            assert!(error.contains("'the.weight' holds NaN at index 100"), "{error}");
        }
        values[100] = 1e6;
        let error = encode("the.weight", &row(values.clone()), GgmlType::F16).unwrap_err().to_string();
        assert!(error.contains("too large"), "{error}");
        assert!(encode("the.weight", &row(values), GgmlType::F32).is_ok());
        let error = encode("the.weight", &row(vec![0.5; 96]), GgmlType::Q4_K).unwrap_err().to_string();
        assert!(error.contains("rows of 96") && error.contains("blocks of 256"), "{error}");
        assert!(encode("the.weight", &row(vec![0.5; 32]), GgmlType::Q6_K).is_err());
    }
}
