//! Panels: 16 rows of a quantised matrix side by side, in the order in which vector instructions read them.
//!
//! In a GGUF a row's blocks lie one after the other, so a product of one row ends in adding up the lanes of a register,
//! and scales come one by one. In a panel each 32-bit lane of a register belongs to one row: four codes of each of
//! the 16 rows make 64 bytes, which `vpdpbusd` multiplies with the same four activations, and the scales of the 16 rows
//! are one register too. (llama.cpp's `Q4_0_8x8` and the packing of Goto and van de Geijn's GEMM are of this kind.)
//!
//! Scales and codes of all panels are kept apart, so that a product reads two streams of memory from end to end. Of a
//! panel with rows of `groups` groups of 32 columns there are
//!
//! ```text
//! scales  for each block: d, as 16 half floats; m likewise, where the format has it;
//!                         for each group of it, where a block has several: 16 bytes dx, 16 dx' (HALVES), 16 mx (HAS_MIN)
//! codes   for each group, in 64-byte vectors whose bytes 4r..4r + 4 belong to row r:
//!         4 bits   4 vectors; vector v holds columns 4v.. in the low and 16 + 4v.. in the high nibbles
//!         6 bits   these, and 2 vectors; bits 2b and 2b + 1 of vector h are the upper bits of columns 16h + 4b..
//!         8 bits   8 vectors; vector v holds columns 4v..
//! ```
//!
//! The last panel of a matrix is filled with rows of zeros. Nothing is rounded: a panel holds what the file does, in as
//! many bytes (formats of 2, 3 and 5 bits take the next width).

use super::float::f32_to_f16;
use super::{Format, GROUP, Kind, with_format};
use crate::parallel::{Parallel, for_items};
use crate::pool::{Pool, PoolFull, Purpose};

/// Rows in a panel.
pub const ROWS: usize = 16;
/// Bytes of a vector: four codes for each row.
pub const VECTOR: usize = 4 * ROWS;

/// Where things lie in the panels of a format.
pub struct Layout<F>(core::marker::PhantomData<F>);

impl<F: Format> Layout<F> {
    /// Bits of a code.
    pub const BITS: usize = match F::MAX_CODE {
        0..16 => 4,
        16..64 => 6,
        _ => 8,
    };
    /// Bytes of a group's codes.
    pub const CODES: usize = GROUP * ROWS * Self::BITS / 8;
    /// Bytes of the half floats of a block.
    pub const FLOATS: usize = 2 * ROWS * (1 + F::HAS_MIN as usize);
    /// Bytes of the whole multipliers of a group.
    pub const MULTIPLIERS: usize = if F::GROUPS > 1 { ROWS * F::ENTRIES } else { 0 };
    /// Bytes of the scales of a block.
    pub const SCALES: usize = Self::FLOATS + F::GROUPS * Self::MULTIPLIERS;

    /// Bytes of all scales of a panel with rows of `groups` groups.
    pub const fn scale_bytes(groups: usize) -> usize {
        groups / F::GROUPS * Self::SCALES
    }

    /// Bytes of a panel with rows of `groups` groups, scales and codes.
    pub const fn bytes(groups: usize) -> usize {
        Self::scale_bytes(groups) + groups * Self::CODES
    }
}

/// Whether the format has panels: its scales are half floats and it has no minimum for each half of a group.
pub fn has_panels(kind: Kind) -> bool {
    with_format!(kind, F => {
        use super::Format;
        F::HALF_FLOATS && !(F::HALVES && F::HAS_MIN)
    })
}

/// Panels of consecutive rows of a matrix.
#[derive(Clone, Copy)]
pub struct Panels<'a> {
    /// The format of the rows.
    pub kind: Kind,
    /// The scales of each panel, one panel after the other.
    pub scales: &'a [u8],
    /// The codes, likewise.
    pub codes: &'a [u8],
    /// Panels.
    pub count: usize,
    /// The scales' unit is `2^-shift` (see [`super::scales`]).
    pub shift: i32,
}

impl<'p> Panels<'p> {
    /// Packs `rows` rows of `groups` groups, whose scales have the unit `2^-shift`.
    pub fn new<F: Format>(
        data: &[u8],
        rows: usize,
        groups: usize,
        shift: i32,
        pool: &mut Pool<'p>,
        parallel: &dyn Parallel,
    ) -> Result<Self, PoolFull> {
        let count = rows.div_ceil(ROWS);
        let (scale_bytes, code_bytes) = (Layout::<F>::scale_bytes(groups), groups * Layout::<F>::CODES);
        let scales = pool.take_unzeroed::<u8>(Purpose::Weights, count.saturating_mul(scale_bytes))?;
        let codes = pool.take_unzeroed::<u8>(Purpose::Weights, count.saturating_mul(code_bytes))?;
        let row_bytes = groups / F::GROUPS * F::BYTES;
        let rows_of = |panel: usize| {
            let end = ((panel + 1) * ROWS).min(rows);
            data.get(panel * ROWS * row_bytes..end * row_bytes).unwrap_or_default()
        };
        for_items(parallel, scales, scale_bytes, &|first, scales| {
            for (panel, scales) in (first..).zip(scales.chunks_exact_mut(scale_bytes.max(1))) {
                pack_scales::<F>(rows_of(panel), row_bytes, scales);
            }
        });
        for_items(parallel, codes, code_bytes, &|first, codes| {
            for (panel, codes) in (first..).zip(codes.chunks_exact_mut(code_bytes.max(1))) {
                pack_codes::<F>(rows_of(panel), row_bytes, codes);
            }
        });
        Ok(Self { kind: F::KIND, scales, codes, count, shift })
    }

