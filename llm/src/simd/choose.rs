//! Which variant is the fastest on this machine: found by timing, not by CPUID alone. Under an emulator the
//! widest vectors are the slowest.

use super::Variant;
use crate::clock::Clock;
use crate::gguf::Tensor;
use crate::model::matrix::{Compute, Input, Matrix, Placing, packed_bytes, tensor_has_panels};
use crate::parallel::SingleThread;
use crate::pool::Pool;
use crate::quant::activation::ActivationBuffers;
use alloc::vec::Vec;

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
    /// Both multiply panels.
    pub panels: bool,
    /// What was measured; `None` for variants that this machine cannot run.
    pub timings: [Option<Timing>; Variant::ALL.len()],
}

/// Rows that are multiplied: few enough to be timed in a moment, too many for the innermost cache.
const ROWS: usize = 64;
const VECTORS: usize = 8;
/// Longest rows that are timed, longer than those of any published model, and most elements: 8 MiB of memory in all.
const MAX_COLUMNS: usize = 1 << 16;
const MAX_ELEMENTS: usize = 1 << 18;
const REPEATS: usize = 5;
/// A variant that took longer than this is not timed again: it is an emulated one, and the boot waits.
const PATIENCE_NS: u64 = 1_000_000;

/// Times all usable variants on the first rows of `tensor`: on panels where there is `room` for them, else on rows, of which
/// AVX2 is the widest. A `forced` variant is taken if it is usable. Both chosen variants multiply panels, or none
/// does: a model is laid out once.
pub fn choose(forced: Option<Variant>, tensor: Option<&Tensor<'_>>, room: bool, clock: &dyn Clock) -> Choice {
    let panels = room && tensor.is_some_and(|tensor| tensor_has_panels(tensor.kind));
    let of_rows = |variant| !matches!(variant, Variant::AvxVnni | Variant::Avx512Vnni);
    let forced = forced.filter(|variant| variant.is_usable() && (panels || of_rows(*variant)));
    let timings = Variant::ALL.map(|variant| {
        let tensor = tensor.filter(|_| variant.is_usable() && (panels || of_rows(variant)))?;
        let [decode_ps, prefill_ps] = time(variant, tensor, panels && variant.wants_panels(), clock)?;
        Some(Timing { variant, decode_ps, prefill_ps })
    });
    let fastest = |cost: fn(&Timing) -> u64, panels: Option<bool>| {
        let known = timings.iter().flatten();
        let suited =
            known.filter(|timing| panels.is_none_or(|panels| panels == timing.variant.wants_panels()));
        let best = suited.min_by_key(|timing| cost(timing)).map(|timing| timing.variant);
        forced.or(best).unwrap_or(Variant::Portable)
    };
    let decode = fastest(|timing| timing.decode_ps, None);
    let prefill = fastest(|timing| timing.prefill_ps, panels.then_some(decode.wants_panels()));
    Choice { decode, prefill, panels: panels && decode.wants_panels(), timings }
}

/// The shortest of some runs with one vector and with several, in picoseconds for each multiply-add.
fn time(variant: Variant, tensor: &Tensor<'_>, panels: bool, clock: &dyn Clock) -> Option<[u64; 2]> {
    // The file's word alone would let it ask for any amount of memory: loading says what is wrong with such a tensor.
    let columns =
        usize::try_from(tensor.dims[0]).ok().filter(|columns| (1..=MAX_COLUMNS).contains(columns))?;
    let rows = ROWS.min(MAX_ELEMENTS / columns).min(usize::try_from(tensor.dims[1]).ok()?);
    let placing = Placing { panels, parallel: &SingleThread };
    let bytes = packed_bytes(tensor.kind, columns, rows).max(8 * columns * rows);
    let mut memory = zeroed::<u8>(bytes + 8 * columns * VECTORS + 8192)?;
    let mut pool = Pool::new(&mut memory);
    let matrix = Matrix::new(tensor, 0..rows, &mut pool, placing).ok()?;
    let mut buffers = ActivationBuffers::new(&mut pool, VECTORS, columns).ok()?;
    // A wave with some spread; the values do not matter, only that they are no special case.
    let mut x = zeroed::<f32>(columns * VECTORS)?;
    x.iter_mut().enumerate().for_each(|(i, x)| *x = (i % 37) as f32 / 18.0 - 1.0);
    let mut out = zeroed::<f32>(rows.next_multiple_of(16) * VECTORS)?;
    Some([1, VECTORS].map(|vectors| {
        let input = Input::new(
            &Compute { parallel: &SingleThread, variant },
            &x[..columns * vectors],
            &[&matrix],
            &mut buffers,
        );
        let out = &mut out[..rows.next_multiple_of(16) * vectors];
        let mut best = u64::MAX;
        for _ in 0..REPEATS {
            let started = clock.now_ns();
            matrix.multiply(variant, input, out);
            best = best.min(clock.now_ns().saturating_sub(started));
            if best > PATIENCE_NS {
                break;
            }
        }
        best.saturating_mul(1000) / (columns * rows * vectors).max(1) as u64
    }))
}

/// So many zeros, or `None` where there is no memory: then the variant is not timed, and the portable one serves.
fn zeroed<T: Clone + Default>(count: usize) -> Option<Vec<T>> {
    let mut zeros = Vec::new();
    zeros.try_reserve_exact(count).ok()?;
    zeros.resize(count, T::default());
    Some(zeros)
}
