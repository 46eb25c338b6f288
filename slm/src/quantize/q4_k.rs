//! Rounding to Q4_K: 256 four-bit codes; each 32 have a six-bit scale and a six-bit minimum under half floats `d` and
//! `dmin` of the whole: `value = d * scale * code - dmin * min`.

use llm::gguf::GgmlType;

use super::block::{Block, GROUP, half, nearest, put_half};

/// The scales of a block.
#[derive(Debug, Default, Clone)]
pub struct Q4K {
    d: f32,
    dmin: f32,
    scales: [u8; GROUPS],
    mins: [u8; GROUPS],
}

const GROUPS: usize = 8;
/// The largest code.
const MOST: i32 = 15;
/// The largest scale or minimum.
const MOST_SCALE: i32 = 63;
/// Scales tried for a group: `(15 - 1 + 0.1 * n) / range` for `n` up to this.
const TRIALS: i32 = 20;

impl Q4K {
    /// Scale and minimum (as it is subtracted) of a group.
    fn of(&self, group: usize) -> (f32, f32) {
        let of = |all: &[u8; GROUPS]| f32::from(all.get(group).copied().unwrap_or(0));
        (self.d * of(&self.scales), self.dmin * of(&self.mins))
    }

    /// Fixes `d` and `dmin` for groups that wish for these scales and minima.
    fn share(&mut self, wishes: &[(f32, f32)]) {
        let most = |part: fn(&(f32, f32)) -> f32| wishes.iter().map(part).fold(0.0, f32::max);
        let (scale, min) = (most(|wish| wish.0), most(|wish| wish.1));
        let inverse = |most: f32| if most > 0.0 { MOST_SCALE as f32 / most } else { 0.0 };
        for (group, wish) in wishes.iter().enumerate().take(GROUPS) {
            self.scales[group] = step(inverse(scale) * wish.0);
            self.mins[group] = step(inverse(min) * wish.1);
        }
        (self.d, self.dmin) = (half(scale / MOST_SCALE as f32), half(min / MOST_SCALE as f32));
    }

    fn error(&self, group: usize, values: &[f32], weights: &[f32]) -> f32 {
        let each = values.iter().zip(weights).map(|(v, w)| {
            let off = v - self.value(group, self.code(group, *v));
            w * off * off
        });
        each.sum()
    }
}

/// The nearest six-bit step.
fn step(value: f32) -> u8 {
    nearest(value.clamp(0.0, MOST_SCALE as f32)) as u8
}

/// How llama.cpp's reference weights the numbers of a group: large ones count more.
fn reference_weights(values: &[f32]) -> [f32; GROUP] {
    let squares: f32 = values.iter().map(|v| v * v).sum();
    let mean = (squares / GROUP as f32).sqrt();
    let mut weights = [0.0; GROUP];
    weights.iter_mut().zip(values).for_each(|(w, v)| *w = mean + v.abs());
    weights
}

/// Scale and minimum with a small weighted error: llama.cpp's `make_qkx2_quants`, step by step. The minimum is what is
/// subtracted, not negative.
fn search(values: &[f32], weights: &[f32]) -> (f32, f32) {
    let each = || values.iter().copied().zip(weights.iter().copied());
    let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut min = values.iter().copied().fold(0.0, f32::min);
    if max <= min {
        return (0.0, -min);
    }
    let (sum_w, sum_x) =
        each().fold((0.0f32, 0.0f32), |(w, x), (value, weight)| (w + weight, x + weight * value));
    let code = |inverse: f32, lowest: f32, x: f32| nearest(inverse * (x - lowest)).clamp(0, MOST) as f32;
    let squared = |inverse: f32, lowest: f32, scale: f32, min: f32| {
        let error = |(x, w): (f32, f32)| {
            let off = scale * code(inverse, lowest, x) + min - x;
            w * (off * off)
        };
        each().map(error).sum::<f32>()
    };
    let inverse = MOST as f32 / (max - min);
    let mut scale = 1.0 / inverse;
    let mut least = squared(inverse, min, scale, min);
    for trial in 0..=TRIALS {
        // From the best minimum so far.
        let (lowest, inverse) = (min, (-1.0 + 0.1 * trial as f32 + MOST as f32) / (max - min));
        let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0f32, 0.0f32, 0.0f32);
        for (x, w) in each() {
            let l = code(inverse, lowest, x);
            sum_l += w * l;
            sum_l2 += w * l * l;
            sum_xl += w * l * x;
        }
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        if determinant > 0.0 {
            let mut this_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
            let mut this_min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
            if this_min > 0.0 {
                (this_min, this_scale) = (0.0, sum_xl / sum_l2);
            }
            let error = squared(inverse, lowest, this_scale, this_min);
            if error < least {
                (least, scale, min) = (error, this_scale, this_min);
            }
        }
    }
    (scale, -min)
}

