//! Causal grouped-query attention of one query head over all past positions.
//!
//! Positions are taken in chunks of 16 with a running maximum and sum (the "online softmax" of Milakov and
//! Gimelshein 2018), so no buffer of scores is needed, and a query reads keys and values once. Chunks begin at multiples of 16
//! whatever the batch, so a token gets the same result in a prefill, alone, or after a cache hit.
//!
//! With an integer cache, queries, keys and values are integers, and so are the softmax weights within a chunk;
//! only one step per chunk and dimension is done in floats. [`attend_integers`] is compiled for each width of registers
//! (see [`crate::simd`]), with the two products of a chunk as its parameters.

use super::config::MAX_HEAD_DIM;
use super::kv::Head;
use super::math::{exp, soft_cap};
use super::stored::{CHUNK, Stored, to_integers};
use crate::quant::float::sum;
use crate::simd::{self, Variant};
use core::ops::Range;

/// Largest integer softmax weight.
const MAX_WEIGHT: i32 = 16383;
const _: () = assert!(CHUNK as i64 * MAX_WEIGHT as i64 * (<i16 as Stored>::MAX as i64) < 1 << 31);
const _: () = assert!(CHUNK as i64 * MAX_WEIGHT as i64 * (<i8 as Stored>::MAX as i64) < 1 << 31);

/// Largest integer query for a head of `head_dim`: the dot product with a key stays below 2^31.
fn max_query<T: Stored>(head_dim: usize) -> i32 {
    (i32::MAX / (T::MAX * head_dim.max(1) as i32)).min(8191)
}

/// What happens to scores before the softmax.
#[derive(Debug, Clone, Copy)]
pub struct Scores {
    /// They are multiplied by this,
    pub scale: f32,
    /// and limited to this by a tanh; 0: not at all.
    pub cap: f32,
}

/// The softmax weights of a chunk.
type Weights = [f32; CHUNK];

/// The running state of one head.
struct Online {
    maximum: f32,
    sum: f32,
    values: [f32; MAX_HEAD_DIM],
}

impl Online {
    fn new() -> Self {
        Self { maximum: f32::NEG_INFINITY, sum: 0.0, values: [0.0; MAX_HEAD_DIM] }
    }

    /// Takes in the scores of a chunk, of which those of `seen` count: turns them into weights, the others zero, and
    /// rescales what was summed so far when the maximum rises.
    #[inline(always)]
    fn weigh(&mut self, scores: &mut Weights, seen: &Range<usize>, head_dim: usize) {
        for (i, score) in scores.iter_mut().enumerate() {
            *score = if seen.contains(&i) { *score } else { f32::NEG_INFINITY };
        }
        let larger = |a: f32, b: f32| if a > b { a } else { b };
        let [low, high] = halves(scores);
        let highest: [f32; CHUNK / 2] = core::array::from_fn(|i| larger(low[i], high[i]));
        let highest = highest.into_iter().fold(self.maximum, |max, score| larger(score, max));
        if highest > self.maximum {
            let factor = exp(self.maximum - highest);
            self.sum *= factor;
            self.values[..head_dim].iter_mut().for_each(|v| *v *= factor);
            self.maximum = highest;
        }
        scores.iter_mut().for_each(|score| *score = exp(*score - highest));
        let [low, high] = halves(scores);
        self.sum += sum(&core::array::from_fn(|i| low[i] + high[i]));
    }

    /// The result.
    #[inline(always)]
    fn finish(&self, out: &mut [f32]) {
        let inverse = 1.0 / self.sum;
        for (out, value) in out.iter_mut().zip(self.values) {
            *out = value * inverse;
        }
    }
}

fn halves(weights: &Weights) -> [[f32; CHUNK / 2]; 2] {
    core::array::from_fn(|half| core::array::from_fn(|i| weights[half * CHUNK / 2 + i]))
}

/// The chunks that `positions` touch: the number of each, and the positions in it.
fn chunks(positions: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    let Range { start, end } = positions;
    (start / CHUNK..end.div_ceil(CHUNK)).map(move |chunk| {
        let first = chunk * CHUNK;
        (chunk, start.saturating_sub(first)..(end - first).min(CHUNK))
    })
}

/// `out = softmax(scores(query . keys)) . values` over some positions.
pub fn attend(
    variant: Variant,
    query: &[f32],
    head: Head<'_>,
    seen: Range<usize>,
    scores: Scores,
    out: &mut [f32],
) {
    match head {
        Head::Short(head) => simd::attend(variant, query, head, seen, scores, out),
        Head::Byte(head) => simd::attend(variant, query, head, seen, scores, out),
        Head::Float(head) => attend_floats(query, head, seen, scores, out),
    }
}

