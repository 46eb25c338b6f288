//! GPTQ over a whole model: calibration tokens walk through it block by block; each matrix is rounded by the inputs that
//! it really gets, those that the matrices rounded before it produce.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use indicatif::{ProgressBar, ProgressStyle};
use llm::gguf::GgmlType;

use super::gptq::{self, Rounded};
use super::hessian::{Factor, Hessian};
use super::plain;
use super::q4_0::Q4_0;
use super::q4_k::Q4K;
use super::q8_0::Q8_0;
use crate::export::gguf::Encoded;
use crate::forward::{self, Block, Forward, Rotation};
use crate::trained::{BLOCK_MATRICES, Trained, in_block};

/// The steps of a block: the matrices (by their places in [`BLOCK_MATRICES`]) that share an input.
const STEPS: [&[usize]; 4] = [&[0, 1, 2], &[3], &[4, 5], &[6]];

/// Rounds the matrices of all blocks to `kind`, by what they see of `tokens`, read in sequences of the model's context.
pub fn round_blocks(model: &Trained, tokens: &[u32], kind: GgmlType) -> Result<BTreeMap<String, Encoded>> {
    let context = model.shape.context as usize;
    ensure!(
        tokens.len() >= context,
        "calibration has {} tokens, but needs at least one context of {context}: build more data",
        tokens.len()
    );
    let mut forward = Forward::new(model)?;
    let turns = Rotation::new(&model.shape, context)?;
    let sequences = tokens.chunks_exact(context);
    let mut streams = sequences.map(|ids| forward.embed(ids)).collect::<Result<Vec<_>>>()?;
    let layers = model.shape.layers;
    let bar = ProgressBar::new(layers * STEPS.len() as u64).with_message(format!("rounding to {kind}"));
    bar.set_style(ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {eta}")?);
    let mut encoded = BTreeMap::new();
    for (layer, block) in forward.blocks_mut().iter_mut().enumerate() {
        for matrices in STEPS {
            let inputs = |block: &Block, x: &Tensor| match matrices {
                [3] => block.attended(&block.attention_input(x)?, &model.shape, &turns),
                [4, 5] => block.ffn_input(x),
                [6] => block.gated(&block.ffn_input(x)?),
                _ => block.attention_input(x),
            };
            // Inputs of o and down are kept: the stream goes on from them.
            let mut seen = streams.iter().map(|x| inputs(block, x)).collect::<Result<Vec<_>>>()?;
            let factor = factor(&seen).with_context(|| format!("block {layer}"))?;
            for &index in matrices {
                let name = in_block(layer, BLOCK_MATRICES.get(index).map_or("", |names| names.0));
                let matrix = model.tensor(&name)?;
                plain::check(&name, matrix, kind)?;
                let Rounded { data, values } = match kind {
                    GgmlType::Q8_0 => gptq::round::<Q8_0>(matrix, &factor),
                    GgmlType::Q4_0 => gptq::round::<Q4_0>(matrix, &factor),
                    GgmlType::Q4_K => gptq::round::<Q4K>(matrix, &factor),
                    other => anyhow::bail!("{other} is not rounded by calibration: take --method plain"),
                };
                let rounded = crate::trained::Matrix { values, ..matrix.clone() };
                if let Some(slot) = block.matrix_mut(index) {
                    *slot = forward::tensor(&rounded)?;
                }
                encoded.insert(name, Encoded { kind, data });
            }
            for (x, seen) in streams.iter_mut().zip(seen.drain(..)) {
                match matrices {
                    [3] => *x = block.add_attention(x, &seen)?,
                    [6] => *x = block.add_ffn(x, &seen)?,
                    _ => {}
                }
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(encoded)
}

fn factor(inputs: &[Tensor]) -> Result<Factor> {
    let size = inputs.first().map_or(Ok(0), |x| x.dim(1))?;
    let mut hessian = Hessian::new(size);
    inputs.iter().try_for_each(|x| hessian.add(x))?;
    hessian.factor()
}
