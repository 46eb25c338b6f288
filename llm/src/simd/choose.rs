//! Which variant is the fastest on this machine: found by timing, not by CPUID alone. Under an emulator the
//! widest vectors are the slowest.

use super::Variant;
use crate::clock::Clock;
use crate::model::matrix::{Input, Matrix};
use crate::pool::Pool;
use crate::quant::activation::ActivationBuffers;
use alloc::vec;

/// What one variant took for the same rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// The variant.
    pub variant: Variant,
    /// Picoseconds for each multiply-add with one vector (decoding).
    pub decode_ps: u64,
    /// Picoseconds for each multiply-add with several vectors (reading a prompt).
    pub prefill_ps: u64,
}

/// The fastest variants.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// For one vector.
    pub decode: Variant,
    /// For several.
    pub prefill: Variant,
    /// What was measured; `None` for variants that this machine cannot run.
    pub timings: [Option<Timing>; Variant::ALL.len()],
}

const ROWS: usize = 64;
const VECTORS: usize = 4;
const REPEATS: usize = 5;

/// Times all usable variants on the first rows of `matrix`. A `forced` variant is taken if it is usable.
pub fn choose(forced: Option<Variant>, matrix: Option<&Matrix<'_>>, clock: &dyn Clock) -> Choice {
    let timings = Variant::ALL.map(|variant| {
        let matrix = matrix.filter(|_| variant.is_usable())?;
        let [decode_ps, prefill_ps] = [1, VECTORS].map(|vectors| time(variant, matrix, vectors, clock));
        Some(Timing { variant, decode_ps, prefill_ps })
    });
    let fastest = |cost: fn(&Timing) -> u64| {
        let best = timings.iter().flatten().min_by_key(|timing| cost(timing));
        forced.filter(|variant| variant.is_usable()).or(best.map(|timing| timing.variant))
    };
    Choice {
        decode: fastest(|timing| timing.decode_ps).unwrap_or(Variant::Portable),
        prefill: fastest(|timing| timing.prefill_ps).unwrap_or(Variant::Portable),
        timings,
    }
}

/// The shortest of some runs, in picoseconds for each multiply-add.
fn time(variant: Variant, matrix: &Matrix<'_>, vectors: usize, clock: &dyn Clock) -> u64 {
    let rows = matrix.part(0, ROWS);
    let columns = rows.columns();
    // A wave with some spread; the values do not matter, only that they are no special case.
    let x: vec::Vec<f32> = (0..columns * vectors).map(|i| (i % 37) as f32 / 18.0 - 1.0).collect();
    let mut memory = vec![0u8; 8 * columns * vectors + 4096];
    let Ok(mut buffers) = ActivationBuffers::new(&mut Pool::new(&mut memory), vectors, columns) else {
        return u64::MAX;
    };
    let input = Input::new(&x, &[matrix], &mut buffers);
    let mut out = vec![0.0f32; rows.rows() * vectors];
    let mut best = u64::MAX;
    for _ in 0..REPEATS {
        let started = clock.now_ns();
        rows.multiply(variant, input, &mut out);
        best = best.min(clock.now_ns().saturating_sub(started));
    }
    best.saturating_mul(1000) / (columns * rows.rows() * vectors).max(1) as u64
}