/// Keys and values of one head, those of all sequences in pages, and a scale for each position.
#[derive(Clone, Copy)]
pub struct Integers<'a, T> {
    /// Keys, `[page][head_dim * 16]`.
    pub keys: &'a [T],
    /// Their scales, `[page][16]`.
    pub key_scales: &'a [f32],
    /// Values, as the keys.
    pub values: &'a [T],
    /// Their scales.
    pub value_scales: &'a [f32],
    /// The page of each chunk of one sequence.
    pub pages: &'a [u32],
}

/// As [`Integers`], in floats.
#[derive(Clone, Copy)]
pub struct Floats<'a> {
    /// Keys, `[page][16][head_dim]`.
    pub keys: &'a [f32],
    /// Values, as the keys.
    pub values: &'a [f32],
    /// The page of each chunk of one sequence.
    pub pages: &'a [u32],
}

/// [`attend`] in integers. `dots(query, keys, out)` is `out[position] = query . key` for a chunk, the query in pairs of
/// dimensions; `add(weights, values, out)` is `out = weights . values`, the weights in pairs of positions.
#[inline(always)]
pub fn attend_integers<T: Stored>(
    query: &[f32],
    head: Integers<'_, T>,
    seen: Range<usize>,
    scores: Scores,
    out: &mut [f32],
    dots: impl Fn(&[[i16; 2]], &[T], &mut [i32; CHUNK]),
    add: impl Fn(&[[i16; 2]; CHUNK / 2], &[T], &mut [i32]),
) {
    let head_dim = query.len();
    let size = CHUNK * head_dim;
    let mut state = Online::new();
    let mut q = [[0i16; 2]; MAX_HEAD_DIM / 2];
    let q_scale = to_integers(query, max_query::<T>(head_dim), |d, value| q[d / 2][d % 2] = value as i16);
    let q = &q[..head_dim / 2];
    let unit = q_scale * scores.scale;
    for (chunk, seen) in chunks(seen) {
        let Some(page) = head.pages.get(chunk).map(|&page| page as usize) else { return };
        let here = page * size..(page + 1) * size;
        let (Some(keys), Some(values)) = (head.keys.get(here.clone()), head.values.get(here)) else { return };
        let key_scales = scales(head.key_scales, page);
        let value_scales = scales(head.value_scales, page);
        let mut sums = [0i32; CHUNK];
        dots(q, keys, &mut sums);
        let mut weights: Weights = core::array::from_fn(|i| sums[i] as f32 * (unit * key_scales[i]));
        soft_cap(&mut weights, scores.cap);
        state.weigh(&mut weights, &seen, head_dim);
        // Where nothing was stored, a scale can be anything.
        for (i, weight) in weights.iter_mut().enumerate() {
            *weight = if seen.contains(&i) { *weight * value_scales[i] } else { 0.0 };
        }
        let mut whole = [[0i16; 2]; CHUNK / 2];
        let unit = to_integers(&weights, MAX_WEIGHT, |p, value| whole[p / 2][p % 2] = value as i16);
        let mut sums = [0i32; MAX_HEAD_DIM];
        add(&whole, values, &mut sums[..head_dim]);
        for (value, sum) in state.values[..head_dim].iter_mut().zip(&sums[..head_dim]) {
            *value += *sum as f32 * unit;
        }
    }
    state.finish(out);
}

/// The scales of a page.
#[inline(always)]
fn scales(scales: &[f32], page: usize) -> Weights {
    scales.as_chunks::<CHUNK>().0.get(page).copied().unwrap_or_default()
}

fn attend_floats(query: &[f32], head: Floats<'_>, seen: Range<usize>, scores: Scores, out: &mut [f32]) {
    let head_dim = query.len();
    let mut state = Online::new();
    for (chunk, seen) in chunks(seen) {
        let Some(page) = head.pages.get(chunk).map(|&page| page as usize) else { return };
        let at =
            |position: usize| (page * CHUNK + position) * head_dim..(page * CHUNK + position + 1) * head_dim;
        let mut weights: Weights = [0.0; CHUNK];
        for position in seen.clone() {
            weights[position] = dot_f32(query, &head.keys[at(position)]) * scores.scale;
        }
        soft_cap(&mut weights, scores.cap);
        state.weigh(&mut weights, &seen, head_dim);
        for position in seen {
            for (sum, v) in state.values.iter_mut().zip(&head.values[at(position)]) {
                *sum += weights[position] * v;
            }
        }
    }
    state.finish(out);
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
