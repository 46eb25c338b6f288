//! The network's loss and its gradient, block by block.
//!
//! The large products are candle's or, in bf16, the `llm` crate's ([`super::precision`]); what lies between them goes over
//! memory once ([`super::vector`], [`super::attention`]). The gradient is written out instead of recorded: a recorder
//! keeps every intermediate and adds every gradient to a zero first. That it is the gradient is tested against
//! candle's own recorder over the plain formulas (`tests` below).

use super::attention::Attention;
use super::parameters::{Parameters, place, read};
use super::precision::Precision;
use super::vector::{self, vectorised};
use crate::shape::Shape;
use anyhow::Result;
use candle_core::{Device, Tensor};

/// Added to the mean square under the root of a norm.
pub const EPSILON: f32 = 1e-5;

/// The network's shape, ready to be run.
pub struct Model {
    width: usize,
    ffn: usize,
    layers: usize,
    attention: Attention,
    precision: Precision,
}

/// A gradient: one slice of numbers for each parameter, in the parameters' order.
#[derive(Debug, Clone)]
pub struct Gradient(pub Vec<Vec<f32>>);

impl Gradient {
    /// Zero, of the parameters' sizes.
    pub fn zero(parameters: &Parameters) -> Self {
        Gradient(parameters.all.iter().map(|p| vec![0.0; p.rows() * p.columns]).collect())
    }

    /// Adds another.
    pub fn add(&mut self, other: &Gradient) {
        for (sum, more) in self.0.iter_mut().zip(&other.0) {
            add(sum, more);
        }
    }

    /// The root of the sum of all squares.
    pub fn norm(&self) -> f32 {
        let squares = self.0.iter().map(|g| f64::from(vectorised!(vector::sum_of(g, g, |a, b| a * b))));
        squares.sum::<f64>().sqrt() as f32
    }

    fn add_to(&mut self, index: usize, more: &Tensor) -> Result<()> {
        read(more, |more| add(&mut self.0[index], more))
    }
}

fn add(sum: &mut [f32], more: &[f32]) {
    vectorised!(sum.iter_mut().zip(more).for_each(|(s, m)| *s += m));
}

/// What a block's forward pass leaves for its backward pass.
struct Kept {
    input: Tensor,
    input_scale: Vec<f32>,
    normed: Tensor,
    qkv: Vec<f32>,
    log_sums: Vec<f32>,
    attended: Tensor,
    middle: Tensor,
    middle_scale: Vec<f32>,
    middle_normed: Tensor,
    gate_up: Tensor,
    gated: Tensor,
}

impl Model {
    /// A network of this shape, whose large products are made in this precision.
    pub fn new(shape: &Shape, precision: Precision) -> Self {
        let [heads, kv_heads] = [shape.heads as usize, shape.kv_heads as usize];
        let [head_dim, context] = [shape.head_dim() as usize, shape.context as usize];
        Model {
            width: shape.width as usize,
            ffn: shape.ffn as usize,
            layers: shape.layers as usize,
            attention: Attention::new(heads, kv_heads, head_dim, context, shape.rope_base),
            precision,
        }
    }

    /// The sum over all positions of −ln P(target), for sequences of `length` tokens one after the other.
    pub fn loss(
        &self,
        parameters: &Parameters,
        tokens: &[u32],
        targets: &[u32],
        length: usize,
    ) -> Result<f64> {
        let (hidden, _) = self.forward(parameters, tokens, length)?;
        let (normed, _) = norm(&hidden, parameters.norm())?;
        let mut logits = self.head(&normed, parameters)?;
        Ok(cross_entropy(&mut logits, targets, 0.0))
    }

    /// Logits of every position, `[tokens][vocabulary]`.
    pub fn logits(&self, parameters: &Parameters, tokens: &[u32], length: usize) -> Result<Vec<f32>> {
        let (hidden, _) = self.forward(parameters, tokens, length)?;
        self.head(&norm(&hidden, parameters.norm())?.0, parameters)
    }