    /// `count` panels from the panel `first` on.
    pub fn part(&self, first: usize, count: usize) -> Self {
        let (first, end) = (first.min(self.count), first.saturating_add(count).min(self.count));
        let of = |all: &'p [u8]| {
            let each = all.len() / self.count.max(1);
            all.get(first * each..end * each).unwrap_or_default()
        };
        Self { scales: of(self.scales), codes: of(self.codes), count: end - first, ..*self }
    }

    /// The panels one by one, scales and codes.
    #[inline(always)]
    pub fn iter(&self) -> impl Iterator<Item = (&'p [u8], &'p [u8])> + use<'p> {
        let each = |all: &'p [u8]| all.chunks_exact((all.len() / self.count.max(1)).max(1));
        each(self.scales).zip(each(self.codes))
    }

    /// Bytes of all panels.
    pub fn bytes(&self) -> usize {
        self.scales.len() + self.codes.len()
    }
}

/// Packs the scales of up to 16 rows, one after the other in `rows`.
fn pack_scales<F: Format>(rows: &[u8], row_bytes: usize, out: &mut [u8]) {
    out.fill(0);
    for (row, data) in rows.chunks_exact(row_bytes.max(1)).enumerate().take(ROWS) {
        for (block, out) in data.chunks_exact(F::BYTES).zip(out.chunks_exact_mut(Layout::<F>::SCALES)) {
            put_scales::<F>(block, row, out);
        }
    }
}

/// Packs the codes of up to 16 rows.
fn pack_codes<F: Format>(rows: &[u8], row_bytes: usize, out: &mut [u8]) {
    out.fill(0);
    for (row, data) in rows.chunks_exact(row_bytes.max(1)).enumerate().take(ROWS) {
        let groups = out.chunks_exact_mut(F::GROUPS * Layout::<F>::CODES);
        for (block, out) in data.chunks_exact(F::BYTES).zip(groups) {
            for (group, out) in out.chunks_exact_mut(Layout::<F>::CODES).enumerate() {
                put_codes::<F>(F::codes(block, group), row, out);
            }
        }
    }
}

/// Writes the scales of one row's block.
fn put_scales<F: Format>(block: &[u8], row: usize, out: &mut [u8]) {
    let (floats, multipliers) = out.split_at_mut(Layout::<F>::FLOATS);
    let first = F::scales(block, 0);
    for (out, value) in floats.chunks_exact_mut(2 * ROWS).zip([first.d, first.m]) {
        out[2 * row..2 * row + 2].copy_from_slice(&f32_to_f16(value).to_le_bytes());
    }
    for (group, out) in multipliers.chunks_exact_mut(Layout::<F>::MULTIPLIERS.max(1)).enumerate() {
        let scales = F::scales(block, group);
        let second = if F::HALVES { scales.dx[1] } else { scales.mx[0] };
        for (out, multiplier) in out.chunks_exact_mut(ROWS).zip([scales.dx[0], second]) {
            // All multipliers are scales of at most seven bits and a sign.
            out[row] = multiplier as i8 as u8;
        }
    }
}

/// Writes the codes of one row's group.
fn put_codes<F: Format>(codes: [u64; 4], row: usize, out: &mut [u8]) {
    // Four codes each, in the order of the columns.
    let quads: [u32; 8] = core::array::from_fn(|i| (codes[i / 2] >> (32 * (i % 2))) as u32);
    let mut put = |vector: usize, quad: u32| {
        let at = vector * VECTOR + 4 * row;
        if let Some(out) = out.get_mut(at..at + 4) {
            out.copy_from_slice(&quad.to_le_bytes());
        }
    };
    if Layout::<F>::BITS == 8 {
        quads.into_iter().enumerate().for_each(|(vector, quad)| put(vector, quad));
        return;
    }
    for vector in 0..4 {
        put(vector, quads[vector] & 0x0F0F_0F0F | (quads[vector + 4] & 0x0F0F_0F0F) << 4);
    }
    if Layout::<F>::BITS == 6 {
        for half in 0..2 {
            let upper =
                (0..4).fold(0, |upper, b| upper | (quads[4 * half + b] >> 4 & 0x0303_0303) << (2 * b));
            put(4 + half, upper);
        }
    }
}
