//! Products of weight rows and activation vectors, in three variants with identical results.
//!
//! * `Portable`: four multiply-adds in one 64-bit multiplication (see `portable.rs`). Safe Rust; the fastest where
//!   vector instructions are emulated one by one, as in QEMU without KVM.
//! * `Sse2`, `Avx2`: `pmaddwd` and `pmaddubsw`. The fastest on real CPUs.
//!
//! Which one runs is decided by timing the usable ones on real rows at load, not by CPUID alone. Results
//! are equal to the last bit because all of them compute the same exact integer (see [`crate::quant`]).
#![allow(unsafe_code)]

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
pub mod choose;
mod portable;
#[cfg(target_arch = "x86_64")]
mod sse2;

use crate::quant::activation::Activations;
use crate::quant::float::{self, Float};
use crate::quant::{Format, Kind, with_format};
use core::fmt;

/// An implementation of the products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// 64-bit integer arithmetic only.
    Portable,
    /// 128-bit vectors, on every x86_64 CPU.
    Sse2,
    /// 256-bit vectors; needs the CPU's and the operating system's consent.
    Avx2,
}

impl Variant {
    /// All variants.
    pub const ALL: [Variant; 3] = [Variant::Portable, Variant::Sse2, Variant::Avx2];

    /// Whether this machine, as it is set up now, can run the variant.
    pub fn is_usable(self) -> bool {
        match self {
            Variant::Portable => true,
            Variant::Sse2 => cfg!(target_arch = "x86_64"),
            Variant::Avx2 => avx2_is_usable(),
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Variant::Portable => "portable",
            Variant::Sse2 => "SSE2",
            Variant::Avx2 => "AVX2",
        })
    }
}

/// CPUID says AVX2 exists, and the operating system (XCR0) saves and restores the 256-bit registers.
#[cfg(target_arch = "x86_64")]
fn avx2_is_usable() -> bool {
    use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    const OSXSAVE_AND_AVX: u32 = 1 << 27 | 1 << 28;
    const AVX2: u32 = 1 << 5;
    const SSE_AND_AVX_STATE: u64 = 1 << 1 | 1 << 2;

    #[target_feature(enable = "xsave")]
    fn xcr0() -> u64 {
        // SAFETY: XGETBV with index 0 is defined wherever CPUID reports OSXSAVE, which the caller checked.
        unsafe { _xgetbv(0) }
    }

    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE_AND_AVX != OSXSAVE_AND_AVX {
        return false;
    }
    // SAFETY: OSXSAVE is set, so XGETBV is enabled.
    let state = unsafe { xcr0() };
    state & SSE_AND_AVX_STATE == SSE_AND_AVX_STATE && __cpuid_count(7, 0).ebx & AVX2 != 0
}

#[cfg(not(target_arch = "x86_64"))]
fn avx2_is_usable() -> bool {
    false
}

/// Consecutive rows of a quantised matrix.
#[derive(Clone, Copy)]
pub struct QuantRows<'a> {
    /// The format of the blocks.
    pub kind: Kind,
    /// The blocks of all rows.
    pub data: &'a [u8],
    /// The scale table that belongs to `data` (see [`crate::quant::scales`]).
    pub scales: &'a [i32],
    /// The unit of the table's entries.
    pub unit: f32,
}

/// `out[row][token] = row . vector`, rows and vectors being equally long; `out` is a whole number of rows.
///
/// `variant` must be usable; one that is not is replaced by the portable one.
pub fn multiply(variant: Variant, rows: QuantRows<'_>, x: Activations<'_>, out: &mut [f32]) {
    with_format!(rows.kind, F => multiply_format::<F>(variant, rows, x, out));
}

