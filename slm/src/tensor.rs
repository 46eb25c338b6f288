//! Tensors as numbers.

use anyhow::{Result, bail};
use llm::gguf::{GgmlType, Tensor};
use llm::quant::{self, float};

/// The tensor's values, by the kernel's own dequantisation.
pub fn values(tensor: &Tensor<'_>) -> Result<Vec<f32>> {
    let mut out = vec![0f32; tensor.elements() as usize];
    let (data, to) = (tensor.data, out.as_mut_slice());
    match tensor.kind {
        GgmlType::F32 => float::dequantise::<float::F32>(data, to),
        GgmlType::F16 => float::dequantise::<float::F16>(data, to),
        GgmlType::BF16 => float::dequantise::<float::Bf16>(data, to),
        GgmlType::Q4_0 => quant::dequantise::<quant::Q4_0>(data, to),
        GgmlType::Q4_1 => quant::dequantise::<quant::Q4_1>(data, to),
        GgmlType::Q5_0 => quant::dequantise::<quant::Q5_0>(data, to),
        GgmlType::Q5_1 => quant::dequantise::<quant::Q5_1>(data, to),
        GgmlType::Q8_0 => quant::dequantise::<quant::Q8_0>(data, to),
        GgmlType::Q4_K => quant::dequantise::<quant::Q4K>(data, to),
        GgmlType::Q5_K => quant::dequantise::<quant::Q5K>(data, to),
        GgmlType::Q6_K => quant::dequantise::<quant::Q6K>(data, to),
        GgmlType::Q2_K => quant::dequantise::<quant::Q2K>(data, to),
        GgmlType::Q3_K => quant::dequantise::<quant::Q3K>(data, to),
        GgmlType::Q8_K => quant::dequantise::<quant::Q8K>(data, to),
        GgmlType::IQ4_NL => quant::dequantise::<quant::Iq4Nl>(data, to),
        GgmlType::IQ4_XS => quant::dequantise::<quant::Iq4Xs>(data, to),
        GgmlType::MXFP4 => quant::dequantise::<quant::Mxfp4>(data, to),
        other => bail!("tensor '{}' is {other}, which this kernel does not read", tensor.name),
    }
    Ok(out)
}

/// Refuses a tensor that holds a value which is not a finite number; returns the greatest magnitude.
pub fn check_finite(name: &str, values: &[f32]) -> Result<f32> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(at) => bail!("tensor '{name}' holds {} at index {at}: its scales are damaged", values[at]),
        None => Ok(values.iter().fold(0f32, |most, v| most.max(v.abs()))),
    }
}
