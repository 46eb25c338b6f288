//! Causal grouped-query attention of one query head over all past positions.
//!
//! Positions are taken in chunks of 16 with a running maximum and sum (the "online softmax" of Milakov and
//! Gimelshein 2018), so no buffer of scores is needed. Chunks begin at multiples of 16 whatever the batch, so a token
//! gets the same result in a prefill, alone, or after a cache hit.
//!
//! With the integer cache, queries, keys and values are integers, and so are the softmax weights within a chunk;
//! only one step per chunk and dimension is done in floats.

use super::config::MAX_HEAD_DIM;
use super::kv::{Head, MAX_STORED, to_integers};
use super::math::{exp, soft_cap};
use crate::quant::float::sum;
use crate::simd::{Variant, dot_i16, weighted_sum_i16};
use core::ops::Range;

/// Positions in a chunk.
const CHUNK: usize = 16;

/// Largest integer softmax weight: `CHUNK * MAX_WEIGHT * MAX_STORED < 2^31`.
const MAX_WEIGHT: i32 = 16383;
const _: () = assert!(CHUNK as i64 * MAX_WEIGHT as i64 * (MAX_STORED as i64) < 1 << 31);

/// Largest integer query for a head of `head_dim`: the dot product with a key stays below 2^31.
fn max_query(head_dim: usize) -> i32 {
    (i32::MAX / (MAX_STORED * head_dim.max(1) as i32)).min(MAX_STORED)
}

/// The running state of one head.
struct Online {
    maximum: f32,
    sum: f32,
    values: [f32; MAX_HEAD_DIM],
}

impl Online {
    /// Takes in the scores of a chunk: turns them into weights, and rescales what was summed so far
    /// when the maximum rises.
    fn weigh(&mut self, scores: &mut [f32], head_dim: usize) {
        let highest = scores.iter().fold(self.maximum, |max, &s| if s > max { s } else { max });
        if highest > self.maximum {
            let factor = exp(self.maximum - highest);
            self.sum *= factor;
            self.values[..head_dim].iter_mut().for_each(|v| *v *= factor);
            self.maximum = highest;
        }
        for score in scores {
            *score = exp(*score - self.maximum);
            self.sum += *score;
        }
    }
}

/// What happens to scores before the softmax.
#[derive(Debug, Clone, Copy)]
pub struct Scores {
    /// They are multiplied by this,
    pub scale: f32,
    /// and limited to this by a tanh; 0: not at all.
    pub cap: f32,
}

/// Parts of `positions`, cut at the multiples of [`CHUNK`].
fn chunks(positions: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let Range { start, end } = positions;
    (start / CHUNK..end.div_ceil(CHUNK)).map(move |c| (c * CHUNK).max(start)..((c + 1) * CHUNK).min(end))
}

/// `out = softmax(scores(query . keys)) . values` over some positions.
pub fn attend(
    variant: Variant,
    query: &[f32],
    keys: Head<'_>,
    values: Head<'_>,
    positions: Range<usize>,
    scores: Scores,
    out: &mut [f32],
) {
    let head_dim = query.len();
    let mut state = Online { maximum: f32::NEG_INFINITY, sum: 0.0, values: [0.0; MAX_HEAD_DIM] };
    let Scores { scale, cap } = scores;
    match (keys, values) {
        (Head::Integer(keys, key_scales), Head::Integer(values, value_scales)) => {
            let mut q = [0i16; MAX_HEAD_DIM];
            let q = &mut q[..head_dim];
            let q_scale = to_integers(query, max_query(head_dim), q) * scale;
            for here in chunks(positions) {
                let bytes = here.start * head_dim..here.end * head_dim;
                let mut weights = [0.0f32; CHUNK];
                let weights = &mut weights[..here.len()];
                let mut dots = [0i32; CHUNK];
                dot_i16(variant, q, &keys[bytes.clone()], &mut dots[..here.len()]);
                for ((weight, dot), key_scale) in weights.iter_mut().zip(dots).zip(&key_scales[here.clone()])
                {
                    *weight = dot as f32 * (q_scale * key_scale);
                }
                soft_cap(weights, cap);
                state.weigh(weights, head_dim);
                for (weight, value_scale) in weights.iter_mut().zip(&value_scales[here]) {
                    *weight *= value_scale;
                }
                let mut whole = [0i16; CHUNK];
                let unit = to_integers(weights, MAX_WEIGHT, &mut whole);
                let mut sums = [0i32; MAX_HEAD_DIM];
                weighted_sum_i16(variant, &whole[..weights.len()], &values[bytes], &mut sums[..head_dim]);
                for (value, sum) in state.values[..head_dim].iter_mut().zip(sums) {
                    *value += sum as f32 * unit;
                }
            }
        }
        (Head::Float(keys), Head::Float(values)) => {
            for Range { start, end } in chunks(positions) {
                let (keys, values) =
                    (&keys[start * head_dim..end * head_dim], &values[start * head_dim..end * head_dim]);
                let mut weights = [0.0f32; CHUNK];
                let weights = &mut weights[..end - start];
                for (weight, key) in weights.iter_mut().zip(keys.chunks_exact(head_dim)) {
                    *weight = dot_f32(query, key) * scale;
                }
                soft_cap(weights, cap);
                state.weigh(weights, head_dim);
                for (weight, value) in weights.iter().zip(values.chunks_exact(head_dim)) {
                    for (sum, v) in state.values.iter_mut().zip(value) {
                        *sum += weight * v;
                    }
                }
            }
        }
        // A cache has one format for both.
        _ => {}
    }
    let inverse = 1.0 / state.sum;
    for (out, value) in out.iter_mut().zip(state.values) {
        *out = value * inverse;
    }
}

fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    sum(&lanes)
}
