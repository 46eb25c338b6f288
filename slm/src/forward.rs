//! The model in 32-bit floats on the host, step by step: what the exports are compared with, and where calibration looks
//! into the layers.
//!
//! Written to be read beside the paper's figure (Touvron et al. 2023), not to be fast; the steps of a block are apart,
//! because [`crate::quantize`] replaces a matrix between them. Shapes: `x` is `[tokens, width]` of one sequence from its
//! beginning. Rotation pairs are halves of a head, as Hugging Face stores the weights.

use anyhow::Result;
use candle_core::{D, Device, Tensor};

use crate::export::gguf::EPSILON;
use crate::shape::Shape;
use crate::trained::{self, BLOCK_MATRICES, BLOCK_NORMS, Matrix, Trained};

/// One transformer block.
pub struct Block {
    norms: [Tensor; 2],
    /// In the order of [`BLOCK_MATRICES`]: q, k, v, o, gate, up, down; each `[out, in]`.
    matrices: [Tensor; 7],
}

/// The model.
pub struct Forward {
    shape: Shape,
    embedding: Tensor,
    blocks: Vec<Block>,
    norm: Tensor,
    head: Tensor,
}

/// A matrix for products.
pub fn tensor(matrix: &Matrix) -> Result<Tensor> {
    Ok(Tensor::from_slice(&matrix.values, (matrix.rows, matrix.columns), &Device::Cpu)?)
}

/// `x` over the root of its mean square, times the norm's weights.
fn normed(x: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
    Ok(x.broadcast_div(&(mean + f64::from(EPSILON))?.sqrt()?)?.broadcast_mul(weights)?)
}

/// `x` times a matrix that is stored `[out, in]`.
fn times(x: &Tensor, matrix: &Tensor) -> Result<Tensor> {
    Ok(x.matmul(&matrix.t()?)?)
}

impl Forward {
    /// The model with these weights.
    pub fn new(model: &Trained) -> Result<Forward> {
        let get = |name: &str| tensor(model.tensor(name)?);
        let vector = |name: &str| Ok::<Tensor, anyhow::Error>(get(name)?.flatten_all()?);
        let block = |layer: usize| -> Result<Block> {
            let norm = |i: usize| vector(&trained::in_block(layer, BLOCK_NORMS[i].0));
            let matrix = |i: usize| get(&trained::in_block(layer, BLOCK_MATRICES[i].0));
            let m = (matrix(0)?, matrix(1)?, matrix(2)?, matrix(3)?, matrix(4)?, matrix(5)?, matrix(6)?);
            Ok(Block { norms: [norm(0)?, norm(1)?], matrices: [m.0, m.1, m.2, m.3, m.4, m.5, m.6] })
        };
        let tied = model.shape.tied_embeddings;
        Ok(Forward {
            shape: model.shape.clone(),
            embedding: get(trained::EMBEDDING)?,
            blocks: (0..model.shape.layers as usize).map(block).collect::<Result<_>>()?,
            norm: vector(trained::LAST_NORM)?,
            head: get(if tied { trained::EMBEDDING } else { trained::HEAD })?,
        })
    }

    /// The blocks, in order.
    pub fn blocks_mut(&mut self) -> &mut [Block] {
        &mut self.blocks
    }

    /// The residual stream as the first block sees it.
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        Ok(self.embedding.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)?)
    }

    /// Logits behind each token of one sequence, `[tokens, vocabulary]`.
    pub fn logits(&self, ids: &[u32]) -> Result<Tensor> {
        let turns = Rotation::new(&self.shape, ids.len())?;
        let mut x = self.embed(ids)?;
        for block in &self.blocks {
            x = block
                .add_attention(&x, &block.attended(&block.attention_input(&x)?, &self.shape, &turns)?)?;
            x = block.add_ffn(&x, &block.gated(&block.ffn_input(&x)?)?)?;
        }
        times(&normed(&x, &self.norm)?, &self.head)
    }
}

impl Block {
    /// A matrix by its place in [`BLOCK_MATRICES`].
    pub fn matrix_mut(&mut self, index: usize) -> Option<&mut Tensor> {
        self.matrices.get_mut(index)
    }

    /// What q, k and v are multiplied with.
    pub fn attention_input(&self, x: &Tensor) -> Result<Tensor> {
        normed(x, &self.norms[0])
    }

