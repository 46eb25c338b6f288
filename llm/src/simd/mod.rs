//! Products of weights and activation vectors, in several variants with identical results.
//!
//! * `Portable`: four multiply-adds in one 64-bit multiplication (see `portable.rs`). Safe Rust; the fastest where
//!   vector instructions are emulated one by one, as in QEMU without KVM.
//! * `Sse2`: `pmaddwd`.
//! * `Avx2`, `AvxVnni`, `Avx512Vnni`: on [panels](crate::quant::panel), 16 rows side by side. The fastest on real CPUs.
//!   Matrices of formats without panels, or for whose panels there is no memory, they multiply row by row (`avx2.rs`).
//!
//! Which one runs is decided by timing the usable ones on real rows at load, not by CPUID alone. Results
//! are equal to the last bit because all of them compute the same exact integer (see [`crate::quant`]).
//!
//! Products come out as `[panel][token][16]`: row `r` of token `t` of `n` is at `(r / 16 * n + t) * 16 + r % 16`. With one
//! token that is simply `[row]`.
#![allow(unsafe_code)]

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_attention;
#[cfg(target_arch = "x86_64")]
mod avx2_panels;
#[cfg(target_arch = "x86_64")]
mod avx512_attention;
#[cfg(target_arch = "x86_64")]
mod avx512_vnni;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
pub mod bf16;
#[cfg(target_arch = "x86_64")]
mod bf16_kernel;
pub mod choose;
mod cpu;
mod panel_kernel;
mod portable;
mod portable_panels;
#[cfg(target_arch = "x86_64")]
mod sse2;

use crate::model::attention::{Integers, Scores, attend_integers};
use crate::model::stored::Stored;
use crate::quant::activation::{Activations, Factors, Form, quantise_vector};
use crate::quant::float::{self, Float};
use crate::quant::panel::{Panels, ROWS};
use crate::quant::{Format, Kind, with_format};
use core::fmt;
use core::ops::Range;

/// An implementation of the products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// 64-bit integer arithmetic only.
    Portable,
    /// 128-bit vectors, on every x86_64 CPU.
    Sse2,
    /// 256-bit vectors; needs the CPU's and the operating system's consent, as the following do.
    Avx2,
    /// 256-bit vectors and `vpdpbusd`.
    AvxVnni,
    /// 512-bit vectors and `vpdpbusd`.
    Avx512Vnni,
}

impl Variant {
    /// All variants.
    pub const ALL: [Variant; 5] =
        [Variant::Portable, Variant::Sse2, Variant::Avx2, Variant::AvxVnni, Variant::Avx512Vnni];

    /// Whether this machine, as it is set up now, can run the variant.
    pub fn is_usable(self) -> bool {
        match self {
            Variant::Portable => true,
            Variant::Sse2 => cfg!(target_arch = "x86_64"),
            Variant::Avx2 => cpu::has(cpu::AVX2),
            Variant::AvxVnni => cpu::has(cpu::AVX_VNNI),
            Variant::Avx512Vnni => cpu::has(cpu::AVX512_VNNI),
        }
    }

    /// Whether it multiplies panels rather than rows as the file has them.
    pub fn wants_panels(self) -> bool {
        !matches!(self, Variant::Portable | Variant::Sse2)
    }

    /// The form of activations that it reads.
    pub fn form(self) -> Form {
        if self == Variant::Portable { Form::Lanes } else { Form::Codes }
    }

    /// Whether code compiled for AVX2 serves it, and may run.
    #[inline(always)]
    fn runs_avx2(self) -> bool {
        self.wants_panels() && cpu::has(cpu::AVX2)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Variant::Portable => "portable",
            Variant::Sse2 => "SSE2",
            Variant::Avx2 => "AVX2",
            Variant::AvxVnni => "AVX-VNNI",
            Variant::Avx512Vnni => "AVX-512-VNNI",
        })
    }
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

