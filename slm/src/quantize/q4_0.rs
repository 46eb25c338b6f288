//! Rounding to Q4_0: `f16 d; u8 codes[16]`, `value = d * (code - 8)`; byte `j` holds elements `j` (low) and `j + 16`.

use llm::gguf::GgmlType;

use super::block::{Block, extreme, half, nearest, put_half};

/// The scale of a block.
#[derive(Debug, Default, Clone)]
pub struct Q4_0 {
    d: f32,
}

/// Scales that are tried beside the reference's: `extreme / -(8 + 0.1 * n)` for `n` from minus to plus this.
const TRIALS: i32 = 9;

impl Q4_0 {
    /// The weighted squared error of a block under this scale.
    fn error(&self, values: &[f32], weights: &[f32]) -> f32 {
        let each = values.iter().zip(weights).map(|(v, w)| {
            let off = v - self.value(0, self.code(0, *v));
            w * off * off
        });
        each.sum()
    }

    /// The scale that fits best to the codes which `self` gives.
    fn refined(&self, values: &[f32], weights: &[f32]) -> Q4_0 {
        let (mut with_value, mut with_itself) = (0.0, 0.0);
        for (v, w) in values.iter().zip(weights) {
            let level = f32::from(self.code(0, *v)) - 8.0;
            with_value += w * level * v;
            with_itself += w * level * level;
        }
        if with_itself > 0.0 { Q4_0 { d: half(with_value / with_itself) } } else { self.clone() }
    }
}

impl Block for Q4_0 {
    const KIND: GgmlType = GgmlType::Q4_0;
    const ELEMENTS: usize = 32;
    const BYTES: usize = 18;

    fn plain(values: &[f32], out: &mut [u8]) {
        let d = extreme(values) / -8.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        put_half(out, 0, d);
        // A cast cuts what is behind the point; below 0 it never gets.
        let code = |value: &f32| ((value * inverse + 8.5) as u8).min(15);
        let (low, high) = values.split_at(16);
        for ((slot, low), high) in out.iter_mut().skip(2).zip(low).zip(high) {
            *slot = code(low) | code(high) << 4;
        }
    }

    fn open(&mut self, _values: &[f32], _weights: &[f32]) {}

    fn fix(&mut self, _group: usize, values: &[f32], weights: &[f32]) {
        let extreme = extreme(values);
        *self = Q4_0 { d: half(extreme / -8.0) };
        let mut least = self.error(values, weights);
        for trial in -TRIALS..=TRIALS {
            let first = Q4_0 { d: extreme / -(8.0 + 0.1 * trial as f32) };
            let candidate = first.refined(values, weights);
            let error = candidate.error(values, weights);
            if error < least {
                (least, *self) = (error, candidate);
            }
        }
    }

    fn code(&self, _group: usize, value: f32) -> u8 {
        let level = if self.d == 0.0 { 0 } else { nearest((value / self.d).clamp(-8.0, 7.0)) };
        (level + 8) as u8
    }

    fn value(&self, _group: usize, code: u8) -> f32 {
        self.d * (i32::from(code) - 8) as f32
    }

    fn store(&self, codes: &[u8], out: &mut [u8]) {
        put_half(out, 0, self.d);
        let (low, high) = codes.split_at(16);
        let pairs = low.iter().zip(high);
        out.iter_mut().skip(2).zip(pairs).for_each(|(slot, (low, high))| *slot = low | high << 4);
    }
}