impl Block for Q4K {
    const KIND: GgmlType = GgmlType::Q4_K;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 144;

    fn plain(values: &[f32], out: &mut [u8]) {
        let groups = || values.chunks_exact(GROUP);
        let wishes: Vec<_> = groups().map(|group| search(group, &reference_weights(group))).collect();
        let mut block = Q4K::default();
        block.share(&wishes);
        let code = |(group, values): (usize, &[f32])| {
            values.iter().map(|v| block.code(group, *v)).collect::<Vec<_>>()
        };
        let codes: Vec<u8> = groups().enumerate().flat_map(code).collect();
        block.store(&codes, out);
    }

    fn open(&mut self, values: &[f32], weights: &[f32]) {
        let groups = values.chunks_exact(GROUP).zip(weights.chunks_exact(GROUP));
        let wishes: Vec<_> = groups.map(|(values, weights)| search(values, weights)).collect();
        self.share(&wishes);
    }

    fn fix(&mut self, group: usize, values: &[f32], weights: &[f32]) {
        if group >= GROUPS {
            return;
        }
        let (scale, min) = search(values, weights);
        let steps = |wish: f32, unit: f32| if unit > 0.0 { step(wish / unit) } else { 0 };
        let (scale, min) = (steps(scale, self.d), steps(min, self.dmin));
        let mut least = f32::INFINITY;
        let around = |middle: u8| middle.saturating_sub(1)..=(middle + 1).min(MOST_SCALE as u8);
        let mut candidate = self.clone();
        for (scale, min) in around(scale).flat_map(|scale| around(min).map(move |min| (scale, min))) {
            (candidate.scales[group], candidate.mins[group]) = (scale, min);
            let error = candidate.error(group, values, weights);
            if error < least {
                least = error;
                (self.scales[group], self.mins[group]) = (scale, min);
            }
        }
    }

    fn code(&self, group: usize, value: f32) -> u8 {
        let (scale, min) = self.of(group);
        if scale == 0.0 {
            return 0;
        }
        nearest(((value + min) / scale).clamp(0.0, MOST as f32)) as u8
    }

    fn value(&self, group: usize, code: u8) -> f32 {
        let (scale, min) = self.of(group);
        scale * f32::from(code) + -min
    }

    fn store(&self, codes: &[u8], out: &mut [u8]) {
        let Some(out) = out.first_chunk_mut::<144>() else { return };
        put_half(out, 0, self.d);
        put_half(out, 2, self.dmin);
        let (packed, nibbles) = out[4..].split_at_mut(12);
        for group in 0..4 {
            let [(s, m), (s4, m4)] = [group, group + 4].map(|g| (self.scales[g], self.mins[g]));
            packed[group] = s | (s4 >> 4) << 6;
            packed[group + 4] = m | (m4 >> 4) << 6;
            packed[group + 8] = (s4 & 15) | (m4 & 15) << 4;
        }
        // The codes of two groups share 32 bytes: the first in the low halves.
        for (bytes, pair) in nibbles.chunks_exact_mut(GROUP).zip(codes.chunks_exact(2 * GROUP)) {
            let (low, high) = pair.split_at(GROUP);
            bytes
                .iter_mut()
                .zip(low.iter().zip(high))
                .for_each(|(slot, (low, high))| *slot = low | high << 4);
        }
    }
}