/// The products of rows and vectors, equally long; `out` has room for whole panels.
///
/// `variant` must be usable; one that is not is replaced by the portable one.
pub fn multiply(variant: Variant, rows: QuantRows<'_>, x: Activations<'_>, out: &mut [f32]) {
    with_format!(rows.kind, F => match variant {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the CPU and the operating system were asked for AVX2 just now.
        _ if variant.runs_avx2() => unsafe { avx2::multiply::<F>(rows, x, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: SSE2 is part of x86_64.
        Variant::Sse2 => unsafe { sse2::multiply::<F>(rows, x, out) },
        _ => portable::multiply::<F>(rows, x, out),
    });
}

/// As [`multiply`], for rows in panels.
pub fn multiply_panels(variant: Variant, panels: Panels<'_>, x: Activations<'_>, out: &mut [f32]) {
    with_format!(panels.kind, F => match variant {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the CPU and the operating system were asked for AVX-512 VNNI just now.
        Variant::Avx512Vnni if variant.is_usable() => unsafe { avx512_vnni::multiply::<F>(panels, x, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the CPU and the operating system were asked for AVX-VNNI just now.
        Variant::AvxVnni if variant.is_usable() => unsafe { avx_vnni::multiply::<F>(panels, x, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the CPU and the operating system were asked for AVX2 just now.
        Variant::Avx2 if variant.is_usable() => unsafe { avx2_panels::multiply::<F>(panels, x, out) },
        _ => portable_panels::multiply::<F>(panels, x, out),
    });
}

/// The products of float rows of `length` elements and vectors, in f32 with a fixed order of additions; `out` as in
/// [`multiply`].
pub fn multiply_float<T: Float>(variant: Variant, data: &[u8], x: &[f32], length: usize, out: &mut [f32]) {
    match variant {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the CPU and the operating system were asked for AVX2 just now.
        _ if variant.runs_avx2() => unsafe { avx2::multiply_float::<T>(data, x, length, out) },
        _ => float_rows::<T>(data, x, length, out),
    }
}

#[inline(always)]
fn float_rows<T: Float>(data: &[u8], x: &[f32], length: usize, out: &mut [f32]) {
    let length = length.max(1);
    let tokens = (x.len() / length).max(1);
    let panels = data.chunks(ROWS * length * T::BYTES).zip(out.chunks_exact_mut(ROWS * tokens));
    for (rows, out) in panels {
        for (row, data) in rows.chunks_exact(length * T::BYTES).enumerate() {
            for (x, out) in x.chunks_exact(length).zip(out.chunks_exact_mut(ROWS)) {
                out[row] = float::dot::<T>(data, x);
            }
        }
    }
}

/// Writes codes and factors of one vector, and returns its unit (see [`crate::quant::activation`]).
pub fn quantise(
    variant: Variant,
    x: &[f32],
    max_scale: i32,
    codes: &mut [i8],
    factors: &mut [Factors],
) -> f32 {
    match variant {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the CPU and the operating system were asked for AVX2 just now.
        _ if variant.runs_avx2() => unsafe { avx2::quantise(x, max_scale, codes, factors) },
        _ => quantise_vector(x, max_scale, codes, factors),
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

/// Attention of one query over the keys and values of a head (see [`crate::model::attention`]).
pub fn attend<T: Stored>(
    variant: Variant,
    query: &[f32],
    head: Integers<'_, T>,
    seen: Range<usize>,
    scores: Scores,
    out: &mut [f32],
) {
    match variant {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the CPU and the operating system were asked for AVX-512 just now.
        Variant::Avx512Vnni if variant.is_usable() => unsafe {
            avx512_attention::attend(query, head, seen, scores, out)
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the CPU and the operating system were asked for AVX2 just now.
        _ if variant.runs_avx2() => unsafe { avx2_attention::attend(query, head, seen, scores, out) },
        _ => attend_integers(query, head, seen, scores, out, attention::dots, attention::add),
    }
}
