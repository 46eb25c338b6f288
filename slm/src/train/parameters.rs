//! The weights of a llama-family model while they are trained: fused where one product serves several matrices.

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Storage, Tensor};
use llm::random::SplitMix64;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::shape::Shape;

/// How a parameter is updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A matrix inside a block: orthogonalised momentum.
    Hidden,
    /// The embedding, which is the output matrix as well: AdamW.
    Embedding,
    /// The weights of a norm: AdamW without decay.
    Norm,
}

/// A matrix of the published model inside a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Hugging Face's name of it.
    pub name: String,
    /// Its rows.
    pub rows: usize,
}

/// One tensor that is trained: the rows of its parts, one under the other.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The matrices in it.
    pub parts: Vec<Part>,
    /// Their common width.
    pub columns: usize,
    /// How it is updated.
    pub kind: Kind,
    /// `[rows][columns]`.
    pub values: Tensor,
}

impl Parameter {
    /// Rows of all parts.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(|p| p.rows).sum()
    }
}

/// Where a block's parameters stand in [`Parameters::all`], counted from the block's first.
pub mod place {
    /// Weights of the norm before attention.
    pub const ATTENTION_NORM: usize = 0;
    /// Queries, keys and values.
    pub const QKV: usize = 1;
    /// Attention's output.
    pub const OUT: usize = 2;
    /// Weights of the norm before the feed-forward network.
    pub const FFN_NORM: usize = 3;
    /// Gate and up.
    pub const GATE_UP: usize = 4;
    /// Down.
    pub const DOWN: usize = 5;
    /// Parameters of a block.
    pub const COUNT: usize = 6;
}

/// All parameters: the embedding, the blocks', the last norm.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// In the order in which they are used.
    pub all: Vec<Parameter>,
}

impl Parameters {
    /// Random weights: normal, 0.02 wide, the matrices that write to the residual stream narrower by the root of
    /// twice the layers (GPT-2's rule); norms are 1.
    pub fn random(shape: &Shape, seed: u64) -> Result<Self> {
        let mut random = SplitMix64::new(seed);
        let narrow = 1.0 / (2.0 * shape.layers as f64).sqrt();
        Self::build(shape, |parts, columns, kind| {
            let wide = if parts.iter().any(|p| is_residual(&p.name)) { 0.02 * narrow } else { 0.02 };
            let count = parts.iter().map(|p| p.rows).sum::<usize>() * columns;
            Ok(match kind {
                Kind::Norm => vec![1.0; count],
                _ => (0..count).map(|_| (wide * normal(&mut random)) as f32).collect(),
            })
        })
    }

    /// The weights of a file in Hugging Face's names.
    pub fn from_safetensors(shape: &Shape, bytes: &[u8]) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes).context("the weights are no safetensors file")?;
        Self::build(shape, |parts, columns, _| {
            let mut values = Vec::new();
            for part in parts {
                let tensor = file.tensor(&part.name).with_context(|| format!("{} is missing", part.name))?;
                let count: usize = tensor.shape().iter().product();
                ensure!(
                    tensor.dtype() == Dtype::F32 && count == part.rows * columns,
                    "{} is {:?} {:?}, but the configuration makes it F32 {} × {columns}",
                    part.name,
                    tensor.dtype(),
                    tensor.shape(),
                    part.rows
                );
                values.extend(
                    tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
                );
            }
            Ok(values)
        })
    }

    fn build(
        shape: &Shape,
        mut values: impl FnMut(&[Part], usize, Kind) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        ensure!(shape.tied_embeddings, "only tied embeddings are trained: set tied_embeddings = true");
        let [width, ffn] = [shape.width as usize, shape.ffn as usize];
        let [query, kv] = [shape.query_width() as usize, shape.kv_width() as usize];
        let mut all = Vec::new();
        let mut add = |parts: &[(String, usize)], columns: usize, kind: Kind| -> Result<()> {
            let parts: Vec<Part> =
                parts.iter().map(|(name, rows)| Part { name: name.clone(), rows: *rows }).collect();
            let values = values(&parts, columns, kind)?;
            let rows: usize = parts.iter().map(|p| p.rows).sum();
            let values = Tensor::from_vec(values, (rows, columns), &Device::Cpu)?;
            all.push(Parameter { parts, columns, kind, values });
            Ok(())
        };
        add(&[("model.embed_tokens.weight".into(), shape.vocabulary as usize)], width, Kind::Embedding)?;
        for layer in 0..shape.layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
            add(&[(name("input_layernorm"), 1)], width, Kind::Norm)?;
            let qkv = [("q", query), ("k", kv), ("v", kv)];
            add(&qkv.map(|(m, rows)| (name(&format!("self_attn.{m}_proj")), rows)), width, Kind::Hidden)?;
            add(&[(name("self_attn.o_proj"), width)], query, Kind::Hidden)?;
            add(&[(name("post_attention_layernorm"), 1)], width, Kind::Norm)?;
            add(&[(name("mlp.gate_proj"), ffn), (name("mlp.up_proj"), ffn)], width, Kind::Hidden)?;
            add(&[(name("mlp.down_proj"), width)], ffn, Kind::Hidden)?;
        }
        add(&[("model.norm.weight".into(), 1)], width, Kind::Norm)?;
        Ok(Parameters { all })
    }

    /// The embedding.
    pub fn embedding(&self) -> &Tensor {
        &self.all[0].values
    }

    /// A block's parameter, by [`place`].
    pub fn block(&self, layer: usize, place: usize) -> &Tensor {
        &self.all[Self::index(layer, place)].values
    }

    /// Where a block's parameter stands.
    pub fn index(layer: usize, place: usize) -> usize {
        1 + layer * place::COUNT + place
    }

    /// The last norm's weights.
    pub fn norm(&self) -> &Tensor {
        &self.all[self.all.len() - 1].values
    }

    /// The weights as a safetensors file in Hugging Face's names.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let mut parts = Vec::new();
        for parameter in &self.all {
            let bytes =
                read(&parameter.values, |v| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())?;
            let mut at = 0;
            for part in &parameter.parts {
                let size = part.rows * parameter.columns * 4;
                let shape = match parameter.kind {
                    Kind::Norm => vec![parameter.columns],
                    _ => vec![part.rows, parameter.columns],
                };
                parts.push((part.name.clone(), shape, bytes[at..at + size].to_vec()));
                at += size;
            }
        }
        let views = parts.iter().map(|(name, shape, bytes)| {
            Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?))
        });
        let views: Vec<_> = views.collect::<Result<_>>()?;
        Ok(safetensors::serialize(views, None)?)
    }
}

/// True of the matrices whose product is added to the residual stream.
fn is_residual(name: &str) -> bool {
    name.contains("o_proj") || name.contains("down_proj")
}

/// A normal deviate (Box and Muller).
fn normal(random: &mut SplitMix64) -> f64 {
    let radius = (-2.0 * (1.0 - random.next_f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.next_f64()).cos()
}

/// Lends the numbers of a contiguous F32 tensor.
pub fn read<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    let (from, to) = layout.contiguous_offsets().context("a tensor that should be contiguous is not")?;
    match &*storage {
        Storage::Cpu(cpu) => Ok(f(&cpu.as_slice::<f32>()?[from..to])),
        _ => anyhow::bail!("a tensor that should be in memory is on another device"),
    }
}