    /// As [`loss`](Self::loss); adds the gradient of `scale` times the sum to `gradient`.
    pub fn gradient(
        &self,
        parameters: &Parameters,
        tokens: &[u32],
        targets: &[u32],
        length: usize,
        scale: f32,
        gradient: &mut Gradient,
    ) -> Result<f64> {
        let (hidden, kept) = self.forward(parameters, tokens, length)?;
        let (normed, scales) = norm(&hidden, parameters.norm())?;
        let mut logits = self.head(&normed, parameters)?;
        let loss = cross_entropy(&mut logits, targets, scale);
        let d_logits = Tensor::from_vec(logits, (tokens.len(), parameters.all[0].rows()), &Device::Cpu)?;
        gradient.add_to(0, &self.times(&d_logits.t()?, &normed)?)?;
        let d_normed = self.times(&d_logits, parameters.embedding())?;
        let last = gradient.0.len() - 1;
        let mut d = norm_gradient(&hidden, &scales, parameters.norm(), &d_normed, &mut gradient.0[last])?;

        for (layer, kept) in kept.iter().enumerate().rev() {
            d = self.block_gradient(parameters, layer, kept, d, length, gradient)?;
        }
        read(&d, |d| {
            for (token, d) in tokens.iter().zip(d.chunks_exact(self.width)) {
                add(&mut gradient.0[0][*token as usize * self.width..][..self.width], d);
            }
        })?;
        Ok(loss)
    }

    fn times(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.precision.product(a, b)
    }

    /// Logits, from the last norm's output.
    fn head(&self, normed: &Tensor, parameters: &Parameters) -> Result<Vec<f32>> {
        read(&self.times(normed, &parameters.embedding().t()?)?, <[f32]>::to_vec)
    }

    fn forward(&self, parameters: &Parameters, tokens: &[u32], length: usize) -> Result<(Tensor, Vec<Kept>)> {
        let indices = Tensor::from_slice(tokens, tokens.len(), &Device::Cpu)?;
        let mut x = parameters.embedding().embedding(&indices)?;
        let mut kept = Vec::with_capacity(self.layers);
        for layer in 0..self.layers {
            let weights = |place| parameters.block(layer, place);
            let (normed, input_scale) = norm(&x, weights(place::ATTENTION_NORM))?;
            let mut qkv = read(&self.times(&normed, &weights(place::QKV).t()?)?, <[f32]>::to_vec)?;
            self.attention.rotate(&mut qkv, length, 1.0);
            let (attended, log_sums) = self.attend(&qkv, length)?;
            let middle = sum(&x, &self.times(&attended, &weights(place::OUT).t()?)?)?;
            let (middle_normed, middle_scale) = norm(&middle, weights(place::FFN_NORM))?;
            let gate_up = self.times(&middle_normed, &weights(place::GATE_UP).t()?)?;
            let gated = self.gate(&gate_up)?;
            let next = sum(&middle, &self.times(&gated, &weights(place::DOWN).t()?)?)?;
            kept.push(Kept {
                input: std::mem::replace(&mut x, next),
                input_scale,
                normed,
                qkv,
                log_sums,
                attended,
                middle,
                middle_scale,
                middle_normed,
                gate_up,
                gated,
            });
        }
        Ok((x, kept))
    }

    fn attend(&self, qkv: &[f32], length: usize) -> Result<(Tensor, Vec<f32>)> {
        let (row, out_row) = (self.attention.row(), self.attention.out_row());
        let tokens = qkv.len() / row;
        let mut out = vec![0.0; tokens * out_row];
        let mut log_sums = vec![0.0; tokens * self.attention.heads];
        let sequences = qkv.chunks(length * row).zip(out.chunks_mut(length * out_row));
        for ((rows, out), sums) in sequences.zip(log_sums.chunks_mut(length * self.attention.heads)) {
            self.attention.forward(rows, out, sums);
        }
        Ok((Tensor::from_vec(out, (tokens, out_row), &Device::Cpu)?, log_sums))
    }

