//! Rounding to Q8_0: `f16 d; i8 codes[32]`, `value = d * code`.

use llm::gguf::GgmlType;

use super::block::{Block, extreme, half, nearest, put_half};

/// The scale of a block. Codes are kept with an offset of 128, so that they are unsigned.
#[derive(Debug, Default, Clone)]
pub struct Q8_0 {
    d: f32,
}

/// The largest code.
const MOST: f32 = 127.0;

impl Block for Q8_0 {
    const KIND: GgmlType = GgmlType::Q8_0;
    const ELEMENTS: usize = 32;
    const BYTES: usize = 34;

    fn plain(values: &[f32], out: &mut [u8]) {
        let d = extreme(values).abs() / MOST;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        put_half(out, 0, d);
        for (slot, value) in out.iter_mut().skip(2).zip(values) {
            // C's roundf: ties away from zero.
            *slot = (value * inverse).round() as i8 as u8;
        }
    }

    fn open(&mut self, _values: &[f32], _weights: &[f32]) {}

    fn fix(&mut self, _group: usize, values: &[f32], _weights: &[f32]) {
        self.d = half(extreme(values).abs() / MOST);
    }

    fn code(&self, _group: usize, value: f32) -> u8 {
        let code = if self.d == 0.0 { 0 } else { nearest((value / self.d).clamp(-MOST, MOST)) };
        (code + 128) as u8
    }

    fn value(&self, _group: usize, code: u8) -> f32 {
        self.d * (i32::from(code) - 128) as f32
    }

    fn store(&self, codes: &[u8], out: &mut [u8]) {
        put_half(out, 0, self.d);
        out.iter_mut().skip(2).zip(codes).for_each(|(slot, code)| *slot = code ^ 128);
    }
}
