//! The two integer products of attention with a chunk of 16 positions (see [`crate::model::stored`]).
//!
//! Sums wrap: positions that were never stored hold anything, and their results are not looked at.

use crate::model::stored::{CHUNK, Stored};

/// `out[position] = query . key`, the query in pairs of dimensions. The caller keeps magnitudes small enough for 32 bits.
#[inline(always)]
pub fn dots<T: Stored>(query: &[[i16; 2]], keys: &[T], out: &mut [i32; CHUNK]) {
    for (&[a, b], keys) in query.iter().zip(keys.as_chunks::<{ 2 * CHUNK }>().0) {
        for (out, &[x, y]) in out.iter_mut().zip(keys.as_chunks::<2>().0) {
            let pair = (i32::from(a) * x.into()).wrapping_add(i32::from(b) * y.into());
            *out = out.wrapping_add(pair);
        }
    }
}

/// `out[dimension] = weights . values`, the weights in pairs of positions. The caller keeps magnitudes small enough for
/// 32 bits.
#[inline(always)]
pub fn add<T: Stored>(weights: &[[i16; 2]; CHUNK / 2], values: &[T], out: &mut [i32]) {
    for (&[a, b], values) in weights.iter().zip(values.chunks_exact(2 * out.len().max(1))) {
        for (out, &[x, y]) in out.iter_mut().zip(values.as_chunks::<2>().0) {
            let pair = (i32::from(a) * x.into()).wrapping_add(i32::from(b) * y.into());
            *out = out.wrapping_add(pair);
        }
    }
}