    /// silu(gate) · up.
    fn gate(&self, gate_up: &Tensor) -> Result<Tensor> {
        let rows = gate_up.dim(0)?;
        let mut out = vec![0.0; rows * self.ffn];
        read(gate_up, |values| {
            vectorised!({
                for (row, out) in values.chunks_exact(2 * self.ffn).zip(out.chunks_exact_mut(self.ffn)) {
                    let (gates, ups) = row.split_at(self.ffn);
                    for ((out, gate), up) in out.iter_mut().zip(gates).zip(ups) {
                        *out = gate / (1.0 + vector::exp(-*gate)) * up;
                    }
                }
            })
        })?;
        Ok(Tensor::from_vec(out, (rows, self.ffn), &Device::Cpu)?)
    }

    fn gate_gradient(&self, gate_up: &Tensor, d_gated: &Tensor) -> Result<Tensor> {
        let rows = gate_up.dim(0)?;
        let mut d = vec![0.0; rows * 2 * self.ffn];
        read(gate_up, |values| {
            read(d_gated, |d_gated| {
                vectorised!({
                    let rows = values.chunks_exact(2 * self.ffn).zip(d_gated.chunks_exact(self.ffn));
                    for ((row, dg), d) in rows.zip(d.chunks_exact_mut(2 * self.ffn)) {
                        let (gates, ups) = row.split_at(self.ffn);
                        let (d_gates, d_ups) = d.split_at_mut(self.ffn);
                        for i in 0..self.ffn {
                            let sigmoid = 1.0 / (1.0 + vector::exp(-gates[i]));
                            let silu = gates[i] * sigmoid;
                            d_ups[i] = dg[i] * silu;
                            d_gates[i] = dg[i] * ups[i] * (sigmoid + silu * (1.0 - sigmoid));
                        }
                    }
                })
            })
        })??;
        Ok(Tensor::from_vec(d, (rows, 2 * self.ffn), &Device::Cpu)?)
    }

    fn block_gradient(
        &self,
        parameters: &Parameters,
        layer: usize,
        kept: &Kept,
        d: Tensor,
        length: usize,
        gradient: &mut Gradient,
    ) -> Result<Tensor> {
        let weights = |place| parameters.block(layer, place);
        let index = |place| Parameters::index(layer, place);

        gradient.add_to(index(place::DOWN), &self.times(&d.t()?, &kept.gated)?)?;
        let d_gate_up = self.gate_gradient(&kept.gate_up, &self.times(&d, weights(place::DOWN))?)?;
        gradient.add_to(index(place::GATE_UP), &self.times(&d_gate_up.t()?, &kept.middle_normed)?)?;
        let d_normed = self.times(&d_gate_up, weights(place::GATE_UP))?;
        let norm = weights(place::FFN_NORM);
        let d_norm = &mut gradient.0[index(place::FFN_NORM)];
        let d = sum(&d, &norm_gradient(&kept.middle, &kept.middle_scale, norm, &d_normed, d_norm)?)?;

        gradient.add_to(index(place::OUT), &self.times(&d.t()?, &kept.attended)?)?;
        let d_attended = self.times(&d, weights(place::OUT))?;
        let d_qkv = self.attend_gradient(kept, &d_attended, length)?;
        gradient.add_to(index(place::QKV), &self.times(&d_qkv.t()?, &kept.normed)?)?;
        let d_normed = self.times(&d_qkv, weights(place::QKV))?;
        let norm = weights(place::ATTENTION_NORM);
        let d_norm = &mut gradient.0[index(place::ATTENTION_NORM)];
        sum(&d, &norm_gradient(&kept.input, &kept.input_scale, norm, &d_normed, d_norm)?)
    }