    /// What o is multiplied with: each head's mean of the values, `[tokens, query width]`.
    pub fn attended(&self, input: &Tensor, shape: &Shape, turns: &Rotation) -> Result<Tensor> {
        let [heads, kv_heads, dim] = [shape.heads, shape.kv_heads, shape.head_dim()].map(|n| n as usize);
        let tokens = input.dim(0)?;
        // [heads, tokens, dim]
        let split = |matrix: &Tensor, heads: usize| -> Result<Tensor> {
            Ok(times(input, matrix)?.reshape((tokens, heads, dim))?.transpose(0, 1)?.contiguous()?)
        };
        // Query heads that follow each other share a key and value head.
        let shared = |t: Tensor| -> Result<Tensor> {
            let each = heads / kv_heads;
            let wide = t.unsqueeze(1)?.broadcast_as((kv_heads, each, tokens, dim))?;
            Ok(wide.contiguous()?.reshape((heads, tokens, dim))?)
        };
        let q = turns.apply(&split(&self.matrices[0], heads)?)?;
        let k = shared(turns.apply(&split(&self.matrices[1], kv_heads)?)?)?;
        let v = shared(split(&self.matrices[2], kv_heads)?)?;
        let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? / (dim as f64).sqrt())?;
        let scores = scores.broadcast_add(&turns.mask)?;
        let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        let weights = scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)?;
        Ok(weights.matmul(&v)?.transpose(0, 1)?.contiguous()?.reshape((tokens, heads * dim))?)
    }

    /// The stream behind attention, of what [`attended`](Self::attended) gave.
    pub fn add_attention(&self, x: &Tensor, attended: &Tensor) -> Result<Tensor> {
        Ok((x + times(attended, &self.matrices[3])?)?)
    }

    /// What gate and up are multiplied with.
    pub fn ffn_input(&self, x: &Tensor) -> Result<Tensor> {
        normed(x, &self.norms[1])
    }

    /// What down is multiplied with: `silu(gate) * up`, `[tokens, ffn]`.
    pub fn gated(&self, input: &Tensor) -> Result<Tensor> {
        Ok((times(input, &self.matrices[4])?.silu()? * times(input, &self.matrices[5])?)?)
    }

    /// The stream behind the block, of what [`gated`](Self::gated) gave.
    pub fn add_ffn(&self, x: &Tensor, gated: &Tensor) -> Result<Tensor> {
        Ok((x + times(gated, &self.matrices[6])?)?)
    }
}

/// Cosines and sines of every position and pair, and which positions each token does not see.
pub struct Rotation {
    cos: Tensor,
    sin: Tensor,
    mask: Tensor,
}

impl Rotation {
    /// For the first `tokens` positions.
    pub fn new(shape: &Shape, tokens: usize) -> Result<Rotation> {
        let pairs = shape.head_dim() as usize / 2;
        let angle = |position: usize, pair: usize| {
            position as f64 * shape.rope_base.powf(-(pair as f64) / pairs as f64)
        };
        let table = |turn: fn(f64) -> f64| {
            let numbers = (0..tokens).flat_map(|p| (0..pairs).map(move |i| turn(angle(p, i)) as f32));
            Tensor::from_iter(numbers, &Device::Cpu)?.reshape((tokens, pairs))
        };
        let unseen = |p: usize, other: usize| if other > p { f32::NEG_INFINITY } else { 0.0 };
        let mask = (0..tokens).flat_map(|p| (0..tokens).map(move |other| unseen(p, other)));
        let mask = Tensor::from_iter(mask, &Device::Cpu)?.reshape((tokens, tokens))?;
        Ok(Rotation { cos: table(f64::cos)?, sin: table(f64::sin)?, mask })
    }

    /// Turns `[heads, tokens, dim]`.
    fn apply(&self, t: &Tensor) -> Result<Tensor> {
        let half = t.dim(D::Minus1)? / 2;
        let (a, b) = (t.narrow(D::Minus1, 0, half)?, t.narrow(D::Minus1, half, half)?);
        let first = (a.broadcast_mul(&self.cos)? - b.broadcast_mul(&self.sin)?)?;
        let second = (a.broadcast_mul(&self.sin)? + b.broadcast_mul(&self.cos)?)?;
        Ok(Tensor::cat(&[first, second], D::Minus1)?)
    }
}