fn multiply_format<F: Format>(variant: Variant, rows: QuantRows<'_>, x: Activations<'_>, out: &mut [f32]) {
    match variant {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the CPU and the operating system were asked for AVX2 just now (`usable`).
        Variant::Avx2 if usable::avx2() => unsafe { avx2::multiply::<F>(rows, x, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: SSE2 is part of x86_64.
        Variant::Sse2 => unsafe { sse2::multiply::<F>(rows, x, out) },
        _ => portable::multiply::<F>(rows, x, out),
    }
}

/// Remembers the answer of [`avx2_is_usable`]: CPUID is slow under virtualisation (an exit each).
mod usable {
    use core::sync::atomic::{AtomicU8, Ordering};

    static AVX2: AtomicU8 = AtomicU8::new(0);

    /// Whether AVX2 may be used.
    #[inline(always)]
    pub fn avx2() -> bool {
        match AVX2.load(Ordering::Relaxed) {
            0 => {
                let usable = super::avx2_is_usable();
                AVX2.store(1 + u8::from(usable), Ordering::Relaxed);
                usable
            }
            known => known == 2,
        }
    }
}

/// `out[row][token] = row . vector` for float rows of `length` elements, in f32 with a fixed order of additions.
pub fn multiply_float<T: Float>(variant: Variant, data: &[u8], x: &[f32], length: usize, out: &mut [f32]) {
    match variant {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the CPU and the operating system were asked for AVX2 just now (`usable`).
        Variant::Avx2 if usable::avx2() => unsafe { avx2::multiply_float::<T>(data, x, length, out) },
        _ => float_rows::<T>(data, x, length, out),
    }
}

#[inline(always)]
fn float_rows<T: Float>(data: &[u8], x: &[f32], length: usize, out: &mut [f32]) {
    let length = length.max(1);
    let tokens = (x.len() / length).max(1);
    for (row, out) in data.chunks_exact(length * T::BYTES).zip(out.chunks_exact_mut(tokens)) {
        for (x, out) in x.chunks_exact(length).zip(out) {
            *out = float::dot::<T>(row, x);
        }
    }
}

/// The exact sums of a row as a float.
#[inline(always)]
fn finish(sum: i64, unit: f32) -> f32 {
    sum as f32 * unit
}

/// What a group contributes to a row's sum, given the sums of `code * da * a` over both halves.
#[inline(always)]
fn group_sum<F: Format>(entry: &[i32], low: i64, high: i64, sums: [i32; 2]) -> i64 {
    let entry = |i: usize| i64::from(entry[i]);
    let offset = i64::from(F::OFFSET);
    if F::HALVES {
        let [low_sum, high_sum] = sums.map(i64::from);
        let scaled = entry(0) * (low - offset * low_sum) + entry(1) * (high - offset * high_sum);
        if F::HAS_MIN { scaled + entry(2) * low_sum + entry(3) * high_sum } else { scaled }
    } else {
        let sum = i64::from(sums[0] + sums[1]);
        let scaled = entry(0) * (low + high - offset * sum);
        if F::HAS_MIN { scaled + entry(1) * sum } else { scaled }
    }
}

/// `out[i] = query . keys[i]` for keys of the query's length, one after the other. The caller keeps magnitudes
/// small enough for 32 bits.
pub fn dot_i16(variant: Variant, query: &[i16], keys: &[i16], out: &mut [i32]) {
    match variant {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the CPU and the operating system were asked for AVX2 just now (`usable`).
        Variant::Avx2 if usable::avx2() => unsafe { avx2::dot_i16(query, keys, out) },
        _ => attention::dot_i16(query, keys, out),
    }
}

/// `out[d] += sum over i of weights[i] * values[i][d]`, `values` being vectors of `out`'s length, one after
/// the other. The caller keeps magnitudes small enough for 32 bits.
pub fn weighted_sum_i16(variant: Variant, weights: &[i16], values: &[i16], out: &mut [i32]) {
    match variant {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the CPU and the operating system were asked for AVX2 just now (`usable`).
        Variant::Avx2 if usable::avx2() => unsafe { avx2::weighted_sum_i16(weights, values, out) },
        _ => attention::weighted_sum_i16(weights, values, out),
    }
}