    fn attend_gradient(&self, kept: &Kept, d_attended: &Tensor, length: usize) -> Result<Tensor> {
        let (row, out_row, heads) = (self.attention.row(), self.attention.out_row(), self.attention.heads);
        let mut d_qkv = vec![0.0; kept.qkv.len()];
        read(&kept.attended, |out| {
            read(d_attended, |d_out| {
                let ins = kept.qkv.chunks(length * row).zip(kept.log_sums.chunks(length * heads));
                let outs = out.chunks(length * out_row).zip(d_out.chunks(length * out_row));
                for (((rows, sums), (out, d_out)), d) in ins.zip(outs).zip(d_qkv.chunks_mut(length * row)) {
                    self.attention.backward(rows, out, sums, d_out, d);
                }
            })
        })??;
        self.attention.rotate(&mut d_qkv, length, -1.0);
        Ok(Tensor::from_vec(d_qkv, (kept.qkv.len() / row, row), &Device::Cpu)?)
    }
}

/// a + b; candle's own would spread it over threads that other lanes are using.
fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let mut out = read(a, <[f32]>::to_vec)?;
    read(b, |b| add(&mut out, b))?;
    Ok(Tensor::from_vec(out, a.shape(), &Device::Cpu)?)
}

/// x / √(mean x² + ε) · weights; and that divisor's inverse for each row.
fn norm(x: &Tensor, weights: &Tensor) -> Result<(Tensor, Vec<f32>)> {
    let (rows, width) = x.dims2()?;
    let mut out = vec![0.0; rows * width];
    let mut scales = vec![0.0; rows];
    read(x, |x| {
        read(weights, |weights| {
            vectorised!({
                let rows = x.chunks_exact(width).zip(out.chunks_exact_mut(width));
                for ((x, out), scale) in rows.zip(&mut scales) {
                    *scale = 1.0 / (vector::sum_of(x, x, |a, b| a * b) / width as f32 + EPSILON).sqrt();
                    for ((out, x), weight) in out.iter_mut().zip(x).zip(weights) {
                        *out = x * *scale * weight;
                    }
                }
            })
        })
    })??;
    Ok((Tensor::from_vec(out, (rows, width), &Device::Cpu)?, scales))
}

/// The gradient of [`norm`] with respect to x; adds that of the weights to `d_weights`.
fn norm_gradient(
    x: &Tensor,
    scales: &[f32],
    weights: &Tensor,
    d_out: &Tensor,
    d_weights: &mut [f32],
) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    let mut d = vec![0.0; rows * width];
    read(x, |x| {
        read(weights, |weights| {
            read(d_out, |d_out| {
                vectorised!({
                    let mut weighted = vec![0.0; width];
                    let rows = x.chunks_exact(width).zip(d_out.chunks_exact(width)).zip(scales);
                    for (((x, d_out), scale), d) in rows.zip(d.chunks_exact_mut(width)) {
                        for i in 0..width {
                            weighted[i] = d_out[i] * weights[i];
                            d_weights[i] += d_out[i] * x[i] * scale;
                        }
                        let along = vector::sum_of(&weighted, x, |a, b| a * b) * scale * scale / width as f32;
                        for i in 0..width {
                            d[i] = scale * (weighted[i] - along * x[i]);
                        }
                    }
                })
            })
        })
    })???;
    Ok(Tensor::from_vec(d, (rows, width), &Device::Cpu)?)
}

/// The sum of −ln softmax(logits)\[target\]; where `scale` is not 0 the logits become the gradient of `scale` times it.
fn cross_entropy(logits: &mut [f32], targets: &[u32], scale: f32) -> f64 {
    let width = logits.len() / targets.len();
    let mut loss = 0.0;
    vectorised!({
        for (row, target) in logits.chunks_exact_mut(width).zip(targets) {
            let most = vector::greatest(row);
            let wanted = row[*target as usize] - most;
            row.iter_mut().for_each(|v| *v = vector::exp(*v - most));
            let sum = vector::sum_of(row, row, |p, _| p);
            loss += f64::from(sum.ln() - wanted);
            let factor = scale / sum;
            row.iter_mut().for_each(|v| *v *= factor);
            row[*target as usize] -= scale;
        }
    });
    loss
}

#[cfg(test)]
mod tests;
