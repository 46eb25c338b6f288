//! The integer products of attention, written so that the compiler finds `pmaddwd` and friends by itself, for
//! whatever vector width the caller is compiled for.

/// See [`super::dot_i16`].
#[inline(always)]
pub fn dot_i16(query: &[i16], keys: &[i16], out: &mut [i32]) {
    for (out, key) in out.iter_mut().zip(keys.chunks_exact(query.len().max(1))) {
        *out = query.iter().zip(key).map(|(&q, &k)| i32::from(q) * i32::from(k)).sum();
    }
}

/// See [`super::weighted_sum_i16`].
#[inline(always)]
pub fn weighted_sum_i16(weights: &[i16], values: &[i16], out: &mut [i32]) {
    for (&weight, value) in weights.iter().zip(values.chunks_exact(out.len().max(1))) {
        for (out, &v) in out.iter_mut().zip(value) {
            *out += i32::from(weight) * i32::from(v);
        }
    }
}
